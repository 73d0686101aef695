// A layer's dials: the noise levels under which a head's stream is most probable.
#pragma once

#include <cmath>
#include <numbers>

#include "stream.hpp"

namespace inspect {

/// The noises of a filter as the report shows them. Values have arbitrary units, so all are
/// relative to sigma_0^2, and the model's beta_t fixes the observation noise up to a factor:
///   r_t = noise_scale sigma_0^2 (1 - beta_t |k_t|^2) / beta_t,  Omega = process_noise sigma_0^2 I.
/// rho blends in a reset (see `seqbayes::dynamics::NoisyStream`).
struct Dials {
  double prior_variance = 1;  // sigma_0^2
  double process_noise = 0;
  double noise_scale = 1;
  double rho = 0;
};

struct Fit {
  seqbayes::dynamics::NoiseFit<double> noise;
  bool has_noise = false, has_rho = false;  // which dials the layer has beside sigma_0^2

  [[nodiscard]] Dials dials() const {
    const auto& levels = noise.levels;
    return {levels.prior_variance, levels.process_noise / levels.prior_variance,
            levels.observation_noise / levels.prior_variance, noise.reset};
  }
};

/// The log evidence a value of the reference that keeps no memory: every value drawn from N(0, c),
/// with the best c.
inline double memoryless_evidence(const Head& head) {
  const double c = head.value.squaredNorm() / static_cast<double>(head.value.size());
  return -0.5 * (std::log(2 * std::numbers::pi * c) + 1);
}

template <class Layer>
Layer make_layer(const Head& head, double prior_variance, Index value_dim) {
  typename Layer::Options options;
  options.key_dim = head.key.cols();
  options.value_dim = value_dim;
  if constexpr (Layer::reads.prior_variance) options.prior_variance = prior_variance;
  if constexpr (Layer::reads.log_decay) {  // Retention's one decay
    options.log_decay = std::log(head.log_decay.array().exp().mean());
  }
  return Layer(options);
}

/// The most probable dials of `Layer` for the first `length` tokens of a head. A reset layer takes
/// beta as it is.
template <class Layer>
Fit fit(const Head& head, Index length, bool with_rho) {
  using seqbayes::dynamics::Fitted;
  Fit fit;
  fit.has_noise = make_layer<Layer>(head, 1, 1).inputs().observation_noise.width > 0;
  fit.has_rho = with_rho;
  const Fitted fitted = !fit.has_noise ? Fitted::scale
                        : with_rho     ? Fitted::levels_and_reset
                                       : Fitted::levels;
  fit.noise = seqbayes::dynamics::fit_noise<Layer>(head.sequence().tokens(0, length), fitted);
  return fit;
}

}  // namespace inspect
