/// @file
/// One scalar or the diagonal is kept of the covariance: the Kalman delta networks.
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
    const Scalar norm2 = k.squaredNorm();
    const Scalar width = Scalar(static_cast<double>(options.key_dim));
    const Scalar predicted = decay.squaredNorm() / width * p + token.process_noise[0];
    const Scalar s = r + predicted * norm2;
    const Scalar r_all = width * r;
    p = predicted * (r_all / (r_all + options.info_scale * predicted * norm2));
    gain = k * Scalar(predicted / s);
    return s;
  }

  template <int Dk, class Scalar, class Options>
  static Scalar variance(const Options&, const Token<Scalar>& token, const Scalar& p) {
    return p * token.query.template vector<Dk>().squaredNorm();
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

    const Scalar s = r + (p.array() * k.square()).sum();
    gain = p.array() * k / s;
    p.array() *= r / (r + options.info_scale * p.array() * k.square());
    return s;
  }

  template <int Dk, class Scalar, class Options, class Stored>
  static Scalar variance(const Options&, const Token<Scalar>& token, const Stored& stored) {
    const auto p = detail::sized<Dk, 1>(stored);
    return (p.array() * token.query.template vector<Dk>().array().square()).sum();
  }
};

}  // namespace seqbayes
