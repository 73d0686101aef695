/// @file
/// A stream in units of its own, so that what is fitted to it does not depend on the caller's.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <sstream>
#include <vector>

#include <seqbayes/inference/calibration.hpp>

namespace seqbayes::dynamics::detail {

/// The middle one of the positive entries; 1 if there is none.
template <class Entries>
auto median_of_positive(const Entries& entries) {
  using Scalar = typename Entries::Scalar;
  std::vector<Scalar> positive;
  for (Index i = 0; i < entries.size(); ++i) {
    if (entries(i) > Scalar(0)) positive.push_back(entries(i));
  }
  if (positive.empty()) return Scalar(1);
  const auto middle = positive.begin() + static_cast<std::ptrdiff_t>(positive.size() / 2);
  std::nth_element(positive.begin(), middle, positive.end());
  return *middle;
}

/// One field over a power of two, so that its largest entry is in [1/2, 1): exact, but for entries
/// that are beyond the scalar's range below the largest.
template <class Scalar>
struct ScaledField {
  Matrix<Scalar> entries;
  Scalar largest{0};
  int exponent = 0;  ///< field = 2^exponent entries

  ScaledField() = default;
  explicit ScaledField(const MatrixView<Scalar>& field) : entries(field.rows(), field.cols()) {
    using std::frexp;
    for (Index t = 0; t < field.rows(); ++t) entries.row(t) = field.row(t).vector().transpose();
    if (entries.size() > 0) largest = entries.cwiseAbs().maxCoeff();
    if (!(largest > Scalar(0))) return;
    frexp(largest, &exponent);
    scale(-exponent);
  }
  void scale(int by) {
    using std::ldexp;
    for (Scalar& entry : entries.reshaped()) entry = ldexp(entry, by);
  }
};

/// A stream in its own units: with V, K, N and W the powers of two next above the largest value,
/// key, observation noise and process noise, its fields are over V, K, N, W, and write strengths
/// times K^2. In these units nothing overflows, and all scaling is exact.
template <class Scalar>
class StreamInOwnUnits {
 public:
  /// @throws std::invalid_argument on bad input, or if the stream can't tell noise levels: no
  ///   tokens, all values or all keys zero, or levels beyond the range of the scalar.
  explicit StreamInOwnUnits(const Sequence<Scalar>& x) {
    using seqbayes::detail::fail;
    if (x.key.rows() == 0 && x.key.cols() > 0) fail("key has no rows: the stream has no tokens");
    check_data(x, std::max<Index>(x.value.cols(), 1));
    value_ = ScaledField<Scalar>(x.value);
    key_ = ScaledField<Scalar>(x.key);
    noise_ = ScaledField<Scalar>(x.observation_noise);
    drift_ = ScaledField<Scalar>(x.process_noise);
    if (!(value_.largest > Scalar(0))) fail("value is zero throughout: no noise level fits");
    if (!(key_.largest > Scalar(0))) fail("key is zero throughout: it tells nothing of memory");
    strength_ = Matrix<Scalar>(x.write_strength.rows(), x.write_strength.cols());
    for (Index t = 0; t < strength_.size(); ++t) {
      using std::ldexp;
      strength_(t) = ldexp(x.write_strength.row(t)[0], 2 * key_.exponent);
    }
    // Of write strengths the unit of noise is that of keys, squared.
    if (x.observation_noise.empty() && !x.write_strength.empty()) {
      noise_.exponent = 2 * key_.exponent;
    }
    x_ = x;
    x_.query = x_.key = key_.entries;
    x_.value = value_.entries;
    x_.observation_noise = noise_.entries;
    x_.process_noise = drift_.entries;
    x_.write_strength = strength_;
    const Scalar one(1);
    const NoiseLevels<Scalar> units = to_callers_units({one, one, one});
    const Scalar least = std::numeric_limits<Scalar>::min();
    if (units.observation_noise < least || units.prior_variance < least) refuse_range();
  }
  StreamInOwnUnits(const StreamInOwnUnits&) = delete;
  StreamInOwnUnits& operator=(const StreamInOwnUnits&) = delete;

  [[nodiscard]] const Sequence<Scalar>& sequence() const { return x_; }

  /// Gains (T x Dk), which are in 1 / K.
  [[nodiscard]] Matrix<Scalar> gains(const Matrix<Scalar>& callers) const {
    using std::ldexp;
    return callers.unaryExpr([&](const Scalar& g) { return Scalar(ldexp(g, key_.exponent)); });
  }

  /// sigma_0^2 / r in these units of what the caller calls equal, sigma_0^2 = r.
  [[nodiscard]] Scalar equal_levels() const {
    using std::ldexp;
    return ldexp(Scalar(1), 2 * key_.exponent - noise_.exponent);
  }

  /// Levels of this stream as levels of the caller's.
  /// @throws std::invalid_argument if they overflow
  [[nodiscard]] NoiseLevels<Scalar> to_callers_units(const NoiseLevels<Scalar>& own) const {
    using std::ldexp;
    const int prior = 2 * (value_.exponent - key_.exponent);
    const NoiseLevels<Scalar> levels{
        ldexp(own.observation_noise, 2 * value_.exponent - noise_.exponent),
        ldexp(own.process_noise, prior - drift_.exponent), ldexp(own.prior_variance, prior)};
    using seqbayes::detail::is_finite;
    if (!is_finite(levels.observation_noise) || !is_finite(levels.process_noise) ||
        !is_finite(levels.prior_variance)) {
      refuse_range();
    }
    return levels;
  }

  /// A log evidence of this stream as one of the caller's: less n ln V for n values.
  [[nodiscard]] Scalar to_callers_evidence(const Scalar& own) const {
    using std::log;
    const double n = static_cast<double>(value_.entries.size());
    return own - Scalar(n * static_cast<double>(value_.exponent)) * log(Scalar(2));
  }

 private:
  [[noreturn]] void refuse_range() const {
    std::ostringstream text;
    text << "value reaches " << value_.largest << " and key " << key_.largest
         << ": noise levels, which go as their squares, are beyond the range of the scalar";
    seqbayes::detail::fail(text.str());
  }

  Sequence<Scalar> x_;
  ScaledField<Scalar> value_, key_, noise_, drift_;
  Matrix<Scalar> strength_;
};

}  // namespace seqbayes::dynamics::detail
