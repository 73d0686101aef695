/// @file
/// The noise levels under which a filter finds a stream most probable, with standard errors.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <seqbayes/inference/climb.hpp>
#include <seqbayes/inference/ratio_evidence.hpp>

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

/// Levels of given ratios, without errors.
template <class Value, class Scalar>
NoiseFit<Scalar> fit_of(const Value& value, const NoiseLevels<Scalar>& ratios,
                        const Scalar& reset) {
  using std::exp;
  const Scalar r = exp(value.log_r);
  const Scalar unknown = Scalar(std::numeric_limits<double>::infinity());
  return {{r, r * ratios.process_noise, r * ratios.prior_variance},
          reset,
          {unknown, unknown, unknown},
          value.log_evidence};
}

/// The levels and their errors at a maximum of the evidence. With C the inverse of minus the
/// Hessian in the logarithms of ratios, and g the gradient of the best ln r, which at fixed ratios
/// has the variance 2 / n: Var ln r = 2 / n + g' C g, Cov(ratios, ln r) = C g. A ratio that the
/// evidence does not determine leaves undetermined what moves with it: r if g_i is not 0, the
/// level itself if ln r + ratio moves, g_i not -1.
template <class L, class Point>
NoiseFit<typename L::Scalar> fit_at(RatioEvidence<L>& evidence, const Point& at) {
  using std::sqrt;
  using Scalar = typename L::Scalar;
  NoiseFit<Scalar> fit = fit_of(evidence(at), evidence.ratios(at), evidence.reset(at));
  const Curvature<Scalar> curvature(evidence, at);
  const Matrix<Scalar> c = curvature.covariance();
  if (c.size() == 0) return fit;
  const Vector<Scalar>& g = curvature.log_r_gradient;
  const Vector<Scalar> with_r = c * g;
  const Scalar of_r = Scalar(2) / evidence.values() + g.dot(with_r);
  const Scalar unknown = fit.log_errors.observation_noise;
  const Index ratios = std::min<Index>(at.size(), 2);
  const auto moves = [](const Scalar& slope) { return slope * slope > Scalar(1e-4); };
  const auto error = [&](Index i) {
    if (i >= at.size()) return unknown;
    for (Index j = 0; j < ratios; ++j) {
      if (!curvature.determines(j) && moves(Scalar(g[j] + Scalar(i == j ? 1 : 0)))) return unknown;
    }
    return Scalar(sqrt(Scalar(c(i, i) + Scalar(2) * with_r[i] + of_r)));
  };
  bool knows_r = true;
  for (Index j = 0; j < ratios; ++j) knows_r &= curvature.determines(j) || !moves(g[j]);
  fit.log_errors = {knows_r ? Scalar(sqrt(of_r)) : unknown, error(1), error(0)};
  return fit;
}

/// @throws std::invalid_argument where r and sigma_0^2 leave the same evidence whatever their ratio
template <class L>
void check_tells_ratio(RatioEvidence<L>& evidence) {
  using std::exp;
  using Scalar = typename L::Scalar;
  Vector<Scalar> found(3);
  for (Index i = 0; i < 3; ++i) {
    Vector<Scalar> point = Vector<Scalar>::Constant(1, Scalar(4 * static_cast<double>(i - 1)));
    found[i] = evidence(point).log_evidence;
  }
  const Scalar rounding =
      Scalar(20) * Eigen::NumTraits<Scalar>::epsilon() * evidence.values() + Scalar(1e-6);
  if (found.maxCoeff() - found.minCoeff() > rounding) return;
  seqbayes::detail::fail(
      "key never comes back to a direction, with one norm throughout: observation noise and prior "
      "variance can't be told apart");
}

/// @throws std::invalid_argument where the evidence still rises with a ratio at its upper bound: by
/// 1/2 nat for each value without noise, of which a tenth is asked for; what tends to gain 1 rises
/// no more.
template <class L, class Point>
void check_noise(RatioEvidence<L>& evidence, const Point& at) {
  using Scalar = typename L::Scalar;
  for (Index i = 0; i < std::min<Index>(at.size(), 2); ++i) {
    if (at[i] < evidence.highest(i)) continue;
    Point below = at;
    below[i] -= Scalar(1);
    const Scalar rise = evidence(at).log_evidence - evidence(below).log_evidence;
    if (rise < evidence.values() / Scalar(20)) continue;
    seqbayes::detail::fail(
        "value follows from key without noise: an observation noise above 0 does not fit");
  }
}

}  // namespace detail

/// What `fit_noise` fits.
enum class Fitted {
  scale,            ///< One factor of all variances, with sigma_0^2 = r and no process noise: a
                    ///< reset layer with the write strengths of the stream, as they are.
  levels,           ///< r, sigma_0^2 and, if the layer reads it, omega.
  levels_and_reset  ///< These and rho of `NoisyStream`.
};

namespace detail {

/// The most probable point. Without a reset of `coordinates` 1 or 2 from the moments and a grid,
/// with one (3) from the best point without.
template <class L>
Vector<typename L::Scalar> most_probable(RatioEvidence<L>& evidence, Index coordinates) {
  using Scalar = typename L::Scalar;
  using Point = Vector<Scalar>;
  std::vector<Point> starts;
  const auto start = [&](auto... entries) {
    const Scalar list[] = {Scalar(entries)...};
    starts.push_back(evidence.clamped(Eigen::Map<const Point>(list, coordinates)));
  };
  if (coordinates == 3) {
    const bool with_drift = evidence.reads_drift();
    const Point exact = most_probable(evidence, with_drift ? 2 : 1);
    for (const double rho : {-14.0, -9.0, -5.0, -2.0}) {
      start(exact[0], with_drift ? exact[1] : evidence.lowest(1), rho);
    }
    start(0, -20, 0);
  } else {
    if (const Point moments = evidence.moments(); moments.size() > 0) start(moments[0], moments[1]);
    for (const double prior : {-4.0, 0.0, 4.0}) {
      for (const double drift : {-14.0, -7.0, -2.0}) {
        start(prior, drift);
        if (coordinates == 1) break;
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
  return climb(evidence, best);
}

/// `fit_noise` of a stream in its own units, and in these.
template <class L>
NoiseFit<typename L::Scalar> fit_in_own_units(const StreamInOwnUnits<typename L::Scalar>& stream,
                                              Fitted fitted) {
  using std::sqrt;
  using Scalar = typename L::Scalar;
  RatioEvidence<L> evidence(stream.sequence());
  if (fitted == Fitted::scale) {
    const NoiseLevels<Scalar> levels{Scalar(1), Scalar(0), stream.equal_levels()};
    auto fit = fit_of(evidence.of(levels), levels, Scalar(0));
    fit.log_errors.observation_noise = fit.log_errors.prior_variance =
        sqrt(Scalar(Scalar(2) / evidence.values()));
    return fit;
  }
  if (stream.sequence().length() == 1) {
    seqbayes::detail::fail("key has one row: one token can't tell noise from prior variance");
  }
  check_tells_ratio(evidence);
  const Index coordinates =
      fitted == Fitted::levels_and_reset ? 3 : (evidence.reads_drift() ? 2 : 1);
  const auto best = most_probable(evidence, coordinates);
  check_noise(evidence, best);
  return fit_at(evidence, best);
}

/// The fit of a stream in its own units as one of the caller's stream.
template <class Scalar>
NoiseFit<Scalar> to_callers_units(const StreamInOwnUnits<Scalar>& stream, NoiseFit<Scalar> fit) {
  fit.levels = stream.to_callers_units(fit.levels);
  fit.log_evidence = stream.to_callers_evidence(fit.log_evidence);
  return fit;
}

}  // namespace detail

/// The noise levels of a stream that are most probable to the filter `L` (a layer of associative
/// regression of dynamic widths). The search starts from the moments of the innovations
/// (`estimate_noise`) and a coarse grid, whichever is better; about 60 runs of the layer over the
/// stream, four times that with rho. Other maxima may be missed.
///
///     auto fit = fit_noise<BayesianLayer<double>>(x);
///
/// The units of values, keys and noises are the caller's: with values s times as large all levels
/// are s^2 times as large and the log evidence is n ln s less, with keys s times as large omega and
/// sigma_0^2 are s^2 times smaller. What is fitted are ratios, searched within 1e-12 to 1e6 of
/// where the noise of a typical value and the prior variance of its read are the same.
/// @param x key, value and, if there, log_decay; observation_noise and process_noise as
///   `NoiseLevels` says, or write_strength as `NoisyStream` says
/// @throws std::invalid_argument on bad input, and on streams that no levels fit or any: no tokens
///   or (but for `Fitted::scale`) one; all values or all keys zero; values that follow from keys
///   without noise; keys that never come back, all of one norm, so that r and sigma_0^2 can't be
///   told apart; values or keys so large or small that levels are beyond the scalar's range
template <FilterLayer L>
NoiseFit<typename L::Scalar> fit_noise(const Sequence<typename L::Scalar>& x,
                                       Fitted fitted = Fitted::levels) {
  const detail::StreamInOwnUnits<typename L::Scalar> stream(x);
  return detail::to_callers_units(stream, detail::fit_in_own_units<L>(stream, fitted));
}

}  // namespace seqbayes::dynamics
