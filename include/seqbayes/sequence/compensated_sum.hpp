/// @file
/// Sums over tokens that don't lose digits with their number.
#pragma once

namespace seqbayes {

/// Adds x to `sum`; `rest` is what rounding has kept from it so far, and is taken up by the next
/// addition (Kahan 1965, with Knuth's error of a sum, which is exact whichever term is larger). The
/// error of a sum of T terms is two rounding units of sum |x_t|, whatever T, up to terms of T
/// units^2. Only additions: derivatives of an autodiff scalar are summed in the same way. Needs
/// IEEE arithmetic, so no -ffast-math.
template <class Scalar>
void add_compensated(Scalar& sum, Scalar& rest, const Scalar& x) {
  const Scalar term = x + rest;
  const Scalar total = sum + term;
  const Scalar added = total - sum;
  rest = Scalar(sum - Scalar(total - added)) + Scalar(term - added);
  if (!(Scalar(rest - rest) == Scalar(0))) rest = Scalar(0);  // the sum is infinite
  sum = total;
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
