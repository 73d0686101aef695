// What one layer does with one head's stream, observed through the public interface alone.
#pragma once

#include <bit>
#include <cmath>
#include <utility>
#include <vector>

#include "fit.hpp"

namespace inspect {

/// Sums over the recalls of associations that are `lag` tokens old, lag in a bin: bin 0 is lag 0,
/// bin n is 2^(n-1) ... 2^n - 1.
struct RecallBin {
  double recalled2 = 0, value2 = 0, dot = 0, error2 = 0;
  Index count = 0;

  RecallBin& operator+=(const RecallBin& other) {
    recalled2 += other.recalled2;
    value2 += other.value2;
    dot += other.dot;
    error2 += other.error2;
    count += other.count;
    return *this;
  }
  [[nodiscard]] double cosine() const { return dot / std::sqrt(recalled2 * value2); }
  [[nodiscard]] double relative_error() const { return error2 / value2; }
};

inline std::size_t lag_bin(Index lag) {
  return static_cast<std::size_t>(std::bit_width(static_cast<std::size_t>(lag)));
}
/// The lag in the middle of a bin, on a log scale.
inline double bin_lag(std::size_t bin) {
  if (bin < 2) return static_cast<double>(bin);
  return std::exp2(static_cast<double>(bin) - 0.5);
}

/// The bins `first` to `last` as one.
inline RecallBin merge(const std::vector<RecallBin>& bins, std::size_t first, std::size_t last) {
  RecallBin sum;
  for (std::size_t bin = first; bin <= last && bin < bins.size(); ++bin) sum += bins[bin];
  return sum;
}

/// The cosine of a recall that always answers with the mean value, whatever the key.
inline double mean_value_cosine(const Head& head) {
  const auto mean = head.value.colwise().mean().norm();
  return mean * std::sqrt(static_cast<double>(head.length())) / head.value.norm();
}

/// Per token: the effective gain k' kappa and, for a filter, the innovation's claimed variance s,
/// its actual mean square |nu|^2 / dv, and the log evidence.
struct Trace {
  Vector gain, claimed, actual, log_evidence;
  std::vector<RecallBin> recall;
};

/// Asks the memory S_t for every key written so far.
inline void recall_all(const Matrix& memory, const Head& head, Index t,
                       std::vector<RecallBin>& bins) {
  const Matrix recalled = head.key.topRows(t + 1) * memory;
  for (Index i = 0; i <= t; ++i) {
    const std::size_t bin = lag_bin(t - i);
    if (bins.size() <= bin) bins.resize(bin + 1);
    const auto value = head.value.row(i);
    bins[bin].recalled2 += recalled.row(i).squaredNorm();
    bins[bin].value2 += value.squaredNorm();
    bins[bin].dot += recalled.row(i).dot(value);
    bins[bin].error2 += (recalled.row(i) - value).squaredNorm();
    ++bins[bin].count;
  }
}

/// Runs the layer over the head; memory is asked for what it holds at up to 64 equally spaced
/// tokens.
template <class Layer>
Trace trace_layer(const Head& head, const Fit& fit) {
  namespace dynamics = seqbayes::dynamics;
  const Index length = head.length();
  const auto& levels = fit.noise.levels;
  dynamics::NoisyStream<Layer> stream(head.sequence());
  const auto x = stream.at(levels, fit.noise.reset);
  const auto layer = make_layer<Layer>(head, levels.prior_variance, head.value.cols());

  Trace trace;
  // Gains don't depend on values, so one value channel will do.
  const auto narrow = make_layer<Layer>(head, levels.prior_variance, 1);
  trace.gain = dynamics::write_gains(narrow, x).cwiseProduct(head.key).rowwise().sum();
  if constexpr (seqbayes::ProbabilisticLayer<Layer>) {
    auto seen = dynamics::innovations(layer, x);
    trace.claimed = std::move(seen.claimed);
    trace.actual = std::move(seen.actual);
    trace.log_evidence = std::move(seen.log_evidence);
  }
  const Index stride = (length + 63) / 64;
  auto state = layer.initial_state();
  for (Index t = 0; t < length; ++t) {
    layer.step_mean(state, x.token(t));
    if ((length - 1 - t) % stride == 0) recall_all(state.mean, head, t, trace.recall);
  }
  return trace;
}

}  // namespace inspect
