// The recall study: N random keys are written once each; how well is each recalled?
#pragma once

#include <optional>

#include <seqbayes/dynamics/recall.hpp>

#include "constant_fields.hpp"
#include "study.hpp"

namespace study {

struct RecallStudy {
  int key_dim = 64, channels = 64, repetitions = 8;
  double largest_load = 16, noise = 0.25;  ///< noise of the second pair of panels
  unsigned seed = 1;
};

using seqbayes::dynamics::Count;
using seqbayes::dynamics::Load;
using seqbayes::dynamics::Recall;

/// What a layer is told: the gain, if it takes one, and the noise variance of the values.
struct Told {
  double gain, noise;
};

/// A layer of the study. Formulas are empty where there is none.
struct Rememberer {
  Style style;
  std::function<Ran(const Settings&, const Matrix&, const Matrix&, const Matrix&)> run;
  std::function<Recall<double>(const Told&, Count items, Count dim)> recall;
  std::function<Recall<double>(const Told&, Count age, Count items, Count dim)> recall_at;
  std::optional<double> gain = {};  ///< of every write; none: the best for the load
  double kept = 1;                  ///< decay
  bool is_scaled = false;           ///< readout by the best factor
};

/// Of the layers that have one.
inline constexpr double decay = 0.98;

inline std::vector<Rememberer> rememberers() {
  using namespace seqbayes;
  using namespace seqbayes::dynamics;
  const auto reset = [](const Told& told, Count items, Count dim) {
    return reset_recall(told.gain, Load<double>::of(items, dim));
  };
  const auto reset_at = [](const Told& told, Count age, Count items, Count dim) {
    return reset_recall_at(age, told.gain, items, dim);
  };
  return {
      {{"LinearAttention", "#888888", "(2,3)", 8},
       run<LinearAttention<double>>,
       [](const Told&, Count items, Count dim) { return attention_recall(1.0, items, dim); },
       [](const Told&, Count age, Count items, Count dim) {
         return attention_recall_at(age, 1.0, items, dim);
       }},
      {{"LinearAttention, best readout scale", "#888888", "solid", 9},
       run<LinearAttention<double>>,
       [](const Told& told, Count items, Count dim) {
         return scaled_attention_recall(Load<double>::of(items, dim), told.noise);
       },
       {},
       {},
       1,
       true},
      {{"Ssd = Retention = GLA, decay 0.98", "#CC79A7", "solid", 10},
       run<Ssd<double>>,
       [](const Told&, Count items, Count dim) { return attention_recall(decay, items, dim); },
       [](const Told&, Count age, Count items, Count dim) {
         return attention_recall_at(age, decay, items, dim);
       },
       {},
       decay},
      {{"DeltaNet, gain 1", "#000000", "solid", 4}, run<DeltaNet<double>>, reset, reset_at, 1},
      {{"DeltaNet, best constant gain", "#000000", "(8,5)", 6},
       run<DeltaNet<double>>,
       reset,
       reset_at},
      {{"GatedDeltaNet, decay 0.98 (simulated)", "#E69F00", "solid", 12, 0},
       run<GatedDeltaNet<double>>,
       {},
       {},
       1,
       decay},
      {{"IsotropicKalmanDeltaNet (simulated)", "#56B4E9", "solid", 1, 0},
       run<IsotropicKalmanDeltaNet<double>>,
       {},
       {}},
      {{"DiagonalKalmanDeltaNet (simulated)", "#009E73", "solid", 2, 0},
       run<DiagonalKalmanDeltaNet<double>>,
       {},
       {}},
      {{"BayesianLayer", "#D55E00", "solid", 7, 2.5},
       run<BayesianLayer<double>>,
       [](const Told& told, Count items, Count dim) {
         return filter_recall(told.noise, double(items) / double(dim));
       },
       {}},
  };
}

/// Noise of the filters where values have none: small enough not to matter.
inline constexpr double no_noise = 1e-4;

/// What a layer is told of a stream.
inline Told told(const Rememberer& layer, const RecallStudy& study, Index items, double noise) {
  const auto load = Load<double>::of(items, study.key_dim);
  return {layer.gain ? *layer.gain : seqbayes::dynamics::best_recall_gain(load, noise),
          std::max(noise, no_noise)};
}

/// The error of each item, the oldest first: mean squares over channels against clean values.
inline Vector recall_errors(const Rememberer& layer, const RecallStudy& study, Index items,
                            double noise, Draw& draw) {
  Matrix key(items, study.key_dim);
  for (Index i = 0; i < items; ++i) key.row(i) = draw.unit(study.key_dim);
  const Matrix value = draw.normal(items, study.channels);
  const Matrix written = value + std::sqrt(noise) * draw.normal(items, study.channels);
  const auto [gain, assumed] = told(layer, study, items, noise);
  const Settings settings{1, assumed, 0, layer.kept, gain};
  Matrix recalled = key * layer.run(settings, key, written, key).memory;
  if (layer.is_scaled) recalled *= layer.recall({gain, noise}, items, study.key_dim).own;
  return (recalled - value).rowwise().squaredNorm() / double(study.channels);
}

/// Numbers of items from few to many, a factor of the square root of 2 apart.
inline std::vector<Index> item_counts(const RecallStudy& study) {
  std::vector<Index> counts;
  for (double load = 1.0 / 16; load < study.largest_load * 1.01; load *= std::sqrt(2.0)) {
    const auto items = static_cast<Index>(std::lround(load * study.key_dim));
    if (items > 1 && (counts.empty() || items > counts.back())) counts.push_back(items);
  }
  return counts;
}

/// Error against load.
inline Panel recall_by_load(const RecallStudy& study, double noise) {
  const auto layers = rememberers();
  Panel panel{
      noise > 0 ? fmt::format("values with noise variance {:g}", noise) : "values without noise",
      "load N / d: associations a key dimension",
      "mean square error, over a value's variance",
      {},
      "set logscale x 2\nset yrange [0:2]\nset ytics 0.5\n"
      "set xtics (\"1/16\" 0.0625, \"1/4\" 0.25, 1, 4, 16, 64)\n"};
  for (std::size_t i = 0; i < layers.size(); ++i) {
    Curve curve{i, {}, {}};
    for (const Index items : item_counts(study)) {
      const double load = double(items) / study.key_dim;
      if (layers[i].recall) {
        const Recall<double> recall =
            layers[i].recall(told(layers[i], study, items, noise), items, study.key_dim);
        curve.predicted.push_back({load, recall.mse(noise)});
      }
      Draw draw(study.seed + static_cast<unsigned>(items));  // the same keys for every layer
      Mean mean;
      for (int run = 0; run < study.repetitions; ++run) {
        mean.add(recall_errors(layers[i], study, items, noise, draw).mean());
      }
      curve.simulated.push_back(mean.at(load));
    }
    panel.curves.push_back(curve);
  }
  return panel;
}

/// Error against age, at load 1.
inline Panel recall_by_age(const RecallStudy& study) {
  const auto layers = rememberers();
  const Index items = study.key_dim;
  Panel panel{"load 1, by age",
              "associations written since",
              "mean square error, over a value's variance",
              {},
              "set yrange [0:1.6]\nset xtics autofreq\n"};
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const auto& layer = layers[i];
    if (layer.is_scaled) continue;
    Curve curve{i, {}, {}};
    for (Index age = 0; age < items && layer.recall_at; ++age) {
      const auto recall = layer.recall_at(told(layer, study, items, 0), age, items, study.key_dim);
      curve.predicted.push_back({double(age), recall.error});
    }
    Draw draw(study.seed);
    const Index step = std::max<Index>(1, items / 10);
    std::vector<Mean> means(static_cast<std::size_t>((items + step - 1) / step));
    for (int run = 0; run < 4 * study.repetitions; ++run) {
      const Vector error = recall_errors(layer, study, items, 0, draw);
      for (std::size_t bin = 0; bin < means.size(); ++bin) {
        means[bin].add(error[items - 1 - Index(bin) * step]);
      }
    }
    for (std::size_t bin = 0; bin < means.size(); ++bin) {
      curve.simulated.push_back(means[bin].at(double(Index(bin) * step)));
    }
    panel.curves.push_back(curve);
  }
  return panel;
}

/// The gain of the last write, where the key is new: which share of its value is stored?
inline Panel gain_by_load(const RecallStudy& study) {
  const auto layers = rememberers();
  Panel panel{"how strongly the last association is written",
              "load N / d: associations a key dimension",
              "gain k'κ: stored share of a value",
              {},
              "set logscale x 2\nset yrange [0:1.05]\n"
              "set xtics (\"1/16\" 0.0625, \"1/4\" 0.25, 1, 4, 16, 64)\n"};
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const std::string& name = layers[i].style.name;
    const bool is_bayesian = name == "BayesianLayer", is_best = name.find("best c") < name.size();
    if (!is_bayesian && !is_best && layers[i].style.width > 0) continue;
    Curve curve{i, {}, {}};
    for (const Index items : item_counts(study)) {
      const double load = double(items) / study.key_dim;
      if (is_best) {
        curve.predicted.push_back({load, told(layers[i], study, items, study.noise).gain});
      }
      if (is_bayesian) {
        const auto limit = seqbayes::dynamics::marchenko_pastur(study.noise, load);
        curve.predicted.push_back({load, 1 - limit.unlearned()});
      }
      if (is_best || layers[i].gain) continue;
      // From an empty memory that sees zeros and then a 1, the answer at that key is k' kappa.
      Draw draw(study.seed + static_cast<unsigned>(items));
      Mean mean;
      for (int run = 0; run < study.repetitions; ++run) {
        Matrix key(items, study.key_dim);
        for (Index t = 0; t < items; ++t) key.row(t) = draw.unit(study.key_dim);
        Matrix value = Matrix::Zero(items, 1);
        value(items - 1, 0) = 1;
        const Settings settings{1, study.noise, 0, 1, 1};
        mean.add(layers[i].run(settings, key, value, key).output(items - 1, 0));
      }
      curve.simulated.push_back(mean.at(load));
    }
    panel.curves.push_back(curve);
  }
  panel.title += fmt::format(", noise {:g}", study.noise);
  return panel;
}

inline Figure recall_figure(const RecallStudy& study) {
  Figure figure{"recall", {}, {}};
  for (const Rememberer& layer : rememberers()) figure.styles.push_back(layer.style);
  figure.panels = {recall_by_load(study, 0), recall_by_load(study, study.noise),
                   recall_by_age(study), gain_by_load(study)};
  return figure;
}

}  // namespace study
