/// @file
/// A memory among random writes while everything drifts (R4.7).
#pragma once

#include <cmath>

#include <seqbayes/dynamics/drift.hpp>

namespace seqbayes::dynamics {

namespace detail {

/// The root eta in [0, 1] of eta e^-eta = e^log_product, log_product <= -1; Newton's method rises
/// to it, as ln eta - eta is concave. (eta = -W_0(-e^log_product).)
template <class Scalar>
Scalar lambert_eta(const Scalar& log_product) {
  using std::exp;
  using std::log;
  const Scalar one(1);
  if (!(log_product < -one)) return one;
  const auto step = [&](const Scalar& eta) {
    return Scalar(eta + (log_product - log(eta) + eta) * eta / (one - eta));
  };
  Scalar eta = exp(log_product);
  for (Scalar next = step(eta); next > eta && next < one; next = step(eta)) eta = next;
  return eta;
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
/// D = eta / (Q v^2), eta e^-eta = Q (r + tau) v^2 e^(-Q (r v^2 + v)), Sigma = D - r. Runge and
/// Kutta's method, `steps` >= 1 steps. drift > 0, noise > 0, load >= 0.
template <class Scalar>
Forgetting<Scalar> retention_under_drift(const Scalar& drift, const Scalar& noise, Count writes,
                                         const Scalar& load, Count steps = 200) {
  using std::exp;
  using std::log;
  const Scalar zero(0), one(1), two(2);
  const Scalar tau = random_keys_law(drift, noise).variance;
  const Scalar log_start = log(drift * (noise + tau));
  const auto eta_at = [&](const Scalar& v) {
    return detail::lambert_eta(Scalar(log_start + two * log(v) - drift * v * (noise * v + one)));
  };
  const auto slope = [&](const Scalar& v) {
    if (!(v > zero)) return Scalar(one / (noise + tau));
    const Scalar eta = eta_at(v);
    return Scalar((one - eta) * drift * v * v / eta);
  };
  const Scalar h = load / detail::as_scalar<Scalar>(steps);
  Scalar v(0), faded(0);  // faded = J
  for (Count i = 0; i < steps && load > zero; ++i) {
    const Scalar k1 = slope(v);
    const Scalar k2 = slope(Scalar(v + h / two * k1));
    const Scalar k3 = slope(Scalar(v + h / two * k2));
    const Scalar k4 = slope(Scalar(v + h * k3));
    // J' = Q v, by the same rule: v at the three places is v, v + h k / 2 (twice), v + h k3
    faded += drift * h * (v + h / Scalar(6) * (k1 + k2 + k3));
    v += h / Scalar(6) * (k1 + two * k2 + two * k3 + k4);
  }
  const Scalar sigma = v > zero ? Scalar(eta_at(v) / (drift * v * v) - noise) : tau;
  const Scalar kept = exp(-faded);
  const Scalar share = sigma / (sigma + noise / detail::as_scalar<Scalar>(writes));
  return {share * kept, one - share * kept, tau - sigma * share * kept * kept};
}

}  // namespace seqbayes::dynamics
