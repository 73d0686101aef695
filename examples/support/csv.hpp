// The numbers of a report as CSV files.
#pragma once

#include <filesystem>
#include <fstream>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "results.hpp"

namespace inspect {

/// A CSV file whose rows are formatted text.
class Csv {
 public:
  Csv(const std::filesystem::path& path, const std::string& header) : path_(path), out_(path) {
    row(header);
  }
  void row(const std::string& line) { out_ << line << '\n'; }
  void close() {
    out_.close();
    if (!out_) throw std::runtime_error(path_.string() + ": the file cannot be written");
  }

 private:
  std::filesystem::path path_;
  std::ofstream out_;
};

/// "head,token,LAYER,..." with `number(run, token)` for each layer that `is_shown`.
template <class Shown, class Number>
void write_by_token(const Results& results, const std::filesystem::path& path, Shown&& is_shown,
                    Number&& number) {
  std::string header = "head,token";
  for (const GridPoint& point : results.grid) {
    if (is_shown(point)) header += "," + point.name;
  }
  Csv csv(path, header);
  for (const HeadRuns& head : results.heads) {
    for (Index t = 0; t < head.head.length(); ++t) {
      std::string line = fmt::format("{},{}", head.head.number, t);
      for (std::size_t point = 0; point < head.runs.size(); ++point) {
        if (is_shown(results.grid[point])) line += fmt::format(",{:.6g}", number(head, point, t));
      }
      csv.row(line);
    }
  }
  csv.close();
}

/// summary.csv: one row for each layer and head.
inline void write_summary(const Results& results, const std::filesystem::path& directory) {
  Csv csv(directory / "summary.csv",
          "row,layer,head,log_evidence_per_value,above_no_memory,nis_second_half,mean_gain,"
          "recall_1_7,recall_8_63,recall_64_up,prior_variance,process_noise,noise_scale,rho");
  for (std::size_t point = 0; point < results.grid.size(); ++point) {
    for (const HeadRuns& head : results.heads) {
      const Run& run = head.runs[point];
      const Dials dials = run.fit.dials();
      std::string line = fmt::format("{},{},{}", point, results.grid[point].name, head.head.number);
      const double evidence = evidence_per_value(head.head, run);
      line += run.is_filter
                  ? fmt::format(",{:.6g},{:.6g},{:.6g}", evidence,
                                evidence - memoryless_evidence(head.head), run.held_out_nis)
                  : ",,,";
      line += fmt::format(",{:.6g}", run.trace.gain.mean());
      for (const LagRange& range : lag_ranges) {
        line += fmt::format(",{:.6g}", merge(run.trace.recall, range.first, range.last).cosine());
      }
      line += run.is_filter ? fmt::format(",{:.6g},{:.6g},{:.6g},{:.6g}", dials.prior_variance,
                                          dials.process_noise, dials.noise_scale, dials.rho)
                            : ",,,,";
      csv.row(line);
    }
  }
  csv.close();
}

/// recall.csv: how well associations of an age are recalled, one row for each head, layer and age.
inline void write_recall(const Results& results, const std::filesystem::path& directory) {
  Csv csv(directory / "recall.csv", "head,layer,lag,cosine,relative_error,recalls");
  for (const HeadRuns& head : results.heads) {
    const double mean_value = mean_value_cosine(head.head);
    for (std::size_t point = 0; point < head.runs.size(); ++point) {
      const auto& bins = head.runs[point].trace.recall;
      for (std::size_t bin = 0; bin < bins.size(); ++bin) {
        csv.row(fmt::format("{},{},{:.4g},{:.6g},{:.6g},{}", head.head.number,
                            results.grid[point].name, bin_lag(bin), bins[bin].cosine(),
                            bins[bin].relative_error(), bins[bin].count));
      }
    }
    for (std::size_t bin = 0; bin < head.runs.front().trace.recall.size(); ++bin) {
      csv.row(fmt::format("{},(mean value),{:.4g},{:.6g},,", head.head.number, bin_lag(bin),
                          mean_value));
    }
  }
  csv.close();
}

/// reliability.csv: tokens sorted by the claimed variance s_t into equal groups; in each the mean
/// of s_t and of the squared innovation a channel, and the head's mean squared value.
inline void write_reliability(const Results& results, const std::filesystem::path& directory) {
  constexpr Index groups = 8;
  Csv csv(directory / "reliability.csv", "head,layer,group,claimed,actual,mean_square_value");
  for (const HeadRuns& head : results.heads) {
    const Index length = head.head.length();
    const double mean_square = head.head.value.cwiseAbs2().mean();
    std::vector<Index> order(static_cast<std::size_t>(length));
    for (std::size_t point = 0; point < head.runs.size(); ++point) {
      if (!head.runs[point].is_filter) continue;
      const Trace& trace = head.runs[point].trace;
      std::iota(order.begin(), order.end(), Index(0));
      std::ranges::stable_sort(order, {}, [&](Index t) { return trace.claimed[t]; });
      for (Index group = 0; group < groups; ++group) {
        double claimed = 0, actual = 0;
        const Index first = length * group / groups, last = length * (group + 1) / groups;
        for (Index i = first; i < last; ++i) {
          const Index t = order[static_cast<std::size_t>(i)];
          claimed += trace.claimed[t] / static_cast<double>(last - first);
          actual += trace.actual[t] / static_cast<double>(last - first);
        }
        csv.row(fmt::format("{},{},{},{:.6g},{:.6g},{:.6g}", head.head.number,
                            results.grid[point].name, group, claimed, actual, mean_square));
      }
    }
  }
  csv.close();
}

/// ablation.csv: one row for each head and entry of the table "What of it matters".
inline void write_ablation(const Results& results, const std::filesystem::path& directory) {
  Csv csv(directory / "ablation.csv", "head,covariance_kept,decay,noise,log_evidence_per_value");
  for (const HeadRuns& head : results.heads) {
    for (std::size_t row = 0; row < Ablation::rows.size(); ++row) {
      for (std::size_t column = 0; column < Ablation::columns.size(); ++column) {
        const double evidence = head.ablation.evidence[row][column];
        csv.row(fmt::format("{},{},{},{},{}", head.head.number, Ablation::rows[row],
                            column < 2 ? "recorded" : "none", column % 2 == 0 ? "beta" : "constant",
                            std::isnan(evidence) ? "" : fmt::format("{:.6g}", evidence)));
      }
    }
  }
  csv.close();
}

/// All CSV files of a report.
inline void write_csv(const Results& results, const std::filesystem::path& directory) {
  const auto everything = [](const GridPoint&) { return true; };
  const auto filters = [&](const GridPoint& point) {
    return results.heads.front().runs[results.index_of(point.name)].is_filter;
  };
  write_summary(results, directory);
  write_recall(results, directory);
  write_reliability(results, directory);
  write_ablation(results, directory);
  write_by_token(results, directory / "gain.csv", everything,
                 [](const HeadRuns& head, std::size_t point, Index t) {
                   return head.runs[point].trace.gain[t];
                 });
  // The running sum of the evidence against the model's own layer, nats per value channel.
  const std::size_t own = results.index_of(own_layer);
  Vector lead;
  write_by_token(
      results, directory / "evidence.csv", filters,
      [&, own](const HeadRuns& head, std::size_t point, Index t) {
        if (t == 0) lead.setZero(static_cast<Index>(results.grid.size()));
        double& sum = lead[static_cast<Index>(point)];
        sum += (head.runs[point].trace.log_evidence[t] - head.runs[own].trace.log_evidence[t]) /
               static_cast<double>(head.head.value.cols());
        return sum;
      });
}

}  // namespace inspect
