/// @file
/// Sums over tokens that don't lose digits with their number.
#pragma once

namespace seqbayes {

/// Rounds a + b to `sum` and returns what that leaves out, exactly (Knuth 1969). Only additions, so
/// that derivatives of an autodiff scalar are treated as its value is. Needs IEEE arithmetic: no
/// -ffast-math.
template <class Scalar>
Scalar add_with_error(const Scalar& a, const Scalar& b, Scalar& sum) {
  sum = a + b;
  const Scalar added = sum - a;
  return Scalar(a - Scalar(sum - added)) + Scalar(b - added);
}

/// Adds x to the number `sum` + `rest` of twice the digits, of which `sum` is the first half
/// (Joldes, Muller and Popescu 2017, "DWPlusFP"). So a sum of T terms is rounded once, up to T
/// units^2 of sum |x_t|.
template <class Scalar>
void add_compensated(Scalar& sum, Scalar& rest, const Scalar& x) {
  Scalar total;
  const Scalar error = add_with_error(sum, x, total) + rest;
  rest = add_with_error(total, error, sum);
  if (Scalar(rest - rest) == Scalar(0)) return;
  sum = total;  // infinite
  rest = Scalar(0);
}

/// A sum over tokens, of any scalar.
template <class Scalar>
class CompensatedSum {
 public:
  CompensatedSum& operator+=(const Scalar& x) {
    add_compensated(sum_, rest_, x);
    return *this;
  }
  CompensatedSum& operator-=(const Scalar& x) { return *this += Scalar(-x); }

  [[nodiscard]] const Scalar& value() const { return sum_; }

 private:
  Scalar sum_{0};
  Scalar rest_{0};
};

}  // namespace seqbayes
