/// What distil trains and evaluates, and how it reports that.
#pragma once

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "../support/study.hpp"
#include "text_model.hpp"

namespace distil {

namespace fs = std::filesystem;
namespace st = seqbayes::libtorch;
using namespace text_tasks;

struct Settings {
  std::string checkpoint, text, valid, words, output = "report", device = "cpu";
  int steps = 600, warm_up = 50, length = 2048, texts = 8, test_texts = 64;
  int seeds = 1, first_seed = 1;
  int threads = 0;  // 0: all, or one of several ranks
  double rate = 1e-3, answer_weight = 6;
  std::vector<int> contexts = {1024, 2048, 4096};
  std::vector<std::string> students = {"pretrained", "control", "control-time", "dial", "tied"};
};

/// What becomes of the pretrained layers.
struct Student {
  study::Style style;
  st::Rule rule;
  st::Forgetting forgetting = st::Forgetting::dial;
  double start = st::MixerOptions::reset;
  enum { never, steps, time } trained = steps;  // as many steps as asked for, or as much time
};

inline const std::vector<Student> students = {
    {{"pretrained", "#000000", "2", 4},
     st::Rule::gated_delta_net,
     st::Forgetting::dial,
     st::MixerOptions::reset,
     Student::never},
    {{"control", "#999999", "solid", 5}, st::Rule::gated_delta_net},
    {{"control-time", "#e69f00", "solid", 9},
     st::Rule::gated_delta_net,
     st::Forgetting::dial,
     st::MixerOptions::reset,
     Student::time},
    {{"dial", "#d55e00", "solid", 7}, st::Rule::bayesian, st::Forgetting::dial, -4},
    {{"tied", "#56b4e9", "solid", 11}, st::Rule::bayesian, st::Forgetting::tied, -7}};

inline std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(file)), {});
  if (text.empty()) throw std::runtime_error(path + ": the text is empty or cannot be read");
  return text;
}

/// Texts to learn from and others to be asked about, with words of their own.
struct Corpus {
  std::string train, valid;
  std::vector<std::string> train_words, valid_words;

  explicit Corpus(const Settings& settings)
      : train(read(settings.text)), valid(read(settings.valid)) {
    std::ifstream file(settings.words);
    std::vector<std::string> words((std::istream_iterator<std::string>(file)), {});
    if (words.size() < 100) {
      throw std::runtime_error(settings.words + ": expected 100 words or more");
    }
    const auto last = words.end() - std::ptrdiff_t(words.size() / 6);
    train_words.assign(words.begin(), last);
    valid_words.assign(last, words.end());
  }
};

/// Shares answered: by context, then by task.
using Shares = std::vector<std::vector<Share>>;

inline double mean(const std::vector<Share>& shares) {
  double sum = 0;
  for (const Share& share : shares) sum += share.value() / double(shares.size());
  return sum;
}

/// One line a run on stdout, one a task in the file; recall of all tasks, and of the table alone.
class Report {
 public:
  explicit Report(const Settings& settings)
      : settings_(settings), file_(fs::path(settings.output) / "distil_results.csv") {
    file_ << "student,seed,steps,bits_per_byte,context,task,answered,answers\n";
    fmt::print("{:<18}{:>7}{:>11}", "", "steps", "bits/byte");
    for (const int context : settings.contexts) fmt::print("{:>7}{:>8}", context, "table");
    fmt::print("\n");
    means_.resize(students.size(), std::vector<Pair>(settings.contexts.size()));
  }

  /// @param student its place in `students`.
  void add(std::size_t student, const std::string& name, unsigned seed, std::int64_t steps,
           const Shares& shares, double bits) {
    fmt::print("{:<18}{:>7}{:>11.3f}", name, steps, bits);
    for (std::size_t i = 0; i < shares.size(); ++i) {
      fmt::print("{:>7.3f}{:>8.3f}", mean(shares[i]), shares[i].back().value());
      means_[student][i][0].add(mean(shares[i]));
      means_[student][i][1].add(shares[i].back().value());
      for (std::size_t task = 0; task < tasks.size(); ++task) {
        file_ << fmt::format("{},{},{},{:.4f},{},{},{:.4f},{}\n", name, seed, steps, bits,
                             settings_.contexts[i], tasks[task].name, shares[i][task].value(),
                             shares[i][task].of);
      }
    }
    fmt::print("\n");
    std::fflush(stdout);
    file_.flush();
  }

  void draw() const {
    study::Figure figure{"distil", {}, {}};
    for (const Student& student : students) figure.styles.push_back(student.style);
    for (const int panel : {0, 1}) {
      auto& curves =
          figure.panels
              .emplace_back(study::Panel{panel == 0 ? "Mean of six tasks" : "Key-value table",
                                         "context, bytes",
                                         "share answered",
                                         {},
                                         "set yrange [0:1]; set logscale x 2"})
              .curves;
      for (std::size_t style = 0; style < figure.styles.size(); ++style) {
        study::Points points;
        for (std::size_t i = 0; i < settings_.contexts.size(); ++i) {
          if (means_[style][i][0].count() == 0) continue;
          points.push_back(means_[style][i][std::size_t(panel)].at(settings_.contexts[i]));
          if (!std::isfinite(points.back().error)) points.back().error = 0;  // of one seed
        }
        if (!points.empty()) curves.push_back({style, points, points});
      }
    }
    study::write_and_report(figure, settings_.output);
  }

 private:
  const Settings& settings_;
  std::ofstream file_;
  using Pair = std::array<study::Mean, 2>;
  std::vector<std::vector<Pair>> means_;  // by student and context; all tasks, the table
};

}  // namespace distil
