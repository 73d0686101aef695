/// @file
/// One key with an old value, written n times, then with a new one, written m times (R5.1 to R5.6).
#pragma once

#include <cmath>

#include <seqbayes/dynamics/repeated_writes.hpp>

namespace seqbayes::dynamics {

/// What the two values weigh in the answer, f and the weight of the old one. Dimensionless.
template <class Scalar>
struct OldAndNew {
  Scalar old_weight, new_weight;
};

namespace detail {

/// The second phase fades what the first has left.
template <class Scalar>
OldAndNew<Scalar> follow(const Retrieval<Scalar>& before, const Retrieval<Scalar>& after) {
  return {after.initial_weight * before.total_weight, after.total_weight};
}

}  // namespace detail

/// R5.1 to R5.3: the filter. The second phase is R1.2 from the variance p_n. Without process noise
/// and decay f = m / (n + m + lambda): as stubborn as its past is long. Decay alone makes it more
/// stubborn, not less, since the model says that the memory decays and old evidence is worth
/// alpha^-2 a step. With process noise f -> 1 - (1 - a*)^m for large n.
template <class Scalar>
OldAndNew<Scalar> after_change(const FilterRule<Scalar>& rule, Count n, Count m) {
  // The second phase starts from the variance that the filter claims after the first.
  FilterRule<Scalar> later = rule;
  later.prior_variance = claimed_variance(rule, n);
  if (n > 0 && !(rule.observation_noise + rule.process_noise > Scalar(0))) {
    later.observation_noise = Scalar(1);  // p_n / r is finite as r -> 0
    later.prior_variance = gain_of_write(rule, n);
  }
  return detail::follow(after_writes(rule, n), after_writes(later, m));
}

/// R5.5: a reset layer, whatever n: without decay f = 1 - (1 - b)^m.
template <class Scalar>
OldAndNew<Scalar> after_change(const ResetRule<Scalar>& rule, Count n, Count m) {
  return detail::follow(after_writes(rule, n), after_writes(rule, m));
}

/// A filter that inflates its covariance before each write, \hat P = P / mu with 0 < mu <= 1,
/// instead of adding process noise: the Bayesian Layer with the field `covariance_log_decay` =
/// -ln(mu) / 2.
template <class Scalar>
struct InflationRule {
  Scalar prior_variance{1};     ///< p_0 > 0, in V^2.
  Scalar observation_noise{1};  ///< r >= 0, in V^2; lambda = r / p_0 finite.
  Scalar kept{1};               ///< mu, the share of the precision that a step keeps.
};

/// R5.4: w_j = mu^(n-j) / (lambda mu^n + G_n(mu)), normalised SSD with alpha = mu but for the
/// prior; n >= 0. The prior is forgotten where mu^n underflows.
template <class Scalar>
Retrieval<Scalar> after_writes(const InflationRule<Scalar>& rule, Count n) {
  if (n == 0) return {Scalar(1), Scalar(0), Scalar(1), Scalar(0)};
  const Scalar lambda = rule.observation_noise / rule.prior_variance;
  const auto mu = Ratio<Scalar>::of(rule.kept);
  const auto sums = geometric_sums(mu, n);
  const Scalar prior = lambda * sums.power(), whole = prior + sums.sum;
  return {prior / whole, sums.sum / whole, prior / whole,
          geometric_sum(mu * mu, n) / whole / whole};
}

/// R5.4: the gain of the n-th write, n >= 1, the weight of its value just then:
/// 1 / (lambda mu^n + G_n(mu)).
template <class Scalar>
Scalar gain_of_write(const InflationRule<Scalar>& rule, Count n) {
  const auto sums = geometric_sums(rule.kept, n);
  return Scalar(1) / (rule.observation_noise / rule.prior_variance * sums.power() + sums.sum);
}

/// R5.4: the variance p_n that this filter claims, in V^2: 1 / p_n = mu^n / p_0 + G_n(mu) / r.
template <class Scalar>
Scalar claimed_variance(const InflationRule<Scalar>& rule, Count n) {
  return n == 0 ? rule.prior_variance : rule.observation_noise * gain_of_write(rule, n);
}

/// R5.4: f = G_m(mu) / (G_(n+m)(mu) + lambda mu^(n+m)).
template <class Scalar>
OldAndNew<Scalar> after_change(const InflationRule<Scalar>& rule, Count n, Count m) {
  InflationRule<Scalar> later = rule;
  if (n > 0) {  // p_n over r, which is finite as r -> 0
    later.prior_variance = gain_of_write(rule, n);
    later.observation_noise = Scalar(1);
  }
  return detail::follow(after_writes(rule, n), after_writes(later, m));
}

/// R5.2, R5.5: the writes until half the answer is new, ln 2 / -ln(1 - b), for a constant gain
/// 0 < b < 1: a reset layer's, or a filter's a* without decay (then about ln 2 sqrt(r / omega)).
/// The filter without process noise takes n + lambda writes (R5.1).
template <class Scalar>
Scalar half_life(const Scalar& gain) {
  using std::log;
  using std::log1p;
  return log(Scalar(2)) / -log1p(-gain);
}

/// R5.6: the constant gain of half-life h > 0, 1 - 2^(-1/h).
template <class Scalar>
Scalar gain_of_half_life(const Scalar& half_life) {
  using std::expm1;
  using std::log;
  return -expm1(-log(Scalar(2)) / half_life);
}

/// R5.6: plasticity against noise: the error over r at which any exponential window of half-life h
/// settles (reset layers, filters with process noise or inflation, normalised SSD with
/// alpha = 2^(-1/h)), b / (2 - b) = tanh(ln 2 / (2 h)).
template <class Scalar>
Scalar plateau_of_half_life(const Scalar& half_life) {
  return plateau(ResetRule<Scalar>{gain_of_half_life(half_life)}).noise_factor;
}

}  // namespace seqbayes::dynamics
