/// @file
/// Two unit keys a and b of cosine rho: n_a writes of a, then n_b of b, into an empty memory (R2.1
/// to R2.6). Everything per value channel.
#pragma once

#include <seqbayes/dynamics/repeated_writes.hpp>

namespace seqbayes::dynamics {

/// What the memory answers one of the two keys: C_own y_own + C_other y_other + noise.
/// Dimensionless.
template <class Scalar>
struct MixedRetrieval {
  Scalar own;           ///< C_aa at key a, C_bb at key b.
  Scalar missing;       ///< 1 - own, without cancellation.
  Scalar interference;  ///< C_ab at key a, C_ba at key b.
  Scalar noise_factor;  ///< Variance of the answer's noise over that of the values.

  /// E error for values `own_value` and `other_value`.
  [[nodiscard]] Scalar bias(const Scalar& own_value, const Scalar& other_value) const {
    return interference * other_value - missing * own_value;
  }
  /// E error^2 for values whose noise has variance `noise`.
  [[nodiscard]] Scalar mse(const Scalar& own_value, const Scalar& other_value,
                           const Scalar& noise) const {
    const Scalar error = bias(own_value, other_value);
    return error * error + noise * noise_factor;
  }
};

/// The answers at both keys.
template <class Scalar>
struct Collision {
  MixedRetrieval<Scalar> a, b;
};

/// The answers at both keys, and the variances that the filter claims there, in V^2.
template <class Scalar>
struct FilterCollision : Collision<Scalar> {
  Scalar variance_a, variance_b;  ///< a'Pa, b'Pb
};

namespace detail {

/// The readout at a after the filter's n writes of b (R2.6), by the sums of a filter that starts
/// with the variance p_b = b'Pb = p_a + s t along b; s = 1 - rho^2. All divided by D_n.
template <class Scalar>
struct ReadAtOtherKey {
  Scalar interference;    ///< I / rho
  Scalar not_interfered;  ///< 1 - I / rho
  Scalar noise_of_b;      ///< sum of squared weights of the b-writes / rho^2
  Scalar variance;        ///< a'Pa

  /// @param p_a a'Pa after the writes of a.
  /// @param t what the a-writes have removed of it: p_perp - p_a, p_perp = p_0 + n_a omega.
  ReadAtOtherKey(const FilterRule<Scalar>& rule, const Scalar& rho, const Scalar& p_a,
                 const Scalar& t, Count n) {
    const Scalar one(1), two(2), count(detail::as_scalar<Scalar>(n));
    const Scalar rho2 = rho * rho, s = (one - rho) * (one + rho), delta = s * t;
    FilterRule<Scalar> along_b = rule;
    along_b.prior_variance = p_a + delta;
    const FilterSums<Scalar> sums(along_b, n);
    const auto& limit = sums.limit;
    const Scalar &omega = rule.process_noise, &predicted = limit.predicted, &d = sums.denominator;
    const auto &phi = sums.of_phi, &square = sums.of_square;
    const Scalar lambda_1 = rule.observation_noise + predicted;

    // Weight of the j-th write of b over rho: D_n u_j = p_a phi^(n+j-1)
    //   + later phi^(n-j) G_j(phi^2) + skew (phi^(n-j) - phi^(j-1))
    // All over D_n, which is no less than p_a, predicted and delta.
    const Scalar before = p_a / d, later = limit.gain * (p_a + predicted) / d;
    const Scalar skew = delta / d * limit.gain * phi.sum / (one + limit.contraction.value);
    const Scalar& phi_before = sums.before.power();  // phi^(n-1)
    const Scalar crossed = before * phi.power() * (count * phi_before - square.sum) +
                           later * (square.rising - phi_before * square.sums);
    noise_of_b = before * before * square.power() * square.sum +
                 two * before * later * phi.power() * phi_before * square.sums +
                 later * later * square.squares + two * skew * crossed +
                 two * skew * skew * (square.sum - count * phi_before);
    const Scalar convolved = phi.sum * (phi.sum + phi.power()) / (one + limit.contraction.value);
    interference = before * square.sum + omega / d * convolved;
    not_interfered =
        (sums.unforgotten * phi.power() + delta * square.sum + predicted * phi.power() * phi.sum) /
        d;

    const Scalar learnt = limit.gain * phi.sum;                   // 1 - phi^n
    const auto product = [&](const Scalar& x, const Scalar& y) {  // x y / D_n
      return x > y ? Scalar(y * (x / d)) : Scalar(x * (y / d));
    };
    const Scalar of_p_a = (lambda_1 * square.power() + delta * square.sum) / d;
    variance = s * (p_a + count * omega) +
               rho2 * (p_a * of_p_a + product(p_a + predicted, limit.posterior) * square.sum +
                       product(delta, lambda_1) * learnt * learnt);
  }
};

}  // namespace detail

/// R2.1, R2.2, R2.6: the filter without decay (`rule.decay` has to be 1), with or without process
/// noise. Without: lambda = r / p_0, D = lambda^2 + lambda (n_a + n_b) + (1 - rho^2) n_a n_b, the
/// order of the writes does not matter, and
///
///     C_aa = n_a (lambda + (1 - rho^2) n_b) / D,  C_ab = rho lambda n_b / D,  a'Pa = r C_aa / n_a.
///
/// As n_a grows, the interference C_ab falls as 1 / n_a: a confident memory is preserved, and of b
/// is learnt what is new, C_bb -> (1 - rho^2) / (1 - rho^2 + lambda / n_b). As r -> 0 it vanishes.
/// With process noise the protection lasts while a'Pa is much less than p_0 + n_a omega. R2.6's
/// differences of 1 - Phi and protection are resummed: with p_a = a'Pa before the writes of b, and
/// D_n, phi, \hat p_+ of R1.2 for n = n_b and the prior variance b'Pb,
///
///     C_ab = rho [p_a G_n(phi^2) + omega G_n(phi) G_(n+1)(phi) / (1 + phi)] / D_n,
///     C_aa = S_a (1 - rho C_ab).
///
/// Domain: -1 <= rho <= 1, r > 0, counts >= 0.
template <class Scalar>
FilterCollision<Scalar> after_collision(const FilterRule<Scalar>& rule, const Scalar& rho,
                                        Count n_a, Count n_b) {
  const Scalar zero(0), one(1), count_a(detail::as_scalar<Scalar>(n_a));
  const Scalar s = (one - rho) * (one + rho);
  const Retrieval<Scalar> a = after_writes(rule, n_a);
  const Scalar p_a = claimed_variance(rule, n_a);
  // What has been learnt along a; across it, the variance is p_0 + n_a omega.
  const Scalar removed = rule.prior_variance + count_a * rule.process_noise - p_a;
  FilterRule<Scalar> along_b = rule;
  along_b.prior_variance = p_a + s * removed;
  const Retrieval<Scalar> b = after_writes(along_b, n_b);
  const Scalar spilt = rho * a.total_weight;  // what the a-writes have put at b

  FilterCollision<Scalar> out;
  out.b = {b.total_weight, b.missing_weight, b.initial_weight * spilt,
           b.noise_factor + b.initial_weight * b.initial_weight * rho * rho * a.noise_factor};
  out.variance_b = claimed_variance(along_b, n_b);
  out.a = {a.total_weight, a.missing_weight, zero, a.noise_factor};
  out.variance_a = p_a;
  if (n_b > 0) {
    const detail::ReadAtOtherKey<Scalar> read(rule, rho, p_a, removed, n_b);
    const Scalar rho2 = rho * rho, kept = s + rho2 * read.not_interfered;  // 1 - rho C_ab
    out.a = {a.total_weight * kept, a.missing_weight + a.total_weight * rho2 * read.interference,
             rho * read.interference, kept * kept * a.noise_factor + rho2 * read.noise_of_b};
    out.variance_a = read.variance;
  }
  return out;
}

/// R2.3: a reset layer. Without decay, theta = (1 - b)^n: C_ab = rho (1 - theta_b), whatever n_a
/// and however small the noise; C_aa = (1 - theta_a) (1 - rho^2 (1 - theta_b)), C_bb = 1 - theta_b,
/// C_ba = rho theta_b (1 - theta_a). With decay the memory keeps psi^n_b, psi = alpha (1 - b),
/// along b and alpha^n_b across it.
template <class Scalar>
Collision<Scalar> after_collision(const ResetRule<Scalar>& rule, const Scalar& rho, Count n_a,
                                  Count n_b) {
  const Scalar one(1), rho2 = rho * rho, s = (one - rho) * (one + rho);
  const Retrieval<Scalar> a = after_writes(rule, n_a), b = after_writes(rule, n_b);
  const auto across = geometric_sums(rule.decay, n_b).ratio;
  const auto along = geometric_sums(detail::contraction(rule), n_b).ratio;
  const Scalar kept = s * across.value + rho2 * along.value;
  const Scalar lost = s * across.lost + rho2 * along.lost;  // 1 - kept
  const Scalar spilt = rho * b.initial_weight;
  return {{a.total_weight * kept, a.missing_weight + a.total_weight * lost, rho * b.total_weight,
           kept * kept * a.noise_factor + rho2 * b.noise_factor},
          {b.total_weight, b.missing_weight, spilt * a.total_weight,
           spilt * spilt * a.noise_factor + b.noise_factor}};
}

/// R2.4: linear attention and SSD: C_aa = alpha^n_b G_n_a(alpha), C_bb = G_n_b(alpha),
/// C_ab = rho C_bb, C_ba = rho C_aa.
template <class Scalar>
Collision<Scalar> after_collision(const AttentionRule<Scalar>& rule, const Scalar& rho, Count n_a,
                                  Count n_b) {
  const Scalar rho2 = rho * rho;
  const Retrieval<Scalar> a = after_writes(rule, n_a), b = after_writes(rule, n_b);
  const auto faded = geometric_sums(rule.decay, n_b).ratio;
  const Scalar old = faded.value * a.total_weight;
  const Scalar missing = faded.lost + faded.value * a.missing_weight;  // 1 - old
  const Scalar old_noise = b.initial_weight * b.initial_weight * a.noise_factor;
  return {{old, missing, rho * b.total_weight, old_noise + rho2 * b.noise_factor},
          {b.total_weight, b.missing_weight, rho * old, rho2 * old_noise + b.noise_factor}};
}

/// R2.5: how much less the first write of b moves the answer at a in the filter (no decay, no
/// process noise, lambda = r / p_0) than in the reset layer with the same first gain,
/// rho / (1 + lambda): 1 for n_a = 0, and about lambda (1 + lambda) / (n_a (1 + lambda - rho^2))
/// for many writes of a. lambda > 0.
template <class Scalar>
Scalar protection_factor(const Scalar& lambda, const Scalar& rho, Count n_a) {
  const Scalar one(1), n(detail::as_scalar<Scalar>(n_a));
  return (one + lambda) / (lambda + n + one + (one - rho) * (one + rho) * n / lambda);
}

}  // namespace seqbayes::dynamics
