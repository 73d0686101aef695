/// @file
/// The filter against the best constant write strength: one key written n times (R1.6, R1.7).
#pragma once

#include <cmath>

#include <seqbayes/dynamics/repeated_writes.hpp>

namespace seqbayes::dynamics {

/// R1.6b: from this n on the filter beats the constant gain b in (0, 1], for one fixed first error
/// with D = Delta^2 / r >= b / (2 - b). A wrong prior (lambda D much greater than 1) delays it to
/// about lambda (sqrt(D (2 - b) / b) - 1). Where the root is complex Bayes wins against every
/// plateau: then 0.
template <class Scalar>
Scalar crossover(const Scalar& lambda, const Scalar& gain, const Scalar& first_error) {
  using std::sqrt;
  const Scalar zero(0), one(1), two(2);
  const Scalar rho = gain / (two - gain);  // the plateau of b in units of r
  // n = (1 + sqrt(1 + 4 rho lambda (lambda D - 1))) / (2 rho) - lambda, with all but the result
  // over `scale`; by (root - rest) (root + rest) = 4 rho l^2 (D - rho) where the difference
  // cancels.
  const Scalar scale = lambda > one ? lambda : one;
  const Scalar l = lambda / scale, unit = one / scale;
  const Scalar square = unit * unit + Scalar(4) * rho * l * (l * first_error - unit);
  if (square < zero) return zero;
  const Scalar root = sqrt(square), rest = two * rho * l - unit;
  return rest > zero ? Scalar(two * lambda * (l * (first_error - rho) / (root + rest)))
                     : Scalar((root - rest) / (two * rho) * scale);
}

/// R1.7: the constant gain b in [0, 1] with the least error after n >= 1 writes, for a first error
/// D = Delta^2 / r > 0: the root of n c^(2n-1) [D (1 + c) - b] = b G_n(c^2), c = 1 - b. Its error,
/// r times `after_writes(ResetRule{b}, n).mse(sqrt(D), 1)`, is about (1 + ln 4nD) / 4 times the
/// filter's r / n: no constant gain keeps up. By bisection, then a Newton step, which also carries
/// derivatives of D.
template <class Scalar>
Scalar best_constant_gain(const Scalar& first_error, Count n) {
  const Scalar one(1), two(2), count(detail::as_scalar<Scalar>(n));
  const auto balance = [&](const Scalar& b) {
    const auto c = Ratio<Scalar>::losing(b);
    return count * power(c, 2 * n - 1) * (first_error * (one + c.value) - b) -
           b * geometric_sum(c * c, n);
  };
  Scalar low(0), high(1);
  for (Scalar b = one / two; low < b && b < high; b = (low + high) / two) {
    (balance(b) > Scalar(0) ? low : high) = b;
  }
  const auto ratio = Ratio<Scalar>::losing(low);
  const Scalar& c = ratio.value;
  const Scalar odd = power(ratio, 2 * n - 1), even = power(ratio, 2 * n - 2);
  const Scalar slope = -count * (two * count - one) * even * (first_error * (one + c) - low) -
                       count * odd * (first_error + one) -
                       (two * count * odd + low * geometric_sum(ratio * ratio, n)) / (one + c);
  return low - balance(low) / slope;
}

}  // namespace seqbayes::dynamics
