/// @file
/// Noise levels from the innovations of a memory that is written with gains of any kind.
#pragma once

#include <algorithm>
#include <cmath>

#include <Eigen/LU>

#include <seqbayes/inference/stream_units.hpp>

namespace seqbayes::dynamics {

/// Both noise levels from two running means of the innovations of a *constant* gain on one unit
/// key, in the steady state (R7.7). The prior variance stays 1: it is forgotten.
///
/// A positive lag-one covariance says that the gain is too small, a negative one that it is too
/// large. Means over finitely many tokens may yield negative levels; nothing is clipped.
/// @param mean_square E nu_t^2
/// @param lag_one E nu_{t+1} nu_t
/// @param gain a = k' kappa in (0, 2)
/// @param decay alpha in (0, 1], of memory and data alike
template <class Scalar>
NoiseLevels<Scalar> noise_from_innovations(const Scalar& mean_square, const Scalar& lag_one,
                                           const Scalar& gain, const Scalar& decay = Scalar(1)) {
  const Scalar rest = Scalar(1) - gain;
  const Scalar r = rest * mean_square - lag_one / decay;
  const Scalar predicted = gain * mean_square + lag_one / decay;  // \hat E
  // \hat E = alpha^2 ((1 - a)^2 \hat E + a^2 r) + omega
  const Scalar decay2 = decay * decay;
  const Scalar lost =
      (Scalar(1) - decay) * (Scalar(1) + decay) + decay2 * gain * (Scalar(1) + rest);
  return {r, predicted * lost - decay2 * gain * (gain * r), Scalar(1)};
}

namespace detail {

/// The non-negative x with the least x' A x - 2 b' x, A positive semidefinite, over the supports
/// that 3 unknowns allow.
template <class Scalar>
Vector<Scalar, 3> non_negative_least_squares(const Eigen::Matrix<Scalar, 3, 3>& a,
                                             const Vector<Scalar, 3>& b) {
  Vector<Scalar, 3> best = Vector<Scalar, 3>::Zero();
  Scalar least(0);
  for (int support = 1; support < 8; ++support) {
    Eigen::Matrix<Scalar, 3, 3> m = Eigen::Matrix<Scalar, 3, 3>::Identity();
    Vector<Scalar, 3> v = Vector<Scalar, 3>::Zero();
    for (int i = 0; i < 3; ++i) {
      if ((support >> i & 1) == 0) continue;
      v[i] = b[i];
      for (int j = 0; j < 3; ++j) {
        if ((support >> j & 1) != 0) m(i, j) = a(i, j);
      }
    }
    const Vector<Scalar, 3> x = m.inverse() * v;
    const Scalar value = x.dot(a * x) - Scalar(2) * b.dot(x);
    if (value < least && x.minCoeff() >= Scalar(0)) {
      least = value;
      best = x;
    }
  }
  return best;
}

/// `estimate_noise` of a stream in its own units.
/// @param first levels to weigh moments by at first, of which only the ratios matter
template <class Scalar>
NoiseLevels<Scalar> levels_of_moments(const Sequence<Scalar>& x, const Matrix<Scalar>& gains,
                                      const NoiseLevels<Scalar>& first) {
  using std::exp;
  const Index length = x.key.rows(), dk = x.key.cols(), dv = x.value.cols();
  const Scalar width = Scalar(static_cast<double>(dv));
  const Scalar zero(0), one(1);
  ErrorCovariance<Scalar> parts[3] = {
      {dk, {one, zero, zero}}, {dk, {zero, one, zero}}, {dk, {zero, zero, one}}};
  // Rows 2 t and 2 t + 1: the second moments of nu_t, and of nu_t with the one before.
  Matrix<Scalar> design = Matrix<Scalar>::Zero(2 * length, 3);
  Vector<Scalar> moment = Vector<Scalar>::Zero(2 * length);
  Matrix<Scalar> memory = Matrix<Scalar>::Zero(dk, dv);
  Vector<Scalar> before = Vector<Scalar>::Zero(dv);
  for (Index t = 0; t < length; ++t) {
    const Token<Scalar> token = x.token(t);
    const auto k = token.key.vector();
    const auto gain = gains.row(t).transpose();
    Vector<Scalar> decayed_key = k;
    for (Index i = 0; i < dk && !token.log_decay.empty(); ++i) {
      const Scalar factor = exp(token.log_decay[token.log_decay.size() == 1 ? 0 : i]);
      memory.row(i) *= factor;
      decayed_key[i] *= factor;
    }
    const Vector<Scalar> innovation = token.value.vector() - memory.transpose() * k;
    memory += gain * innovation.transpose();
    moment[2 * t] = innovation.squaredNorm() / width;
    moment[2 * t + 1] = innovation.dot(before) / width;
    before = innovation;
    for (int i = 0; i < 3; ++i) {
      if (t > 0) design(2 * t + 1, i) = decayed_key.dot(parts[i].with_innovation());
      design(2 * t, i) = parts[i].step(token, gain);
    }
  }

  Vector<Scalar, 3> levels(first.observation_noise, first.process_noise, first.prior_variance);
  for (int round = 0; round < 4; ++round) {
    const Vector<Scalar> fitted = design * levels;
    Eigen::Matrix<Scalar, 3, 3> a = Eigen::Matrix<Scalar, 3, 3>::Zero();
    Vector<Scalar, 3> b = Vector<Scalar, 3>::Zero();
    for (Index i = 0; i < moment.size(); ++i) {
      // Var nu_t^2 = 2 s_t^2 and Var nu_t nu_{t-1} = s_t s_{t-1} + Cov^2
      const Scalar s = fitted[i - i % 2], s_before = fitted[std::max<Index>(i - 3, 0)];
      const Scalar variance = s * (i % 2 == 0 ? s : s_before) + fitted[i] * fitted[i];
      if (!(variance > zero)) continue;
      a += design.row(i).transpose() * design.row(i) / variance;
      b += design.row(i).transpose() * (moment[i] / variance);
    }
    levels = non_negative_least_squares<Scalar>(a, b);
  }
  return {levels[0], levels[1], levels[2]};
}

}  // namespace detail

/// Noise levels of any stream of associative regression, from how large its innovations under
/// given gains are and how much neighbours correlate: R7.7 for many keys and varying gains.
///
/// By R7.2 the second moments E nu_t^2 and E nu_{t+1} nu_t are linear in (r, omega, sigma_0^2) with
/// known coefficients, whatever the gains. This is their least squares fit with non-negative
/// levels, each moment weighted by the inverse of its sampling variance under the fit before.
/// Cheap (three covariance recursions) and consistent, and less precise than a maximum of the
/// evidence, for which it is a start.
/// @param x key, value, optionally log_decay; noises as `NoiseLevels` says
/// @param gains T x Dk, not depending on values: a reset layer's beta_t k_t, or `write_gains`
/// @throws std::invalid_argument on bad input, or if all values or all keys are zero
template <class Scalar>
NoiseLevels<Scalar> estimate_noise(const Sequence<Scalar>& x, const Matrix<Scalar>& gains) {
  Sequence<Scalar> without_strengths = x;
  without_strengths.write_strength = {};
  const detail::StreamInOwnUnits<Scalar> stream(without_strengths);
  detail::check_gains(x, gains);
  const auto& own = stream.sequence();
  const Scalar one(1);
  // As much noise in a typical value as in the prior of its read.
  Vector<Scalar> ratio = Vector<Scalar>::Zero(own.key.rows());
  for (Index t = 0; t < ratio.size(); ++t) {
    const Scalar norm2 = own.key.row(t).vector().squaredNorm();
    const Scalar noise = own.observation_noise.empty() ? one : own.observation_noise.row(t)[0];
    if (norm2 > Scalar(0)) ratio[t] = noise / norm2;
  }
  return stream.to_callers_units(detail::levels_of_moments<Scalar>(
      own, stream.gains(gains), {one, Scalar(0), detail::median_of_positive(ratio)}));
}

}  // namespace seqbayes::dynamics
