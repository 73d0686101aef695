// A target key, then many random ones: what is left of the target.
#pragma once

#include <seqbayes/dynamics/distractors.hpp>

#include "entrant.hpp"

namespace study {

/// All values are drawn from N(0, 1), and noise is added.
struct ForgettingStudy {
  double noise = 0.25, largest_load = 4;
  int key_dim = 64, draws = 60, channels = 20;
  unsigned seed = 1;
};

using TargetOf = seqbayes::dynamics::Target<double>;

/// Predicted is what remains of a target of unit value after m distractors.
using Forgetter =
    Entrant<seqbayes::dynamics::Forgetting<double>(const Settings&, const TargetOf&, int m)>;

inline std::vector<Forgetter> forgetters(const ForgettingStudy& study) {
  using namespace seqbayes;
  using namespace seqbayes::dynamics;
  const double d = study.key_dim, r = study.noise, gain = 1 / (1 + r);
  const auto attention = [d](const Settings& s, const TargetOf& target, int m) {
    return after_distractors(attention_rule(s), target, d, m,
                             geometric_sum(s.decay, target.writes));
  };
  const auto reset = [d](const Settings& s, const TargetOf& target, int m) {
    return after_distractors(reset_rule(s), target, d, m);
  };
  const auto filter = [d](const Settings& s, const TargetOf& target, int m) {
    return Forgetting<double>(at_load(filter_rule(s), target, m / d));
  };
  const Settings still{1, r, 0, 1, gain}, moving{1, r, 0.01, 1, gain};
  auto all =
      without_covariance<Forgetter>(still, {1, r, 0, 0.99, gain}, attention, reset,
                                    "Ssd, decay 0.99, likewise", "GatedDeltaNet, decay 0.99");
  all.push_back({{"BayesianLayer", "#D55E00", "solid", 7, 2.5},
                 still,
                 answers<BayesianLayer<double>>,
                 filter});
  all.push_back({{"BayesianLayer, process noise 0.01 (simulated)", "#0072B2", "solid", 5, 0},
                 moving,
                 answers<BayesianLayer<double>>,
                 {}});
  return all;
}

/// With the constant gain of the least error after m distractors.
inline Forgetter tuned(const Forgetter& layer, const TargetOf& target, int m) {
  return tuned(layer, [&](const Settings& s) { return layer.predict(s, target, m).mse; });
}

/// Retention and error after each number of distractors in `loads`.
struct Remains {
  Points retention, error;
};

/// Channel 0 has value 1 at the target and 0 elsewhere, so its answer is the retention.
inline Remains simulate(const ForgettingStudy& study, const Forgetter& layer, int writes,
                        const std::vector<int>& loads) {
  const int most = loads.back(), length = writes + most;
  Draw draw(study.seed);
  std::vector<Mean> retention(loads.size()), error(loads.size());
  for (int i = 0; i < study.draws; ++i) {
    Matrix key = draw.normal(length, study.key_dim);
    key.rowwise().normalize();
    key.topRows(writes) = key.row(0).eval().replicate(writes, 1);
    const Matrix truth = draw.normal(1, study.channels);
    Matrix value = draw.normal(length, study.channels + 1);
    value.topRows(writes) *= std::sqrt(study.noise);
    value.topRightCorner(writes, study.channels).rowwise() += truth.row(0);
    value.col(0) << Vector::Ones(writes), Vector::Zero(most);
    const Matrix answer = layer.answers(layer.settings, key, value, key.row(0).transpose()) /
                          layer.weight_of_writes(writes);
    for (std::size_t j = 0; j < loads.size(); ++j) {
      const Index t = writes + loads[j] - 1;
      retention[j].add(answer(t, 0));
      error[j].add((answer.row(t).tail(study.channels) - truth).squaredNorm() / study.channels);
    }
  }
  Remains remains;
  for (std::size_t j = 0; j < loads.size(); ++j) {
    const double load = static_cast<double>(loads[j]) / study.key_dim;
    remains.retention.push_back(retention[j].at(load));
    remains.error.push_back(error[j].at(load));
  }
  return remains;
}

inline Figure forgetting_figure(const ForgettingStudy& study) {
  const std::vector<Forgetter> layers = forgetters(study);
  Figure figure{"forgetting", {}, {}};
  for (const Forgetter& layer : layers) figure.styles.push_back(layer.style);
  const int most = static_cast<int>(std::lround(study.largest_load * study.key_dim));
  std::vector<int> shown, drawn;
  for (int i = 0; i <= 10; ++i) shown.push_back(i * most / 10);
  for (int i = 0; i <= 100; ++i) drawn.push_back(i * most / 100);
  for (const int writes : {1, 10}) {
    const TargetOf target{1, study.noise, writes, 1};
    const std::string history =
        writes == 1 ? "written once" : fmt::format("written {} times", writes);
    const std::string load = fmt::format("distractors / key width {}", study.key_dim);
    Panel retention{"retention of a target " + history,
                    load,
                    "share of the target's value",
                    {},
                    "set logscale y\nset yrange [0.005:1.5]"};
    Panel error{"error at a target " + history,
                load,
                "mean square error",
                {},
                "set logscale y\nset yrange [0.01:3]"};
    for (std::size_t i = 0; i < layers.size(); ++i) {
      Curve kept{i, {}, {}}, wrong{i, {}, {}};
      if (layers[i].predict) {
        for (const int m : drawn) {
          const Forgetter layer = tuned(layers[i], target, m);
          const auto remains = layer.predict(layer.settings, target, m);
          const double x = static_cast<double>(m) / study.key_dim;
          kept.predicted.push_back({x, remains.retention});
          wrong.predicted.push_back({x, remains.mse});
        }
      }
      if (layers[i].is_tuned) {
        for (const int m : shown) {
          const Remains remains = simulate(study, tuned(layers[i], target, m), writes, {m});
          kept.simulated.push_back(remains.retention.front());
          wrong.simulated.push_back(remains.error.front());
        }
      } else {
        const Remains remains = simulate(study, layers[i], writes, shown);
        kept.simulated = remains.retention;
        wrong.simulated = remains.error;
      }
      retention.curves.push_back(kept);
      error.curves.push_back(wrong);
    }
    figure.panels.push_back(retention);
    figure.panels.push_back(error);
  }
  return figure;
}

}  // namespace study
