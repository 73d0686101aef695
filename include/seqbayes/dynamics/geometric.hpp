/// @file
/// Powers and geometric sums that are exact at every ratio, 0 and 1 included.
#pragma once

#include <cmath>
#include <cstdint>

namespace seqbayes::dynamics {

/// A number of writes, >= 0.
using Count = std::int64_t;

namespace detail {

template <class Scalar>
Scalar as_scalar(Count n) {
  return static_cast<Scalar>(static_cast<double>(n));
}

/// sqrt(a^2 + b^2) for a, b whose squares may overflow.
template <class Scalar>
Scalar hypotenuse(const Scalar& a, const Scalar& b) {
  using std::abs;
  using std::sqrt;
  const Scalar large = abs(a) < abs(b) ? Scalar(abs(b)) : Scalar(abs(a));
  if (!(large > Scalar(0))) return large;
  const Scalar x = a / large, y = b / large;
  return large * sqrt(Scalar(x * x + y * y));
}

}  // namespace detail

/// A ratio x with 1 - x, each to its own last digit: near 1 a high power of x is told by 1 - x.
template <class Scalar>
struct Ratio {
  Scalar value{1};
  Scalar lost{0};  ///< 1 - x

  static Ratio of(const Scalar& x) { return {x, Scalar(1) - x}; }
  static Ratio losing(const Scalar& loss) { return {Scalar(1) - loss, loss}; }

  friend Ratio operator*(const Ratio& a, const Ratio& b) {
    const Scalar loss = a.lost + a.value * b.lost;
    return {loss < Scalar(0.5) ? Scalar(Scalar(1) - loss) : Scalar(a.value * b.value), loss};
  }
};

/// Sums over a geometric sequence of n terms with ratio x. By doubling, in O(log n): for x >= 0 all
/// terms are positive, so nothing cancels, also where (1 - x^n) / (1 - x) is 0 / 0.
template <class Scalar>
struct GeometricSums {
  Count count = 0;
  Ratio<Scalar> ratio{};  ///< x^n and 1 - x^n
  Scalar sum{0};          ///< G_n = 1 + x + ... + x^(n-1)
  Scalar sums{0};         ///< sum of G_j, j = 1 ... n
  Scalar rising{0};       ///< sum of j x^(j-1), j = 1 ... n
  Scalar squares{0};      ///< sum of x^(n-j) G_j^2, j = 1 ... n
  Scalar square_sums{0};  ///< sum of G_j^2, j = 1 ... n

  [[nodiscard]] const Scalar& power() const { return ratio.value; }  ///< x^n

  /// The sums of `a.count + b.count` terms, both of the same ratio.
  friend GeometricSums operator+(const GeometricSums& a, const GeometricSums& b) {
    const Scalar n(detail::as_scalar<Scalar>(a.count)), m(detail::as_scalar<Scalar>(b.count));
    const Scalar &x_n = a.power(), &x_m = b.power(), two(2);
    return {
        a.count + b.count,
        a.ratio * b.ratio,
        a.sum + x_n * b.sum,
        a.sums + m * a.sum + x_n * b.sums,
        a.rising + x_n * (n * b.sum + b.rising),
        x_m * a.squares + a.sum * a.sum * b.sum + two * x_n * a.sum * b.rising +
            x_n * x_n * b.squares,
        a.square_sums + m * a.sum * a.sum + two * x_n * a.sum * b.sums + x_n * x_n * b.square_sums};
  }
};

/// The sums of n terms with ratio x.
template <class Scalar>
GeometricSums<Scalar> geometric_sums(const Ratio<Scalar>& x, Count n) {
  const Scalar one(1);
  GeometricSums<Scalar> sums, doubled{1, x, one, one, one, one, one};
  for (; n > 0; n /= 2) {
    if (n % 2 == 1) sums = sums + doubled;
    if (n > 1) doubled = doubled + doubled;
  }
  return sums;
}
template <class Scalar>
GeometricSums<Scalar> geometric_sums(const Scalar& x, Count n) {
  return geometric_sums(Ratio<Scalar>::of(x), n);
}

/// x^n, with 0^0 = 1.
template <class X>
auto power(const X& x, Count n) {
  return geometric_sums(x, n).power();
}

/// 1 + x + ... + x^(n-1) = (1 - x^n) / (1 - x).
template <class X>
auto geometric_sum(const X& x, Count n) {
  return geometric_sums(x, n).sum;
}

/// (x^n - y^n) / (x - y), also at x = y.
template <class Scalar>
Scalar divided_power(const Ratio<Scalar>& x, const Ratio<Scalar>& y, Count n) {
  // Q_(n+m) = x^n Q_m + y^m Q_n
  Scalar quotient(0), doubled(1);
  Ratio<Scalar> power_x, x_doubled(x), y_doubled(y);
  for (; n > 0; n /= 2) {
    if (n % 2 == 1) {
      quotient = power_x.value * doubled + y_doubled.value * quotient;
      power_x = power_x * x_doubled;
    }
    doubled = (x_doubled.value + y_doubled.value) * doubled;
    x_doubled = x_doubled * x_doubled;
    y_doubled = y_doubled * y_doubled;
  }
  return quotient;
}
template <class Scalar>
Scalar divided_power(const Scalar& x, const Scalar& y, Count n) {
  return divided_power(Ratio<Scalar>::of(x), Ratio<Scalar>::of(y), n);
}

}  // namespace seqbayes::dynamics
