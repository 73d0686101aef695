/// @file
/// One scalar or the diagonal is kept of the covariance: the Kalman delta networks.
///
/// Products are taken in an order in which none is infinite or loses its digits where the result
/// does not. A key for which k'Pk or s is beyond the scalar's range changes nothing.
#pragma once

#include <Eigen/Core>

#include <seqbayes/covariance/policy.hpp>

namespace seqbayes {

/// P is approximated by p I: isotropic Kalman delta net. With \hat p = mean(D^2) p + omega the gain
/// is beta k, beta = \hat p / (r + \hat p |k|^2), and 1/p = 1/\hat p + info_scale |k|^2 / (Dk r):
/// information averaged over the key's directions (`info_scale` = Dk: the information along the
/// key).
struct IsotropicCovariance {
  using Self = IsotropicCovariance;
  static constexpr bool has_variance = true;
  static constexpr bool propagates = true;

  template <class Scalar, int Dk>
  using State = Scalar;
  template <class Scalar, int Dk, int Dv>
  using Options = LayerOptions<Scalar, Dk, Dv>;

  static constexpr OptionsRead reads{.prior_variance = true, .info_scale = true};
  template <class Options>
  static constexpr void add_inputs(InputWidths& inputs, const Options& options) {
    add_filter_inputs(inputs, 1, options.key_dim);
  }

  template <class Options>
  static auto initial(const Options& options) {
    return options.prior_variance;
  }
  template <class Scalar, class Options>
  static void check(const Scalar&, const Options&) {}

  template <int Dk, class Scalar, class Options, class Decay, class Gain>
  static Scalar gain(const Options& options, const Token<Scalar>& token, const Decay& decay,
                     Scalar& p, Gain& gain) {
    const auto k = token.key.template vector<Dk>();
    const Scalar r = token.observation_noise[0];
    const Scalar width = Scalar(static_cast<double>(options.key_dim));
    p = decay.squaredNorm() / width * p + token.process_noise[0];
    gain = k * p;
    const Scalar along = k.dot(gain);
    const Scalar s = r + along;
    if (!detail::is_finite(s)) {
      gain.setZero();
      return s;
    }
    gain /= s;
    p /= Scalar(1) + options.info_scale / width * along / r;
    return s;
  }

  template <int Dk, class Scalar, class Options>
  static Scalar variance(const Options&, const Token<Scalar>& token, const Scalar& p) {
    const auto q = token.query.template vector<Dk>();
    return q.dot(q * p);
  }

  template <class Options>
  static auto zero(const Options& options) {
    return decltype(options.prior_variance)(0);
  }
  template <class Options, class Scalar, class OptionSums>
  static void initial_vjp(const Options&, const Scalar& dp, OptionSums& doptions) {
    doptions.prior_variance += dp;
  }

  /// With c = `info_scale` / Dk, z = \hat p k and p = \hat p r / (r + c k'z). Derivatives with
  /// respect to s are taken to ln s, -kappa * dkappa the gain's part; no product is formed that is
  /// infinite where its factors' quotients aren't.
  template <int Dk, class Options, class Scalar, class Decay, class OptionSums>
  static void gain_vjp(const Options& options, const Token<Scalar>& token, const Decay& decay,
                       const Scalar& before, GainCotangent<Scalar, Dk>& d, Scalar& dp,
                       TokenGradient<Scalar>& grad, OptionSums& doptions) {
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
      doptions.info_scale -= dlog_p * share / width;
    }
    grad.query.add(q * Scalar(Scalar(2) * d.variance * posterior));
    grad.process_noise.add_one(dpredicted);
    d.dlog_decay = decay.cwiseAbs2() * Scalar(Scalar(2) * dpredicted * before / width);
    dp = mean * dpredicted;
  }
};

/// P is approximated by Diag(p): diagonal Kalman delta net. With \hat p = D^2 p + omega the gain is
/// \hat p * k / s, s = r + sum \hat p * k^2, and 1/p = 1/\hat p + info_scale k^2 / r, elementwise.
struct DiagonalCovariance {
  using Self = DiagonalCovariance;
  static constexpr bool has_variance = true;
  static constexpr bool propagates = true;

  template <class Scalar, int Dk>
  using State = StateMatrix<Scalar, Dk, 1>;
  template <class Scalar, int Dk, int Dv>
  using Options = LayerOptions<Scalar, Dk, Dv>;

  static constexpr OptionsRead reads{.prior_variance = true, .info_scale = true};
  template <class Options>
  static constexpr void add_inputs(InputWidths& inputs, const Options& options) {
    add_filter_inputs(inputs, InputWidth::one_or(options.key_dim), options.key_dim);
  }

  template <class Scalar, int Dk, int Dv>
  static State<Scalar, Dk> initial(const LayerOptions<Scalar, Dk, Dv>& options) {
    return State<Scalar, Dk>::Constant(options.key_dim, options.prior_variance);
  }
  template <class Stored, class Options>
  static void check(const Stored& stored, const Options& options) {
    check_state_shape("covariance", stored, options.key_dim, 1);
  }

  template <int Dk, class Scalar, class Options, class Decay, class Stored, class Gain>
  static Scalar gain(const Options& options, const Token<Scalar>& token, const Decay& decay,
                     Stored& stored, Gain& gain) {
    const auto k = token.key.template vector<Dk>().array();
    const Scalar r = token.observation_noise[0];
    auto p = sized<Dk, 1>(stored);
    p.array() *= decay.array().square();
    add_field<Dk>(p, token.process_noise);

    gain = p.array() * k;
    const Scalar s = r + k.matrix().dot(gain);
    if (!detail::is_finite(s)) {
      gain.setZero();
      return s;
    }
    p.array() /= Scalar(1) + options.info_scale * gain.array() * k / r;
    gain /= s;
    return s;
  }

  template <int Dk, class Scalar, class Options, class Stored>
  static Scalar variance(const Options&, const Token<Scalar>& token, const Stored& stored) {
    const auto p = sized<Dk, 1>(stored);
    const auto q = token.query.template vector<Dk>();
    return q.dot(p.cwiseProduct(q));
  }

  template <class Scalar, int Dk, int Dv>
  static State<Scalar, Dk> zero(const LayerOptions<Scalar, Dk, Dv>& options) {
    return State<Scalar, Dk>::Zero(options.key_dim);
  }
  template <class Options, class Stored, class OptionSums>
  static void initial_vjp(const Options&, const Stored& dp, OptionSums& doptions) {
    doptions.prior_variance += dp.sum();
  }

  /// The same with one p for each channel, z = \hat p * k, and c = `info_scale`.
  template <int Dk, class Options, class Scalar, class Decay, class Stored, class OptionSums>
  static void gain_vjp(const Options& options, const Token<Scalar>& token, const Decay& decay,
                       const Stored& before, GainCotangent<Scalar, Dk>& d, Stored& dstate,
                       TokenGradient<Scalar>& grad, OptionSums& doptions) {
    using Keys = Eigen::Array<Scalar, Dk, 1>;
    const auto k = token.key.template vector<Dk>().array();
    const auto q = token.query.template vector<Dk>().array();
    const Scalar r = token.observation_noise[0];
    const Keys decayed = decay.array().square() * sized<Dk, 1>(before).array();
    Vector<Scalar, Dk> field = decayed.matrix();
    add_field<Dk>(field, token.process_noise);
    const Keys predicted = field.array();
    const Keys z = predicted * k, along = z * k;
    const Scalar s = r + along.sum();
    auto dp = sized<Dk, 1>(dstate);

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
      doptions.info_scale -= (dlog_p * share).sum();
    }
    grad.query.add((q * posterior * Scalar(Scalar(2) * d.variance)).matrix());
    grad.process_noise.add(dpredicted.matrix());
    d.dlog_decay = (Scalar(2) * dpredicted * decayed).matrix();
    dp = (decay.array().square() * dpredicted).matrix();
  }
};

}  // namespace seqbayes
