/// @file
/// One token of a layer backwards: what `scan_vjp` needs to know of a layer.
#pragma once

#include <seqbayes/gradient/full.hpp>
#include <seqbayes/gradient/memory.hpp>
#include <seqbayes/scan/layer.hpp>

namespace seqbayes {

template <class Policy>
struct GainVjp<WithoutVariance<Policy>> : GainVjp<Policy> {};

/// Derivatives by one token's output.
template <class Scalar, int Dv>
struct StepCotangent {
  Vector<Scalar, Dv> mean;
  Scalar variance{};
  Scalar log_evidence{};
};

/// The derivatives of a layer's step, as two members; specialise it for a layer of your own.
///
/// - `Output`: a `StepCotangent`;
/// - `final_state(layer, state)`: the derivative by the final state, zero if `state` (an optional)
///   is empty;
/// - `step(layer, before, token, out, dstate, grad, doptions)`: `before` is the state before the
///   token, `out` an `Output`, `dstate` the derivative by the state after the token and, on return,
///   by `before`. Derivatives by the token's fields are added to `grad`, those by options to
///   `doptions`: the layer's `OptionGradient`, or, where that is empty, `LayerOptionSums`.
template <class L>
struct StepVjp {
  static_assert(!std::is_same_v<L, L>,
                "seqbayes: scan_vjp has no derivatives of this layer. Specialise "
                "seqbayes::StepVjp<Layer> (gradient/step.hpp).");
};

template <class Scalar, int Dk, int Dv, class Model, class Decay, class Covariance>
struct StepVjp<Layer<Scalar, Dk, Dv, Model, Decay, Covariance>> {
  using L = Layer<Scalar, Dk, Dv, Model, Decay, Covariance>;
  using State = typename L::State;
  using Policy = typename L::Policy;
  using Output = StepCotangent<Scalar, Dv>;

  static State final_state(const L& layer, const std::optional<State>& given) {
    State state = given ? *given : layer.initial_state();
    auto& covariance = state.covariance;
    using Kept = std::remove_cvref_t<decltype(covariance)>;
    static_assert(
        detail::DenseExpression<Kept> || std::is_same_v<Kept, Scalar> ||
            std::is_same_v<Kept, Empty>,
        "seqbayes: scan_vjp knows no zero of a policy's state that is neither a matrix nor "
        "a scalar. Specialise seqbayes::StepVjp<Layer> (gradient/step.hpp).");
    if constexpr (requires { covariance.setZero(); }) {
      if (!given) covariance.setZero();
      if constexpr (Kept::ColsAtCompileTime != 1) {
        // Symmetric: a diagonal of dynamic width is a matrix of one column.
        if (covariance.cols() == covariance.rows()) {
          covariance = Matrix<Scalar>((covariance + covariance.transpose()) * Scalar(0.5));
        }
      }
    } else if constexpr (std::is_same_v<Kept, Scalar>) {
      if (!given) covariance = Scalar(0);
    }
    return state;
  }

  static void step(const L& layer, const State& before, const Token<Scalar>& token,
                   const StepCotangent<Scalar, Dv>& out, State& dstate,
                   detail::TokenGradient<Scalar>& grad, LayerOptionSums<Scalar>& doptions) {
    using Keys = Vector<Scalar, Dk>;
    const auto factor = detail::decay_factor<Decay, Dk>(token, layer.options());
    const Keys decay = detail::spread<Dk, Scalar>(factor, layer.key_dim());
    const Keys covariance_decay = detail::covariance_decay<Dk>(token, decay, layer.key_dim());
    const auto memory = detail::sized<Dk, Dv>(before.mean);
    auto dmemory = detail::sized<Dk, Dv>(dstate.mean);

    Keys gain(layer.key_dim());
    auto covariance = before.covariance;
    const Scalar s =
        Policy::template gain<Dk>(layer.options(), token, covariance_decay, covariance, gain);
    GainCotangent<Scalar, Dk> d;
    d.doptions = &doptions;
    d.variance = out.variance;
    Vector<Scalar, Dv> dnu = Vector<Scalar, Dv>::Zero(layer.value_dim());
    if (L::has_variance && s > Scalar(0)) {  // log N(nu; 0, s I)
      const auto nu = detail::innovation_of<Model>(memory, decay, token);
      const Scalar width = Scalar(static_cast<double>(layer.value_dim()));
      dnu = nu * Scalar(-out.log_evidence) / s;
      d.log_innovation_variance = -out.log_evidence * (width - nu.squaredNorm() / s) / Scalar(2);
    }
    Keys dlog_decay;
    detail::write_and_read_vjp<Model>(memory, decay, gain, token, out.mean, dnu, dmemory, d.gain,
                                      dlog_decay, grad);
    GainVjp<Policy>::template step<Dk>(layer.options(), token, covariance_decay, before.covariance,
                                       d, dstate.covariance, grad);
    grad.log_decay.add(dlog_decay);
    if constexpr (Policy::propagates) {
      (token.covariance_log_decay.empty() ? grad.log_decay : grad.covariance_log_decay)
          .add(d.dlog_decay);
    }
  }
};

}  // namespace seqbayes
