/// @file
/// Powers and geometric sums that are exact at every ratio, 0 and 1 included.
#pragma once

#include <cstdint>

namespace seqbayes::dynamics {

/// A number of writes, >= 0.
using Count = std::int64_t;

namespace detail {

template <class Scalar>
Scalar as_scalar(Count n) {
  return static_cast<Scalar>(static_cast<double>(n));
}

}  // namespace detail

/// Sums over a geometric sequence of n terms with ratio x. By doubling, in O(log n): for x >= 0 all
/// terms are positive, so nothing cancels, also where (1 - x^n) / (1 - x) is 0 / 0.
template <class Scalar>
struct GeometricSums {
  Count count = 0;
  Scalar power{1};    ///< x^n
  Scalar sum{0};      ///< G_n = 1 + x + ... + x^(n-1)
  Scalar sums{0};     ///< sum of G_j, j = 1 ... n
  Scalar rising{0};   ///< sum of j x^(j-1), j = 1 ... n
  Scalar squares{0};  ///< sum of x^(n-j) G_j^2, j = 1 ... n

  /// The sums of `a.count + b.count` terms, both of the same ratio.
  friend GeometricSums operator+(const GeometricSums& a, const GeometricSums& b) {
    const Scalar n(detail::as_scalar<Scalar>(a.count)), m(detail::as_scalar<Scalar>(b.count));
    return {a.count + b.count,
            a.power * b.power,
            a.sum + a.power * b.sum,
            a.sums + m * a.sum + a.power * b.sums,
            a.rising + a.power * (n * b.sum + b.rising),
            b.power * a.squares + a.sum * a.sum * b.sum + Scalar(2) * a.power * a.sum * b.rising +
                a.power * a.power * b.squares};
  }
};

/// The sums of n terms with ratio x.
template <class Scalar>
GeometricSums<Scalar> geometric_sums(const Scalar& x, Count n) {
  const Scalar one(1);
  GeometricSums<Scalar> sums, doubled{1, x, one, one, one, one};
  for (; n > 0; n /= 2) {
    if (n % 2 == 1) sums = sums + doubled;
    if (n > 1) doubled = doubled + doubled;
  }
  return sums;
}

/// x^n, with 0^0 = 1.
template <class Scalar>
Scalar power(const Scalar& x, Count n) {
  return geometric_sums(x, n).power;
}

/// 1 + x + ... + x^(n-1) = (1 - x^n) / (1 - x).
template <class Scalar>
Scalar geometric_sum(const Scalar& x, Count n) {
  return geometric_sums(x, n).sum;
}

/// (x^n - y^n) / (x - y), also at x = y.
template <class Scalar>
Scalar divided_power(const Scalar& x, const Scalar& y, Count n) {
  // Q_(n+m) = x^n Q_m + y^m Q_n
  Scalar quotient(0), power_x(1), doubled(1), x_doubled(x), y_doubled(y);
  for (; n > 0; n /= 2) {
    if (n % 2 == 1) {
      quotient = power_x * doubled + y_doubled * quotient;
      power_x = power_x * x_doubled;
    }
    doubled = (x_doubled + y_doubled) * doubled;
    x_doubled = x_doubled * x_doubled;
    y_doubled = y_doubled * y_doubled;
  }
  return quotient;
}

}  // namespace seqbayes::dynamics
