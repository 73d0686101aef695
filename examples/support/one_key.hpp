// One key, written again and again: where a covariance helps, and three cases where it hurts unless
// it is told that the truth may change.
#pragma once

#include <seqbayes/dynamics/change_point.hpp>
#include <seqbayes/dynamics/constant_gain.hpp>
#include <seqbayes/inference/calibration.hpp>

#include "entrant.hpp"

namespace study {

/// True values start from N(0, 1).
struct OneKeyStudy {
  double noise = 0.25, process_noise = 0.01;
  double wrong_prior = 0.01;  ///< of a filter that is too sure of its empty memory
  int change_after = 50, writes = 1000, channels = 1000;
  unsigned seed = 1;
};

/// The mean square error after `n` counted writes, by which a curve is predicted and a gain tuned.
using Error = std::function<double(const Settings&, int n)>;

/// The truth and the values of T writes, T x channels each. Error counts writes from `first` on.
struct Stream {
  Matrix truth, value;
  int first = 0;
};

inline Stream draw_stream(const OneKeyStudy& study, int change_after, double drift) {
  Draw draw(study.seed);
  const int length = study.writes + change_after;
  Stream stream{Matrix(length, study.channels), {}, change_after};
  Matrix y = draw.normal(1, study.channels);
  for (int t = 0; t < length; ++t) {
    if (t > 0 && t == change_after) y = draw.normal(1, study.channels);
    if (drift > 0) y += std::sqrt(drift) * draw.normal(1, study.channels);
    stream.truth.row(t) = y;
  }
  stream.value = stream.truth + std::sqrt(study.noise) * draw.normal(length, study.channels);
  return stream;
}

/// The layer's error after each of `writes`.
inline Points simulate(const Stream& stream, const Settings& settings, const Answers& answers,
                       const std::vector<int>& writes, bool counts_writes) {
  const Matrix key = Matrix::Ones(stream.value.rows(), 1);
  const Matrix answer = answers(settings, key, stream.value, Vector::Ones(1));
  Points points;
  for (const int n : writes) {
    const Index t = stream.first + n - 1;
    const double by = counts_writes ? static_cast<double>(t + 1) : 1;
    Mean mean;
    for (Index c = 0; c < answer.cols(); ++c) {
      mean.add(std::pow(answer(t, c) / by - stream.truth(t, c), 2));
    }
    points.push_back(mean.at(n));
  }
  return points;
}

/// Simulates and predicts one layer; one that `is_tuned` has the best constant gain of each point.
inline Curve one_key_curve(std::size_t style, const Stream& stream, const Settings& settings,
                           const Answers& answers, const Error& error, bool counts_writes = false,
                           bool is_tuned = false) {
  const auto at = [&](int n) {
    if (!is_tuned) return settings;
    return with_best_gain(settings, [&](const Settings& s) { return error(s, n); });
  };
  const int last = static_cast<int>(stream.value.rows()) - stream.first;
  Curve curve{style, {}, {}};
  for (const int n : spaced(last, 21)) curve.predicted.push_back({double(n), error(at(n), n)});
  const std::vector<int> shown = spaced(last, 3);
  if (!is_tuned) {
    curve.simulated = simulate(stream, settings, answers, shown, counts_writes);
  } else {
    for (const int n : shown) {
      curve.simulated.push_back(simulate(stream, at(n), answers, {n}, false).front());
    }
  }
  return curve;
}

namespace one_key {

using namespace seqbayes::dynamics;

/// E error^2 of a constant truth y ~ N(0, 1).
inline double constant_truth(const Retrieval<double>& r, double noise) {
  return r.missing_weight * r.missing_weight + noise * r.noise_factor;
}

/// E error^2 about the second of two truths, after n writes of the first.
inline double changed_truth(const Retrieval<double>& before, const Retrieval<double>& after,
                            double noise) {
  const double kept = after.initial_weight;
  return std::pow(after.missing_weight, 2) + std::pow(kept * before.total_weight, 2) +
         noise * (kept * kept * before.noise_factor + after.noise_factor);
}

/// The four cases as closed forms: of the filter, of a constant gain, of the plain mean.
struct Case {
  Error filter, reset, mean;
};

inline Case constant(double noise) {
  return {[=](const Settings& s, int n) {
            return constant_truth(after_writes(filter_rule(s), n), noise);
          },
          [=](const Settings& s, int n) {
            return constant_truth(after_writes(reset_rule(s), n), noise);
          },
          [=](const Settings&, int n) { return noise / n; }};
}

inline Case changed(double noise, int before) {
  return {[=](const Settings& s, int m) {
            FilterRule<double> later = filter_rule(s);
            later.prior_variance = claimed_variance(later, before);
            return changed_truth(after_writes(filter_rule(s), before), after_writes(later, m),
                                 noise);
          },
          [=](const Settings& s, int m) {
            return changed_truth(after_writes(reset_rule(s), before),
                                 after_writes(reset_rule(s), m), noise);
          },
          [=](const Settings&, int m) {
            const double all = before + m;
            return 2 * std::pow(before / all, 2) + noise / all;
          }};
}

inline Case drifting(double noise, double drift) {
  const NoiseLevels<double> truth{noise, drift, 1};
  return {[=](const Settings& s, int n) {
            if (s.process_noise > 0) return claimed_variance(filter_rule(s), n);  // its model holds
            return repeated_write_calibration<double>(n, {noise, 0, 1}, truth).actual;  // R7.6
          },
          [=](const Settings& s, int n) {
            const double kept = std::pow(1 - s.gain, 2);
            return power(kept, n) +
                   (kept * drift + s.gain * s.gain * noise) * geometric_sum(kept, n);
          },
          [=](const Settings&, int n) {  // R7.6 as lambda -> 0
            return repeated_write_calibration<double>(n, {0, 0, 1}, truth).actual;
          }};
}

}  // namespace one_key

inline Figure one_key_figure(const OneKeyStudy& study) {
  using namespace seqbayes;
  const double r = study.noise, omega = study.process_noise;
  const Settings still{1, r, 0, 1, 1 / (1 + r)}, moving{1, r, omega, 1, 1};
  Figure figure{
      "helps_and_hurts",
      {{"LinearAttention, over the count", "#888888", "(2,3)", 8},
       {"DeltaNet, the filter's first gain", "#000000", "solid", 4},
       {"DeltaNet, best constant gain", "#000000", "(8,5)", 6},
       {"BayesianLayer", "#D55E00", "solid", 7, 2.5},
       {fmt::format("BayesianLayer, process noise {:g}", omega), "#0072B2", "solid", 5, 2.5},
       {"BayesianLayer, decay 0.98 alone", "#CC79A7", "solid", 10}},
      {}};
  const auto add_panel = [&](const std::string& title, const std::string& x_label,
                             const Stream& stream, const one_key::Case& expected, double prior) {
    Settings filter = still, cautious = moving;
    filter.prior_variance = cautious.prior_variance = prior;
    Panel panel{title, x_label, "mean square error", {}, "set logscale xy"};
    panel.curves = {
        one_key_curve(0, stream, still, answers<LinearAttention<double>>, expected.mean, true),
        one_key_curve(1, stream, still, answers<DeltaNet<double>>, expected.reset),
        one_key_curve(2, stream, still, answers<DeltaNet<double>>, expected.reset, false, true),
        one_key_curve(3, stream, filter, answers<BayesianLayer<double>>, expected.filter),
        one_key_curve(4, stream, cautious, answers<BayesianLayer<double>>, expected.filter)};
    figure.panels.push_back(panel);
  };
  const Stream constant = draw_stream(study, 0, 0);
  add_panel("helps: the truth is constant", "writes", constant, one_key::constant(r), 1);
  const Stream changed = draw_stream(study, study.change_after, 0);
  const auto after_change = one_key::changed(r, study.change_after);
  add_panel(fmt::format("hurts: it changes after {} writes", study.change_after),
            "writes since the change", changed, after_change, 1);
  Settings decaying = still;
  decaying.decay = 0.98;
  figure.panels.back().curves.push_back(
      one_key_curve(5, changed, decaying, answers<BayesianLayer<double>>, after_change.filter));
  add_panel(fmt::format("hurts: it drifts, variance {:g} a write", omega), "writes",
            draw_stream(study, 0, omega), one_key::drifting(r, omega), 1);
  add_panel(fmt::format("hurts: the filters take their prior for {:g}, not 1", study.wrong_prior),
            "writes", constant, one_key::constant(r), study.wrong_prior);
  return figure;
}

}  // namespace study
