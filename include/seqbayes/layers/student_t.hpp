/// @file
/// A filter whose observation noise has heavy tails, so that outliers write little.
///
/// The noise of a token is Student's t with f degrees of freedom, a scale mixture shared by its n
/// = Dv values: e | lambda ~ N(0, r / lambda I), lambda ~ Gamma(f / 2, f / 2). With the filter's
/// prediction, v = s - r = k' \hat P k and the innovation nu, the variational posterior (q of the
/// memory Gaussian, q of lambda gamma) is a fixed point of one number, lambda's expectation:
///
///   lambda = (f + n) / (f + |nu|^2 r / z^2 + n v / z),   z = r + lambda v,
///
/// where the last two terms are the expected square of the noise, in units of r. Two iterations
/// from what the t density of the innovation says, (f + n) / (f + |nu|^2 / s); then the filter
/// writes with r / lambda.
#pragma once

#include <utility>

#include <seqbayes/layers/learned_noise.hpp>

namespace seqbayes {

namespace detail {

/// The fixed point's iteration, and what its derivatives need of it.
template <class Scalar>
struct OutlierWeight {
  static constexpr int iterations = 2;
  Scalar dof, n, norm2, v, r;
  Scalar lambda[iterations + 1];

  OutlierWeight(const Scalar& degrees, Index width, const Scalar& innovation_norm2, const Scalar& s,
                const Scalar& noise)
      : dof(degrees),
        n(Scalar(static_cast<double>(width))),
        norm2(innovation_norm2),
        v(s > noise ? Scalar(s - noise) : Scalar(0)),
        r(noise) {
    lambda[0] = (dof + n) / (dof + norm2 / (v + r));
    for (int i = 0; i < iterations; ++i) {
      const Scalar z = r + lambda[i] * v;
      lambda[i + 1] = (dof + n) / (dof + norm2 / z * (r / z) + n * v / z);
    }
  }
  [[nodiscard]] const Scalar& value() const { return lambda[iterations]; }
};

template <class L>
inline constexpr bool learns_noise = false;
template <class Filter>
inline constexpr bool learns_noise<LearnedNoise<Filter>> = true;

/// What a filter's variances are in units of: 1, or b / a where that is learned.
template <class L>
typename L::Scalar noise_unit(const typename L::State& state) {
  if constexpr (learns_noise<L>) {
    return state.scale / state.shape;
  } else {
    return typename L::Scalar(1);
  }
}

}  // namespace detail

/// A filter with Student-t observation noise (West 1987; Agamennoni, Nieto and Nebot 2012, of which
/// this is one token at a time). A token costs two steps of the filter and a copy of its state. As
/// the degrees of freedom grow it becomes the filter.
template <FilterLayer FilterType>
class StudentT {
  static_assert(
      detail::is_grid_layer<FilterType> || detail::learns_noise<FilterType>,
      "seqbayes: StudentT takes a filter of the grid, Layer<...>, or LearnedNoise of one");

 public:
  using Filter = FilterType;
  using Scalar = typename Filter::Scalar;
  using State = typename Filter::State;
  static constexpr int value_width = Filter::value_width;

  struct Options {
    Filter filter;
    Scalar degrees_of_freedom = Scalar(4);  ///< f > 0.
  };

  /// `log_evidence` is that of a t of squared scale s, `innovation_variance` = r + k' \hat P k.
  using Step = StepOutput<Scalar, value_width>;

  /// @throws std::invalid_argument naming the option that is out of its domain.
  explicit StudentT(Options options) : options_(std::move(options)) {
    check_option("degrees_of_freedom", options_.degrees_of_freedom, Domain::positive);
    if (filter().inputs().observation_noise.width != 1) {
      detail::fail("option filter: StudentT takes a filter that reads observation_noise");
    }
  }

  [[nodiscard]] const Filter& filter() const { return options_.filter; }
  [[nodiscard]] Index key_dim() const { return filter().key_dim(); }
  [[nodiscard]] Index value_dim() const { return filter().value_dim(); }
  [[nodiscard]] const Options& options() const { return options_; }
  [[nodiscard]] InputWidths inputs() const { return filter().inputs(); }
  [[nodiscard]] State initial_state() const { return filter().initial_state(); }
  void check_state(const State& state) const { filter().check_state(state); }

  Step step(State& state, const Token<Scalar>& token) const {
    State predicted = state;
    const Step prediction = filter().step(predicted, token);
    if (!observes(prediction)) {
      state = std::move(predicted);
      return prediction;
    }
    const Scalar& s = prediction.innovation_variance;
    const auto weight = this->weight(prediction, token, detail::noise_unit<Filter>(state));
    const Scalar noise = token.observation_noise[0] / weight.value();
    Token<Scalar> weighed = token;
    weighed.observation_noise = {&noise, 1};
    Step out = filter().step(state, weighed);
    const Scalar half = options_.degrees_of_freedom / Scalar(2);
    out.log_evidence = detail::log_student_t(half, s, prediction.innovation_norm2, value_dim());
    out.innovation_variance = s;
    out.innovation_norm2 = prediction.innovation_norm2;
    return out;
  }

  /// Whether a token observes something, of finite variance.
  static bool observes(const Step& prediction) {
    return detail::observes(prediction.innovation_variance);
  }
  /// lambda, from what the filter says of the token, and what variances are in units of.
  [[nodiscard]] detail::OutlierWeight<Scalar> weight(const Step& prediction,
                                                     const Token<Scalar>& token,
                                                     const Scalar& unit) const {
    return {options_.degrees_of_freedom, value_dim(), prediction.innovation_norm2,
            prediction.innovation_variance, Scalar(token.observation_noise[0] * unit)};
  }

 private:
  Options options_;
};

}  // namespace seqbayes
