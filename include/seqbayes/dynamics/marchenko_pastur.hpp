/// @file
/// Many random keys: the large-dimension limit of what ridge regression on them leaves open (R3.6).
///
/// The numbers R1.1, R2.1, ... in seqbayes/dynamics are those of docs/retrieval-dynamics.md.
#pragma once

#include <cmath>

#include <seqbayes/dynamics/geometric.hpp>

namespace seqbayes::dynamics {

/// The resolvent of m isotropic unit keys K (m x d) at ridge lambda, as m, d -> infinity with
/// m / d -> c (Marchenko-Pastur):
///
///     g  = a' (lambda I + K'K)^-1 a = 1 / (lambda + c / (1 + g)),     g2 = -dg / d lambda
///
/// for any unit vector a that K does not depend on. Errors at finite d are O(1/d). Everything is
/// computed from h = 1 / g and the root D = sqrt((lambda + c - 1)^2 + 4 lambda), in forms that
/// don't cancel: as lambda -> 0, g diverges for c < 1 while h -> 0. Domain: lambda >= 0, c >= 0,
/// not lambda = 0 at c = 1 exactly. Dimensionless. See `marchenko_pastur`.
template <class Scalar>
struct MarchenkoPastur {
  Scalar lambda, load, root, inverse_g;

  /// g; infinite at lambda = 0, c < 1.
  [[nodiscard]] Scalar g() const { return Scalar(1) / inverse_g; }

  /// g2 = a' (lambda I + K'K)^-2 a = g (1 + g) / D.
  [[nodiscard]] Scalar g2() const {
    return (Scalar(1) + inverse_g) / inverse_g / (inverse_g * root);
  }

  /// (g - lambda g2) / g^2 = c h^2 / ((1 + h) D): the weight a' (lambda I + K'K)^-1 K' squared and
  /// relative to g^2, which is finite where g is not.
  [[nodiscard]] Scalar relative_crosstalk() const { return load * unlearned2(); }

  /// lambda tr (K K' + lambda I)^-1 / m = 1 / (1 + g) = h / (1 + h): what is not recalled of a
  /// value that was stored with one of the keys. (Also (lambda g + c - 1) / c, which cancels.)
  [[nodiscard]] Scalar unlearned() const { return inverse_g / (Scalar(1) + inverse_g); }

  /// lambda^2 tr (K K' + lambda I)^-2 / m = h^2 / ((1 + h) D): the mean square of that. (Also
  /// (lambda^2 g2 + c - 1) / c, which cancels.)
  [[nodiscard]] Scalar unlearned2() const { return unlearned() * (inverse_g / root); }

  /// tr (K K' (K K' + lambda I)^-1)^2 / m = (D - lambda) / ((1 + h) D): the mean over the stored of
  /// the sum of squared weights that each is recalled with.
  [[nodiscard]] Scalar learned2() const {
    // D - lambda = (2 lambda (c + 1) + (c - 1)^2) / (D + lambda)
    const Scalar whole = root + lambda, apart = load - Scalar(1);
    const Scalar above = Scalar(2) * (lambda / whole) * (load + Scalar(1)) + apart / whole * apart;
    return above / root / (Scalar(1) + inverse_g);
  }
};

/// R3.6's g and g2 at ridge `lambda` = r / sigma_0^2 and `load` c = m / d.
template <class Scalar>
MarchenkoPastur<Scalar> marchenko_pastur(const Scalar& lambda, const Scalar& load) {
  using std::sqrt;
  const Scalar u = lambda + (load - Scalar(1));
  const Scalar root = detail::hypotenuse<Scalar>(u, Scalar(2) * sqrt(lambda));
  // h = (u + root) / 2, the positive root of h^2 - u h = lambda.
  const Scalar h = u > Scalar(0) ? (u + root) / Scalar(2) : Scalar(2) * lambda / (root - u);
  return {lambda, load, root, h};
}

}  // namespace seqbayes::dynamics
