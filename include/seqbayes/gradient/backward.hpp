/// @file
/// A sequence backwards, from checkpoint to checkpoint.
#pragma once

#include <cmath>
#include <vector>

#include <seqbayes/gradient/tiled.hpp>
#include <seqbayes/scan/scan.hpp>

namespace seqbayes {
namespace detail {

/// Zeros in the shape of what the layer reads.
template <class L>
void make_gradient(const L& layer, const Sequence<typename L::Scalar>& x, Gradient<L>& gradient) {
  using Scalar = typename L::Scalar;
  const InputWidths inputs = layer.inputs();
  for_each_field(
      [&](auto, auto, Matrix<Scalar>& to, const MatrixView<Scalar>& from, const InputWidth& input) {
        const Index width = input.width == 0 ? 0 : from.cols();
        to.setZero(width == 0 ? 0 : x.length(), width);
      },
      gradient, x, inputs);
  if constexpr (requires { requires std::is_same_v<typename L::Decay, ConstantDecay>; }) {
    gradient.log_decay.setZero(x.length(), 1);  // a row a token, of which `finish` makes one
  }
  static_cast<LayerOptionGradient<Scalar>&>(gradient) = {};
  gradient.options.set_zero(layer);
}

/// The option's derivative from those of the tokens.
template <class L>
void finish(Gradient<L>& gradient) {
  if constexpr (requires { requires std::is_same_v<typename L::Decay, ConstantDecay>; }) {
    CompensatedSum<typename L::Scalar> sum;
    for (Index t = 0; t < gradient.log_decay.rows(); ++t) sum += gradient.log_decay(t, 0);
    gradient.log_decay.setConstant(1, 1, sum.value());
  }
}

/// About sqrt(T): as many checkpoints as tokens from one to the next.
inline Index default_interval(Index length) {
  return std::max<Index>(1, static_cast<Index>(std::ceil(std::sqrt(static_cast<double>(length)))));
}

template <class L>
void advance(const L& layer, typename L::State& state, const Token<typename L::Scalar>& token) {
  if constexpr (requires { layer.advance(state, token); }) {
    layer.advance(state, token);
  } else if constexpr (requires { layer.step_mean(state, token); }) {
    layer.step_mean(state, token);
  } else {
    layer.step(state, token);
  }
}

/// Token by token, for checked input; `gradient` is zero in its right shape.
template <class L>
void scan_vjp_steps(const L& layer, const typename L::State& initial_state,
                    const Sequence<typename L::Scalar>& x, const Cotangent<L>& cotangent,
                    Index interval, Gradient<L>& gradient) {
  using Scalar = typename L::Scalar;
  using State = typename L::State;
  const Index length = x.length();
  std::vector<State> checkpoints{initial_state};
  State state = initial_state;
  for (Index t = 0; t + 1 < length; ++t) {
    advance(layer, state, x.token(t));
    if ((t + 1) % interval == 0) checkpoints.push_back(state);
  }

  State dstate = StepVjp<L>::final_state(layer, cotangent.state);
  typename StepVjp<L>::Output out;
  out.mean.setZero(layer.value_dim());
  out.log_evidence = cotangent.log_evidence;
  std::vector<State> before;
  LayerOptionSums<Scalar> sums;
  auto& doptions = [&]() -> auto& {
    if constexpr (std::is_empty_v<OptionGradient<L>>) {
      return sums;
    } else {
      return gradient.options;
    }
  }
  ();
  for (; length > 0 && !checkpoints.empty(); checkpoints.pop_back()) {
    const Index first = (static_cast<Index>(checkpoints.size()) - 1) * interval;
    const Index count = std::min(interval, length - first);
    before.assign(1, checkpoints.back());
    for (Index i = 1; i < count; ++i) {
      before.push_back(before.back());
      advance(layer, before.back(), x.token(first + i - 1));
    }
    for (Index i = count - 1; i >= 0; --i) {
      const Index t = first + i;
      if (!cotangent.mean.empty()) out.mean = cotangent.mean.row(t).vector();
      if (!cotangent.variance.empty()) out.variance = cotangent.variance[t];
      TokenGradient<Scalar> grad = token_gradient<Scalar>(gradient, t);
      StepVjp<L>::step(layer, before[static_cast<std::size_t>(i)], x.token(t), out, dstate, grad,
                       doptions);
    }
  }
  gradient.initial_state = std::move(dstate);
  store<Scalar>(sums, gradient);
}

/// In tiles where the layer can, unless it is asked to run token by token.
template <class L>
void scan_vjp_checked(const L& layer, const typename L::State& initial_state,
                      const Sequence<typename L::Scalar>& x, const Cotangent<L>& cotangent,
                      Execution how, Gradient<L>& gradient) {
  if constexpr (TiledLayer<L>) {
    if (how.chunk() != 1) {
      Workspace<typename L::Scalar> workspace;
      typename L::State state = initial_state;
      TiledVjp<L>(layer, state, x, cotangent, workspace, gradient)
          .run(how.chunk_of(x.length(), default_tile));
      finish(gradient);
      return;
    }
  }
  const Index interval = how.chunk() > 1 ? how.chunk() : default_interval(x.length());
  scan_vjp_steps(layer, initial_state, x, cotangent, interval, gradient);
  finish(gradient);
}

}  // namespace detail
}  // namespace seqbayes
