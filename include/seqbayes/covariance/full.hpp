/// @file
/// The whole covariance P (Dk x Dk) is kept: the Bayesian Layer's gain pass.
#pragma once

#include <seqbayes/covariance/resolution.hpp>
#include <seqbayes/memory/columns.hpp>

namespace seqbayes {

/// All of P: \hat P = D P D + Omega, s = r + k' \hat P k, kappa = \hat P k / s,
/// P = \hat P - s kappa kappa' (arXiv 2605.31163; docs/mathematics.md).
///
/// The update subtracts c c' with c = \hat P k / sqrt(s), so P stays exactly symmetric. What floats
/// can't resolve is in resolution.hpp: P stays positive semidefinite to some tens of rounding units
/// of its diagonal, for streams of any length.
struct FullCovariance {
  static constexpr bool has_variance = true;
  static constexpr bool propagates = true;

  template <class Scalar, int Dk>
  using State = detail::StateMatrix<Scalar, Dk, Dk>;
  template <class Scalar, int Dk, int Dv>
  using Options = LayerOptions<Scalar, Dk, Dv>;

  template <class Options>
  static constexpr void add_inputs(InputWidths& inputs, const Options& options) {
    detail::add_filter_inputs(inputs, InputWidth::one_or(options.key_dim), options.key_dim);
  }

  template <class Scalar, int Dk, int Dv>
  static State<Scalar, Dk> initial(const LayerOptions<Scalar, Dk, Dv>& options) {
    return State<Scalar, Dk>::Identity(options.key_dim, options.key_dim) * options.prior_variance;
  }
  template <class Stored, class Options>
  static void check(const Stored& stored, const Options& options) {
    detail::check_state_shape("covariance", stored, options.key_dim, options.key_dim);
  }

  template <int Dk, class Scalar, class Options, class Decay, class Stored, class Gain>
  static Scalar gain(const Options&, const Token<Scalar>& token, const Decay& given, Stored& stored,
                     Gain& gain) {
    using std::sqrt;
    using Keys = Vector<Scalar, Dk>;
    const auto k = token.key.template vector<Dk>();
    auto p = detail::sized<Dk, Dk>(stored);
    Keys decay = given;
    Keys variances = decay.cwiseAbs2().cwiseProduct(p.diagonal());
    detail::add_field<Dk>(variances, token.process_noise);
    Keys z(k.size());  // \hat P k
    gain = decay.cwiseProduct(k);
    detail::read(p, gain, z);
    z = z.cwiseProduct(decay);
    detail::add_scaled_field<Dk>(z, token.process_noise, k);

    const auto seen = detail::observe(z, k, variances, token.observation_noise[0]);
    const Scalar s = seen.variance;
    gain = z / s;
    if (seen.resolved) {
      z /= Scalar(sqrt(s));
    } else {
      z.setZero();
    }
    bool rounds = false;
    if (seen.delicate) {
      rounds = detail::resolve_decay(decay);
      variances = decay.cwiseAbs2().cwiseProduct(p.diagonal());
      detail::add_field<Dk>(variances, token.process_noise);
    }
    detail::decay_and_add_outer(p, decay, z, Scalar(-1));
    p.diagonal() = variances - z.cwiseAbs2();
    if (seen.delicate) p.diagonal().array() += detail::kept_back(z, variances);
    if (rounds) p.diagonal() += variances * detail::decay_rounding<Scalar>(k.size());
    return s;
  }

  template <int Dk, class Scalar, class Options, class Stored>
  static Scalar variance(const Options&, const Token<Scalar>& token, const Stored& stored) {
    return detail::quadratic_form(detail::sized<Dk, Dk>(stored), token.query.template vector<Dk>());
  }
};

}  // namespace seqbayes
