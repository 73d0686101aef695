// The numbers of a report, and the table of them for the terminal.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "grid.hpp"

namespace inspect {

struct HeadRuns {
  Head head;
  std::vector<Run> runs;  // one for each point of the grid
  Ablation ablation;
};

/// Everything that a report shows.
struct Results {
  Stream stream;
  std::string check;  // what the comparison with the stored output found
  std::vector<GridPoint> grid;
  std::vector<HeadRuns> heads;

  [[nodiscard]] std::size_t index_of(const std::string& name) const {
    const auto found = std::ranges::find(grid, name, &GridPoint::name);
    return static_cast<std::size_t>(found - grid.begin());
  }
};

inline double evidence_per_value(const Head& head, const Run& run) {
  return run.fit.noise.log_evidence / static_cast<double>(head.value.size());
}

/// The most probable point of the grid for a head.
inline std::size_t winner(const HeadRuns& head) {
  const auto best = std::ranges::max_element(
      head.runs, {}, [&](const Run& run) { return evidence_per_value(head.head, run); });
  return static_cast<std::size_t>(best - head.runs.begin());
}

struct LagRange {
  const char* name;
  std::size_t first, last;  // bins
};
inline constexpr LagRange lag_ranges[] = {{"1-7", 1, 3}, {"8-63", 4, 6}, {"64+", 7, 63}};

/// The mean of `number(head, run)` over heads, of one point of the grid.
template <class Number>
double mean_over_heads(const Results& results, std::size_t point, Number&& number) {
  double sum = 0;
  for (const HeadRuns& head : results.heads) sum += number(head.head, head.runs[point]);
  return sum / static_cast<double>(results.heads.size());
}

/// Which layer wins on which head, in one line a head.
inline std::vector<std::string> verdicts(const Results& results) {
  std::vector<std::string> lines;
  const std::size_t own = results.index_of(own_layer);
  for (const HeadRuns& head : results.heads) {
    const std::size_t best = winner(head);
    const double nothing = memoryless_evidence(head.head);
    lines.push_back(fmt::format(
        "head {}: the best is {} with {:+.3f}, the model's own {} has {:+.3f}", head.head.number,
        results.grid[best].name, evidence_per_value(head.head, head.runs[best]) - nothing,
        own_layer, evidence_per_value(head.head, head.runs[own]) - nothing));
  }
  return lines;
}

inline void print_table(const Results& results) {
  constexpr std::size_t shown_at_most = 8;
  const std::size_t shown = std::min(results.heads.size(), shown_at_most);
  fmt::print("\n{:24}  {:{}}  {:>6} {:^20}  {:>6}\n", "", "log evidence, nats a value",
             7 * (shown + 1), "NIS", "recalled, by lag", "gain");
  fmt::print("{:24} ", "layer");
  for (std::size_t h = 0; h < shown; ++h) {
    fmt::print("{:>7}", fmt::format("head {}", results.heads[h].head.number));
  }
  fmt::print("{:>7}   {:>6}", "mean", "half 2");
  for (const LagRange& range : lag_ranges) fmt::print("{:>7}", range.name);
  fmt::print("{:>8}\n{:24} ", "mean", "(no memory)");
  double nothing = 0;
  for (std::size_t h = 0; h < results.heads.size(); ++h) {
    const double evidence = memoryless_evidence(results.heads[h].head);
    nothing += evidence / static_cast<double>(results.heads.size());
    if (h < shown) fmt::print("{:7.3f}", evidence);
  }
  fmt::print("{:7.3f}\n", nothing);

  for (std::size_t point = 0; point < results.grid.size(); ++point) {
    fmt::print("{:24} ", results.grid[point].name);
    const bool is_filter = results.heads.front().runs[point].is_filter;
    for (std::size_t h = 0; h < shown; ++h) {
      const HeadRuns& head = results.heads[h];
      if (is_filter) {
        fmt::print("{:6.3f}{}", evidence_per_value(head.head, head.runs[point]),
                   winner(head) == point ? '*' : ' ');
      } else {
        fmt::print("{:>6} ", "-");
      }
    }
    if (is_filter) {
      fmt::print("{:6.3f}    {:6.2f}", mean_over_heads(results, point, evidence_per_value),
                 mean_over_heads(results, point,
                                 [](const Head&, const Run& run) { return run.held_out_nis; }));
    } else {
      fmt::print("{:>6}    {:>6}", "-", "-");
    }
    for (const LagRange& range : lag_ranges) {
      fmt::print("{:7.2f}", mean_over_heads(results, point, [&](const Head&, const Run& run) {
                   return merge(run.trace.recall, range.first, range.last).cosine();
                 }));
    }
    fmt::print("{:8.2f}\n", mean_over_heads(results, point, [](const Head&, const Run& run) {
                 return run.trace.gain.mean();
               }));
  }
  if (results.heads.size() > shown) fmt::print("(further heads: summary.csv)\n");
}

/// The mean over heads of what an entry of the ablation gains over no memory.
inline double mean_ablation(const Results& results, std::size_t row, std::size_t column) {
  double sum = 0;
  for (const HeadRuns& head : results.heads) {
    sum += head.ablation.evidence[row][column] - memoryless_evidence(head.head);
  }
  return sum / static_cast<double>(results.heads.size());
}

inline void print_ablation(const Results& results) {
  fmt::print("\nWhat of it matters: nats a value over no memory, mean over heads\n{:18}",
             "covariance kept");
  for (const char* column : Ablation::columns) fmt::print("{:>19}", column);
  for (std::size_t row = 0; row < Ablation::rows.size(); ++row) {
    fmt::print("\n{:18}", Ablation::rows[row]);
    for (std::size_t column = 0; column < Ablation::columns.size(); ++column) {
      const double mean = mean_ablation(results, row, column);
      fmt::print("{:>19}", std::isnan(mean) ? "-" : fmt::format("{:+.3f}", mean));
    }
  }
  fmt::print("\n");
}

inline void print_reading_guide(const Results& results) {
  fmt::print(
      "\nlog evidence  how probable the layer finds each next value; + 0.1 is 10 % more density a\n"
      "              value. * marks the best of a head, - a layer that is not a filter.\n"
      "NIS           squared error over claimed variance on the second half of the stream, dials\n"
      "              fitted on the first: 1 is honest, below 1 too cautious, above 1 too sure.\n"
      "recalled      cosine of what memory answers to an old key with the value stored, by its "
      "age\n"
      "              in tokens; the mean value alone would score {:.2f}.\n"
      "gain          the share of a surprise that a write removes at its own key.\n\n",
      [&] {
        double sum = 0;
        for (const HeadRuns& head : results.heads) sum += mean_value_cosine(head.head);
        return sum / static_cast<double>(results.heads.size());
      }());
  fmt::print("Nats a value over no memory\n");
  for (const std::string& line : verdicts(results)) fmt::print("  {}\n", line);
}

}  // namespace inspect
