/// @file
/// Tracking a memory that drifts as a random walk, in steady state (R4.1 to R4.6, R4.8, R4.9). Unit
/// keys in key width d; errors are mean squares per value channel, in V^2.
///
/// Q = d omega is the variance that the truth gains along a direction between two visits of it.
#pragma once

#include <cmath>

#include <seqbayes/dynamics/distractors.hpp>

namespace seqbayes::dynamics {

/// R4.1: the filter on d orthonormal keys that take turns: R1.2 with one observation every d steps,
/// so decay alpha^d and process noise omega G_d(alpha^2). `posterior` is the error p_* just after a
/// visit, `gain` b*.
template <class Scalar>
RiccatiLimit<Scalar> cyclic_keys(const FilterRule<Scalar>& rule, Count dim) {
  const auto alpha = Ratio<Scalar>::of(rule.decay);
  const auto round = geometric_sums(alpha * alpha, dim);
  FilterRule<Scalar> visit = rule;
  visit.decay = power(alpha, dim);
  visit.process_noise = rule.process_noise * round.sum;
  return riccati_limit(visit);
}

/// R4.1: a variance j steps later, at a key that has not been visited since:
/// alpha^2j p + omega G_j(alpha^2).
template <class Scalar>
Scalar unvisited(const FilterRule<Scalar>& rule, const Scalar& variance, Count steps) {
  const auto alpha = Ratio<Scalar>::of(rule.decay);
  const auto later = geometric_sums(alpha * alpha, steps);
  return later.power() * variance + rule.process_noise * later.sum;
}

/// R4.2: a reset layer of gain b, 0 < b < 2, on d orthonormal keys that take turns: its error just
/// after a visit, [(1 - b)^2 Q + b^2 r] / (1 - alpha^2d (1 - b)^2); `truth` decays and drifts, the
/// layer decays as it does. At b = b* this is the filter's p_*: a covariance buys the transient
/// alone.
template <class Scalar>
Scalar cyclic_error(const Scalar& gain, const FilterRule<Scalar>& truth, Count dim) {
  const Scalar one(1);
  const auto alpha = Ratio<Scalar>::of(truth.decay);
  const auto round = geometric_sums(alpha * alpha, dim);
  const Scalar kept = (one - gain) * (one - gain);
  // 1 - alpha^2d (1 - b)^2
  const Scalar lost = round.ratio.lost + round.power() * gain * (Scalar(2) - gain);
  return (kept * truth.process_noise * round.sum + gain * (gain * truth.observation_noise)) / lost;
}

/// R4.2 to R4.4: the gain b*(Q) in [0, 1) of the filter that sees a random walk of variance Q
/// between two noisy looks at it, (sqrt(Q^2 + 4 Q r) - Q) / (2 r); the best constant gain, too, on
/// cyclic and on random keys.
template <class Scalar>
Scalar tracking_gain(const Scalar& drift, const Scalar& noise) {
  return riccati_limit(FilterRule<Scalar>{Scalar(0), noise, Scalar(1), drift}).gain;
}

/// R4.3: orthonormal keys that are visited at unequal rates, without decay.
template <class Scalar>
struct UnequalVisits {
  Scalar filter;      ///< The filter's error, averaged over visits: sum_i pi_i r b*(Q_i).
  Scalar best_reset;  ///< That of the best constant gain: r b*(sum_i pi_i Q_i).
  Scalar best_gain;   ///< That gain.
};

/// R4.3: `periods` are the steps T_i between two visits of key i, sum 1 / T_i = 1. Q_i = T_i omega.
template <class Periods, class Scalar>
UnequalVisits<Scalar> unequal_visits(const Periods& periods, const Scalar& process_noise,
                                     const Scalar& noise) {
  UnequalVisits<Scalar> out{Scalar(0), Scalar(0), Scalar(0)};
  Scalar mean_drift(0);
  for (const Scalar& period : periods) {
    out.filter += noise / period * tracking_gain(Scalar(period * process_noise), noise);
    mean_drift += process_noise;  // pi_i Q_i
  }
  out.best_gain = tracking_gain(mean_drift, noise);
  out.best_reset = noise * out.best_gain;
  return out;
}

/// R4.4: a reset layer, 0 < b < 2, on random isotropic keys; `drift` Q and noise r are the truth's.
/// Exact at every `dim`: the error at a random query after a write, (Q + b^2 r) / (b (2 - b)) - Q /
/// d. The best gain is b*(Q); the error is then the value that an isotropic mean field (P = tau I)
/// gives for the filter.
template <class Scalar>
Scalar random_keys_error(const Scalar& gain, const Scalar& drift, const Scalar& noise,
                         const Scalar& dim) {
  // (Q + b^2 r) / (b (2 - b)) - Q / d, with b (2 - b) = 1 - (1 - b)^2
  const Scalar one(1), two(2), rest = one - gain;
  const Scalar share = ((dim - one) + rest * rest) / dim;
  return drift / gain * (share / (two - gain)) + gain * noise / (two - gain);
}

/// R4.5: the law of the filter on random isotropic keys, d -> infinity at fixed Q.
template <class Scalar>
struct RandomKeysLaw {
  Scalar w;         ///< In [0, 1): Q / r = 4 w^2 / (1 - w). Memories fade as e^(-2 w c), R4.7.
  Scalar variance;  ///< tau = tr P / d = r (e^w / (1 - w) - 1): the error, if all is as assumed.
  Scalar of_drift;  ///< d tau / d Q = e^w / (4 w), see `tracking_error`.
  Scalar of_noise;  ///< d tau / d r = e^w - 1
};

/// R4.5, without decay; drift Q > 0 and noise r > 0 that the filter assumes. tau lies between the
/// best reset layer's error (Q -> 0) and e / 4 of it (Q -> infinity): the isotropic mean field is
/// up to 47 % too high. Reached within 0.4 % at d = 64, 0.1 % at d = 256 (between the values before
/// and after a write). Derived by a concentration argument, not proved.
template <class Scalar>
RandomKeysLaw<Scalar> random_keys_law(const Scalar& drift, const Scalar& noise) {
  using std::exp;
  using std::expm1;
  using std::sqrt;
  // w = 2 Q / (Q + sqrt(Q^2 + 16 Q r)), and r / (1 - w) = (sum / 4)^2
  const Scalar root = sqrt(drift);
  const Scalar sum = root + detail::hypotenuse<Scalar>(root, Scalar(4) * sqrt(noise));
  const Scalar w = Scalar(2) * (root / sum), quarter = sum / Scalar(4);
  return {w, (expm1(w) + w) * quarter * quarter, exp(w) / (Scalar(4) * w), expm1(w)};
}

/// R4.9: the filter designed for other noise levels than the truth's, on random keys as d ->
/// infinity: Q_true e^w / (4 w) + r_true (e^w - 1). It claims `law.variance`. R3.7's plateau of a
/// target among distractors is y^2 + tracking_error(law, 0, s^2). The counterpart of a reset layer
/// is `random_keys_error`, exact.
template <class Scalar>
Scalar tracking_error(const RandomKeysLaw<Scalar>& law, const Scalar& true_drift,
                      const Scalar& true_noise) {
  return true_drift * law.of_drift + true_noise * law.of_noise;
}

/// R4.6: tau of the filter on random keys with scalar decay, d -> infinity at fixed Q = d omega > 0
/// and fading Delta = d (1 - alpha^2) >= 0. Delta = 0 is R4.5, Q -> 0 gives 0. tau / r
/// has to be a normal number.
template <class Scalar>
Scalar random_keys_variance(const Scalar& drift, const Scalar& fading, const Scalar& noise) {
  using std::expm1;
  using std::sqrt;
  const Scalar two(2);
  // With kappa = r (Q u^2 + Delta u), F(u) = kappa (2 Q r u + Q + Delta r) - 2 Q r u - Delta r has
  // one positive root, below u_0 where kappa = 1. By t = u / u_0: kappa = a t^2 + b t, a + b = 1,
  // and F = kappa (2 a t + A + b) - (2 a t + b) up to a factor, A = Q u_0. Newton's method falls to
  // the root, F being convex.
  const Scalar speed = sqrt(drift) / sqrt(noise);
  const Scalar start = two / (fading + detail::hypotenuse<Scalar>(fading, two * speed));  // r u_0
  const Scalar root_a = speed * start, a = root_a * root_a, b = fading * start, A = speed * root_a;
  const auto slope = [&](const Scalar& t) { return Scalar(two * a * t + b); };
  const auto step = [&](const Scalar& t) {
    const Scalar kappa_over_t = a * t + b, along = slope(t), factor = along + A;
    return Scalar(t - (kappa_over_t * (t * factor) - along) /
                          (along * factor + two * a * (kappa_over_t * t - Scalar(1))));
  };
  Scalar t(1);
  for (Scalar next = step(t); next < t; next = step(t)) t = next;
  t = step(t);                                               // for derivatives
  const Scalar along = slope(t), missing = A / (along + A);  // 1 - kappa
  // r + tau = r e^(kappa + Q u - 1) / kappa
  return (expm1(Scalar(A * t - missing)) + missing) * (noise * (along + A)) / along;
}

/// R4.8: a reset layer in steady state on random keys without decay, in key width `dim`; then n_a
/// writes of one key and m random ones: the error at that key. Exact for isotropic keys. `drift` Q
/// goes on at Q / d a write.
template <class Scalar>
Scalar revisited_error(const ResetRule<Scalar>& rule, const Scalar& drift, const Scalar& noise,
                       const Scalar& dim, Count n_a, Count m) {
  const Scalar one(1), across = (dim - one) * (drift / dim);  // of the drift omega a write
  const RandomContraction<Scalar> contraction(rule, dim);
  const Scalar steady = random_keys_error(rule.gain, drift, noise, dim);
  const Scalar rest = one - rule.gain;
  const Ratio<Scalar> kept{rest * rest, rule.gain * (one + rest)};
  const auto writes = geometric_sums(kept, n_a);
  const Scalar written =
      writes.power() * steady +
      (kept.value * (drift / dim) + rule.gain * (rule.gain * noise)) * writes.sum;
  // What the mean over all directions exceeds the steady state by: a write of the key moves the
  // error there and its trace alike, by -(d - 1) omega G_n in all, and drift adds (d - 1) omega
  // across it. n - G_n = (1 - x) sum of G_j, j < n.
  const Scalar behind =
      n_a > 0 ? Scalar(kept.lost * geometric_sums(kept, n_a - 1).sums) : Scalar(0);
  const Scalar mean = across * behind / dim;
  const auto deviator = geometric_sums(contraction.deviator, m).ratio;
  const Scalar spread = contraction.gap * divided_power(contraction.trace, contraction.deviator, m);
  return deviator.lost * steady + deviator.value * written + spread * mean;
}

}  // namespace seqbayes::dynamics
