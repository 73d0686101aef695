// What one layer does with one head's stream, observed through the public interface alone.
#pragma once

#include <bit>
#include <cmath>
#include <numbers>
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

/// Gains k' kappa_t and variances s_t. Neither depends on values, so a second memory of value
/// width 1 that is fed zeros stays empty and sees them: a copy of it that is fed a 1 instead and
/// read at the key answers k' kappa_t, and its evidence log N(0; 0, s_t) gives s_t.
template <class Layer>
void trace_gains(const Head& head, const Dials& dials, const seqbayes::Sequence<double>& x,
                 Trace& trace) {
  const auto layer = make_layer<Layer>(head, dials, 1);
  const Vector zero = Vector::Zero(1), one = Vector::Ones(1);
  auto state = layer.initial_state();
  for (Index t = 0; t < head.length(); ++t) {
    auto token = x.token(t);
    token.query = token.key;
    token.value = one;
    auto copy = state;
    trace.gain[t] = layer.step(copy, token).mean[0];
    token.value = zero;
    const auto out = layer.step(state, token);
    if constexpr (seqbayes::ProbabilisticLayer<Layer>) {
      trace.claimed[t] = std::exp(-2 * out.log_evidence) / (2 * std::numbers::pi);
    }
  }
}

/// Runs the layer over the head; memory is asked for what it holds at up to 64 equally spaced
/// tokens.
template <class Layer>
Trace trace_layer(const Head& head, const Dials& dials, bool with_rho) {
  const Index length = head.length();
  const auto width = static_cast<double>(head.value.cols());
  const Inputs inputs(head, dials, with_rho);
  const auto layer = make_layer<Layer>(head, dials, head.value.cols());
  const auto x = inputs.sequence(head, layer);

  Trace trace;
  trace.gain = trace.claimed = trace.actual = trace.log_evidence = Vector::Zero(length);
  trace_gains<Layer>(head, dials, x, trace);

  const Index stride = (length + 63) / 64;
  auto state = layer.initial_state();
  for (Index t = 0; t < length; ++t) {
    const auto out = layer.step(state, x.token(t));
    if constexpr (seqbayes::ProbabilisticLayer<Layer>) {
      const double s = trace.claimed[t];
      trace.log_evidence[t] = out.log_evidence;
      trace.actual[t] = -s * (2 * out.log_evidence / width + std::log(2 * std::numbers::pi * s));
    }
    if ((length - 1 - t) % stride == 0) recall_all(state.mean, head, t, trace.recall);
  }
  return trace;
}

}  // namespace inspect
