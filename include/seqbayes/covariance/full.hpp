/// @file
/// The whole covariance P (Dk x Dk) is kept: the Bayesian Layer's gain pass.
#pragma once

#include <seqbayes/covariance/policy.hpp>

namespace seqbayes {

namespace detail {

/// P <- D P D. The product of the two factors is taken first: it commutes, so P stays exactly
/// symmetric.
template <class Covariance, class Vector>
void decay_both_sides(Covariance& p, const Vector& decay) {
  for (Index i = 0; i < p.rows(); ++i) {
    p.row(i).array() *= (decay * decay[i]).transpose().array();
  }
}

/// P <- P + sign c c', exactly symmetric for the same reason.
template <class Covariance, class Vector>
void add_outer(Covariance& p, const Vector& c, const typename Vector::Scalar& sign) {
  using Scalar = typename Vector::Scalar;
  for (Index i = 0; i < p.rows(); ++i) p.row(i) += (c * Scalar(sign * c[i])).transpose();
}

/// P x, row by row.
template <class Covariance, class Vector>
auto times(const Covariance& p, const Vector& x) {
  using Result = typename Vector::PlainObject;
  Result y = Result::Zero(x.size());
  for (Index i = 0; i < p.rows(); ++i) y += p.row(i).transpose() * x[i];  // P is symmetric
  return y;
}

}  // namespace detail

/// All of P: \hat P = D P D + Omega, s = r + k' \hat P k, kappa = \hat P k / s,
/// P = \hat P - s kappa kappa' (filters.md section 1).
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
    detail::decay_both_sides(p, decay);
    detail::add_field<Dk>(p.diagonal(), token.process_noise);

    Vector<Scalar, Dk> z = detail::times(p, k);
    const Scalar along = k.dot(z);
    if (along < Scalar(0)) {
      z = k * Scalar(sqrt(Scalar(-along)) / k.squaredNorm());
      detail::add_outer(p, z, Scalar(1));
      gain.setZero();
      return r;
    }
    const Scalar s = r + along;
    gain = z / s;
    z /= Scalar(sqrt(s));
    detail::add_outer(p, z, Scalar(-1));
    return s;
  }

  template <int Dk, class Scalar, class Options, class Stored>
  static Scalar variance(const Options&, const Token<Scalar>& token, const Stored& stored) {
    const auto q = token.query.template vector<Dk>();
    return q.dot(detail::times(detail::sized<Dk, Dk>(stored), q));
  }
};

}  // namespace seqbayes
