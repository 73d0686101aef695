/// @file
/// A memory among random writes while everything drifts (R4.7).
#pragma once

#include <cmath>

#include <seqbayes/dynamics/drift.hpp>

namespace seqbayes::dynamics {

namespace detail {

/// (e^x - 1 - x) / x^2 for 0 <= x <= 1.
template <class Scalar>
Scalar second_difference(const Scalar& x) {
  Scalar sum(0), term(0.5);
  for (int k = 3; sum + term > sum; ++k) {
    sum += term;
    term *= x / Scalar(k);
  }
  return sum;
}

/// R4.7's eta in terms of z = 1 - u in [0, 1], the share that v has of where it settles:
/// eta = z^2 e^epsilon, where epsilon = u f is the smaller root of
///
///     z^2 (e^epsilon - 1) - epsilon + w u^2 = 0,
///
/// which falls from w at z = 0 to 0 at z = 1. All over u^2, the function of f is convex, so
/// Newton's method rises to the root from where it has no square.
template <class Scalar>
Scalar excess_over_u(const Scalar& w, const Scalar& z, const Scalar& u) {
  using std::expm1;
  const Scalar two(2), z2 = z * z, linear = two - u;  // 1 - z^2 = u (2 - u)
  const auto step = [&](const Scalar& f) {
    const Scalar curved = z2 * second_difference(Scalar(u * f)) * f;
    return Scalar(f + (curved * f - linear * f + w) / (linear - z2 * expm1(Scalar(u * f)) / u));
  };
  Scalar f = w / linear;
  for (Scalar next = step(f); next > f; next = step(f)) f = next;
  return f;
}

}  // namespace detail

/// R4.7: the filter in steady state on random keys without decay (R4.5); then one key is written
/// n_a times, much fewer than d and without drift meanwhile, and m = c d random keys follow, with
/// drift Q = d omega and noise r: what is left at that key, as d -> infinity. The
/// filter's assumptions hold. Retention starts flat for large n_a and decays as e^(-2 w c) in the
/// end. Agrees with runs at d = 300 within 0.7 %, c <= 3; derived by a concentration argument, not
/// proved.
///
/// R4.7's integrals as differential equations in c: v' = (1 - eta) / D and J' = Q v, where
/// D = eta / (Q v^2), eta e^-eta = Q (r + tau) v^2 e^(-Q (r v^2 + v)), Sigma = D - r. v settles
/// where Q v = 2 w. With its share z = tanh y of that and time s = 2 w c, w alone is left,
///
///     y' = (e^-epsilon - z^2) / (1 - z^2),   J' = z,   Sigma + r = (r + tau) e^(epsilon - w),
///
/// y' lies in [e^-1, 1] and tends to a constant; after s = 27 what is missing of z is below 1e-16.
/// Runge and Kutta's method, `steps` >= 1 steps up to there: 200 are right to 1e-6 of the retention
/// at any load. drift > 0, noise > 0, load >= 0, of any size.
template <class Scalar>
Forgetting<Scalar> retention_under_drift(const Scalar& drift, const Scalar& noise, Count writes,
                                         const Scalar& load, Count steps = 200) {
  using std::exp;
  using std::expm1;
  const Scalar one(1), two(2), six(6), settled(27);
  const auto law = random_keys_law(drift, noise);
  const Scalar &w = law.w, &tau = law.variance;
  struct Share {
    Scalar z, u, epsilon_over_u;
  };
  const auto share_at = [&](const Scalar& y) {
    const Scalar left = exp(Scalar(-two * y));
    const Scalar z = -expm1(Scalar(-two * y)) / (one + left), u = two * left / (one + left);
    return Share{z, u, detail::excess_over_u(w, z, u)};
  };
  const auto slope = [&](const Share& at) {
    return Scalar(one + expm1(Scalar(-at.u * at.epsilon_over_u)) / (at.u * (two - at.u)));
  };
  const Scalar time = two * (w * load);
  const Scalar h = (time < settled ? time : settled) / detail::as_scalar<Scalar>(steps);
  Scalar y(0), faded(0);  // faded = J
  for (Count i = 0; i < steps && h > Scalar(0); ++i) {
    const Share at_1 = share_at(y);
    const Scalar k1 = slope(at_1);
    const Share at_2 = share_at(Scalar(y + h / two * k1));
    const Scalar k2 = slope(at_2);
    const Share at_3 = share_at(Scalar(y + h / two * k2));
    const Scalar k3 = slope(at_3);
    const Share at_4 = share_at(Scalar(y + h * k3));
    faded += h / six * (at_1.z + two * (at_2.z + at_3.z) + at_4.z);
    y += h / six * (k1 + two * (k2 + k3) + slope(at_4));
  }
  if (time > settled) faded += time - settled;
  const Share end = share_at(y);
  const Scalar epsilon = end.u * end.epsilon_over_u, whole = expm1(w) + w;  // tau (1 - w) / r
  const Scalar sigma = tau * ((expm1(epsilon) + w) / whole);
  // w - epsilon = z (w (1 + u) - z (e^epsilon - 1))
  const Scalar below = end.z * (w * (one + end.u) - end.z * expm1(epsilon));
  const Scalar settled_less = tau * (exp(epsilon) * expm1(below) / whole);  // tau - Sigma
  const Scalar noise_of_writes = noise / detail::as_scalar<Scalar>(writes);
  const Scalar share = sigma / (sigma + noise_of_writes);
  const Scalar rest = noise_of_writes / (sigma + noise_of_writes);
  const Scalar kept = exp(-faded), lost = -expm1(Scalar(-two * faded));
  const Scalar after_writes = sigma < noise_of_writes ? Scalar(sigma * rest)  // Sigma (1 - share)
                                                      : Scalar(share * noise_of_writes);
  return {share * kept, rest - share * expm1(-faded),
          settled_less + sigma * lost + after_writes * kept * kept};
}

}  // namespace seqbayes::dynamics
