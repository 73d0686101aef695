/// @file
/// Learned noise backwards, token by token.
#pragma once

#include <optional>

#include <seqbayes/gradient/backward.hpp>
#include <seqbayes/gradient/part.hpp>
#include <seqbayes/layers/learned_noise.hpp>

namespace seqbayes {

template <class Filter>
inline constexpr bool detail::goes_back_tiled<LearnedNoise<Filter>> = false;

/// With respect to the options of `LearnedNoise`, for a run from the initial state.
template <class Filter>
struct OptionGradient<LearnedNoise<Filter>> {
  PartGradient<Filter> filter{};
  typename Filter::Scalar prior_shape{}, prior_scale{};

  void set_zero(const LearnedNoise<Filter>& layer) {
    *this = {};
    filter.set_zero(layer.filter());
  }
};

template <class Filter>
struct StepVjp<LearnedNoise<Filter>> {
  using L = LearnedNoise<Filter>;
  using Scalar = typename L::Scalar;
  using State = typename L::State;
  using Output = StepCotangent<Scalar, L::value_width>;
  using Sums = LayerOptionSums<Scalar, OptionGradient<L>>;

  static State final_state(const L& layer, const std::optional<State>& given) {
    using Part = std::optional<typename Filter::State>;
    State state{
        StepVjp<Filter>::final_state(layer.filter(), given ? Part(given->filter) : std::nullopt),
        Scalar(0), Scalar(0)};
    if (given) {
      state.shape = given->shape;
      state.scale = given->scale;
    }
    return state;
  }

  static void initial_vjp(const L& layer, const State& dstate, Sums& sums) {
    detail::part_initial_vjp(layer.filter(), dstate.filter, sums.own.filter);
    sums.own.prior_shape = dstate.shape;
    sums.own.prior_scale = dstate.scale;
  }

  static void step(const L& layer, const State& before, const Token<Scalar>& token,
                   const Output& out, State& dstate, TokenGradient<Scalar>& grad, Sums& sums) {
    const Index n = layer.value_dim();
    const Scalar &a = before.shape, &b = before.scale;
    State after = before;
    const auto y = layer.filter().step(after.filter, token);
    const Scalar &s = y.innovation_variance, &norm2 = y.innovation_norm2;
    const bool observes = detail::observes(s);
    const Scalar less_one = a - Scalar(1) + (observes ? Scalar(double(n) / 2) : Scalar(0));
    const Scalar expected = (b + (observes ? norm2 / (Scalar(2) * s) : Scalar(0))) / less_one;

    // The variance, expected times the filter's.
    Output d{out.mean, out.variance * expected, Scalar(0), Scalar(0), out.innovation_norm2};
    const Scalar dexpected = out.variance * y.variance / less_one;
    dstate.shape -= dexpected * expected;
    dstate.scale += dexpected;
    if (observes) {
      const Scalar ratio = b / a;
      const detail::StudentTSlopes<Scalar> slopes(a, Scalar(s * ratio), norm2, n);
      const Scalar dc = out.log_evidence * slopes.c + out.innovation_variance;
      const Scalar dnorm2 = dstate.scale / (Scalar(2) * s);  // through b after the token
      d.innovation_norm2 += out.log_evidence * slopes.norm2 + dnorm2;
      d.innovation_variance = dc * ratio - dnorm2 * norm2 / s;
      dstate.shape += out.log_evidence * slopes.a - dc * s * ratio / a;
      dstate.scale += dc * s / a;
    }
    detail::part_step_vjp(layer.filter(), before.filter, token, d, dstate.filter, grad,
                          sums.own.filter);
  }
};

}  // namespace seqbayes
