/// @file
/// A stream with its noises at given levels, as a filter reads it.
#pragma once

#include <algorithm>
#include <cmath>

#include <seqbayes/covariance/reset.hpp>
#include <seqbayes/decay/decay.hpp>
#include <seqbayes/inference/stream_units.hpp>

namespace seqbayes::dynamics {

/// The write strength nearest to `beta` behind which a filter with 0 < r < infinity stands, with a
/// margin: beta |k|^2 <= 1 - 1e-3 and, with |k|^2 of a typical key, beta |k|^2 >= 1e-6.
template <class Scalar>
Scalar clamped_write_strength(const Scalar& beta, const Scalar& key_norm2,
                              const Scalar& typical_key_norm2 = Scalar(1)) {
  const Scalar lowest = Scalar(1e-6) / typical_key_norm2, highest_gain = Scalar(1 - 1e-3);
  const Scalar raised = beta < lowest ? lowest : beta;
  return raised * key_norm2 > highest_gain ? Scalar(highest_gain / key_norm2) : raised;
}

/// A stream as layer `L` reads it at given noise levels. Owns the fields that it fills in.
///
/// Noises are relative to those of the stream, as `NoiseLevels` says. Where the stream lacks
/// observation noise and has write strengths, its r_t is (1 - beta_t |k_t|^2) / beta_t, the noise
/// that makes them (`clamped_write_strength`) those of a reset layer with sigma_0^2 = 1.
///
/// `reset` = rho blends in a reset: the covariance decays by sqrt(1 - rho) D_t and gets rho
/// sigma_0^2 I more process noise; 0 is the filter as it is, 1 forgets all it knew before a write.
template <class L>
class NoisyStream {
 public:
  using Scalar = typename L::Scalar;

  /// @throws std::invalid_argument on bad input
  explicit NoisyStream(const Sequence<Scalar>& x) : x_(x) {
    detail::check_data(x, std::max<Index>(x.value.cols(), 1));
    if (x.query.empty()) x_.query = x.key;
    const Index length = x.key.rows();
    key_norm2_.resize(length);
    for (Index t = 0; t < length; ++t) key_norm2_[t] = x.key.row(t).vector().squaredNorm();
    const auto channels = [&](const MatrixView<Scalar>& field, Index cols, double missing) {
      Matrix<Scalar> all = Matrix<Scalar>::Constant(length, cols, Scalar(missing));
      for (Index t = 0; t < length && !field.empty(); ++t) {
        for (Index i = 0; i < cols; ++i) all(t, i) = field.row(t)[field.cols() == 1 ? 0 : i];
      }
      return all;
    };
    unit_noise_ = channels(x.observation_noise, 1, 1);
    if (x.observation_noise.empty() && !x.write_strength.empty()) {
      const Scalar typical = detail::median_of_positive(key_norm2_);
      for (Index t = 0; t < length; ++t) {
        const Scalar beta =
            clamped_write_strength(x.write_strength.row(t)[0], key_norm2_[t], typical);
        unit_noise_[t] = to_observation_noise(beta, key_norm2_[t], Scalar(1));
      }
    }
    unit_drift_ = channels(x.process_noise, std::max<Index>(x.process_noise.cols(), 1), 1);
    InputWidths read;
    typename L::Options widths;
    widths.key_dim = x.key.cols();
    L::Decay::add_inputs(read, widths);
    const bool decays = read.log_decay.width > 0 && !x.log_decay.empty();
    log_decay_ =
        channels(decays ? x.log_decay : MatrixView<Scalar>(), decays ? x.log_decay.cols() : 1, 0);
    x_.log_decay = log_decay_;
  }
  NoisyStream(const NoisyStream&) = delete;
  NoisyStream& operator=(const NoisyStream&) = delete;

  /// Sets the noises; the view stays where it is.
  const Sequence<Scalar>& at(const NoiseLevels<Scalar>& levels, const Scalar& reset = Scalar(0)) {
    using std::log1p;
    noise_ = unit_noise_ * levels.observation_noise;
    drift_ = unit_drift_ * levels.process_noise;
    drift_.array() += Scalar(reset * levels.prior_variance);
    strength_ =
        levels.prior_variance / (noise_.array() + levels.prior_variance * key_norm2_.array());
    if (reset > Scalar(0)) {
      covariance_log_decay_ = log_decay_.array() + Scalar(log1p(-reset) / Scalar(2));
      x_.covariance_log_decay = covariance_log_decay_;
    } else {
      x_.covariance_log_decay = {};
    }
    x_.observation_noise = noise_;
    x_.process_noise = drift_;
    x_.write_strength = strength_;
    return x_;
  }
  [[nodiscard]] const Sequence<Scalar>& sequence() const { return x_; }

  /// Levels with r = 1 at which the noise of a typical value, the prior variance of its read and
  /// one token's drift are the same.
  [[nodiscard]] NoiseLevels<Scalar> balanced() const {
    Vector<Scalar> ratio = Vector<Scalar>::Zero(key_norm2_.size());
    for (Index t = 0; t < ratio.size(); ++t) {
      if (key_norm2_[t] > Scalar(0)) ratio[t] = unit_noise_[t] / key_norm2_[t];
    }
    const Scalar prior = detail::median_of_positive(ratio);
    return {Scalar(1), prior / detail::median_of_positive(unit_drift_.reshaped()), prior};
  }

  /// The layer for these levels.
  [[nodiscard]] L layer(const NoiseLevels<Scalar>& levels, Index value_dim) const {
    typename L::Options options;
    options.key_dim = x_.key.cols();
    options.value_dim = value_dim;
    if constexpr (L::reads.prior_variance) options.prior_variance = levels.prior_variance;
    return L(options);
  }

 private:
  Sequence<Scalar> x_;
  Vector<Scalar> key_norm2_, unit_noise_;
  Matrix<Scalar> unit_drift_, log_decay_;
  Vector<Scalar> noise_, strength_;
  Matrix<Scalar> drift_, covariance_log_decay_;
};

}  // namespace seqbayes::dynamics
