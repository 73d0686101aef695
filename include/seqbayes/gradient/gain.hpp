/// @file
/// The gain pass backwards, for each covariance policy: derivatives of one token's gain kappa,
/// innovation variance s, retrieval variance and covariance by what they were made of.
#pragma once

#include <seqbayes/covariance/approximate.hpp>
#include <seqbayes/covariance/latent_input.hpp>
#include <seqbayes/covariance/preconditioned.hpp>
#include <seqbayes/covariance/reset.hpp>
#include <seqbayes/gradient/gradient.hpp>

namespace seqbayes {

/// The derivatives that come into a gain pass, and those of what is no field.
template <class Scalar, int Dk>
struct GainCotangent {
  Vector<Scalar, Dk> gain;           ///< By kappa.
  Scalar log_innovation_variance{};  ///< By ln s: s itself may be beyond the scalar's range.
  Scalar variance{};                 ///< By q' P q.
  Vector<Scalar, Dk> dlog_decay;     ///< Result: by the covariance's log decay, a channel each.
  LayerOptionSums<Scalar>* doptions = nullptr;  ///< Result, added to.
};

/// `step(options, token, decay, before, d, dstate, grad)`: one token of a policy backwards. `decay`
/// holds Dk factors; `before` is the state before the token; `dstate` the derivative by the state
/// after it and, on return, by `before`. Specialise it beside a policy of your own.
template <class Policy>
struct GainVjp {
  static_assert(!std::is_same_v<Policy, Policy>,
                "seqbayes: scan_vjp has no derivatives of this covariance policy. Specialise "
                "seqbayes::GainVjp<Policy> (gradient/gain.hpp).");
};

/// kappa = k.
template <>
struct GainVjp<NoCovariance> {
  template <int Dk, class Options, class Scalar, class Decay>
  static void step(const Options&, const Token<Scalar>&, const Decay&, Empty,
                   GainCotangent<Scalar, Dk>& d, Empty&, detail::TokenGradient<Scalar>& grad) {
    grad.key.add(d.gain);
  }
};

/// kappa = k tau / (tau + r).
template <>
struct GainVjp<UntrackedInput> {
  template <int Dk, class Options, class Scalar, class Decay>
  static void step(const Options& options, const Token<Scalar>& token, const Decay&, Empty,
                   GainCotangent<Scalar, Dk>& d, Empty&, detail::TokenGradient<Scalar>& grad) {
    const Scalar& tau = options.input_variance;
    if (!detail::is_finite(tau)) return grad.key.add(d.gain);
    const Scalar total = tau + token.observation_noise[0];
    const Scalar shrunk = tau / total;
    grad.key.add(d.gain * shrunk);
    const Scalar along = d.gain.dot(token.key.template vector<Dk>()) / total;
    grad.observation_noise.add_one(-along * shrunk);
    d.doptions->input_variance += along * (token.observation_noise[0] / total);
  }
};

/// kappa = beta k; s = sigma_0^2 / beta, or sigma_0^2 |k|^2 where r is clamped at 0 (beta |k|^2 >
/// 1); variance sigma_0^2 (|q|^2 - beta (q'k)^2 (2 - max(1, beta |k|^2))).
template <>
struct GainVjp<ResetCovariance> {
  template <int Dk, class Options, class Scalar, class Decay>
  static void step(const Options& options, const Token<Scalar>& token, const Decay&, Empty,
                   GainCotangent<Scalar, Dk>& d, Empty&, detail::TokenGradient<Scalar>& grad) {
    const auto k = token.key.template vector<Dk>();
    const auto q = token.query.template vector<Dk>();
    const Scalar beta = token.write_strength[0];
    const Vector<Scalar, Dk> gain = k * beta;
    const Scalar strength = k.dot(gain);  // beta |k|^2
    const bool clamped = strength > Scalar(1);
    const Scalar along = q.dot(k), read = q.dot(gain);
    const Scalar rest = Scalar(2) - detail::excess_of_noise(strength);
    const Scalar dv = options.prior_variance * d.variance;
    const Scalar dalong = Scalar(-2) * dv * read * rest;  // by q'k, if beta were fixed
    Scalar dbeta = k.dot(d.gain) - dv * along * along * rest;
    Scalar dprior = d.variance * (q.squaredNorm() - read * along * rest);
    Scalar dlog_norm2(0);
    if (beta > Scalar(0) && options.prior_variance > Scalar(0)) {
      const Scalar& dlog_s = d.log_innovation_variance;
      dprior += dlog_s / options.prior_variance;
      if (clamped) {
        dlog_norm2 += dlog_s;
      } else {
        dbeta -= dlog_s / beta;
      }
    }
    grad.query.add(q * Scalar(Scalar(2) * dv) + k * dalong);
    grad.key.add(d.gain * beta + q * dalong);
    if (clamped) {
      const Scalar dlog_strength = dv * read * along * strength;
      dbeta += dlog_strength / beta;
      dlog_norm2 += dlog_strength;
      grad.key.add(gain * Scalar(Scalar(2) * dlog_norm2 / strength));
    }
    d.doptions->prior_variance += dprior;
    grad.write_strength.add_one(dbeta);
  }
};

/// kappa = beta f(A) k with f(A) = base^(-u / (1 + |u|)), u = ln(A + epsilon) - log_scale, and A =
/// e^h A_{t-1} + b k * k.
template <>
struct GainVjp<PreconditionedReset> {
  template <int Dk, class Options, class Scalar, class Decay, class Stored>
  static void step(const Options& options, const Token<Scalar>& token, const Decay&,
                   const Stored& before, GainCotangent<Scalar, Dk>& d, Stored& dstate,
                   detail::TokenGradient<Scalar>& grad) {
    using std::exp;
    using std::log;
    using Keys = Eigen::Array<Scalar, Dk, 1>;
    const Keys k = token.key.template vector<Dk>().array();
    const Scalar beta = token.write_strength[0];
    const Scalar strength = token.precondition_strength[0];
    const Scalar factor = exp(token.precondition_log_decay[0]);
    const Keys decayed = detail::sized<Dk, 1>(before).array() * factor;
    const Keys moment = decayed + strength * k * k + options.epsilon;
    const Keys u = moment.log() - options.log_scale;
    const Keys size = u.abs() + Scalar(1);
    const Scalar log_base = log(options.base);
    const Keys f = (-u / size * log_base).exp();

    auto dmoment = detail::sized<Dk, 1>(dstate);
    dmoment.array() -= d.gain.array() * k * f * beta * log_base / size.square() / moment;
    grad.write_strength.add_one((d.gain.array() * k * f).sum());
    grad.key.add(
        (d.gain.array() * f * beta + dmoment.array() * k * Scalar(Scalar(2) * strength)).matrix());
    grad.precondition_strength.add_one((dmoment.array() * k * k).sum());
    grad.precondition_log_decay.add_one((dmoment.array() * decayed).sum());
    dmoment *= factor;
  }
};

/// \hat p = mean(D^2) p + omega, z = \hat p k, s = r + k'z, kappa = z / s and p = \hat p r / (r +
/// c k'z), with c = `info_scale` / Dk. Derivatives by s are taken by ln s, -kappa * dkappa the
/// gain's part; no product is formed that is infinite where its factors' quotients aren't.
template <>
struct GainVjp<IsotropicCovariance> {
  template <int Dk, class Options, class Scalar, class Decay>
  static void step(const Options& options, const Token<Scalar>& token, const Decay& decay,
                   const Scalar& before, GainCotangent<Scalar, Dk>& d, Scalar& dp,
                   detail::TokenGradient<Scalar>& grad) {
    const auto k = token.key.template vector<Dk>();
    const auto q = token.query.template vector<Dk>();
    const Scalar r = token.observation_noise[0];
    using Keys = Vector<Scalar, Dk>;
    const Scalar width = Scalar(static_cast<double>(options.key_dim));
    const Scalar mean = decay.squaredNorm() / width;
    const Scalar predicted = mean * before + token.process_noise[0];
    const Keys z = k * predicted;
    const Scalar along = k.dot(z), s = r + along;

    dp += d.variance * q.squaredNorm();
    Scalar dpredicted = dp, posterior = predicted;
    if (detail::is_finite(s)) {
      const Scalar c = options.info_scale / width;
      const Scalar informed = r + c * along;
      posterior = predicted / (Scalar(1) + c * along / r);
      const Scalar dlog_s = d.log_innovation_variance - d.gain.dot(z) / s;
      const Scalar keep = r / informed;  // p / \hat p
      const Scalar share = along / informed;
      const Scalar dlog_p = dp * predicted * keep;
      dpredicted = dp * keep * keep + k.dot(d.gain) / s + dlog_s * (k / s).dot(k);
      grad.key.add(d.gain * predicted / s + (z / s) * Scalar(Scalar(2) * dlog_s) -
                   (z / informed) * Scalar(Scalar(2) * dlog_p * c));
      grad.observation_noise.add_one(dlog_s / s + dp * predicted * (c * share) / informed);
      d.doptions->info_scale -= dlog_p * share / width;
    }
    grad.query.add(q * Scalar(Scalar(2) * d.variance * posterior));
    grad.process_noise.add_one(dpredicted);
    d.dlog_decay = decay.cwiseAbs2() * Scalar(Scalar(2) * dpredicted * before / width);
    dp = mean * dpredicted;
  }
};

/// The same with one p for each channel, z = \hat p * k, and c = `info_scale`.
template <>
struct GainVjp<DiagonalCovariance> {
  template <int Dk, class Options, class Scalar, class Decay, class Stored>
  static void step(const Options& options, const Token<Scalar>& token, const Decay& decay,
                   const Stored& before, GainCotangent<Scalar, Dk>& d, Stored& dstate,
                   detail::TokenGradient<Scalar>& grad) {
    using Keys = Eigen::Array<Scalar, Dk, 1>;
    const auto k = token.key.template vector<Dk>().array();
    const auto q = token.query.template vector<Dk>().array();
    const Scalar r = token.observation_noise[0];
    const Keys decayed = decay.array().square() * detail::sized<Dk, 1>(before).array();
    Vector<Scalar, Dk> field = decayed.matrix();
    detail::add_field<Dk>(field, token.process_noise);
    const Keys predicted = field.array();
    const Keys z = predicted * k, along = z * k;
    const Scalar s = r + along.sum();
    auto dp = detail::sized<Dk, 1>(dstate);

    dp.array() += d.variance * q.square();
    Keys dpredicted = dp.array(), posterior = predicted;
    if (detail::is_finite(s)) {
      const Scalar& c = options.info_scale;
      const Keys informed = r + c * along;
      posterior /= Scalar(1) + c * along / r;
      const Scalar dlog_s = d.log_innovation_variance - (d.gain.array() * z).sum() / s;
      const Keys keep = r / informed;  // p / \hat p
      const Keys share = along / informed;
      const Keys dlog_p = dp.array() * predicted * keep;
      dpredicted = dp.array() * keep.square() + d.gain.array() * k / s + dlog_s * (k / s) * k;
      grad.key.add((d.gain.array() * predicted / s + (z / s) * Scalar(Scalar(2) * dlog_s) -
                    (z / informed) * dlog_p * Scalar(Scalar(2) * c))
                       .matrix());
      grad.observation_noise.add_one(dlog_s / s +
                                     (dp.array() * predicted * (c * share) / informed).sum());
      d.doptions->info_scale -= (dlog_p * share).sum();
    }
    grad.query.add((q * posterior * Scalar(Scalar(2) * d.variance)).matrix());
    grad.process_noise.add(dpredicted.matrix());
    d.dlog_decay = (Scalar(2) * dpredicted * decayed).matrix();
    dp = (decay.array().square() * dpredicted).matrix();
  }
};

}  // namespace seqbayes
