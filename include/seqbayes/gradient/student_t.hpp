/// @file
/// Student-t noise backwards: through the write, the weight's iterations and the prediction.
#pragma once

#include <optional>
#include <type_traits>

#include <seqbayes/gradient/part.hpp>
#include <seqbayes/layers/student_t.hpp>

namespace seqbayes {

/// With respect to the options of `StudentT`.
template <class Filter>
struct OptionGradient<StudentT<Filter>> {
  PartGradient<Filter> filter{};
  CompensatedSum<typename Filter::Scalar> degrees_of_freedom{};

  void set_zero(const StudentT<Filter>& layer) {
    *this = {};
    filter.set_zero(layer.filter());
  }
};

namespace detail {

/// Derivatives with respect to what lambda depends on, given that to lambda.
template <class Scalar>
struct OutlierWeightVjp {
  Scalar dof{0}, norm2{0}, v{0}, r{0};

  OutlierWeightVjp(const OutlierWeight<Scalar>& w, Scalar dlambda) {
    for (int i = OutlierWeight<Scalar>::iterations; i > 0; --i) {
      const Scalar &lambda = w.lambda[i - 1], z = w.r + lambda * w.v;
      const Scalar dbelow = through_quotient(w, i, dlambda);
      const Scalar dz = -dbelow * (Scalar(2) * w.norm2 / z * w.r + w.n * w.v) / z / z;
      norm2 += dbelow * w.r / z / z;
      r += dbelow * w.norm2 / z / z + dz;
      v += dbelow * w.n / z + dz * lambda;
      dlambda = dz * w.v;
    }
    const Scalar s = w.v + w.r, dbelow = through_quotient(w, 0, dlambda);
    const Scalar ds = -dbelow * w.norm2 / s / s;
    norm2 += dbelow / s;
    r += ds;
    v += ds;
  }

 private:
  /// lambda = (f + n) / below: the derivative with respect to `below`, in which f is, too.
  Scalar through_quotient(const OutlierWeight<Scalar>& w, int i, const Scalar& dlambda) {
    const Scalar above = w.dof + w.n;
    const Scalar dbelow = -dlambda * w.lambda[i] * w.lambda[i] / above;
    dof += dlambda * w.lambda[i] / above + dbelow;
    return dbelow;
  }
};

/// a += b, of states of the grid.
template <class Scalar, int Dk, int Dv, class Covariance>
void add_state(LayerState<Scalar, Dk, Dv, Covariance>& a,
               const LayerState<Scalar, Dk, Dv, Covariance>& b) {
  a.mean += b.mean;
  if constexpr (!std::is_same_v<Covariance, Empty>) a.covariance += b.covariance;
}

/// Likewise, where the noise is learned.
template <class State>
requires requires(State& a) { a.filter; }
void add_state(State& a, const State& b) {
  add_state(a.filter, b.filter);
  a.shape += b.shape;
  a.scale += b.scale;
}

}  // namespace detail

template <class Filter>
struct StepVjp<StudentT<Filter>> {
  using L = StudentT<Filter>;
  using Scalar = typename L::Scalar;
  using State = typename L::State;
  using Output = StepCotangent<Scalar, L::value_width>;
  using Sums = LayerOptionSums<Scalar, OptionGradient<L>>;

  static State final_state(const L& layer, const std::optional<State>& given) {
    return StepVjp<Filter>::final_state(layer.filter(), given);
  }
  static void initial_vjp(const L& layer, const State& dstate, Sums& sums) {
    detail::part_initial_vjp(layer.filter(), dstate, sums.own.filter);
  }

  static void step(const L& layer, const State& before, const Token<Scalar>& token,
                   const Output& out, State& dstate, TokenGradient<Scalar>& grad, Sums& sums) {
    State after = before;
    const auto prediction = layer.filter().step(after, token);
    if (!L::observes(prediction)) {
      detail::part_step_vjp(layer.filter(), before, token, out, dstate, grad, sums.own.filter);
      return;
    }
    // The write, of noise r / lambda.
    const Scalar& given = token.observation_noise[0];
    const Scalar unit = detail::noise_unit<Filter>(before);
    const auto weight = layer.weight(prediction, token, unit);
    const Scalar &lambda = weight.value(), noise = given / lambda;
    Token<Scalar> weighed = token;
    weighed.observation_noise = {&noise, 1};
    Scalar dnoise(0);
    TokenGradient<Scalar> of_weighed = grad;
    of_weighed.observation_noise = {&dnoise, 1};
    detail::part_step_vjp(layer.filter(), before, weighed,
                          Output{out.mean, out.variance, {}, {}, {}}, dstate, of_weighed,
                          sums.own.filter);

    // lambda and the evidence, which depend on s = v + r, |nu|^2 and r.
    const detail::OutlierWeightVjp<Scalar> d(weight, Scalar(-dnoise * noise / lambda));
    const Scalar half = layer.options().degrees_of_freedom / Scalar(2);
    const detail::StudentTSlopes<Scalar> slopes(half, prediction.innovation_variance,
                                                prediction.innovation_norm2, layer.value_dim());
    const Scalar dv = weight.v > Scalar(0) ? d.v : Scalar(0), dr = d.r - dv;
    grad.observation_noise.add_one(dnoise / lambda + dr * unit);
    sums.own.degrees_of_freedom += d.dof + out.log_evidence * slopes.a / Scalar(2);

    // The prediction.
    Output of_prediction;
    of_prediction.mean.setZero(layer.value_dim());
    of_prediction.innovation_variance = out.log_evidence * slopes.c + out.innovation_variance + dv;
    of_prediction.innovation_norm2 =
        out.log_evidence * slopes.norm2 + out.innovation_norm2 + d.norm2;
    State dprediction = StepVjp<Filter>::final_state(layer.filter(), std::nullopt);
    detail::part_step_vjp(layer.filter(), before, token, of_prediction, dprediction, grad,
                          sums.own.filter);
    detail::add_state(dstate, dprediction);
    if constexpr (detail::learns_noise<Filter>) {
      const Scalar dunit = dr * given / before.shape;
      dstate.scale += dunit;
      dstate.shape -= dunit * unit;
    }
  }
};

}  // namespace seqbayes
