// The layers of a study: what they are told, and what is known of each in closed form.
#pragma once

#include <algorithm>

#include <seqbayes/dynamics/repeated_writes.hpp>

#include "constant_fields.hpp"
#include "study.hpp"

namespace study {

inline seqbayes::dynamics::FilterRule<double> filter_rule(const Settings& s) {
  return {s.prior_variance, s.noise, s.decay, s.process_noise};
}
inline seqbayes::dynamics::ResetRule<double> reset_rule(const Settings& s) {
  return {s.gain, s.decay};
}
inline seqbayes::dynamics::AttentionRule<double> attention_rule(const Settings& s) {
  return {s.decay};
}

/// The honest baseline: with the constant gain in [0, 1] that is best, knowing the whole
/// experiment, of which error(settings) is the outcome. The best of 100, then golden section.
template <class Error>
Settings with_best_gain(Settings settings, const Error& error) {
  const auto at = [&](double gain) {
    settings.gain = gain;
    return error(settings);
  };
  double best = 0;
  for (int i = 1; i <= 100; ++i) best = at(0.01 * i) < at(best) ? 0.01 * i : best;
  const double ratio = (std::sqrt(5.0) - 1) / 2;
  double low = std::max(0.0, best - 0.01), high = std::min(1.0, best + 0.01);
  while (high - low > 1e-9) {
    const double left = high - ratio * (high - low), right = low + ratio * (high - low);
    (at(left) < at(right) ? high : low) = at(left) < at(right) ? right : left;
  }
  settings.gain = (low + high) / 2;
  return settings;
}

/// A layer of a study. `Form`: of a closed form that takes the settings and what is done to it.
template <class Form>
struct Entrant {
  using Predict = std::function<Form>;
  Style style;
  Settings settings;
  Answers answers;
  Predict predict;             ///< the closed form, if there is one
  bool counts_writes = false;  ///< its answer is divided by the weight of one key's writes
  bool is_tuned = false;       ///< `with_best_gain`

  /// What n writes of one key weigh without normalisation.
  [[nodiscard]] double weight_of_writes(int n) const {
    return counts_writes ? seqbayes::dynamics::geometric_sum(settings.decay, n) : 1;
  }
};

template <class Form, class Error>
Entrant<Form> tuned(Entrant<Form> entrant, const Error& error) {
  if (entrant.is_tuned) entrant.settings = with_best_gain(entrant.settings, error);
  return entrant;
}

/// The layers without a covariance. Two of them decay as `fading`, by names that are the study's.
template <class Of>
std::vector<Of> without_covariance(const Settings& still, const Settings& fading,
                                   const typename Of::Predict& attention,
                                   const typename Of::Predict& reset, const std::string& ssd,
                                   const std::string& gated_delta) {
  using namespace seqbayes;
  return {
      {{"LinearAttention, over the count", "#888888", "(2,3)", 8},
       still,
       answers<LinearAttention<double>>,
       attention,
       true},
      {{ssd, "#CC79A7", "solid", 10}, fading, answers<Ssd<double>>, attention, true},
      {{"DeltaNet, the filter's first gain", "#000000", "solid", 4},
       still,
       answers<DeltaNet<double>>,
       reset},
      {{"DeltaNet, best constant gain", "#000000", "(8,5)", 6},
       still,
       answers<DeltaNet<double>>,
       reset,
       false,
       true},
      {{gated_delta, "#E69F00", "solid", 12}, fading, answers<GatedDeltaNet<double>>, reset},
  };
}

}  // namespace study
