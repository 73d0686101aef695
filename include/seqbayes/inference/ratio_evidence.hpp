/// @file
/// The evidence that a filter finds in a stream, by the ratios of its noise levels.
#pragma once

#include <cmath>

#include <seqbayes/inference/noise_estimate.hpp>
#include <seqbayes/inference/noisy_stream.hpp>
#include <seqbayes/scan/scan.hpp>

namespace seqbayes::dynamics::detail {

/// The log evidence of `L` as a function of noise *ratios*, at the best common factor. Gains
/// depend on ratios alone, so with chi = sum |nu_t|^2 / s_t at r = 1 and n values the best r is
/// chi / n.
template <class L>
class RatioEvidence {
 public:
  using Scalar = typename L::Scalar;
  /// ln sigma_0^2 / r, then ln omega / r as far as they are fitted, each less that of
  /// `NoisyStream::balanced`, so without a unit; then ln rho.
  using Point = Vector<Scalar>;
  struct Value {
    Scalar log_evidence, log_r;
  };

  /// @param x in its own units
  explicit RatioEvidence(const Sequence<Scalar>& x) : stream_(x), balanced_(stream_.balanced()) {}

  /// Number of values, n.
  [[nodiscard]] Scalar values() const {
    const auto& x = stream_.sequence();
    return Scalar(static_cast<double>(x.value.rows() * x.value.cols()));
  }
  [[nodiscard]] bool reads_drift() const {
    return stream_.layer({}, 1).inputs().process_noise.width > 0;
  }
  /// The point of the levels that the innovations of a reset layer have; empty where their r is 0.
  Point moments() {
    using std::log;
    const Sequence<Scalar>& x = stream_.at(balanced_);
    Matrix<Scalar> gains(x.key.rows(), x.key.cols());
    for (Index t = 0; t < gains.rows(); ++t) {
      gains.row(t) = x.key.row(t).vector().transpose() * x.write_strength.row(t)[0];
    }
    const NoiseLevels<Scalar> found =
        levels_of_moments<Scalar>(stream_.at({Scalar(1), Scalar(1), Scalar(1)}), gains,
                                  {Scalar(1), Scalar(0), balanced_.prior_variance});
    if (!(found.observation_noise > Scalar(0))) return {};
    const auto coordinate = [&](const Scalar& level, const Scalar& balanced) {
      return Scalar(log(Scalar(level / found.observation_noise)) - log(balanced));
    };
    Point point(2);  // log 0 is clamped
    point << coordinate(found.prior_variance, balanced_.prior_variance),
        coordinate(found.process_noise, balanced_.process_noise);
    return point;
  }

  [[nodiscard]] NoiseLevels<Scalar> ratios(const Point& at) const {
    using std::exp;
    return {Scalar(1), at.size() > 1 ? Scalar(balanced_.process_noise * exp(at[1])) : Scalar(0),
            balanced_.prior_variance * exp(at[0])};
  }
  static Scalar reset(const Point& at) {
    using std::exp;
    return at.size() > 2 ? Scalar(exp(at[2])) : Scalar(0);
  }
  /// Bounds of coordinate i: ratios within 1e-12 to 1e6 of balance (above it a filter in double
  /// precision loses sight of r), rho within e^-30 to 1.
  static Scalar lowest(Index i) { return Scalar(i < 2 ? -27.6 : -30.0); }
  static Scalar highest(Index i) { return Scalar(i < 2 ? 13.8 : 0.0); }
  static Point clamped(Point at) {
    for (Index i = 0; i < at.size(); ++i) {
      at[i] = at[i] < lowest(i) ? lowest(i) : (at[i] > highest(i) ? highest(i) : at[i]);
    }
    return at;
  }

  Value operator()(const Point& at) { return of(ratios(at), reset(at)); }

  /// The evidence of levels up to their common factor; r = 1.
  Value of(const NoiseLevels<Scalar>& levels, const Scalar& reset = Scalar(0)) {
    using std::log;
    const Sequence<Scalar>& x = stream_.at(levels, reset);
    const L layer = stream_.layer(levels, x.value.cols());
    auto state = layer.initial_state();
    scan(layer, state, x, out_, workspace_);
    const Scalar width = Scalar(static_cast<double>(x.value.cols())), n = values();
    const auto& s = out_.innovation_variance;
    const Scalar chi = out_.innovation_norm2.cwiseQuotient(s).sum();
    const Scalar log_s = s.array().log().sum();
    const Scalar log_r = log(Scalar(chi / n));
    return {-(width * log_s + n * (log_r + seqbayes::detail::log_two_pi<Scalar>() + Scalar(1))) /
                Scalar(2),
            log_r};
  }

 private:
  NoisyStream<L> stream_;
  NoiseLevels<Scalar> balanced_;
  Output<Scalar> out_;
  Workspace<Scalar> workspace_;
};

}  // namespace seqbayes::dynamics::detail
