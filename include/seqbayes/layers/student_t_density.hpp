/// @file
/// Student's t in n dimensions: its log density and derivatives.
///
/// With 2 a degrees of freedom, squared scale c in each direction, h = n / 2 and
/// u = |x|^2 / (2 a c):
///
///   ln t(x) = R(a) - h ln(2 pi c) - (a + h) ln(1 + u),
///   R(a) = ln Gamma(a + h) - ln Gamma(a) - h ln a,
///
/// which is the normal density in the limit a -> infinity, where R vanishes.
#pragma once

#include <cmath>

#include <seqbayes/covariance/policy.hpp>

namespace seqbayes::detail {

template <class Scalar>
Scalar log_one_plus(const Scalar& x) {
  using std::log;
  using std::log1p;
  if constexpr (requires { log1p(x); }) {
    return log1p(x);
  } else {
    return log(Scalar(Scalar(1) + x));
  }
}

/// What Stirling's formula leaves out of ln Gamma(x), and its derivative: seven terms, which from
/// 16 on are off by less than 3e-20.
template <class Scalar>
Scalar stirling_rest(const Scalar& x) {
  constexpr double terms[] = {1. / 12,   -1. / 360,       1. / 1260, -1. / 1680,
                              1. / 1188, -691. / 360360., 1. / 156};
  const Scalar y = Scalar(1) / (x * x);
  Scalar sum(0);
  for (int i = 6; i >= 0; --i) sum = sum * y + Scalar(terms[i]);
  return sum / x;
}
template <class Scalar>
Scalar stirling_rest_slope(const Scalar& x) {
  constexpr double terms[] = {-1. / 12,  1. / 120,      -1. / 252, 1. / 240,
                              -1. / 132, 691. / 32760., -1. / 12};
  const Scalar y = Scalar(1) / (x * x);
  Scalar sum(0);
  for (int i = 6; i >= 0; --i) sum = (sum + Scalar(terms[i])) * y;
  return sum;
}

/// R(a), and its derivative. Where Gamma itself were large, no large numbers occur.
template <class Scalar>
Scalar log_gamma_ratio(const Scalar& a, const Scalar& h) {
  using std::log;
  Scalar x = a, steps(0);  // Gamma(x + 1) = x Gamma(x) leads to where the series is good
  for (; x < Scalar(16); x += Scalar(1)) steps += log_one_plus(Scalar(h / x));
  return (x + h - Scalar(0.5)) * log_one_plus(Scalar(h / x)) - h + h * log(Scalar(x / a)) +
         stirling_rest(Scalar(x + h)) - stirling_rest(x) - steps;
}
template <class Scalar>
Scalar log_gamma_ratio_slope(const Scalar& a, const Scalar& h) {
  Scalar x = a, steps(0);
  for (; x < Scalar(16); x += Scalar(1)) steps += h / (x * (x + h));
  return log_one_plus(Scalar(h / x)) - h / a + h / (Scalar(2) * x * (x + h)) +
         stirling_rest_slope(Scalar(x + h)) - stirling_rest_slope(x) + steps;
}

/// The log density, from |x|^2.
template <class Scalar>
Scalar log_student_t(const Scalar& a, const Scalar& c, const Scalar& norm2, Index n) {
  using std::log;
  const Scalar h = Scalar(double(n) / 2);
  return log_gamma_ratio(a, h) - h * (log(c) + log_two_pi<Scalar>()) -
         (a + h) * log_one_plus(Scalar(norm2 / (Scalar(2) * a * c)));
}

/// Its derivatives.
template <class Scalar>
struct StudentTSlopes {
  Scalar a, c, norm2;

  StudentTSlopes(const Scalar& at_a, const Scalar& at_c, const Scalar& at_norm2, Index n) {
    const Scalar h = Scalar(double(n) / 2);
    const Scalar twice = Scalar(2) * at_a * at_c, u = at_norm2 / twice;
    const Scalar outer = (at_a + h) / (Scalar(1) + u);
    norm2 = -outer / twice;
    c = (outer * u - h) / at_c;
    a = log_gamma_ratio_slope(at_a, h) - log_one_plus(u) + outer * u / at_a;
  }
};

}  // namespace seqbayes::detail
