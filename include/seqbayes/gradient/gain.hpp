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
  Vector<Scalar, Dk> gain;        ///< By kappa.
  Scalar innovation_variance{};   ///< By s.
  Scalar variance{};              ///< By q' P q.
  Vector<Scalar, Dk> dlog_decay;  ///< Result: by the covariance's log decay, a channel each.
  LayerOptionGradient<Scalar>* doptions = nullptr;  ///< Result, added to.
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
    const Scalar& prior = options.prior_variance;
    const Scalar norm2 = k.squaredNorm();
    const bool clamped = beta * norm2 > Scalar(1);
    Scalar dbeta = k.dot(d.gain);
    Scalar dnorm2(0), dprior(0);
    if (beta > Scalar(0)) {
      const Scalar& ds = d.innovation_variance;
      if (clamped) {
        dnorm2 += prior * ds;
        dprior += norm2 * ds;
      } else {
        dbeta -= prior / (beta * beta) * ds;
        dprior += ds / beta;
      }
    }
    const Scalar along = q.dot(k);
    const Scalar rest = Scalar(2) - (clamped ? Scalar(beta * norm2) : Scalar(1));
    const Scalar dv = prior * d.variance;
    const Scalar dalong = Scalar(-2) * dv * beta * along * rest;
    dprior += d.variance * (q.squaredNorm() - beta * along * along * rest);
    dbeta -= dv * along * along * rest;
    if (clamped) {
      dbeta += dv * beta * along * along * norm2;
      dnorm2 += dv * beta * along * along * beta;
    }
    d.doptions->prior_variance += dprior;
    grad.query.add(q * Scalar(Scalar(2) * dv) + k * dalong);
    grad.key.add(d.gain * beta + q * dalong + k * Scalar(Scalar(2) * dnorm2));
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
    const Keys moment = decayed + strength * k.square() + options.epsilon;
    const Keys u = moment.log() - options.log_scale;
    const Keys size = u.abs() + Scalar(1);
    const Scalar log_base = log(options.base);
    const Keys f = (-u / size * log_base).exp();

    auto dmoment = detail::sized<Dk, 1>(dstate);
    dmoment.array() -= d.gain.array() * k * f * beta * log_base / (size.square() * moment);
    grad.write_strength.add_one((d.gain.array() * k * f).sum());
    grad.key.add(
        (d.gain.array() * f * beta + dmoment.array() * k * Scalar(Scalar(2) * strength)).matrix());
    grad.precondition_strength.add_one((dmoment.array() * k.square()).sum());
    grad.precondition_log_decay.add_one((dmoment.array() * decayed).sum());
    dmoment *= factor;
  }
};

/// \hat p = mean(D^2) p + omega, s = r + \hat p |k|^2, kappa = k \hat p / s and p = \hat p R / (R +
/// c \hat p |k|^2), with R = Dk r and c the option `info_scale`.
template <>
struct GainVjp<IsotropicCovariance> {
  template <int Dk, class Options, class Scalar, class Decay>
  static void step(const Options& options, const Token<Scalar>& token, const Decay& decay,
                   const Scalar& before, GainCotangent<Scalar, Dk>& d, Scalar& dp,
                   detail::TokenGradient<Scalar>& grad) {
    const auto k = token.key.template vector<Dk>();
    const auto q = token.query.template vector<Dk>();
    const Scalar r = token.observation_noise[0];
    const Scalar norm2 = k.squaredNorm();
    const Scalar width = Scalar(static_cast<double>(options.key_dim));
    const Scalar mean = decay.squaredNorm() / width;
    const Scalar predicted = mean * before + token.process_noise[0];
    const Scalar s = r + predicted * norm2;
    const Scalar scaled = options.info_scale * predicted;
    const Scalar keep = width * r / (width * r + scaled * norm2);  // p / \hat p

    dp += d.variance * q.squaredNorm();
    const Scalar dstrength = k.dot(d.gain);
    const Scalar ds = d.innovation_variance - dstrength * predicted / (s * s);
    const Scalar dpredicted = dp * keep * keep + dstrength / s + ds * norm2;
    const Scalar dkeep = dp * predicted * keep * (Scalar(1) - keep);  // by ln R, minus by ln |k|^2
    const Scalar dnorm2 = ds * predicted - dp * predicted * keep * keep * scaled / (width * r);
    grad.query.add(q * Scalar(Scalar(2) * d.variance * predicted * keep));
    grad.key.add(d.gain * Scalar(predicted / s) + k * Scalar(Scalar(2) * dnorm2));
    grad.observation_noise.add_one(ds + dkeep / r);
    grad.process_noise.add_one(dpredicted);
    d.doptions->info_scale -= dp * predicted * keep * predicted * keep * norm2 / (width * r);
    d.dlog_decay = decay.cwiseAbs2() * Scalar(Scalar(2) * dpredicted * before / width);
    dp = mean * dpredicted;
  }
};

/// The same with one p for each channel, and R = r.
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
    const Scalar s = r + (predicted * k.square()).sum();
    const Keys scaled = options.info_scale * predicted;
    const Keys keep = r / (r + scaled * k.square());
    auto dp = detail::sized<Dk, 1>(dstate);

    dp.array() += d.variance * q.square();
    const Scalar ds = d.innovation_variance - (predicted * k * d.gain.array()).sum() / (s * s);
    const Keys dpredicted = dp.array() * keep.square() + d.gain.array() * k / s + ds * k.square();
    const Keys change = dp.array() * predicted * keep.square() * scaled / r;  // by -k^2
    grad.query.add((q * predicted * keep * Scalar(Scalar(2) * d.variance)).matrix());
    grad.key.add(
        (d.gain.array() * predicted / s + Scalar(2) * k * (ds * predicted - change)).matrix());
    grad.observation_noise.add_one(ds + (change * k.square()).sum() / r);
    grad.process_noise.add(dpredicted.matrix());
    d.doptions->info_scale -= (dp.array() * (predicted * k * keep).square()).sum() / r;
    d.dlog_decay = (Scalar(2) * dpredicted * decayed).matrix();
    dp = (decay.array().square() * dpredicted).matrix();
  }
};

}  // namespace seqbayes
