/// @file
/// A mixture by evidence backwards, token by token.
#pragma once

#include <cmath>
#include <optional>
#include <tuple>
#include <type_traits>

#include <seqbayes/gradient/backward.hpp>
#include <seqbayes/gradient/part.hpp>
#include <seqbayes/layers/evidence_mixture.hpp>

namespace seqbayes {

template <class... Layers>
inline constexpr bool detail::goes_back_tiled<EvidenceMixture<Layers...>> = false;

/// With respect to the options of `EvidenceMixture`.
template <class... Layers>
struct OptionGradient<EvidenceMixture<Layers...>> {
  using L = EvidenceMixture<Layers...>;
  typename L::Scalar switching_rate{};  ///< 0 where the rate is 0.
  std::tuple<PartGradient<Layers>...> layers{};

  void set_zero(const L& layer) {
    switching_rate = typename L::Scalar(0);
    layer.for_each_layer([&](auto i, const auto& one) { std::get<i>(layers).set_zero(one); });
  }
};

/// With j_i = ln pi_i + l_i and E = ln sum exp j_i: d ln w_i / d j_k = delta_ik - w_k and
/// dE / d j_k = w_k.
template <class... Layers>
struct StepVjp<EvidenceMixture<Layers...>> {
  using L = EvidenceMixture<Layers...>;
  using Scalar = typename L::Scalar;
  using State = typename L::State;
  using Weights = typename L::Weights;
  using Output = StepCotangent<Scalar, L::value_width>;
  using Sums = LayerOptionSums<Scalar, OptionGradient<L>>;

  static State final_state(const L& layer, const std::optional<State>& given) {
    State state = given ? *given : layer.initial_state();
    if (!given) state.log_weight.setZero();
    layer.for_each_layer([&](auto i, const auto& one) {
      auto& part = std::get<i>(state.layers);
      using Part = std::optional<std::remove_cvref_t<decltype(part)>>;
      part = StepVjp<std::remove_cvref_t<decltype(one)>>::final_state(
          one, given ? Part(part) : std::nullopt);
    });
    return state;
  }

  static void initial_vjp(const L& layer, const State& dstate, Sums& sums) {
    layer.for_each_layer([&](auto i, const auto& one) {
      detail::part_initial_vjp(one, std::get<i>(dstate.layers), std::get<i>(sums.own.layers));
    });
  }

  static void step(const L& layer, const State& before, const Token<Scalar>& token,
                   const Output& out, State& dstate, TokenGradient<Scalar>& grad, Sums& sums) {
    using std::exp;
    State after = before;
    const auto all = layer.opinions(after, token);
    typename L::Step y;
    layer.combine(all, after.log_weight, y);

    const Scalar width = Scalar(double(layer.value_dim()));
    Weights weight, dlog_weight;
    for (int i = 0; i < L::layers; ++i) {
      weight[i] = exp(after.log_weight[i]);
      const Scalar apart = (all.mean.col(i) - y.mean).squaredNorm() / width;
      const Scalar dweight =
          all.mean.col(i).dot(out.mean) + (all.variance[i] + apart) * out.variance;
      dlog_weight[i] = dstate.log_weight[i] + weight[i] * dweight;
    }
    const Scalar devidence = out.log_evidence - dlog_weight.sum();
    const Weights djoint = dlog_weight + weight * devidence;

    layer.for_each_layer([&](auto i, const auto& one) {
      typename StepVjp<std::remove_cvref_t<decltype(one)>>::Output d;
      const Scalar spread = Scalar(2) * out.variance / width;
      d.mean = (out.mean + (all.mean.col(i) - y.mean) * spread) * weight[i];
      d.variance = out.variance * weight[i];
      d.log_evidence = djoint[i];
      detail::part_step_vjp(one, std::get<i>(before.layers), token, d, std::get<i>(dstate.layers),
                            grad, std::get<i>(sums.own.layers));
    });
    dstate.log_weight = djoint;
    if (layer.options().switching_rate > Scalar(0)) switch_vjp(layer, before, dstate, sums);
  }

 private:
  /// Back through ln pi_i.
  static void switch_vjp(const L& layer, const State& before, State& dstate, Sums& sums) {
    using std::exp;
    const Scalar stay = Scalar(1) - layer.options().switching_rate;
    for (int i = 0; i < L::layers; ++i) {
      const Scalar weight = exp(before.log_weight[i]);
      const Scalar dprior = dstate.log_weight[i] / layer.prior_weight(before.log_weight[i]);
      sums.own.switching_rate += dprior * (Scalar(1) / Scalar(double(L::layers)) - weight);
      dstate.log_weight[i] = dprior * stay * weight;
    }
  }
};

}  // namespace seqbayes
