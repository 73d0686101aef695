// Layers that compete on streams of a moving memory, with a number that is tuned for some of them
// in hindsight; tables of what comes out.
#pragma once

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>

#include <seqbayes/seqbayes.hpp>

#include "moving_memory.hpp"
#include "program.hpp"
#include "study.hpp"

namespace study {

using Full = seqbayes::BayesianLayer<double>;
using Reset = seqbayes::GatedDeltaNet<double>;

inline void add_options(CLI::App& app, MovingStudy& study) {
  using program::add_option;
  add_option(app, "--key-dim", study.key_dim, "Key width", CLI::Range(2, 1024));
  add_option(app, "--channels", study.channels, "Value channels", CLI::Range(1, 1024));
  add_option(app, "--length", study.length, "Tokens of a stream", CLI::Range(40, 1 << 20));
  add_option(app, "--repetitions", study.repetitions, "Streams of each kind",
             CLI::Range(2, 100000));
  add_option(app, "--seed", study.seed, "Of the random draws");
}

/// A layer of the widths of a stream.
template <class L>
L layer_for(const Moving& x, double prior_variance = 1) {
  return L(
      {.key_dim = x.key.cols(), .value_dim = x.value.cols(), .prior_variance = prior_variance});
}

/// What a layer makes of a stream.
struct Score {
  Vector square;                     ///< Mean square error of each read, a value channel.
  double claimed = 0, evidence = 0;  ///< Mean of the claimed variance, log evidence a value.
};

template <class L>
Score score(const L& layer, const Sequence<double>& x, const Matrix& truth) {
  auto state = layer.initial_state();
  const auto out = seqbayes::scan(layer, state, x);
  return {(out.mean - truth).rowwise().squaredNorm() / double(truth.cols()), out.variance.mean(),
          out.log_evidence / double(truth.size())};
}

/// The x in [low, high] with the least f(x), to a tenth: every factor of 4, then smaller ones.
template <class F>
double least_in_log(double low, double high, const F& f) {
  double best = low, least = f(low);
  const auto try_at = [&](double x) {
    if (const double found = f(x); found < least) {
      least = found;
      best = x;
    }
  };
  for (double x = 4 * low; x <= high; x *= 4) try_at(x);
  for (double factor = 2; factor > 1.15; factor = std::sqrt(factor)) {
    const double middle = best;
    try_at(middle * factor);
    try_at(middle / factor);
  }
  return best;
}

struct Contender {
  Style style;
  std::function<Score(const Moving&, double tuned)> run;
  double low = 0, high = 0;  ///< Bounds of the number that is tuned; 0 for none.

  /// The number with the least error on all of these streams.
  [[nodiscard]] double tune(const std::vector<Moving>& streams) const {
    if (high == 0) return 0;
    return least_in_log(low, high, [&](double x) {
      double sum = 0;
      for (const Moving& stream : streams) sum += run(stream, x).square.mean();
      return sum;
    });
  }
};

/// The exact filter, told all that is known of each token: the first contender, the measure of the
/// others.
inline Contender told_filter() {
  return {{"told of every token", "#222222", "(2,3)", 0, 1.2}, [](const Moving& x, double) {
            return score(layer_for<Full>(x, x.prior_variance), x.told(), x.truth);
          }};
}

/// Means over streams.
struct Outcome {
  double tuned = 0;
  Point error;           ///< Mean square error, over the first contender's on the same stream.
  Point overconfidence;  ///< Mean square error over the claimed variance.
  Point evidence;        ///< Log evidence a value, less the first contender's.
};

inline std::vector<Outcome> compete(const std::vector<Contender>& contenders,
                                    const std::vector<Moving>& streams, double x = 0) {
  std::vector<Score> first;
  for (const Moving& stream : streams) first.push_back(contenders.front().run(stream, 0));
  std::vector<Outcome> outcomes;
  for (const Contender& contender : contenders) {
    const double tuned = contender.tune(streams);
    Mean error, overconfidence, evidence;
    for (std::size_t i = 0; i < streams.size(); ++i) {
      const Score got = contender.run(streams[i], tuned);
      error.add(got.square.mean() / first[i].square.mean());
      overconfidence.add(got.square.mean() / got.claimed);
      evidence.add(got.evidence - first[i].evidence);
    }
    outcomes.push_back({tuned, error.at(x), overconfidence.at(x), evidence.at(x)});
  }
  return outcomes;
}

/// A kind of stream, and what the contenders make of it.
struct Column {
  std::string name;
  std::vector<Outcome> outcomes;
};

inline void print_table(const std::string& title, const std::vector<Contender>& contenders,
                        const std::vector<Column>& columns, Point Outcome::*number) {
  fmt::print("\n{:40}", title);
  for (const Column& column : columns) fmt::print("{:>18}", column.name);
  for (std::size_t i = 0; i < contenders.size(); ++i) {
    fmt::print("\n{:40}", contenders[i].style.name);
    for (const Column& column : columns) {
      const Point& point = column.outcomes[i].*number;
      fmt::print("{:>18}", fmt::format("{:.3f} +- {:.3f}", point.y, point.error));
    }
  }
  fmt::print("\n");
}

inline void print_tables(const std::vector<Contender>& contenders,
                         const std::vector<Column>& columns) {
  print_table("mean square error, over the first row's", contenders, columns, &Outcome::error);
  print_table("mean square error over claimed variance", contenders, columns,
              &Outcome::overconfidence);
  print_table("log evidence a value, less the first's", contenders, columns, &Outcome::evidence);
}

/// NAME_table.csv: the numbers of the tables.
inline void write_table(const std::vector<Contender>& contenders,
                        const std::vector<Column>& columns, const std::filesystem::path& path) {
  std::ofstream out(path);
  out << "stream,layer,tuned,quantity,mean,standard_error\n";
  for (const Column& column : columns) {
    for (std::size_t i = 0; i < contenders.size(); ++i) {
      const Outcome& outcome = column.outcomes[i];
      const auto row = [&](const char* quantity, const Point& point) {
        out << fmt::format("{},\"{}\",{:.4g},{},{:.6g},{:.3g}\n", column.name,
                           contenders[i].style.name, outcome.tuned, quantity, point.y, point.error);
      };
      row("error", outcome.error);
      row("overconfidence", outcome.overconfidence);
      row("evidence", outcome.evidence);
    }
  }
  out.close();
  if (!out) throw std::runtime_error(path.string() + ": the file cannot be written");
}

/// The time of a scan, the best of several rounds, in each of which every contender has its turn.
inline std::vector<double> seconds(const std::vector<Contender>& contenders, const Moving& stream) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> best(contenders.size(), std::numeric_limits<double>::infinity());
  for (int round = 0; round < 7; ++round) {
    for (std::size_t i = 0; i < contenders.size(); ++i) {
      const auto start = Clock::now();
      contenders[i].run(stream, contenders[i].low);
      best[i] = std::min(best[i], std::chrono::duration<double>(Clock::now() - start).count());
    }
  }
  return best;
}

/// Times of a scan over the first contender's, at the study's widths, and at 64 and 64.
inline void print_costs(const std::vector<Contender>& contenders, MovingStudy study) {
  const auto narrow = seconds(contenders, draw(study, always({}), study.seed));
  fmt::print("\n{:40}{:>18}{:>18}\n", "time of a scan, over the first row's",
             fmt::format("{} x {}", study.key_dim, study.channels), "64 x 64");
  study.key_dim = study.channels = 64;
  const auto wide = seconds(contenders, draw(study, always({}), study.seed));
  for (std::size_t i = 0; i < contenders.size(); ++i) {
    fmt::print("{:40}{:>18.1f}{:>18.1f}\n", contenders[i].style.name, narrow[i] / narrow[0],
               wide[i] / wide[0]);
  }
}

inline std::vector<Contender> select(const std::vector<Contender>& contenders,
                                     const std::vector<std::size_t>& which) {
  std::vector<Contender> some;
  for (const std::size_t i : which) some.push_back(contenders[i]);
  return some;
}

inline std::vector<Style> styles_of(const std::vector<Contender>& contenders) {
  std::vector<Style> styles;
  for (const Contender& contender : contenders) styles.push_back(contender.style);
  return styles;
}

/// Errors at each x over streams(x), both axes logarithmic; those above 5 are off the panel.
template <class Streams>
Panel error_panel(const std::string& title, const std::string& x_label,
                  const std::vector<Contender>& contenders, const std::vector<double>& xs,
                  const Streams& streams) {
  Panel panel{title,
              x_label,
              "square error, told filter = 1",
              {},
              fmt::format("set logscale xy\nset autoscale xfix\nset yrange [0.95:5]\n"
                          "set xtics ({})\nset ytics (1, 1.2, 1.5, 2, 3, 4, 5)",
                          fmt::join(xs, ", "))};
  for (std::size_t i = 0; i < contenders.size(); ++i) panel.curves.push_back({i, {}, {}});
  for (const double x : xs) {
    const std::vector<Outcome> outcomes = compete(contenders, streams(x), x);
    for (std::size_t i = 0; i < contenders.size(); ++i) {
      panel.curves[i].predicted.push_back(outcomes[i].error);
      panel.curves[i].simulated.push_back(outcomes[i].error);
    }
  }
  return panel;
}

}  // namespace study
