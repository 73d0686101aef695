/// @file
/// The whole covariance P (Dk x Dk) is kept: the Bayesian Layer's gain pass.
#pragma once

#include <seqbayes/covariance/policy.hpp>
#include <seqbayes/memory/columns.hpp>

namespace seqbayes {

/// All of P: \hat P = D P D + Omega, s = r + k' \hat P k, kappa = \hat P k / s,
/// P = \hat P - s kappa kappa' (arXiv 2605.31163; docs/mathematics.md).
///
/// *Rounding.* The update subtracts c c' with c = \hat P k / sqrt(s), so P stays exactly symmetric.
/// It can't resolve variances below about the rounding unit times the largest entry of P. Where
/// that makes k' \hat P k negative, the memory is certain along k to working precision: the gain is
/// 0, and P is lifted along k until k' P k = 0. Without the lift a negative variance grows by 1 +
/// |p| / r with every further write of k; with it the eigenvalues of P stay above minus a few
/// rounding units.
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
  static Scalar gain(const Options&, const Token<Scalar>& token, const Decay& decay, Stored& stored,
                     Gain& gain) {
    using std::sqrt;
    const auto k = token.key.template vector<Dk>();
    const Scalar r = token.observation_noise[0];
    auto p = detail::sized<Dk, Dk>(stored);
    Vector<Scalar, Dk> z(k.size());  // \hat P k
    gain = decay.cwiseProduct(k);
    detail::read(p, gain, z);
    z = z.cwiseProduct(decay);
    detail::add_scaled_field<Dk>(z, token.process_noise, k);

    Scalar s = r;
    Scalar sign(-1);
    if (const Scalar along = k.dot(z); along < Scalar(0)) {
      gain.setZero();
      z = k * Scalar(sqrt(Scalar(-along)) / k.squaredNorm());
      sign = Scalar(1);
    } else {
      s += along;
      gain = z / s;
      z /= Scalar(sqrt(s));
    }
    detail::decay_and_add_outer(p, decay, z, sign);
    detail::add_field<Dk>(p.diagonal(), token.process_noise);
    return s;
  }

  template <int Dk, class Scalar, class Options, class Stored>
  static Scalar variance(const Options&, const Token<Scalar>& token, const Stored& stored) {
    return detail::quadratic_form(detail::sized<Dk, Dk>(stored), token.query.template vector<Dk>());
  }
};

}  // namespace seqbayes
