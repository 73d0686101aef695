// A layer's dials, and the values of them under which a head's stream is most probable.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "stream.hpp"

namespace inspect {

/// The noises of a filter. Values have arbitrary units, so all are relative to sigma_0^2, and the
/// model's beta_t fixes the observation noise up to a factor:
///   r_t = noise_scale sigma_0^2 (1 - beta_t |k_t|^2) / beta_t,  Omega = process_noise sigma_0^2 I.
/// rho blends in a reset: the covariance decays by sqrt(1 - rho) D and gets rho sigma_0^2 I more
/// process noise. rho = 0 is the exact filter; rho = 1 with process_noise = 0 and noise_scale = 1
/// is the reset layer.
struct Dials {
  double prior_variance = 1;  // sigma_0^2
  double process_noise = 0;
  double noise_scale = 1;
  double rho = 0;
};

/// What a layer reads of a head under given dials. Owns what its sequence looks at.
class Inputs {
 public:
  Inputs(const Head& head, const Dials& dials, bool with_rho)
      : noise_(head.unit_noise * (dials.noise_scale * dials.prior_variance)),
        drift_(Vector::Constant(head.length(),
                                (dials.process_noise + dials.rho) * dials.prior_variance)) {
    x_.query = head.query;
    x_.key = head.key;
    x_.value = head.value;
    x_.write_strength = head.floored_strength;
    x_.observation_noise = noise_;
    x_.process_noise = drift_;
    if (with_rho) {
      covariance_log_decay_ = head.log_decay.array() + 0.5 * std::log1p(-dials.rho);
      x_.covariance_log_decay = covariance_log_decay_;
    }
  }
  Inputs(const Inputs&) = delete;
  Inputs& operator=(const Inputs&) = delete;

  /// The tokens as `layer` reads them: with one decay a token, or one for every channel.
  template <class Layer>
  [[nodiscard]] seqbayes::Sequence<double> sequence(const Head& head, const Layer& layer) const {
    seqbayes::Sequence<double> x = x_;
    if (layer.inputs().log_decay.accepts(1)) {
      x.log_decay = head.log_decay;
    } else {
      x.log_decay = head.channel_log_decay;
    }
    return x;
  }

 private:
  Vector noise_, drift_, covariance_log_decay_;
  seqbayes::Sequence<double> x_;
};

template <class Layer>
Layer make_layer(const Head& head, const Dials& dials, Index value_dim) {
  typename Layer::Options options;
  options.key_dim = head.key.cols();
  options.value_dim = value_dim;
  options.prior_variance = dials.prior_variance;
  options.log_decay = std::log(head.log_decay.array().exp().mean());  // Retention's one decay
  return Layer(options);
}

struct Fit {
  Dials dials;
  bool has_noise = false, has_rho = false;  // which dials the layer has beside sigma_0^2
  double log_evidence = -std::numeric_limits<double>::infinity();
};

/// The log evidence a value of the reference that keeps no memory: every value drawn from N(0, c),
/// with the best c.
inline double memoryless_evidence(const Head& head) {
  const double c = head.value.squaredNorm() / static_cast<double>(head.value.size());
  return -0.5 * (std::log(2 * std::numbers::pi * c) + 1);
}

/// The evidence of the first `length` tokens at the best sigma_0^2, which has a closed form: gains
/// depend on the ratios of the variances alone, so with chi = sum |nu_t|^2 / s_t at sigma_0^2 = 1
/// and n values the best sigma_0^2 is chi / n. The s_t come from a run with all values zero: its
/// innovations vanish and its evidence is -1/2 sum log 2 pi s_t.
template <class Layer>
Fit with_best_prior(const Head& head, Index length, Dials dials, bool with_rho) {
  dials.prior_variance = 1;
  const Inputs inputs(head, dials, with_rho);
  const auto layer = make_layer<Layer>(head, dials, head.value.cols());
  auto x = inputs.sequence(head, layer).tokens(0, length);
  auto state = layer.initial_state();
  const double at_values = seqbayes::scan(layer, state, x).log_evidence;

  const auto narrow = make_layer<Layer>(head, dials, 1);
  const Matrix zero = Matrix::Zero(length, 1);
  x.value = zero;
  auto no_memory = narrow.initial_state();
  const auto width = static_cast<double>(head.value.cols());
  const double at_zero = width * seqbayes::scan(narrow, no_memory, x).log_evidence;

  const double n = width * static_cast<double>(length);
  const double chi = 2 * (at_zero - at_values);
  dials.prior_variance = chi / n;
  Fit fit;
  fit.dials = dials;
  fit.has_noise = layer.inputs().observation_noise.width > 0;
  fit.has_rho = with_rho;
  fit.log_evidence = at_zero - 0.5 * n * (std::log(dials.prior_variance) + 1);
  return fit;
}

/// Maximises `evidence(point)` by compass search: step along each axis, halve when nothing is
/// gained.
template <class Evidence>
void climb(Evidence&& evidence, std::vector<double> point, double step, double last_step) {
  double best = evidence(point);
  while (step >= last_step) {
    bool moved = false;
    for (double& coordinate : point) {
      for (const double move : {step, -step}) {
        coordinate += move;
        const double found = evidence(point);
        if (found > best + 1e-6) {
          best = found;
          moved = true;
          break;
        }
        coordinate -= move;
      }
    }
    if (!moved) step /= 2;
  }
}

/// The most probable dials of `Layer` for the first `length` tokens of a head: a coarse grid over
/// powers of ten, then a compass search from its best point.
template <class Layer>
Fit fit(const Head& head, Index length, bool with_rho) {
  Fit best = with_best_prior<Layer>(head, length, {}, with_rho);
  if (!best.has_noise) return best;  // a reset layer: beta says all
  best.log_evidence = -std::numeric_limits<double>::infinity();
  std::vector<double> at;
  // Coordinates are log10 of process_noise, noise_scale and, with rho, of rho.
  const auto evidence = [&](const std::vector<double>& point) {
    Dials dials;
    dials.process_noise = std::pow(10, std::clamp(point[0], -9.0, 1.0));
    dials.noise_scale = std::pow(10, std::clamp(point[1], -3.0, 3.0));
    if (with_rho) dials.rho = std::pow(10, std::clamp(point[2], -6.0, 0.0));
    const Fit found = with_best_prior<Layer>(head, length, dials, with_rho);
    if (found.log_evidence > best.log_evidence) {
      best = found;
      at = point;
    }
    return found.log_evidence;
  };
  if (with_rho) {  // from the exact filter's dials, and from the reset layer
    const Dials exact = fit<Layer>(head, length, false).dials;
    for (const double rho : {-6, -4, -2, -1}) {
      evidence({std::log10(exact.process_noise), std::log10(exact.noise_scale), rho});
    }
    evidence({-9, 0, 0});
  } else {
    for (const double drift : {-8, -6, -5, -4, -3, -2, -1}) {
      for (const double noise : {-1, 0, 1, 2}) evidence({drift, noise});
    }
  }
  climb(evidence, std::vector<double>(at), 0.5, 0.03);
  return best;
}

}  // namespace inspect
