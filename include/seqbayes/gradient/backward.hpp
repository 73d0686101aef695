/// @file
/// A sequence backwards, from checkpoint to checkpoint.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include <seqbayes/gradient/tiled.hpp>
#include <seqbayes/scan/scan.hpp>

namespace seqbayes {
namespace detail {

/// In the shape of what the layer reads. Fields are left as they are in memory, the rest is zero.
template <class L>
void reserve_gradient(const L& layer, const Sequence<typename L::Scalar>& x,
                      Gradient<L>& gradient) {
  using Scalar = typename L::Scalar;
  const InputWidths inputs = layer.inputs();
  for_each_field(
      [&](auto, auto, Matrix<Scalar>& to, const MatrixView<Scalar>& from, const InputWidth& input) {
        const Index width = input.width == 0 ? 0 : from.cols();
        to.resize(width == 0 ? 0 : x.length(), width);
      },
      gradient, x, inputs);
  static_cast<LayerOptionGradient<Scalar>&>(gradient) = {};
  gradient.options.set_zero(layer);
}

/// Zeros in that shape.
template <class L>
void make_gradient(const L& layer, const Sequence<typename L::Scalar>& x, Gradient<L>& gradient) {
  reserve_gradient(layer, x, gradient);
  for_each_field([](auto, auto, auto& field) { field.setZero(); }, gradient);
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

/// Scratch of scan_vjp. Memory is kept from call to call.
template <class L>
struct VjpScratch {
  std::vector<typename L::State> checkpoints, before;
  [[no_unique_address]] typename TiledVjpScratchOf<L>::type tiled;
};

/// Token by token, for checked input; `gradient` is zero in its right shape.
template <class L>
void scan_vjp_steps(const L& layer, const typename L::State& initial_state,
                    const Sequence<typename L::Scalar>& x, const Cotangent<L>& cotangent,
                    Index interval, VjpScratch<L>& scratch, Gradient<L>& gradient) {
  using Scalar = typename L::Scalar;
  using State = typename L::State;
  const Index length = x.length();
  std::vector<State>&checkpoints = scratch.checkpoints, &before = scratch.before;
  checkpoints.assign(1, initial_state);
  State state = initial_state;
  for (Index t = 0; t + 1 < length; ++t) {
    advance(layer, state, x.token(t));
    if ((t + 1) % interval == 0) checkpoints.push_back(state);
  }

  State dstate = StepVjp<L>::final_state(layer, cotangent.state);
  typename StepVjp<L>::Output out;
  out.mean.setZero(layer.value_dim());
  out.log_evidence = cotangent.log_evidence;
  LayerOptionSums<Scalar, OptionGradient<L>> doptions(gradient.options);
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
  finish(layer, dstate, doptions, gradient);
}

/// In tiles where the layer can, unless it is asked to run token by token.
template <class L>
void scan_vjp_checked(const L& layer, const typename L::State& initial_state,
                      const Sequence<typename L::Scalar>& x, const Cotangent<L>& cotangent,
                      Execution how, VjpScratch<L>& scratch, Gradient<L>& gradient) {
  if constexpr (goes_back_tiled<L>) {
    if (how.chunk() != 1) {
      TiledVjp<L>(layer, initial_state, x, cotangent, scratch.tiled, scratch.checkpoints, gradient)
          .run(how.chunk_of(x.length(), default_tile));
      return;
    }
  }
  const Index interval = how.chunk() > 1 ? how.chunk() : default_interval(x.length());
  scan_vjp_steps(layer, initial_state, x, cotangent, interval, scratch, gradient);
}

}  // namespace detail
}  // namespace seqbayes
