/// @file
/// Recall against load: how well are N random associations recalled that were written once each
/// (R6)?
///
/// Keys are of unit norm and uniform in all directions of d dimensions, values independent with
/// mean 0 and variance 1 a channel, memory starts empty, nothing drifts. The error is the mean over
/// the stored items, and over keys and values, of the square of recalled less stored value, a
/// channel: 0 is perfect, and 1 is what remembering nothing scores.
#pragma once

#include <cmath>

#include <seqbayes/dynamics/marchenko_pastur.hpp>
#include <seqbayes/dynamics/rules.hpp>

namespace seqbayes::dynamics {

/// N random keys in d dimensions; by default in the limit N, d -> infinity with N / d fixed.
template <class Scalar>
struct Load {
  Scalar items_per_dim;   ///< x = N / d >= 1 / d.
  Scalar inverse_dim{0};  ///< 1 / d in [0, 1/2]; 0 is the limit.

  static Load of(Count items, Count dim) {
    const Scalar d = Scalar(static_cast<double>(dim));
    return {Scalar(static_cast<double>(items)) / d, Scalar(1) / d};
  }
};

namespace detail {

/// (1 - u)^n with y = n u; e^-y at u = 0, where n is infinite.
template <class Scalar>
Scalar decayed(const Scalar& y, const Scalar& u) {
  using std::exp;
  using std::log1p;
  return u > Scalar(0) ? exp(Scalar(y / u * log1p(Scalar(-u)))) : exp(Scalar(-y));
}

/// The mean of (1 - u)^m over m < n, with y = n u in [0, infinity), and 1 less it; (1 - e^-y) / y
/// at u = 0. The loss by its binomial series where the difference would cancel.
template <class Scalar>
struct MeanDecay {
  Scalar kept, loss;

  MeanDecay(const Scalar& y, const Scalar& u) : kept(0), loss(0) {
    if (y < Scalar(1)) {
      Scalar term = (y - u) / Scalar(2);
      for (int j = 1; j < 45; ++j) {  // 1 / 46! is below 1e-57
        loss += term;
        term *= -(y - Scalar(j + 1) * u) / Scalar(j + 2);
      }
      kept = Scalar(1) - loss;
    } else {
      kept = (Scalar(1) - decayed(y, u)) / y;
      loss = Scalar(1) - kept;
    }
  }
};

}  // namespace detail

/// What comes back of a stored value: the value itself with the weight `own`, in the mean, and
/// others mixed in.
template <class Scalar>
struct Recall {
  Scalar error;  ///< Mean square of recalled less stored value.
  Scalar own;    ///< Mean weight of the stored value in what is recalled.
  /// The sum of the squares of all weights, error - 1 + 2 own without cancellation: the share of
  /// the variance of noise in the written values that is recalled with them.
  Scalar noise_factor;

  [[nodiscard]] const Scalar& noise() const { return noise_factor; }
  /// The error against clean values that were written with noise of variance `r`.
  [[nodiscard]] Scalar mse(const Scalar& r) const { return error + r * noise_factor; }
};

/// Linear attention (decay 1) and Mamba-2 (R6.2), mean over items; with decay 1 the error is
/// (N - 1) / d (R6.1).
/// @param decay alpha in [0, 1] a token
template <class Scalar>
Recall<Scalar> attention_recall(const Scalar& decay, Count items, Count dim) {
  const Scalar n = Scalar(static_cast<double>(items)), d = Scalar(static_cast<double>(dim));
  const auto alpha = Ratio<Scalar>::of(decay);
  const Scalar kept = geometric_sum(alpha, items) / n;
  const Scalar kept2 = geometric_sum(alpha * alpha, items) / n;
  const Scalar crosstalk = (n - Scalar(1)) / d * kept2;
  // The mean of (1 - alpha^j)^2 over j < n; 1 - alpha^j = (1 - alpha) G_j
  const Scalar faded = alpha.lost * (alpha.lost * geometric_sums(alpha, items - 1).square_sums) / n;
  return {faded + crosstalk, kept, kept2 + crosstalk};
}

/// The same for the item that was written `age` < `items` tokens before the last one (R6.2).
template <class Scalar>
Recall<Scalar> attention_recall_at(Count age, const Scalar& decay, Count items, Count dim) {
  const auto alpha = Ratio<Scalar>::of(decay), square = alpha * alpha;
  const auto kept = geometric_sums(alpha, age).ratio;
  const auto after = geometric_sums(square, age);
  const Scalar others =
      after.sum + after.power() * square.value * geometric_sum(square, items - 1 - age);
  const Scalar crosstalk = others / Scalar(static_cast<double>(dim));
  return {kept.lost * kept.lost + crosstalk, kept.value, kept.value * kept.value + crosstalk};
}

/// Linear attention whose readout is scaled by the best factor for values with noise of variance r:
/// c = 1 / ((1 + xi) (1 + r)), xi = (N - 1) / d (R6.1 for r = 0, where the error is xi / (1 + xi)).
template <class Scalar>
Recall<Scalar> scaled_attention_recall(const Load<Scalar>& load, const Scalar& r = Scalar(0)) {
  const Scalar xi = load.items_per_dim - load.inverse_dim;
  const Scalar one(1), own = one / (one + xi) / (one + r);
  const Scalar missing = (xi + r / (one + r)) / (one + xi);  // 1 - own
  return {missing * missing + own * (own * xi), own, own * (own * (one + xi))};
}

/// DeltaNet with the same effective gain for every write (R6.3): mean over items, exact at every d.
/// From half of linear attention's error at small load and b = 1 to b / (2 - b) + 1 at large load.
/// @param gain b = beta |k|^2 in [0, 2]
template <class Scalar>
Recall<Scalar> reset_recall(const Scalar& gain, const Load<Scalar>& load) {
  const Scalar one(1), two(2);
  const Scalar& x = load.items_per_dim;
  const Scalar& inverse_d = load.inverse_dim;
  const Scalar lost = gain * (two - gain), gain2 = gain * gain;
  // Of the memory's mean square a write leaves gamma_T, of its excess along the item's key gamma_x.
  const auto write = RandomContraction<Scalar>::at_inverse_dim({gain}, inverse_d);
  const Scalar after_all = detail::decayed(Scalar(lost * x), Scalar(lost * inverse_d));
  const Scalar rate = write.total_gap / write.trace.value;  // d (1 - gamma_x / gamma_T)
  const auto mean_over = [&](const Scalar& a) {
    return detail::MeanDecay<Scalar>(Scalar(a * x), Scalar(a * inverse_d));
  };
  const detail::MeanDecay<Scalar> excess = mean_over(rate);
  const Scalar crosstalk = gain2 * x * mean_over(lost).kept;
  // R6.3's sum with its terms of order 1 collected in (1 - b)^2, so that nothing cancels at b = 1.
  const Scalar own2 = gain2 * after_all * inverse_d * excess.kept / write.trace.value;
  const detail::MeanDecay<Scalar> mean = mean_over(gain);
  const Scalar rest2 = (one - gain) * (one - gain), spread = after_all * excess.loss;
  return {rest2 * (one + crosstalk - own2) + two * gain * mean.loss - gain2 * spread,
          gain * mean.kept, rest2 * (crosstalk - own2) + gain2 * (one - spread)};
}

/// The same for the item that was written `age` < `items` tokens before the last one (R6.3), whose
/// own error right after the write is (1 - b)^2.
template <class Scalar>
Recall<Scalar> reset_recall_at(Count age, const Scalar& gain, Count items, Count dim) {
  const Scalar one(1), two(2), inverse_d = one / Scalar(static_cast<double>(dim));
  const Scalar gain2 = gain * gain, rest2 = (one - gain) * (one - gain);
  const auto write = RandomContraction<Scalar>::at_inverse_dim({gain}, inverse_d);
  const auto kept = geometric_sums(Ratio<Scalar>::losing(gain * inverse_d), age).ratio;
  // R6.3's sum of squares with (d - 1) / d = gamma_T - (1 - b)^2 / d and b (2 - b) / d = 1 -
  // gamma_T, so that nothing cancels at b = 1.
  const Scalar before = power(write.trace, items - 1 - age);
  const Scalar spread =
      before * write.trace.value * write.gap * divided_power(write.trace, write.deviator, age);
  const Scalar crosstalk =
      gain2 * inverse_d * (geometric_sum(write.trace, items) - power(write.deviator, age) * before);
  return {rest2 * (one + crosstalk) + two * gain * kept.lost - gain2 * spread, gain * kept.value,
          rest2 * crosstalk + gain2 * (one - spread)};
}

/// The gain b in [0, 1] with the least error of `reset_recall` for values with noise of variance r:
/// the best constant write strength. No closed form; about 1.272 d / N at large load, r = 0. By
/// golden section, to about half the digits of the scalar (the minimum is flat); carries no
/// derivatives.
template <class Scalar>
Scalar best_recall_gain(const Load<Scalar>& load, const Scalar& r = Scalar(0)) {
  using std::sqrt;
  const Scalar one(1);
  const auto error = [&](const Scalar& gain) {  // less 1
    const auto recall = reset_recall(gain, load);
    return Scalar((one + r) * recall.noise() - Scalar(2) * recall.own);
  };
  const Scalar ratio = (sqrt(Scalar(5)) - one) / Scalar(2);
  const Scalar& x = load.items_per_dim;
  const Scalar bound = Scalar(2) / (one + r) / (x > one ? x : one);
  Scalar low(0), high = bound < one ? bound : one;
  Scalar left = high - ratio * (high - low), right = low + ratio * (high - low);
  Scalar at_left = error(left), at_right = error(right);
  for (int i = 0; i < 60; ++i) {  // 0.618^60 is 3e-13
    if (at_left < at_right) {
      high = right;
      right = left;
      at_right = at_left;
      left = high - ratio * (high - low);
      at_left = error(left);
    } else {
      low = left;
      left = right;
      at_left = at_right;
      right = low + ratio * (high - low);
      at_right = error(right);
    }
  }
  return (low + high) / Scalar(2);
}

/// The Bayesian Layer in the limit of large d (R6.5). r -> 0 gives max(0, 1 - d / N), which
/// then holds at every N and d (R6.4): up to N = d all is recalled. Errors at finite d are O(1/d).
/// @param lambda r / sigma_0^2 >= 0
/// @param load x = N / d > 0
template <class Scalar>
Recall<Scalar> filter_recall(const Scalar& lambda, const Scalar& load) {
  const Scalar one(1);
  if (!(lambda > Scalar(0))) {
    const Scalar own = load > one ? Scalar(one / load) : one;
    return {load > one ? Scalar((load - one) / load) : Scalar(0), own, own};
  }
  const MarchenkoPastur<Scalar> limit = marchenko_pastur(lambda, load);
  return {limit.unlearned2(), one / (one + limit.inverse_g), limit.learned2()};
}

}  // namespace seqbayes::dynamics
