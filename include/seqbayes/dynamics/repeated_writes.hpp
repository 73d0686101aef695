/// @file
/// One key written n times (R1.1 to R1.7). Everything per value channel.
#pragma once

#include <seqbayes/dynamics/rules.hpp>

namespace seqbayes::dynamics {

/// A retrieval that is linear in what was written, Phi y_0 + sum_j w_j v_j, with all values noisy
/// copies of one truth, v_j = y + noise. y_0 is the first estimate. Dimensionless.
template <class Scalar>
struct Retrieval {
  Scalar initial_weight;  ///< Phi, the weight of the first estimate.
  Scalar total_weight;    ///< S = sum_j w_j.
  Scalar missing_weight;  ///< 1 - S, without cancellation as S -> 1.
  Scalar noise_factor;    ///< V = sum_j w_j^2.

  /// E error = Phi y_0 - (1 - S) y.
  [[nodiscard]] Scalar bias(const Scalar& truth, const Scalar& first_estimate = Scalar(0)) const {
    return initial_weight * first_estimate - missing_weight * truth;
  }
  /// Variance of the error if the values' true noise is r: r V. The filter may believe otherwise.
  [[nodiscard]] Scalar variance(const Scalar& noise) const { return noise * noise_factor; }
  /// E error^2.
  [[nodiscard]] Scalar mse(const Scalar& truth, const Scalar& noise,
                           const Scalar& first_estimate = Scalar(0)) const {
    const Scalar b = bias(truth, first_estimate);
    return b * b + variance(noise);
  }
};

namespace detail {

/// The filter's n >= 1 writes have the weights (R1.2, with D_n = lambda_1 N_n, lambda_1 = r + \hat
/// p_+)
///
///     D_n w_j = first phi^(n+j-1) + later phi^(n-j) G_j(phi^2),    G_j(x) = 1 + ... + x^(j-1).
///
/// From A (1 - phi^2n) = G_n(phi^2) c / lambda_1 all terms are positive, and alpha = 1, omega = 0
/// (R1.1, where D_n = r + n p_0) is no special case.
template <class Scalar>
struct FilterSums {
  RiccatiLimit<Scalar> limit;
  Scalar first;                                     ///< alpha p_0
  Scalar c;                                         ///< alpha^2 p_0 + (1 - alpha^2) r + \hat p_+
  Scalar later;                                     ///< c a*
  Scalar unforgotten;                               ///< lambda_1 phi^n
  Scalar denominator;                               ///< D_n = lambda_1 phi^2n + c G_n(phi^2)
  GeometricSums<Scalar> before, of_phi, of_square;  ///< phi: n - 1 and n terms; phi^2: n terms

  FilterSums(const FilterRule<Scalar>& rule, Count n) : limit(riccati_limit(rule)) {
    const Scalar one(1);
    const Scalar& alpha = rule.decay;
    const Scalar& r = rule.observation_noise;
    first = alpha * rule.prior_variance;
    c = alpha * first + (one - alpha) * (one + alpha) * r + limit.predicted;
    later = c * limit.gain;
    before = geometric_sums(limit.contraction, n - 1);
    of_phi = geometric_sums(limit.contraction, n);
    of_square = geometric_sums(limit.contraction * limit.contraction, n);
    unforgotten = (r + limit.predicted) * of_phi.power();
    denominator = unforgotten * of_phi.power() + c * of_square.sum;
  }
};

}  // namespace detail

/// R1.1, R1.2: the filter after n >= 0 writes. Without decay and process noise every write has the
/// weight 1 / (n + lambda), lambda = r / p_0, and Phi = 1 - S = lambda / (n + lambda), V =
/// n / (n + lambda)^2; r = 0 is the running mean.
template <class Scalar>
Retrieval<Scalar> after_writes(const FilterRule<Scalar>& rule, Count n) {
  const Scalar zero(0), one(1), two(2);
  if (n == 0) return {one, zero, one, zero};
  const detail::FilterSums<Scalar> sums(rule, n);
  const auto& [limit, first, c, later, unforgotten, d, before, of_phi, of_square] = sums;
  // sum_j phi^(n-j) G_j(phi^2) = G_n(phi) G_(n+1)(phi) / (1 + phi). Over D_n, both parts of a
  // weight are at most 1.
  const Scalar share = of_phi.sum / (one + limit.contraction.value);
  const Scalar of_first = first / d * of_phi.power(), of_later = later / d;
  const Scalar total = of_first * of_phi.sum + of_later * share * (of_phi.sum + of_phi.power());
  const Scalar square = of_first * of_first * of_square.sum +
                        two * of_first * of_later * before.power() * of_square.sums +
                        of_later * of_later * of_square.squares;
  // An error e -> alpha (1 - a_n) e - (1 - alpha) (1 - a_n) y: what decay alone loses of y.
  const Scalar faded = (one - rule.decay) * (rule.observation_noise * before.power() * of_phi.sum +
                                             limit.kept * c * share * before.sum);
  const Scalar initial = (rule.observation_noise + limit.predicted) / d * of_phi.power();
  return {initial, total, initial + faded / d, square};
}

/// R1.1, R1.2: the gain a_n = k'kappa_n of the n-th write, n >= 1: the weight of its value just
/// then; 1 / (n + lambda) without decay and process noise.
template <class Scalar>
Scalar gain_of_write(const FilterRule<Scalar>& rule, Count n) {
  const detail::FilterSums<Scalar> sums(rule, n);
  const Scalar& d = sums.denominator;
  return sums.first / d * sums.of_phi.power() * sums.before.power() +
         sums.later / d * sums.of_square.sum;
}

/// R1.1, R1.2: the variance p_n = k'P_n k = r a_n that the filter claims after n >= 0 writes, in
/// V^2; r / (n + lambda) without decay and process noise. It is the true mean square error if the
/// filter's assumptions hold.
template <class Scalar>
Scalar claimed_variance(const FilterRule<Scalar>& rule, Count n) {
  if (n == 0) return rule.prior_variance;
  const detail::FilterSums<Scalar> sums(rule, n);
  const Scalar &r = rule.observation_noise, &d = sums.denominator;
  const Scalar first = sums.first * sums.of_phi.power() * sums.before.power();
  return (first < r ? Scalar(first * (r / d)) : Scalar(first / d * r)) +
         sums.c / d * sums.of_square.sum * sums.limit.posterior;
}

/// R1.3: the filter after infinitely many writes, its gain a* constant; for a truth that is
/// constant: S = 1 - (1 - alpha) r / (\hat p_+ + (1 - alpha) r), V = a*^2 / (1 - phi^2).
template <class Scalar>
Retrieval<Scalar> plateau(const FilterRule<Scalar>& rule) {
  const Scalar zero(0), one(1);
  const RiccatiLimit<Scalar> limit = riccati_limit(rule);
  const Scalar faded = (one - rule.decay) * rule.observation_noise;
  // 1 - phi = (\hat p_+ + (1 - alpha) r) / (r + \hat p_+)
  const Scalar whole = limit.predicted + faded;
  const Scalar total = whole > zero ? limit.predicted / whole : one;
  const Scalar missing = whole > zero ? faded / whole : zero;
  return {zero, total, missing, limit.gain * total / (one + limit.contraction.value)};
}

/// R1.4: a reset layer after n >= 0 writes, psi = alpha (1 - b): Phi = psi^n, S = b G_n(psi),
/// V = b^2 G_n(psi^2).
template <class Scalar>
Retrieval<Scalar> after_writes(const ResetRule<Scalar>& rule, Count n) {
  const Scalar one(1);
  const Scalar& b = rule.gain;
  const Scalar faded = (one - rule.decay) * (one - b);
  const Ratio<Scalar> psi = detail::contraction(rule);
  const auto sums = geometric_sums(psi, n);
  return {sums.power(), b * sums.sum, sums.power() + faded * sums.sum,
          b * (b * geometric_sum(psi * psi, n))};
}

/// R1.4: after infinitely many writes, 0 < b < 2. Without decay S = 1, V = b / (2 - b).
template <class Scalar>
Retrieval<Scalar> plateau(const ResetRule<Scalar>& rule) {
  const Scalar zero(0), one(1);
  const Scalar& b = rule.gain;
  const Scalar faded = (one - rule.decay) * (one - b);
  const Scalar total = b / (b + faded);  // 1 - psi = b + (1 - alpha) (1 - b)
  return {zero, total, faded / (b + faded), b * total / (one + rule.decay * (one - b))};
}

/// R1.5: unnormalised linear attention or SSD after n >= 0 writes: S = G_n(alpha),
/// V = G_n(alpha^2). For |k|^2 = g both weights gain a factor g.
template <class Scalar>
Retrieval<Scalar> after_writes(const AttentionRule<Scalar>& rule, Count n) {
  const auto alpha = Ratio<Scalar>::of(rule.decay);
  const auto sums = geometric_sums(alpha, n);
  const Scalar missing =
      n > 0 ? Scalar(-rule.decay * geometric_sum(alpha, n - 1)) : Scalar(1);  // 1 - S
  return {sums.power(), sums.sum, missing, geometric_sum(alpha * alpha, n)};
}

/// R1.5: the same divided by sum_j alpha^(n-j), n >= 1: unbiased, V = 1 / n without decay.
template <class Scalar>
Retrieval<Scalar> after_writes_normalised(const AttentionRule<Scalar>& rule, Count n) {
  const Retrieval<Scalar> plain = after_writes(rule, n);
  return {Scalar(0), Scalar(1), Scalar(0),
          plain.noise_factor / (plain.total_weight * plain.total_weight)};
}

}  // namespace seqbayes::dynamics
