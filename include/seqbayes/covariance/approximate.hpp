/// @file
/// One scalar or the diagonal is kept of the covariance: the Kalman delta networks.
///
/// Products are taken in an order in which none is infinite or loses its digits where the result
/// does not. A key for which k'Pk or s is beyond the scalar's range changes nothing.
#pragma once

#include <seqbayes/covariance/policy.hpp>

namespace seqbayes {

/// P is approximated by p I: isotropic Kalman delta net. With \hat p = mean(D^2) p + omega the gain
/// is beta k, beta = \hat p / (r + \hat p |k|^2), and 1/p = 1/\hat p + info_scale |k|^2 / (Dk r):
/// information averaged over the key's directions (`info_scale` = Dk: the information along the
/// key).
struct IsotropicCovariance {
  static constexpr bool has_variance = true;
  static constexpr bool propagates = true;

  template <class Scalar, int Dk>
  using State = Scalar;
  template <class Scalar, int Dk, int Dv>
  using Options = LayerOptions<Scalar, Dk, Dv>;

  template <class Options>
  static constexpr void add_inputs(InputWidths& inputs, const Options& options) {
    detail::add_filter_inputs(inputs, 1, options.key_dim);
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
};

/// P is approximated by Diag(p): diagonal Kalman delta net. With \hat p = D^2 p + omega the gain is
/// \hat p * k / s, s = r + sum \hat p * k^2, and 1/p = 1/\hat p + info_scale k^2 / r, elementwise.
struct DiagonalCovariance {
  static constexpr bool has_variance = true;
  static constexpr bool propagates = true;

  template <class Scalar, int Dk>
  using State = detail::StateMatrix<Scalar, Dk, 1>;
  template <class Scalar, int Dk, int Dv>
  using Options = LayerOptions<Scalar, Dk, Dv>;

  template <class Options>
  static constexpr void add_inputs(InputWidths& inputs, const Options& options) {
    detail::add_filter_inputs(inputs, InputWidth::one_or(options.key_dim), options.key_dim);
  }

  template <class Scalar, int Dk, int Dv>
  static State<Scalar, Dk> initial(const LayerOptions<Scalar, Dk, Dv>& options) {
    return State<Scalar, Dk>::Constant(options.key_dim, 1, options.prior_variance);
  }
  template <class Stored, class Options>
  static void check(const Stored& stored, const Options& options) {
    detail::check_state_shape("covariance", stored, options.key_dim, 1);
  }

  template <int Dk, class Scalar, class Options, class Decay, class Stored, class Gain>
  static Scalar gain(const Options& options, const Token<Scalar>& token, const Decay& decay,
                     Stored& stored, Gain& gain) {
    const auto k = token.key.template vector<Dk>().array();
    const Scalar r = token.observation_noise[0];
    auto p = detail::sized<Dk, 1>(stored);
    p.array() *= decay.array().square();
    detail::add_field<Dk>(p, token.process_noise);

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
    const auto p = detail::sized<Dk, 1>(stored);
    const auto q = token.query.template vector<Dk>();
    return q.dot(p.cwiseProduct(q));
  }
};

}  // namespace seqbayes
