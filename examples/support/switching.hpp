// Memories that stand still, change, drift, or are read with outliers, and all of that in turn:
// does a mixture find out which layer is right?
#pragma once

#include "at_levels.hpp"
#include "contender.hpp"

namespace study {

/// What a filter may believe of drift.
inline constexpr double believed[] = {0, 0.001, 0.01, 0.1};
inline constexpr int beliefs = 4;
inline constexpr double told_noise = 0.2, switching_rate = 0.01;

/// Filters of type L side by side, one for each believed drift.
template <class L>
using Bank = seqbayes::EvidenceMixture<AtLevels<L>, AtLevels<L>, AtLevels<L>, AtLevels<L>>;

template <class L>
Bank<L> make_bank(const L& filter) {
  const auto at = [&](int i) { return AtLevels<L>(filter, {1, believed[i], 1}); };
  return Bank<L>({.layers = {at(0), at(1), at(2), at(3)}, .switching_rate = switching_rate});
}

using Robust = seqbayes::StudentT<Full>;

inline Robust robust_for(const Moving& x) { return Robust({.filter = layer_for<Full>(x)}); }

inline std::vector<Contender> switching_contenders() {
  const auto best_gain = [](const Moving& x, double prior) {
    return score(layer_for<Reset>(x, prior), x.given(told_noise, 0, prior / (prior + told_noise)),
                 x.truth);
  };
  const auto best_drift = [](const Moving& x, double drift) {
    return score(layer_for<Full>(x), x.given(told_noise, drift), x.truth);
  };
  const auto robust = [](const Moving& x, double drift) {
    return score(robust_for(x), x.given(told_noise, drift), x.truth);
  };
  const auto pair = [](const Moving& x, double drift) {
    using Pair = seqbayes::EvidenceMixture<Full, Reset>;
    const Pair both(
        {.layers = {layer_for<Full>(x), layer_for<Reset>(x)}, .switching_rate = switching_rate});
    return score(both, x.given(told_noise, drift, 1 / (1 + told_noise)), x.truth);
  };
  const auto bank = [](const Moving& x, double) {
    return score(make_bank(layer_for<Full>(x)), x.given(told_noise, 1), x.truth);
  };
  const auto robust_bank = [](const Moving& x, double) {
    return score(make_bank(robust_for(x)), x.given(told_noise, 1), x.truth);
  };
  const double least = 1e-5, most = 4;  // of a drift
  return {told_filter(),
          {{"GatedDeltaNet, best gain", "#000000", "(8,5)", 6}, best_gain, 0.001, 100},
          {{"BayesianLayer, best drift", "#000000", "solid", 4}, best_drift, least, most},
          {{"StudentT, best drift", "#E69F00", "solid", 12}, robust, least, most},
          {{"mixture with its reset, best drift", "#56B4E9", "solid", 1}, pair, least, most},
          {{"mixture of four drifts", "#0072B2", "solid", 5}, bank},
          {{"mixture of four drifts, StudentT", "#D55E00", "solid", 7, 2.5}, robust_bank}};
}

inline Law stands_still() { return {.drift = 0}; }
inline Law changes(double rate) { return {.drift = 0, .changes = rate}; }
inline Law drifts(double variance) { return {.drift = variance}; }
inline Law outliers() { return {.outliers = 0.05}; }

inline Laws mixed() { return in_turn({stands_still(), changes(0.02), drifts(0.05), outliers()}); }

inline std::vector<Column> switching_columns(const std::vector<Contender>& contenders,
                                             const MovingStudy& study) {
  const auto column = [&](const std::string& name, const Laws& laws) {
    return Column{name, compete(contenders, draw(study, laws))};
  };
  return {column("stands still", always(stands_still())), column("changes", always(changes(0.02))),
          column("drifts", always(drifts(0.05))), column("outliers", always(outliers())),
          column("mixed", mixed())};
}

/// Means over windows of a stream and over streams.
class Course {
 public:
  explicit Course(Index length) : length_(length), means_(windows) {}
  void add(const Vector& by_token) {
    for (Index w = 0; w < windows; ++w) {
      const Index first = w * length_ / windows, last = (w + 1) * length_ / windows;
      means_[static_cast<std::size_t>(w)].add(by_token.segment(first, last - first).mean());
    }
  }
  [[nodiscard]] Points points() const {
    Points points;
    for (Index w = 0; w < windows; ++w) {
      points.push_back(
          means_[static_cast<std::size_t>(w)].at((double(w) + 0.5) * double(length_) / windows));
    }
    return points;
  }

 private:
  static constexpr Index windows = 40;
  Index length_;
  std::vector<Mean> means_;
};

/// The error along streams of one law after the other.
inline Panel error_course(const std::vector<Contender>& contenders,
                          const std::vector<Moving>& streams) {
  Panel panel{"still, changes, drift, outliers: error",
              "token",
              "mean square error",
              {},
              "set logscale y\nset yrange [0.004:3]\nset xtics autofreq\n"};
  for (std::size_t i = 0; i < contenders.size(); ++i) {
    const Contender& contender = contenders[i];
    const double tuned = contender.tune(streams);
    Course course(streams.front().key.rows());
    for (const Moving& stream : streams) course.add(contender.run(stream, tuned).square);
    panel.curves.push_back({i, course.points(), {}});
  }
  return panel;
}

/// Which drift the mixture of StudentT believes in, along the same streams.
inline Panel weight_course(std::size_t first_style, const std::vector<Moving>& streams) {
  Panel panel{"still, changes, drift, outliers: weights in the StudentT mixture",
              "token",
              "weight",
              {},
              "set yrange [0:1]\nset xtics autofreq\nset ytics autofreq\n"};
  const Index length = streams.front().key.rows();
  std::vector<Course> courses(beliefs, Course(length));
  for (const Moving& stream : streams) {
    const auto layer = make_bank(robust_for(stream));
    const Sequence<double> x = stream.given(told_noise, 1);
    auto state = layer.initial_state();
    Matrix weights(length, beliefs);
    for (Index t = 0; t < length; ++t) {
      layer.step(state, x.token(t));
      weights.row(t) = state.log_weight.transpose().array().exp();
    }
    for (int i = 0; i < beliefs; ++i) courses[std::size_t(i)].add(weights.col(i));
  }
  for (std::size_t i = 0; i < courses.size(); ++i) {
    panel.curves.push_back({first_style + i, courses[i].points(), {}});
  }
  return panel;
}

inline Figure switching_figure(const std::vector<Contender>& contenders, const MovingStudy& study) {
  const auto shown = select(contenders, {0, 1, 2, 4, 5, 6});
  Figure figure{"switching", styles_of(shown), {}};
  const auto panel = [&](const std::string& title, const std::string& x_label,
                         const std::vector<double>& xs, const auto& law) {
    figure.panels.push_back(error_panel(title, x_label, shown, xs,
                                        [&](double x) { return draw(study, always(law(x))); }));
  };
  panel("memory is drawn anew now and then", "probability a token",
        {0.001, 0.003, 0.01, 0.03, 0.1, 0.3}, changes);
  panel("memory drifts", "variance a token", {0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3},
        drifts);
  MovingStudy longer = study;
  longer.repetitions *= 4;
  const std::vector<Moving> streams = draw(longer, mixed());
  figure.panels.push_back(error_course(shown, streams));
  figure.panels.push_back(weight_course(figure.styles.size(), streams));
  const char* colours[] = {"#000000", "#009E73", "#E69F00", "#CC79A7"};
  for (int i = 0; i < beliefs; ++i) {
    figure.styles.push_back({fmt::format("weight of drift {:g}", believed[i]), colours[i],
                             i % 2 == 0 ? "solid" : "(8,5)", 0});
  }
  return figure;
}

}  // namespace study
