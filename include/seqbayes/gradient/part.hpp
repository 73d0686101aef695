/// @file
/// Derivatives with respect to the options of a layer that another one is made of.
#pragma once

#include <seqbayes/gradient/step.hpp>

namespace seqbayes {

/// Sums over tokens, of which `.value()` is the derivative; those of options that the layer doesn't
/// read stay 0. `prior_variance` is the total, as for a run from the initial state.
template <class L>
struct PartGradient {
  CompensatedSum<typename L::Scalar> prior_variance{}, log_decay{}, input_variance{}, info_scale{};
  OptionGradient<L> options{};

  void set_zero(const L& layer) {
    *this = {};
    options.set_zero(layer);
  }
};

namespace detail {

/// Calls f with sums that go on from those of `options`.
template <class L, class F>
void with_sums(PartGradient<L>& options, const F& f) {
  LayerOptionSums<typename L::Scalar, OptionGradient<L>> sums(options.options);
  const auto copy = [](const auto& from, auto& to) {
    to.prior_variance = from.prior_variance;
    to.log_decay = from.log_decay;
    to.input_variance = from.input_variance;
    to.info_scale = from.info_scale;
  };
  copy(options, sums);
  f(sums);
  copy(sums, options);
}

/// One token of a part backwards, as `StepVjp<L>::step`.
template <class L, class Scalar>
void part_step_vjp(const L& layer, const typename L::State& before, const Token<Scalar>& token,
                   const typename StepVjp<L>::Output& out, typename L::State& dstate,
                   TokenGradient<Scalar>& grad, PartGradient<L>& options) {
  with_sums(options,
            [&](auto& sums) { StepVjp<L>::step(layer, before, token, out, dstate, grad, sums); });
}

template <class L>
void part_initial_vjp(const L& layer, const typename L::State& dstate, PartGradient<L>& options) {
  with_sums(options, [&](auto& sums) {
    if constexpr (requires { StepVjp<L>::initial_vjp(layer, dstate, sums); }) {
      StepVjp<L>::initial_vjp(layer, dstate, sums);
    }
  });
}

}  // namespace detail
}  // namespace seqbayes
