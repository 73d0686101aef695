/// @file
/// One token of a layer backwards: what `scan_vjp` needs to know of a layer.
#pragma once

#include <optional>
#include <type_traits>
#include <utility>

#include <seqbayes/gradient/gradient.hpp>
#include <seqbayes/layers/layer.hpp>

namespace seqbayes {

/// Derivatives of a loss with respect to one token's output.
template <class Scalar, int Dv>
struct StepCotangent {
  Vector<Scalar, Dv> mean;
  Scalar variance{};
  Scalar log_evidence{};
  Scalar innovation_variance{};  ///< Of a `FilterLayer`; what a layer made of it needs.
  Scalar innovation_norm2{};     ///< Likewise.
};

/// The derivatives of a layer's step, as members; specialise it for a layer of your own.
///
/// - `Output`: a `StepCotangent`;
/// - `final_state(layer, state)`: the derivative with respect to the final state, zero if `state`
///   (an optional) is empty;
/// - `step(layer, before, token, out, dstate, grad, doptions)`: `before` is the state before the
///   token, `out` an `Output`, `dstate` the derivative with respect to the state after the token
///   and, on return, to `before`. Derivatives with respect to the token's fields are added to
///   `grad`, a `TokenGradient`, those to options to `doptions`, `LayerOptionSums`, whose member
///   `own` is the layer's `OptionGradient`;
/// - `initial_vjp(layer, dstate, doptions)`, if the initial state depends on options: adds the
///   derivatives with respect to those.
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
  using OptionSums = LayerOptionSums<Scalar, OptionGradient<L>>;
  static_assert(
      DifferentiablePolicy<Policy>,
      "seqbayes: scan_vjp has no derivatives of this covariance policy: it lacks gain_vjp, "
      "zero or Self (covariance/policy.hpp, DifferentiablePolicy).");
  static_assert(detail::NamesItself<Model>,
                "seqbayes: scan_vjp has no derivatives of this design model: it lacks target_vjp, "
                "prediction_key_vjp or Self (model/model.hpp, DesignModel).");

  static State final_state(const L& layer, const std::optional<State>& given) {
    State state = given ? *given : State{{}, Policy::zero(layer.options())};
    if (!given) state.mean.setZero(layer.key_dim(), layer.value_dim());
    symmetrise(state);
    return state;
  }

  static void symmetrise(State& state) {
    if constexpr (requires { Policy::symmetrise(state.covariance); }) {
      Policy::symmetrise(state.covariance);
    }
  }

  static void initial_vjp(const L& layer, const State& dstate, OptionSums& doptions) {
    if constexpr (requires { Policy::initial_vjp(layer.options(), dstate.covariance, doptions); }) {
      Policy::initial_vjp(layer.options(), dstate.covariance, doptions);
    }
  }

  static void step(const L& layer, const State& before, const Token<Scalar>& token,
                   const Output& out, State& dstate, TokenGradient<Scalar>& grad,
                   OptionSums& doptions) {
    using Keys = Vector<Scalar, Dk>;
    const auto& options = layer.options();
    const auto decay = detail::decay_factor<Decay, Dk, Dv>(token, options);
    const auto memory = sized<Dk, Dv>(before.mean);
    StateMatrix<Scalar, Dk, Dv> owner = before.mean;
    auto decayed = sized<Dk, Dv>(owner);
    detail::decay_memory(decayed, decay);
    auto dmemory = sized<Dk, Dv>(dstate.mean);

    Keys gain(layer.key_dim()), covariance_decay = Keys::Ones(layer.key_dim());
    if constexpr (Policy::propagates) {
      covariance_decay = detail::covariance_decay<Dk>(token, decay, layer.key_dim());
    }
    auto covariance = before.covariance;
    const Scalar s = Policy::template gain<Dk>(options, token, covariance_decay, covariance, gain);
    const auto nu = detail::innovation_of<Model>(decayed, options, token);
    GainCotangent<Scalar, Dk> d;
    d.variance = out.variance;
    Vector<Scalar, Dv> dnu = Vector<Scalar, Dv>::Zero(layer.value_dim());
    if (L::has_variance && s > Scalar(0)) {  // log N(nu; 0, s I)
      const Scalar width = Scalar(static_cast<double>(layer.value_dim()));
      dnu = nu * Scalar(-out.log_evidence) / s + nu * Scalar(Scalar(2) * out.innovation_norm2);
      d.log_innovation_variance = -out.log_evidence * (width - nu.squaredNorm() / s) / Scalar(2);
      // s may be infinite.
      if (out.innovation_variance != Scalar(0)) {
        d.log_innovation_variance += out.innovation_variance * s;
      }
    }
    auto dlog_decay =
        detail::write_and_read_vjp<Model>(memory, decayed, options, decay, gain, token, nu,
                                          out.mean, dnu, dmemory, d.gain, grad, doptions);
    Policy::template gain_vjp<Dk>(options, token, covariance_decay, before.covariance, d,
                                  dstate.covariance, grad, doptions);
    if constexpr (Policy::propagates) {
      if (token.covariance_log_decay.empty()) {
        dlog_decay += d.dlog_decay;
      } else {
        grad.covariance_log_decay.add(d.dlog_decay);
      }
    }
    detail::log_decay_vjp<Decay>(token, options, dlog_decay, grad, doptions);
  }
};

namespace detail {

/// What is left when all tokens are done: the state's derivative, and those of options.
template <class L>
void finish(const L& layer, typename L::State& dstate,
            LayerOptionSums<typename L::Scalar, OptionGradient<L>>& doptions,
            Gradient<L>& gradient) {
  gradient.prior_variance_of_tokens = doptions.prior_variance.value();
  if constexpr (requires { StepVjp<L>::initial_vjp(layer, dstate, doptions); }) {
    StepVjp<L>::initial_vjp(layer, dstate, doptions);
  }
  gradient.prior_variance = doptions.prior_variance.value();
  gradient.input_variance = doptions.input_variance.value();
  gradient.info_scale = doptions.info_scale.value();
  if constexpr (requires { requires detail::reads_option<typename L::Decay>; }) {
    gradient.log_decay.setConstant(1, 1, doptions.log_decay.value());
  }
  gradient.initial_state = std::move(dstate);
}

}  // namespace detail
}  // namespace seqbayes
