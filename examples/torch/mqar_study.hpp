/// What mqar trains and tests, and what it keeps of that: mqar.csv, a table, a figure.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <seqbayes/adapters/detail/replace.hpp>

#include "../support/study.hpp"
#include "mqar_model.hpp"

namespace mqar {

/// Texts of a kind.
struct Texts {
  Kind kind;
  std::int64_t count;
};

struct Settings {
  std::int64_t vocabulary, width, epochs, batch;
  std::vector<Texts> training, tests;
  bool forgetting = false;

  [[nodiscard]] std::string text() const {
    const auto list = [](const std::vector<Texts>& all) {
      std::string kinds;
      for (const auto& [kind, count] : all) {
        kinds += fmt::format(" {}/{}x{}", kind.length, kind.pairs, count);
      }
      return kinds;
    };
    return fmt::format("vocabulary {}; width {}; {} epochs of{} in batches of {}; tests{}{}",
                       vocabulary, width, epochs, list(training), batch, list(tests),
                       forgetting ? "; forgetting" : "");
  }
};

/// Zoology's sizes but for the epochs, which were 32.
inline Settings full_size() {
  return {.vocabulary = 8192,
          .width = 64,
          .epochs = 8,
          .batch = 256,
          .training = {{{64, 4}, 100000},
                       {{128, 8}, 20000},
                       {{256, 16}, 20000},
                       {{256, 32}, 20000},
                       {{256, 64}, 20000}},
          .tests = {{{64, 4}, 1000},
                    {{64, 8}, 1000},
                    {{64, 16}, 1000},
                    {{128, 32}, 1000},
                    {{256, 64}, 1000},
                    {{512, 128}, 1000},
                    {{1024, 256}, 1000}}};
}

/// Two memories of 16 x 16, and up to 32 pairs: fewer need no covariance.
inline Settings small_size() {
  return {.vocabulary = 128,
          .width = 32,
          .epochs = 6,
          .batch = 32,
          .training = {{{64, 4}, 3200}, {{64, 8}, 3200}, {{64, 16}, 3200}, {{128, 32}, 1600}},
          .tests = {{{64, 8}, 500}, {{64, 16}, 500}, {{128, 32}, 250}, {{192, 48}, 250}}};
}

/// "64/4x1000": a thousand texts of 64 tokens and 4 pairs.
inline std::vector<Texts> parse_texts(const std::vector<std::string>& all) {
  std::vector<Texts> kinds;
  for (const std::string& text : all) {
    std::istringstream in(text);
    Texts t{};
    char slash = 0, times = 0;
    if (!(in >> t.kind.length >> slash >> t.kind.pairs >> times >> t.count) || slash != '/' ||
        times != 'x' || t.count < 1 || in.get() != EOF) {
      throw std::invalid_argument("'" + text + "' is not LENGTH/PAIRSxTEXTS, as 64/4x1000");
    }
    kinds.push_back(t);
  }
  return kinds;
}

/// What is not given is as in `preset`; of its texts, forgetting ones ask for half the keys.
inline Settings filled(Settings given, Settings preset) {
  for (auto* all : {&preset.training, &preset.tests}) {
    for (Texts& texts : *all) texts.kind.pairs /= given.forgetting ? 2 : 1;
  }
  for (const auto member :
       {&Settings::vocabulary, &Settings::width, &Settings::epochs, &Settings::batch}) {
    if (given.*member == 0) given.*member = preset.*member;
  }
  for (const auto member : {&Settings::training, &Settings::tests}) {
    if ((given.*member).empty()) given.*member = preset.*member;
  }
  for (const auto& [kind, count] : given.training) {
    if (count < given.batch) throw std::invalid_argument("a kind's texts don't fill a batch");
  }
  if (given.width % 2 != 0) throw std::invalid_argument("the width must be even, for two heads");
  return given;
}

/// What a training came to.
struct Training {
  std::string layer;
  unsigned seed = 0;
  double rate = 0, seconds = 0;
  double loss = 0;  ///< of held-out texts, as trained: chooses the rate
  std::vector<double> recall = {};
};

inline double binomial_error(double share, const Texts& texts) {
  return std::sqrt(share * (1 - share) / double(texts.count * texts.kind.pairs));
}

/// mqar.csv: a line a training, under the settings that all of them share.
class Record {
 public:
  Record(std::filesystem::path path, const Settings& settings)
      : path_(std::move(path)), settings_(settings), head_("# " + settings.text() + "\n") {
    head_ += "layer,seed,rate,seconds,held_out_loss";
    for (const auto& [kind, count] : settings.tests) {
      head_ += fmt::format(",recall_{0}_{1},error_{0}_{1}", kind.length, kind.pairs);
    }
    head_ += '\n';
    if (std::filesystem::exists(path_)) read();
    write();  // so that the directory belongs to these settings from now on
  }

  [[nodiscard]] const std::vector<Training>& trainings() const { return trainings_; }

  [[nodiscard]] bool has(const std::string& layer, unsigned seed, double rate) const {
    return std::ranges::any_of(trainings_, [&](const Training& t) {
      return t.layer == layer && t.seed == seed && t.rate == rate;
    });
  }

  void add(const Training& training) {
    trainings_.push_back(training);
    write();
  }

 private:
  void read() {
    std::ifstream in(path_);
    std::string settings, names, line;
    std::getline(in, settings);
    std::getline(in, names);
    if (settings + "\n" + names + "\n" != head_) {
      throw std::runtime_error(path_.string() +
                               ": has trainings of other settings; take another directory");
    }
    while (std::getline(in, line)) {
      std::ranges::replace(line, ',', ' ');
      std::istringstream cells(line);
      Training t;
      cells >> t.layer >> t.seed >> t.rate >> t.seconds >> t.loss;
      double share = 0, error = 0;
      while (cells >> share >> error) t.recall.push_back(share);
      if (t.recall.size() != settings_.tests.size()) {
        throw std::runtime_error(path_.string() + ": this line is no training: " + line);
      }
      trainings_.push_back(t);
    }
  }

  // An interruption leaves the old file or the new one.
  void write() const {
    seqbayes::detail::replace(path_, [this](const auto& part) { write(part); });
  }

  void write(const std::filesystem::path& part) const {
    std::ofstream out(part);
    out << head_;
    for (const Training& t : trainings_) {
      out << fmt::format("{},{},{},{:.1f},{:.4f}", t.layer, t.seed, t.rate, t.seconds, t.loss);
      for (std::size_t i = 0; i < t.recall.size(); ++i) {
        out << fmt::format(",{:.6f},{:.6f}", t.recall[i],
                           binomial_error(t.recall[i], settings_.tests[i]));
      }
      out << '\n';
    }
    out.close();
    if (!out) throw std::runtime_error(path_.string() + ": the file cannot be written");
  }

  std::filesystem::path path_;
  Settings settings_;
  std::string head_;
  std::vector<Training> trainings_;
};

/// Of each seed the training whose rate did best on held-out texts.
inline std::vector<Training> best_of_rates(const std::vector<Training>& trainings,
                                           const std::string& layer) {
  std::vector<Training> best;
  for (const Training& t : trainings) {
    if (t.layer != layer) continue;
    const auto other = std::ranges::find(best, t.seed, &Training::seed);
    if (other == best.end()) {
      best.push_back(t);
    } else if (t.loss < other->loss) {
      *other = t;
    }
  }
  return best;
}

/// Against the pairs, mean and standard error over seeds; of one seed over texts.
inline study::Points recall_of(const std::vector<Training>& best, const Settings& settings) {
  study::Points points;
  for (std::size_t i = 0; i < settings.tests.size(); ++i) {
    study::Mean mean;
    for (const Training& t : best) mean.add(t.recall[i]);
    points.push_back(mean.at(double(settings.tests[i].kind.pairs)));
    if (best.size() == 1) {
      points.back().error = binomial_error(points.back().y, settings.tests[i]);
    }
  }
  return points;
}

/// The tables on stdout, the figure mqar_recall.
inline void report(const std::vector<Training>& trainings, const Settings& settings,
                   const std::filesystem::path& directory) {
  study::Figure figure{.name = "mqar_recall", .styles = {}, .panels = {}};
  figure.panels.push_back({"Best rate of each seed",
                           "pairs",
                           "share recalled",
                           {},
                           "set logscale x 2\nset yrange [0:1]"});
  std::string kinds = fmt::format("{:<18}", "");
  for (const auto& [kind, count] : settings.tests) {
    kinds += fmt::format("{:>15}", fmt::format("{}/{}", kind.length, kind.pairs));
  }
  std::string means, ranges;
  for (const Entrant& entrant : entrants()) {
    const std::vector<Training> best = best_of_rates(trainings, entrant.id);
    if (best.empty()) continue;
    const study::Points points = recall_of(best, settings);
    figure.panels[0].curves.push_back({figure.styles.size(), points, points});
    figure.styles.push_back(entrant.style);
    means += fmt::format("{:<18}", entrant.style.name);
    ranges += fmt::format("{:<18}", entrant.style.name);
    for (std::size_t i = 0; i < points.size(); ++i) {
      double low = 1, high = 0;
      for (const Training& t : trainings) {
        if (t.layer != entrant.id) continue;
        low = std::min(low, t.recall[i]);
        high = std::max(high, t.recall[i]);
      }
      means += fmt::format("{:>15}", fmt::format("{:.3f} ({:.3f})", points[i].y, points[i].error));
      ranges += fmt::format("{:>15}", fmt::format("{:.3f}-{:.3f}", low, high));
    }
    means += '\n';
    ranges += '\n';
  }
  fmt::print("share recalled, at the best rate of each seed: mean (standard error)\n{}\n{}", kinds,
             means);
  fmt::print("\nrange over all seeds and rates\n{}\n{}\n", kinds, ranges);
  study::write_and_report(figure, directory);
}

}  // namespace mqar
