// Which regime does a stream come from, and with which noise levels?
#pragma once

#include "calibration.hpp"

namespace study {

using Choice = seqbayes::dynamics::RegimeChoice<double>;

/// The margin in standard errors against length, for streams drawn from either model.
inline Panel margin_by_length(const Synthetic& settings, int repetitions) {
  Panel panel{"drawn streams: how soon is the regime clear?",
              "tokens",
              "margin for full, standard errors",
              {},
              "set logscale x 2\nset xtics autofreq\nset ytics autofreq\n"};
  Curve full{0, {}, {}}, reset{1, {}, {}}, bounds{2, {}, {}};
  for (int length = 32; length <= settings.length; length *= 2) {
    for (const Regime regime : {Regime::full, Regime::reset}) {
      Mean mean;
      for (int run = 0; run < repetitions; ++run) {
        Synthetic one = settings;
        one.length = length;
        one.seed += static_cast<unsigned>(run);
        const Drawn drawn = draw(one, regime);
        const Choice choice = seqbayes::dynamics::choose_regime(drawn.sequence());
        mean.add(choice.margin / choice.margin_error);
      }
      (regime == Regime::full ? full : reset).simulated.push_back(mean.at(length));
    }
  }
  const double shortest = 32, longest = settings.length, gap = std::nan("");
  bounds.predicted = {{shortest, 2}, {longest, 2}, {gap, gap}, {shortest, -2}, {longest, -2}};
  panel.curves = {full, reset, bounds};
  return panel;
}

/// Fitted levels with their standard errors against the drift that a stream was drawn with.
inline Panel levels_by_drift(const Synthetic& settings) {
  Panel panel{"drawn streams: fitted noise levels",
              "true process noise",
              "fitted level",
              {},
              "set logscale xy\nset xtics autofreq\nset ytics autofreq\nset format x '%g'\n"};
  Curve drift{3, {}, {}}, noise{4, {}, {}}, prior{5, {}, {}};
  for (double omega = 1e-4; omega < 0.2; omega *= std::sqrt(10.0)) {
    Synthetic one = settings;
    one.levels.process_noise = omega;
    const Drawn drawn = draw(one, Regime::full);
    const auto fit = seqbayes::dynamics::fit_noise<Full>(drawn.sequence());
    const auto add = [&](Curve& curve, double truth, double found, double log_error) {
      curve.predicted.push_back({omega, truth});
      if (log_error < 2) curve.simulated.push_back({omega, found, found * log_error});
    };
    add(drift, omega, fit.levels.process_noise, fit.log_errors.process_noise);
    add(noise, one.levels.observation_noise, fit.levels.observation_noise,
        fit.log_errors.observation_noise);
    add(prior, one.levels.prior_variance, fit.levels.prior_variance, fit.log_errors.prior_variance);
  }
  panel.curves = {drift, noise, prior};
  return panel;
}

/// A head without its gates: nothing decays, all values are equally noisy.
inline Sequence<double> without_gates(const inspect::Head& head) {
  Sequence<double> free;
  free.key = head.key;
  free.value = head.value;
  return free;
}

/// A head as recorded, and without its gates.
struct HeadChoice {
  Index number;
  double values;
  Choice gated, free;
};

inline HeadChoice choose(const inspect::Head& head) {
  return {head.number, double(head.value.size()),
          seqbayes::dynamics::choose_regime(head.sequence()),
          seqbayes::dynamics::choose_regime(without_gates(head))};
}

inline Panel margin_by_head(const std::vector<HeadChoice>& heads) {
  Panel panel{
      "recorded heads: margin",
      "head",
      "margin for full, nats a value",
      {},
      fmt::format("set xtics 1\nset ytics autofreq\nset xrange [{}:{}]\nset offsets 0,0,0.02,0\n",
                  double(heads.front().number) - 0.5, double(heads.back().number) + 0.5)};
  Curve gated{6, {}, {}}, free{7, {}, {}}, none{2, {}, {}};
  for (const HeadChoice& head : heads) {
    const auto point = [&](const Choice& choice) {
      return Point{double(head.number), choice.margin / head.values,
                   choice.margin_error / head.values};
    };
    gated.simulated.push_back(point(head.gated));
    free.simulated.push_back(point(head.free));
  }
  none.predicted = {{double(heads.front().number) - 0.5, 0},
                    {double(heads.back().number) + 0.5, 0}};
  panel.curves = {gated, free, none};
  return panel;
}

/// The full model's levels without gates, where all of them have a meaning of their own.
inline Panel levels_by_head(const std::vector<HeadChoice>& heads) {
  Panel panel{"recorded heads without gates: fitted noise levels",
              "head",
              "fitted level",
              {},
              fmt::format("set logscale y\nset xtics 1\nset ytics autofreq\nset format y "
                          "'10^{{%T}}'\nset xrange [{}:{}]\nunset offsets\n",
                          double(heads.front().number) - 0.5, double(heads.back().number) + 0.5)};
  Curve drift{3, {}, {}}, noise{4, {}, {}}, prior{5, {}, {}};
  for (const HeadChoice& head : heads) {
    const auto& [levels, reset, errors, evidence] = head.free.full;
    const auto add = [&](Curve& curve, double level, double error) {
      if (error < 2) curve.simulated.push_back({double(head.number), level, level * error});
    };
    add(drift, levels.process_noise, errors.process_noise);
    add(noise, levels.observation_noise, errors.observation_noise);
    add(prior, levels.prior_variance, errors.prior_variance);
  }
  panel.curves = {drift, noise, prior};
  return panel;
}

inline Figure regime_figure(const Synthetic& settings, int repetitions,
                            const std::vector<HeadChoice>& heads) {
  Figure figure{"regime", {}, {}};
  figure.styles = {{"drawn from the full model", "#D55E00", "solid", 7, 0},
                   {"drawn from the reset model", "#000000", "solid", 6, 0},
                   {"no margin; 2 standard errors", "#222222", "(2,3)", 0, 1.2},
                   {"process noise ω", "#0072B2", "solid", 5, 1.5},
                   {"observation noise r", "#E69F00", "solid", 9, 1.5},
                   {"prior variance σ₀²", "#009E73", "solid", 11, 1.5},
                   {"with the recorded gates", "#CC79A7", "solid", 13, 0},
                   {"without gates", "#56B4E9", "solid", 15, 0}};
  figure.panels = {margin_by_length(settings, repetitions), levels_by_drift(settings),
                   margin_by_head(heads), levels_by_head(heads)};
  return figure;
}

/// "0.25 (12 %)"
inline std::string with_error(double level, double log_error) {
  return log_error < 2 ? fmt::format("{:.3g} ({:.0f} %)", level, 100 * log_error)
                       : fmt::format("{:.1g} (any)", level);
}

inline void print_choices(const std::vector<HeadChoice>& heads) {
  fmt::print("\n{:4}  {:14} {:>8} {:>7} {:>18} {:>18} {:>18}\n", "head", "gates", "margin", "+-",
             "r / full", "omega / full", "sigma_0^2 / full");
  for (const HeadChoice& head : heads) {
    const auto row = [&](const char* gates, const Choice& choice) {
      const auto& [levels, reset, errors, evidence] = choice.full;
      fmt::print("{:4}  {:14} {:8.0f} {:7.0f} {:>18} {:>18} {:>18}\n", head.number, gates,
                 choice.margin, choice.margin_error,
                 with_error(levels.observation_noise, errors.observation_noise),
                 with_error(levels.process_noise, errors.process_noise),
                 with_error(levels.prior_variance, errors.prior_variance));
    };
    row("as recorded", head.gated);
    row("none", head.free);
  }
  fmt::print(
      "margin: log evidence of the full covariance less that of the reset, in nats, each with its\n"
      "most probable noise levels; in brackets the standard error of a level.\n\n");
}

}  // namespace study
