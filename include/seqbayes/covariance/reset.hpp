/// @file
/// Nothing is kept of the covariance: none at all, or a reset to sigma_0^2 I before every write.
#pragma once

#include <cmath>

#include <seqbayes/covariance/policy.hpp>

namespace seqbayes {

/// No covariance: the key itself is the gain (the latent-input model, where the mean doesn't need
/// one, and layers that gate the write by other means).
struct NoCovariance : detail::WithoutState {
  using Self = NoCovariance;
  static constexpr OptionsRead reads{};
  template <class Options>
  static constexpr void add_inputs(InputWidths&, const Options&) {}

  template <int Dk, class Scalar, class Options, class Decay, class Gain>
  static Scalar gain(const Options&, const Token<Scalar>& token, const Decay&, Empty, Gain& gain) {
    gain = token.key.template vector<Dk>();
    return Scalar(0);
  }

  template <int Dk, class Options, class Scalar, class Decay, class OptionSums>
  static void gain_vjp(const Options&, const Token<Scalar>&, const Decay&, Empty,
                       GainCotangent<Scalar, Dk>& d, Empty&, TokenGradient<Scalar>& grad,
                       OptionSums&) {
    grad.key.add(d.gain);
  }
};

/// The write strength beta = sigma_0^2 / (r + sigma_0^2 |k|^2) of a reset layer whose values have
/// observation noise r > 0, for a key of squared norm `key_norm2` (docs/mathematics.md).
template <class Scalar>
Scalar to_write_strength(const Scalar& observation_noise, const Scalar& key_norm2,
                         const Scalar& prior_variance) {
  return prior_variance / (observation_noise + prior_variance * key_norm2);
}

/// The observation noise r = sigma_0^2 (1 - beta |k|^2) / beta that a write strength beta > 0
/// stands for. A filter exists only where beta |k|^2 <= 1; beyond, r is negative, and at 1 it is 0,
/// which the field `observation_noise` does not take.
template <class Scalar>
Scalar to_observation_noise(const Scalar& write_strength, const Scalar& key_norm2,
                            const Scalar& prior_variance) {
  return prior_variance * (Scalar(1) - write_strength * key_norm2) / write_strength;
}

namespace detail {

/// max(1, beta |k|^2): above 1 no noise r >= 0 has the gain beta k.
template <class Scalar>
Scalar excess_of_noise(const Scalar& strength) {
  return strength > Scalar(1) ? strength : Scalar(1);
}

}  // namespace detail

/// The covariance is put back to sigma_0^2 I before every write, so the gain is beta_t k_t with the
/// field `write_strength` (DeltaNet, Gated DeltaNet, KDA). Where beta |k|^2 > 1 no filter has this
/// gain; its innovation variance and retrieval variance are then those of a noiseless observation,
/// r = 0.
struct ResetCovariance : detail::WithoutState {
  using Self = ResetCovariance;
  static constexpr bool has_variance = true;

  static constexpr OptionsRead reads{.prior_variance = true};
  template <class Options>
  static constexpr void add_inputs(InputWidths& inputs, const Options&) {
    inputs.write_strength = 1;
  }

  template <int Dk, class Scalar, class Options, class Decay, class Gain>
  static Scalar gain(const Options& options, const Token<Scalar>& token, const Decay&, Empty,
                     Gain& gain) {
    const auto k = token.key.template vector<Dk>();
    const Scalar beta = token.write_strength[0];
    gain = k * beta;
    if (!(beta > Scalar(0))) return Scalar(0);
    // s = r + sigma_0^2 |k|^2 = sigma_0^2 / beta, with r clamped at 0.
    const Scalar strength = k.dot(gain);
    if (strength > Scalar(1)) return options.prior_variance * Scalar(strength / beta);
    return options.prior_variance / beta;
  }

  /// s is infinite where beta is subnormal.
  template <class Scalar, class Options>
  static Scalar log_innovation_variance(const Options& options, const Token<Scalar>& token,
                                        const Scalar& s) {
    using std::log;
    if (detail::is_finite(s)) return log(s);
    const auto k = token.key.vector();
    const Scalar beta = token.write_strength[0];
    return log(options.prior_variance) - log(beta) +
           log(detail::excess_of_noise(Scalar(k.dot(k * beta))));
  }

  /// q' (J sigma_0^2 J' + r beta^2 k k') q with J = I - beta k k': Joseph's form, which holds for
  /// any gain.
  template <int Dk, class Scalar, class Options>
  static Scalar variance(const Options& options, const Token<Scalar>& token, Empty) {
    const auto q = token.query.template vector<Dk>();
    const auto k = token.key.template vector<Dk>();
    const Scalar beta = token.write_strength[0];
    // sigma_0^2 (|q|^2 - beta (q'k)^2 (2 - max(1, beta |k|^2)))
    const Scalar excess = detail::excess_of_noise(Scalar(k.dot(k * beta)));
    return options.prior_variance *
           (q.squaredNorm() - q.dot(k * beta) * (q.dot(k) * (Scalar(2) - excess)));
  }

  template <int Dk, class Options, class Scalar, class Decay, class OptionSums>
  static void gain_vjp(const Options& options, const Token<Scalar>& token, const Decay&, Empty,
                       GainCotangent<Scalar, Dk>& d, Empty&, TokenGradient<Scalar>& grad,
                       OptionSums& doptions) {
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
    doptions.prior_variance += dprior;
    grad.write_strength.add_one(dbeta);
  }
};

}  // namespace seqbayes
