// The law of automatic differentiation: derivatives agree with differences in 50 digits.
#pragma once

#include <boost/multiprecision/cpp_dec_float.hpp>
#include <boost/multiprecision/eigen.hpp>

#include <laws/scalars.hpp>

namespace laws {

using Digits50 = boost::multiprecision::number<boost::multiprecision::cpp_dec_float<50>,
                                               boost::multiprecision::et_off>;

/// All inputs of a layer as functions of a number: x + h dx. One direction for the tokens and the
/// initial memory, one for the prior variance.
struct Directions {
  Stream<double> tokens;
  Matrix<double> memory;
  double prior_variance = 1;
};

inline Directions draw_directions(const Stream<double>& stream, Index key_dim, Index value_dim) {
  Draw draw(77);
  Directions d{stream, Matrix<double>(key_dim, value_dim), 1};
  seqbayes::for_each_field(
      [&](auto, seqbayes::Domain, auto& field) {
        if (field.size() > 0) draw_uniform(field, draw, -1, 1);
      },
      d.tokens.fields);
  draw_uniform(d.memory, draw, -1, 1);
  return d;
}

/// A number that depends on every output: weighted means, variances and the evidence.
template <class Scalar, class Means, class Variances>
Scalar objective(const Means& mean, const Variances& variance, const Scalar& evidence) {
  Scalar sum = evidence * Scalar(0.125);
  for (Index t = 0; t < mean.rows(); ++t) {
    for (Index c = 0; c < mean.cols(); ++c)
      sum += mean(t, c) * Scalar(0.5 + double((t + 3 * c) % 5));
    if (t < variance.size()) sum += variance(t, 0) * Scalar(0.25 + double(t % 3));
  }
  return sum;
}

/// The objective of a run of the layer.
template <class Layer>
typename Layer::Scalar objective_of(const Layer& layer, typename Layer::State& state,
                                    const seqbayes::Sequence<typename Layer::Scalar>& x,
                                    Execution how) {
  using Scalar = typename Layer::Scalar;
  const auto out = seqbayes::scan(layer, state, x, how);
  if constexpr (seqbayes::ProbabilisticLayer<Layer>) {
    return objective<Scalar>(out.mean, out.variance, out.log_evidence);
  } else {
    return objective<Scalar>(out.mean, Matrix<Scalar>(0, 1), Scalar(0));
  }
}

/// The objective of the reference in 50 digits, at distances h and p along the directions.
template <class Layer>
Digits50 objective_of_reference(const Setup<double>& setup, const Stream<double>& stream,
                                const Matrix<double>& memory, const Directions& d,
                                const Digits50& h, const Digits50& p) {
  auto moved = stream.template as<Digits50>();
  const auto direction = d.tokens.template as<Digits50>();
  seqbayes::for_each_field([&](auto, auto, auto& x, const auto& dx) { x += h * dx; }, moved.fields,
                           direction.fields);
  auto moved_setup = setup.template as<Digits50>();
  moved_setup.prior_variance += p * d.prior_variance;
  const Matrix<Digits50> start = memory.cast<Digits50>() + h * d.memory.cast<Digits50>();
  const Index n = setup.key_dim;
  constexpr Kept kept = recipe_of<Layer>.kept;
  Matrix<Digits50> covariance;
  if (kept == Kept::isotropic) covariance = Matrix<Digits50>::Ones(1, 1);
  if (kept == Kept::diagonal) covariance = Matrix<Digits50>::Ones(n, 1);
  if (kept == Kept::full) covariance = Matrix<Digits50>::Identity(n, n);
  covariance *= moved_setup.prior_variance;
  const auto out =
      reference<Digits50>(recipe_of<Layer>, moved_setup, moved.fields, start, covariance).run;
  return objective<Digits50>(out.mean, out.variance, out.evidence);
}

/// Central differences in 50 digits with h = 1e-15 are right to 30 digits.
template <class Layer>
std::pair<double, double> differences(const Setup<double>& setup, const Stream<double>& stream,
                                      const Matrix<double>& memory, const Directions& d) {
  const Digits50 h("1e-15"), zero(0);
  const auto at = [&](const Digits50& tokens, const Digits50& prior) {
    return objective_of_reference<Layer>(setup, stream, memory, d, tokens, prior);
  };
  return {double((at(h, zero) - at(-h, zero)) / (2 * h)),
          double((at(zero, h) - at(zero, -h)) / (2 * h))};
}

/// `Layer`'s scalar has two derivatives; `number(value, d0, d1)` makes one and `derivative(x, i)`
/// reads it.
template <class Layer, class Number, class Derivative>
void derivatives_agree_with_differences(const Number& number, const Derivative& derivative) {
  using Scalar = typename Layer::Scalar;
  Setup<double> setup{3, 2, 1.25};
  setup.input_variance = 0.5;
  typename Layer::Options options = make<Layer>(setup).options();
  if (Layer::reads.prior_variance) options.prior_variance = number(setup.prior_variance, 0, 1);
  const Layer layer(options);
  INFO(describe(layer));
  auto stream = draw_stream(layer.inputs(), 11, 79);
  for (Index t = 0; t < 11; ++t) {  // away from beta |k|^2 = 1, where reset variances have a kink
    if (stream.fields.write_strength.size() > 0) stream.fields.write_strength(t, 0) *= 0.75;
  }
  const auto d = draw_directions(stream, 3, 2);
  auto state = layer.initial_state();
  Matrix<double> memory(3, 2);
  Draw draw(81);
  draw_normal(memory, draw);
  for (Index i = 0; i < 3; ++i) {
    for (Index c = 0; c < 2; ++c) state.mean(i, c) = number(memory(i, c), d.memory(i, c), 0);
  }
  Stream<Scalar> x = stream.template as<Scalar>();
  seqbayes::for_each_field(
      [&](auto, auto, auto& to, const auto& value, const auto& slope) {
        for (Index i = 0; i < to.size(); ++i) {
          to.data()[i] = number(value.data()[i], slope.data()[i], 0);
        }
      },
      x.fields, stream.fields, d.tokens.fields);

  const auto want = differences<Layer>(setup, stream, memory, d);
  const auto start = state;
  for (const Execution how : {Execution::sequential(), Execution(), Execution::chunked(5)}) {
    state = start;
    const Scalar got = objective_of(layer, state, x.view(), how);
    // Terms of order 100 and 11 tokens of rounding each.
    CHECK(derivative(got, 0) == Approx(want.first).epsilon(1e-12).margin(1e-12 * 100));
    CHECK(derivative(got, 1) == Approx(want.second).epsilon(1e-12).margin(1e-12 * 100));
  }
}

}  // namespace laws
