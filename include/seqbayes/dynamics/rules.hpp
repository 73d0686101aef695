/// @file
/// Write rules of which the dynamics are known, how random writes of a reset layer contract, and
/// the steady state of the filter.
#pragma once

#include <cmath>

#include <seqbayes/dynamics/geometric.hpp>

namespace seqbayes::dynamics {

/// The Bayesian Layer with scalar decay, all its noise isotropic. Keys are of unit norm; for one
/// key with |k|^2 = g multiply `prior_variance` and `process_noise` by g. With values in units of
/// V, of any size as long as n times and one n-th of a variance are normal numbers:
template <class Scalar>
struct FilterRule {
  Scalar prior_variance{1};  ///< p_0 = sigma_0^2 >= 0, in V^2.
  /// r >= 0, in V^2; r + omega + alpha^2 p_0 > 0, so that a write has a gain.
  Scalar observation_noise{1};
  Scalar decay{1};          ///< alpha in [0, 1], a write.
  Scalar process_noise{0};  ///< omega >= 0, in V^2 a write.
};

/// DeltaNet, and with decay Gated DeltaNet. Stable for 0 < gain < 2.
template <class Scalar>
struct ResetRule {
  Scalar gain{
      1};  ///< b = beta |k|^2; 1 / (1 + lambda) for the reset filter, lambda = r / sigma_0^2.
  Scalar decay{1};  ///< alpha in [0, 1], a write.
};

namespace detail {

/// psi = alpha (1 - b), what a write of a reset layer leaves along its key.
template <class Scalar>
Ratio<Scalar> contraction(const ResetRule<Scalar>& rule) {
  const Scalar rest = Scalar(1) - rule.gain;
  return {rule.decay * rest, rule.gain + (Scalar(1) - rule.decay) * rest};
}

}  // namespace detail

/// Linear attention, and with decay RetNet and Mamba-2; unit keys.
template <class Scalar>
struct AttentionRule {
  Scalar decay{1};  ///< alpha in [0, 1], a write.
};

/// How a random write of a reset layer in key width d contracts, on average, the second moment of
/// the memory: its trace by gamma_T, what differs from isotropy by gamma_x (R3.3, R3.4).
template <class Scalar>
struct RandomContraction {
  Ratio<Scalar> trace;     ///< gamma_T = alpha^2 (1 - b (2 - b) / d)
  Ratio<Scalar> deviator;  ///< gamma_x = alpha^2 (1 - 2 b / d + 2 b^2 / (d (d + 2)))
  Scalar gap;              ///< gamma_T - gamma_x = alpha^2 b^2 / (d + 2)
  Scalar total_gap;        ///< d gap, which is alpha^2 b^2 as d -> infinity.

  RandomContraction(const ResetRule<Scalar>& rule, const Scalar& dim)
      : RandomContraction(at_inverse_dim(rule, Scalar(Scalar(1) / dim))) {}

  /// By 1 / d; 0 is the limit.
  static RandomContraction at_inverse_dim(const ResetRule<Scalar>& rule,
                                          const Scalar& inverse_dim) {
    const Scalar one(1), two(2), square = rule.decay * rule.decay;
    const Scalar& b = rule.gain;
    RandomContraction contraction;
    contraction.trace = {
        square * (one - b * (two - b) * inverse_dim),
        (one - rule.decay) * (one + rule.decay) + square * b * (two - b) * inverse_dim};
    contraction.total_gap = square * b * b / (one + two * inverse_dim);
    contraction.gap = contraction.total_gap * inverse_dim;
    contraction.deviator = {contraction.trace.value - contraction.gap,
                            contraction.trace.lost + contraction.gap};
    return contraction;
  }

 private:
  RandomContraction() = default;
};

/// Where the variance of one key written at every step settles (R1.2, R1.3).
template <class Scalar>
struct RiccatiLimit {
  Scalar predicted;  ///< \hat p_+, before a write, in V^2.
  Scalar gain;       ///< a* = \hat p_+ / (r + \hat p_+), approached at rate `contraction`^2.
  Scalar kept;       ///< 1 - a*.
  Ratio<Scalar> contraction;  ///< phi = alpha (1 - a*): what a step leaves of an error.
  Scalar posterior;           ///< p_+ = a* r, after a write, in V^2.
};

/// The fixed point of p -> alpha^2 p + omega -> its posterior (R1.2, R1.3). `rule.prior_variance`
/// is not used. r = omega = 0 is the limit r -> 0 of omega = 0: a* = 0.
template <class Scalar>
RiccatiLimit<Scalar> riccati_limit(const FilterRule<Scalar>& rule) {
  using std::sqrt;
  const Scalar zero(0), one(1), two(2);
  const Scalar& r = rule.observation_noise;
  const Scalar& omega = rule.process_noise;
  // \hat p_+^2 - u \hat p_+ = omega r
  const Scalar u = omega - (one - rule.decay) * (one + rule.decay) * r;
  Scalar predicted(0);
  if (omega > zero) {
    const Scalar root = detail::hypotenuse<Scalar>(u, two * sqrt(omega) * sqrt(r));
    predicted = u > zero ? (u + root) / two : omega * (two * r / (root - u));
  }
  const Scalar innovation = r + predicted;
  const Scalar gain = innovation > zero ? predicted / innovation : zero;
  const Scalar kept = innovation > zero ? r / innovation : one;
  const Ratio<Scalar> phi{rule.decay * kept, gain + (one - rule.decay) * kept};
  const Scalar posterior = predicted < r ? Scalar(predicted * kept) : Scalar(gain * r);
  return {predicted, gain, kept, phi, posterior};
}

}  // namespace seqbayes::dynamics
