/// @file
/// The noise levels under which a filter finds a stream most probable, with standard errors.
#pragma once

#include <vector>

#include <seqbayes/dynamics/climb.hpp>
#include <seqbayes/dynamics/noise_estimate.hpp>
#include <seqbayes/dynamics/noisy_stream.hpp>
#include <seqbayes/scan/scan.hpp>

namespace seqbayes::dynamics {

/// The noise levels that make a stream most probable to a filter.
template <class Scalar>
struct NoiseFit {
  NoiseLevels<Scalar> levels;
  Scalar reset{0};  ///< rho of `NoisyStream`; 0 unless it was fitted.
  /// Standard errors of ln r, ln omega, ln sigma_0^2: square roots of the diagonal of the inverse
  /// of minus the Hessian of the log evidence in these logarithms (and ln rho) at its maximum, by
  /// central differences. That is the posterior's standard deviation by Laplace's method under a
  /// prior that is flat in them, and for long streams from the model the estimate's sampling
  /// error. Infinite for a level that the evidence does not depend on: an omega of practically 0, a
  /// level that the layer does not read.
  NoiseLevels<Scalar> log_errors;
  Scalar log_evidence{};  ///< In nats, of all values.
};

namespace detail {

/// The log evidence of `L` as a function of noise *ratios*, at the best common factor. Gains
/// depend on ratios alone, so with chi = sum |nu_t|^2 / s_t at r = 1 and n values the best r is
/// chi / n.
template <class L>
class RatioEvidence {
 public:
  using Scalar = typename L::Scalar;
  /// ln sigma_0^2 / r, then ln omega / r and ln rho as far as they are fitted.
  using Point = Vector<Scalar>;
  struct Value {
    Scalar log_evidence, log_r;
  };

  explicit RatioEvidence(const Sequence<Scalar>& x)
      : stream_(x), zero_(Matrix<Scalar>::Zero(x.key.rows(), 1)) {
    for (Index t = 0; t < x.value.rows(); ++t) {
      if (!x.value.row(t).vector().isZero(Scalar(0))) return;
    }
    seqbayes::detail::fail("value is zero throughout: no noise level fits");
  }

  /// Number of values, n.
  [[nodiscard]] Scalar values() const {
    const auto& x = stream_.sequence();
    return Scalar(static_cast<double>(x.value.rows() * x.value.cols()));
  }
  [[nodiscard]] bool reads_drift() const {
    return stream_.layer({}, 1).inputs().process_noise.width > 0;
  }
  /// Levels from the innovations of the reset layer with sigma_0^2 = r.
  NoiseLevels<Scalar> moments() {
    const Sequence<Scalar>& x = stream_.at({Scalar(1), Scalar(1), Scalar(1)});
    Matrix<Scalar> gains(x.key.rows(), x.key.cols());
    for (Index t = 0; t < gains.rows(); ++t) {
      gains.row(t) = x.key.row(t).vector().transpose() * x.write_strength.row(t)[0];
    }
    return estimate_noise(x, gains);
  }

  static NoiseLevels<Scalar> ratios(const Point& at) {
    using std::exp;
    return {Scalar(1), at.size() > 1 ? Scalar(exp(at[1])) : Scalar(0), Scalar(exp(at[0]))};
  }
  static Scalar reset(const Point& at) {
    using std::exp;
    return at.size() > 2 ? Scalar(exp(at[2])) : Scalar(0);
  }
  /// Keeps ratios within 1e-12 to 1e6 (above it a filter in double precision loses sight of r), rho
  /// within e^-30 to 1.
  static Point clamped(Point at) {
    for (Index i = 0; i < at.size(); ++i) {
      const Scalar low = Scalar(i < 2 ? -27.6 : -30.0), high = Scalar(i < 2 ? 13.8 : 0.0);
      at[i] = at[i] < low ? low : (at[i] > high ? high : at[i]);
    }
    return at;
  }

  Value operator()(const Point& at) {
    using std::log;
    const auto levels = ratios(at);
    Sequence<Scalar> x = stream_.at(levels, reset(at));
    const Index dv = x.value.cols();
    const Scalar width = Scalar(static_cast<double>(dv)), n = width * Scalar(double(x.length()));
    const Scalar at_values = run(levels, x, dv);
    // Fed zeros, innovations are 0 and the evidence is -1/2 sum ln 2 pi s_t of each channel.
    x.value = zero_;
    const Scalar at_zero = width * run(levels, x, 1);
    const Scalar log_r = log(Scalar(Scalar(2) * (at_zero - at_values) / n));
    return {at_zero - n * (log_r + Scalar(1)) / Scalar(2), log_r};
  }

 private:
  Scalar run(const NoiseLevels<Scalar>& levels, const Sequence<Scalar>& x, Index value_dim) {
    const L layer = stream_.layer(levels, value_dim);
    auto state = layer.initial_state();
    scan(layer, state, x, out_, workspace_);
    return out_.log_evidence;
  }

  NoisyStream<L> stream_;
  Matrix<Scalar> zero_;
  Output<Scalar> out_;
  Workspace<Scalar> workspace_;
};

/// The levels and their errors at a maximum of the evidence. With C the inverse of minus the
/// Hessian in the logarithms of ratios, and g the gradient of the best ln r, which at fixed ratios
/// has the variance 2 / n: Var ln r = 2 / n + g' C g, Cov(ratios, ln r) = C g.
template <class L, class Point>
NoiseFit<typename L::Scalar> fit_at(RatioEvidence<L>& evidence, const Point& at, bool is_fixed) {
  using std::exp;
  using std::sqrt;
  using Scalar = typename L::Scalar;
  const auto value = evidence(at);
  const Scalar r = exp(value.log_r);
  const Scalar unknown = Scalar(std::numeric_limits<double>::infinity());
  const NoiseLevels<Scalar> ratios = evidence.ratios(at);
  NoiseFit<Scalar> fit{{r, r * ratios.process_noise, r * ratios.prior_variance},
                       evidence.reset(at),
                       {unknown, unknown, unknown},
                       value.log_evidence};
  const Scalar of_scale = Scalar(2) / evidence.values();
  if (is_fixed) {
    fit.log_errors.observation_noise = fit.log_errors.prior_variance = sqrt(of_scale);
    return fit;
  }
  const Curvature<Scalar> curvature(evidence, at);
  const Matrix<Scalar> c = curvature.covariance();
  if (c.size() == 0) return fit;
  const Vector<Scalar> with_r = c * curvature.log_r_gradient;
  const Scalar of_r = of_scale + curvature.log_r_gradient.dot(with_r);
  const auto error = [&](Index i) {
    return curvature.determines(i) ? Scalar(sqrt(Scalar(c(i, i) + Scalar(2) * with_r[i] + of_r)))
                                   : unknown;
  };
  fit.log_errors = {sqrt(of_r), at.size() > 1 ? error(1) : unknown, error(0)};
  return fit;
}

}  // namespace detail

/// What `fit_noise` fits.
enum class Fitted {
  scale,            ///< One factor of all variances, with sigma_0^2 = r and no process noise: a
                    ///< reset layer with the write strengths of the stream, as they are.
  levels,           ///< r, sigma_0^2 and, if the layer reads it, omega.
  levels_and_reset  ///< These and rho of `NoisyStream`.
};

/// The noise levels of a stream that are most probable to the filter `L` (a layer of associative
/// regression of dynamic widths). The search starts from the moments of the innovations
/// (`estimate_noise`) and a coarse grid, whichever is better; about 60 runs of the layer over the
/// stream, four times that with rho. Other maxima may be missed.
///
///     auto fit = fit_noise<BayesianLayer<double>>(x);
///
/// @param x key, value and, if there, log_decay; observation_noise and process_noise as
///   `NoiseLevels` says, or write_strength as `NoisyStream` says
/// @throws std::invalid_argument on bad input, or if all values are zero
template <ProbabilisticLayer L>
NoiseFit<typename L::Scalar> fit_noise(const Sequence<typename L::Scalar>& x,
                                       Fitted fitted = Fitted::levels) {
  using std::log;
  using Scalar = typename L::Scalar;
  using Point = Vector<Scalar>;
  detail::RatioEvidence<L> evidence(x);
  if (fitted == Fitted::scale) return detail::fit_at(evidence, Point(Point::Zero(1)), true);

  const bool with_reset = fitted == Fitted::levels_and_reset;
  const bool with_drift = evidence.reads_drift();
  std::vector<Point> starts;
  const auto start = [&](auto... coordinates) {
    const Scalar list[] = {Scalar(coordinates)...};
    const Index size = with_reset ? 3 : (with_drift ? 2 : 1);
    starts.push_back(evidence.clamped(Eigen::Map<const Point>(list, size)));
  };
  if (with_reset) {
    const NoiseLevels<Scalar> exact = fit_noise<L>(x).levels;
    const Scalar prior = log(Scalar(exact.prior_variance / exact.observation_noise));
    const Scalar drift = log(Scalar(exact.process_noise / exact.observation_noise));
    for (const double rho : {-14.0, -9.0, -5.0, -2.0}) start(prior, drift, rho);
    start(0, -20, 0);
  } else {
    const NoiseLevels<Scalar> moments = evidence.moments();
    if (moments.observation_noise > Scalar(0)) {
      // log 0 is clamped
      start(log(Scalar(moments.prior_variance / moments.observation_noise)),
            log(Scalar(moments.process_noise / moments.observation_noise)), 0);
    }
    for (const double prior : {-4.0, 0.0, 4.0}) {
      for (const double drift : {-14.0, -7.0, -2.0}) {
        start(prior, drift, 0);
        if (!with_drift) break;
      }
    }
  }
  Point best = starts.front();
  Scalar highest = Scalar(-std::numeric_limits<double>::infinity());
  for (const Point& point : starts) {
    const Scalar found = evidence(point).log_evidence;
    if (!(found > highest)) continue;
    highest = found;
    best = point;
  }
  return detail::fit_at(evidence, detail::climb(evidence, best), false);
}

}  // namespace seqbayes::dynamics
