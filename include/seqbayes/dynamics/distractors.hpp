/// @file
/// A target key written n_a times, then m other keys: iid isotropic of unit norm, with iid values
/// (R3.1 to R3.7). What is left of the target. Everything per value channel.
#pragma once

#include <algorithm>
#include <cmath>

#include <seqbayes/dynamics/marchenko_pastur.hpp>
#include <seqbayes/dynamics/repeated_writes.hpp>

namespace seqbayes::dynamics {

namespace detail {

/// 1 - S x for S = a.total_weight and x = 1 - lost.
template <class Scalar>
Scalar missing_of(const Retrieval<Scalar>& a, const Scalar& retention, const Scalar& lost) {
  return retention < Scalar(0.5) ? Scalar(Scalar(1) - retention)
                                 : Scalar(a.missing_weight + a.total_weight * lost);
}

}  // namespace detail

/// The target and the values of the distractors, of mean 0. The memory starts empty.
template <class Scalar>
struct Target {
  Scalar value{1};                ///< y, its true value.
  Scalar noise{0};                ///< r, the true noise variance of its values.
  Count writes = 1;               ///< n_a
  Scalar distractor_variance{1};  ///< s^2, of the distractors' values, their noise included.
};

/// The answer at the target's key, in the mean over distractors and noise.
template <class Scalar>
struct Forgetting {
  Scalar retention;  ///< R = d E answer / d y, the share of the target that is left.
  Scalar missing;    ///< 1 - R, without cancellation.
  Scalar mse;        ///< E (answer - y)^2, in V^2.
};

/// The same with the variance that a filter claims at the target's key, in V^2.
template <class Scalar>
struct FilterForgetting : Forgetting<Scalar> {
  Scalar claimed_variance;
};

/// R3.1, R3.2: linear attention and SSD in key width `dim`; exact. The answer is divided by
/// `divisor`: 1, or n_a for linear attention over the count. Without decay the error grows as
/// m s^2 / dim without end.
template <class Scalar>
Forgetting<Scalar> after_distractors(const AttentionRule<Scalar>& rule,
                                     const Target<Scalar>& target, const Scalar& dim, Count m,
                                     const Scalar& divisor = Scalar(1)) {
  const Retrieval<Scalar> a = after_writes(rule, target.writes);
  const auto alpha = Ratio<Scalar>::of(rule.decay);
  const auto later = geometric_sums(alpha * alpha, m);
  const auto faded = geometric_sums(alpha, m).ratio;
  const Scalar retention = faded.value * a.total_weight / divisor;
  // 1 - R; n - G_n = (1 - alpha) sum of G_j, j < n, is all that is left where alpha is near 1
  const Scalar writes = detail::as_scalar<Scalar>(target.writes), two(2);
  const Scalar one(1);
  Scalar missing;
  if (target.writes > 0 && writes < two * divisor) {
    const Scalar unequal = alpha.lost * geometric_sums(alpha, target.writes - 1).sums;
    missing = ((divisor - writes) + unequal + faded.lost * a.total_weight) / divisor;
  } else {
    missing = ((divisor - one) + faded.lost + faded.value * a.missing_weight) / divisor;
  }
  const Scalar noise =
      later.power() * target.noise * a.noise_factor + target.distractor_variance / dim * later.sum;
  return {retention, missing,
          missing * missing * target.value * target.value + noise / (divisor * divisor)};
}

/// R3.3, R3.4: a reset layer in key width `dim` >= 1; exact for isotropic keys.
/// R = S_n_a [alpha (1 - b / d)]^m: exponential forgetting.
template <class Scalar>
Forgetting<Scalar> after_distractors(const ResetRule<Scalar>& rule, const Target<Scalar>& target,
                                     const Scalar& dim, Count m) {
  const Scalar one(1), two(2);
  const Scalar &b = rule.gain, &alpha = rule.decay;
  const RandomContraction<Scalar> contraction(rule, dim);
  const Retrieval<Scalar> a = after_writes(rule, target.writes);
  // The target's part of the answer is scaled by a random factor of mean R_1 and mean square X.
  const Scalar share = b / dim;
  const Ratio<Scalar> mean{alpha * (one - share), (one - alpha) + alpha * share};
  const auto kept = geometric_sums(mean, m).ratio;
  const Scalar spread =
      contraction.gap / dim * divided_power(contraction.trace, contraction.deviator, m);
  const Scalar mean_square = power(contraction.deviator, m) + spread;
  const Scalar variance =  // X - R_1^2
      alpha * alpha * share * share * ((dim - two) / (dim + two)) *
          divided_power(contraction.deviator, mean * mean, m) +
      spread;
  const Scalar retention = a.total_weight * kept.value;
  const Scalar missing = detail::missing_of(a, retention, kept.lost);
  const Scalar y2 = target.value * target.value;
  return {retention, missing,
          y2 * (missing * missing + a.total_weight * a.total_weight * variance) +
              target.noise * a.noise_factor * mean_square +
              b * share * target.distractor_variance * geometric_sum(contraction.trace, m)};
}

/// R3.3 as the key width grows at load c = m / d, without decay (`rule.decay` has to be 1):
/// R = S_n_a e^(-b c). Differs from R3.3 by O(1 / d). 0 < b < 2.
template <class Scalar>
Forgetting<Scalar> at_load(const ResetRule<Scalar>& rule, const Target<Scalar>& target,
                           const Scalar& load) {
  using std::exp;
  using std::expm1;
  const Scalar two(2);
  const Scalar& b = rule.gain;
  const Retrieval<Scalar> a = after_writes(rule, target.writes);
  const Scalar kept = exp(-b * load);
  const Scalar retention = a.total_weight * kept;
  const Scalar missing = detail::missing_of(a, retention, Scalar(-expm1(-b * load)));
  return {retention, missing,
          missing * missing * target.value * target.value +
              kept * kept * target.noise * a.noise_factor -
              b / (two - b) * target.distractor_variance * expm1(-b * (two - b) * load)};
}

/// What given distractor keys K (m x d) are to a target's key a: with Lambda = lambda I + K'K,
/// 1 / g for g = a' Lambda^-1 a, and |K Lambda^-1 a|^2 / g^2.
template <class Scalar>
struct KeyResolvent {
  Scalar inverse_g, relative_crosstalk;
};

/// R3.5: the filter without decay and process noise, for given distractor keys; exact. As after
/// n_a writes alone (R1.1) with 1 / g in the place of lambda, and the distractors' crosstalk. Only
/// `rule.observation_noise` is read, for the claim.
template <class Scalar>
FilterForgetting<Scalar> after_distractors(const FilterRule<Scalar>& rule,
                                           const Target<Scalar>& target,
                                           const KeyResolvent<Scalar>& keys) {
  const Retrieval<Scalar> alone =
      after_writes(FilterRule<Scalar>{Scalar(1), keys.inverse_g}, target.writes);
  const Scalar whole = detail::as_scalar<Scalar>(target.writes) + keys.inverse_g;
  FilterForgetting<Scalar> out;
  out.retention = alone.total_weight;
  out.missing = alone.missing_weight;
  out.mse = alone.mse(target.value, target.noise) +
            target.distractor_variance * (keys.relative_crosstalk / whole / whole);
  out.claimed_variance = rule.observation_noise / whole;
  return out;
}

/// R3.6: the filter without decay and process noise at load c = m / d, as the key width grows; with
/// an error of O(1 / d). Without noise nothing is forgotten up to c = 1; beyond,
/// R = n_a / (n_a + c - 1): hyperbolic forgetting. Domain: prior variance > 0,
/// lambda, r over it, finite (and lambda^2 above 0 for n_a = 0), see `marchenko_pastur`.
template <class Scalar>
FilterForgetting<Scalar> at_load(const FilterRule<Scalar>& rule, const Target<Scalar>& target,
                                 const Scalar& load) {
  const auto keys = marchenko_pastur(Scalar(rule.observation_noise / rule.prior_variance), load);
  return after_distractors(rule, target,
                           KeyResolvent<Scalar>{keys.inverse_g, keys.relative_crosstalk()});
}

/// R3.7: the error of SSD, alpha < 1, after infinitely many distractors: y^2 and their crosstalk.
template <class Scalar>
Scalar distracted_plateau(const AttentionRule<Scalar>& rule, const Target<Scalar>& target,
                          const Scalar& dim) {
  const Scalar one(1);
  return target.value * target.value +
         target.distractor_variance / (dim * (one - rule.decay) * (one + rule.decay));
}

/// R3.7: the error of a reset layer, 0 < b < 2, after infinitely many distractors; without decay
/// y^2 + s^2 b / (2 - b) at every d. That of the filter without process noise is y^2; with, see
/// `tracking_error` (R4.9).
template <class Scalar>
Scalar distracted_plateau(const ResetRule<Scalar>& rule, const Target<Scalar>& target,
                          const Scalar& dim) {
  const Scalar one(1), two(2), square = rule.decay * rule.decay;
  const Scalar& b = rule.gain;
  // d (1 - gamma_T)
  const Scalar rate = dim * (one - rule.decay) * (one + rule.decay) + square * b * (two - b);
  return target.value * target.value + target.distractor_variance * b * (b / rate);
}

}  // namespace seqbayes::dynamics
