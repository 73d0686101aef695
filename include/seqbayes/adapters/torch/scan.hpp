/// @file
/// Runs a layer over libtorch tensors.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include <seqbayes/adapters/torch/autograd.hpp>

namespace seqbayes::libtorch {

/// What `scan` returns.
struct Output {
  Tensor mean;          ///< [B, T, H, Dv].
  Tensor variance;      ///< [B, T, H]: q' P q per value channel; of filters, else undefined.
  Tensor log_evidence;  ///< [B, H], in nats; of filters, else undefined.
};

namespace detail {

template <class L, bool probabilistic>
Output scan(std::vector<L> layers, State& state, const Inputs& x, Execution how) {
  const auto results = ScanFunction<L, probabilistic>::scan({std::move(layers), how}, {x, state});
  Output out;
  out.mean = results[0];
  if constexpr (probabilistic) {
    out.variance = results[1];
    out.log_evidence = results[2];
  }
  constexpr std::size_t first = outputs<probabilistic>;
  state = {results[first], results.size() > first + 1 ? results[first + 1] : Tensor()};
  return out;
}

}  // namespace detail

/// Runs a layer of the grid over all heads of `x` from `state`, which becomes the state after the
/// last token. Heads and sequences are spread over libtorch's number of threads.
///
/// Differentiable, once, in all inputs and in the state; `backward` runs `scan_vjp`. The layer's
/// options are constants: to learn a filter's prior variance, give the initial state. Under
/// `NoGradGuard` or `InferenceMode` nothing is recorded. The tensors of `state` are replaced, never
/// written to. Without sequences, tokens or heads results have no elements, and the state stays.
/// @throws std::invalid_argument on bad input; the state is then as it was.
template <SequenceLayer L>
Output scan(const L& layer, State& state, const Inputs& x, Execution how = {}) {
  return detail::scan<L, ProbabilisticLayer<L>>({layer}, state, x, how);
}

/// The same with a layer for each head.
template <SequenceLayer L>
Output scan(const std::vector<L>& heads, State& state, const Inputs& x, Execution how = {}) {
  return detail::scan<L, ProbabilisticLayer<L>>(heads, state, x, how);
}

/// As `scan`, for the mean alone, [B, T, H, Dv]: the fast path.
template <SequenceLayer L>
Tensor scan_mean(const L& layer, State& state, const Inputs& x, Execution how = {}) {
  return detail::scan<L, false>({layer}, state, x, how).mean;
}

/// The same with a layer for each head.
template <SequenceLayer L>
Tensor scan_mean(const std::vector<L>& heads, State& state, const Inputs& x, Execution how = {}) {
  return detail::scan<L, false>(heads, state, x, how).mean;
}

}  // namespace seqbayes::libtorch
