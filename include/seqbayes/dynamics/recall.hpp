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

  /// The sum of the squares of all weights, error - 1 + 2 own: the share of the variance of noise
  /// in the written values that is recalled with them.
  [[nodiscard]] Scalar noise() const { return error - Scalar(1) + Scalar(2) * own; }
  /// The error against clean values that were written with noise of variance `r`.
  [[nodiscard]] Scalar mse(const Scalar& r) const { return error + r * noise(); }
};

/// Linear attention (decay 1) and Mamba-2 (R6.2), mean over items; with decay 1 the error is
/// (N - 1) / d (R6.1).
/// @param decay alpha in [0, 1] a token
template <class Scalar>
Recall<Scalar> attention_recall(const Scalar& decay, Count items, Count dim) {
  const Scalar n = Scalar(static_cast<double>(items)), d = Scalar(static_cast<double>(dim));
  const Scalar kept = geometric_sum(decay, items) / n;
  const Scalar kept2 = geometric_sum(Scalar(decay * decay), items) / n;
  return {Scalar(1) - Scalar(2) * kept + kept2 + (n - Scalar(1)) / d * kept2, kept};
}

/// The same for the item that was written `age` < `items` tokens before the last one (R6.2).
template <class Scalar>
Recall<Scalar> attention_recall_at(Count age, const Scalar& decay, Count items, Count dim) {
  const Scalar kept = power(decay, age), decay2 = decay * decay;
  const Scalar others = geometric_sum(decay2, items) - kept * kept;
  return {(Scalar(1) - kept) * (Scalar(1) - kept) + others / Scalar(static_cast<double>(dim)),
          kept};
}

/// Linear attention whose readout is scaled by the best factor for values with noise of variance r:
/// c = 1 / ((1 + xi) (1 + r)), xi = (N - 1) / d (R6.1 for r = 0, where the error is xi / (1 + xi)).
template <class Scalar>
Recall<Scalar> scaled_attention_recall(const Load<Scalar>& load, const Scalar& r = Scalar(0)) {
  const Scalar xi = load.items_per_dim - load.inverse_dim;
  const Scalar left = (Scalar(1) + xi) * (Scalar(1) + r);
  const Scalar missing = xi + r + xi * r;  // of the scale, times `left`
  return {(missing * missing + xi) / (left * left), Scalar(1) / left};
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
  const Scalar rate = write.total_gap / write.trace;  // d (1 - gamma_x / gamma_T)
  const auto mean_over = [&](const Scalar& a) {
    return detail::MeanDecay<Scalar>(Scalar(a * x), Scalar(a * inverse_d));
  };
  const detail::MeanDecay<Scalar> excess = mean_over(rate);
  const Scalar crosstalk = gain2 * x * mean_over(lost).kept;
  // R6.3's sum with its terms of order 1 collected in (1 - b)^2, so that nothing cancels at b = 1.
  const Scalar own2 = gain2 * after_all * inverse_d * excess.kept / write.trace;
  const detail::MeanDecay<Scalar> mean = mean_over(gain);
  return {(one - gain) * (one - gain) * (one + crosstalk - own2) + two * gain * mean.loss -
              gain2 * after_all * excess.loss,
          gain * mean.kept};
}

/// The same for the item that was written `age` < `items` tokens before the last one (R6.3), whose
/// own error right after the write is (1 - b)^2.
template <class Scalar>
Recall<Scalar> reset_recall_at(Count age, const Scalar& gain, Count items, Count dim) {
  const Scalar one(1), two(2), inverse_d = one / Scalar(static_cast<double>(dim));
  const Scalar gain2 = gain * gain;
  const auto write = RandomContraction<Scalar>::at_inverse_dim({gain}, inverse_d);
  const Scalar own = gain * power(Scalar(one - gain * inverse_d), age);
  return {one + gain2 * inverse_d * geometric_sum(write.trace, items) +
              gain2 * (one - inverse_d) * power(write.deviator, age) *
                  power(write.trace, items - 1 - age) -
              two * own,
          own};
}

/// The gain b in [0, 1] with the least error of `reset_recall` for values with noise of variance r:
/// the best constant write strength. No closed form; about 1.272 d / N at large load, r = 0. By
/// golden section, to about half the digits of the scalar (the minimum is flat); carries no
/// derivatives.
template <class Scalar>
Scalar best_recall_gain(const Load<Scalar>& load, const Scalar& r = Scalar(0)) {
  using std::sqrt;
  const auto error = [&](const Scalar& gain) { return reset_recall(gain, load).mse(r); };
  const Scalar ratio = (sqrt(Scalar(5)) - Scalar(1)) / Scalar(2);
  const Scalar bound = Scalar(2) / load.items_per_dim;
  Scalar low(0), high = bound < Scalar(1) ? bound : Scalar(1);
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
    const Scalar error = load > one ? Scalar(one - one / load) : Scalar(0);
    return {error, one - error};
  }
  const MarchenkoPastur<Scalar> limit = marchenko_pastur(lambda, load);
  return {limit.unlearned2(), one - limit.unlearned()};
}

}  // namespace seqbayes::dynamics
