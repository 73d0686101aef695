/// @file
/// Runs a layer over a sequence.
#pragma once

#include <seqbayes/scan/concept.hpp>
#include <seqbayes/scan/output.hpp>
#include <seqbayes/sequence/check.hpp>

namespace seqbayes {

/// How a sequence is run. Every form yields the same numbers up to rounding.
class Execution {
 public:
  /// The fastest form for the layer and its widths.
  constexpr Execution() = default;

  /// Token by token through `step`.
  static constexpr Execution sequential() { return Execution(1); }
  /// Up to `tokens` >= 1 tokens at a time, for layers that have such a form.
  static constexpr Execution chunked(Index tokens) { return Execution(tokens); }

  /// Tokens at a time; 0 leaves it to the library.
  [[nodiscard]] constexpr Index chunk() const { return chunk_; }

 private:
  constexpr explicit Execution(Index chunk) : chunk_(chunk) {}
  Index chunk_ = 0;
};

namespace detail {

template <class Layer>
void check_call(const Layer& layer, const typename Layer::State& state,
                const Sequence<typename Layer::Scalar>& x) {
  if constexpr (requires { layer.check_state(state); }) layer.check_state(state);
  check_inputs(layer, x);
}

}  // namespace detail

/// Runs `layer` over `x` from `state`, which is advanced. Returns the mean alone (T x Dv): the fast
/// path.
/// @throws std::invalid_argument on bad input (see `check_inputs`); the state is then as it was.
template <SequenceLayer L>
Matrix<typename L::Scalar> scan_mean(const L& layer, typename L::State& state,
                                     const Sequence<typename L::Scalar>& x,
                                     Execution /*how*/ = {}) {
  detail::check_call(layer, state, x);
  Matrix<typename L::Scalar> mean(x.length(), layer.value_dim());
  for (Index t = 0; t < x.length(); ++t) {
    if constexpr (requires { layer.step_mean(state, x.token(t)); }) {
      mean.row(t) = layer.step_mean(state, x.token(t)).mean;
    } else {
      mean.row(t) = layer.step(state, x.token(t)).mean;
    }
  }
  return mean;
}

/// Runs `layer` over `x` from `state`, which is advanced. A probabilistic layer yields `Output`
/// with variance and evidence, any other `MeanOutput`.
/// @throws std::invalid_argument on bad input (see `check_inputs`); the state is then as it was.
template <SequenceLayer L>
auto scan(const L& layer, typename L::State& state, const Sequence<typename L::Scalar>& x,
          Execution how = {}) {
  using Scalar = typename L::Scalar;
  if constexpr (ProbabilisticLayer<L>) {
    detail::check_call(layer, state, x);
    Output<Scalar> out{Matrix<Scalar>(x.length(), layer.value_dim()), Vector<Scalar>(x.length()),
                       Scalar(0)};
    for (Index t = 0; t < x.length(); ++t) {
      const auto y = layer.step(state, x.token(t));
      out.mean.row(t) = y.mean;
      out.variance[t] = y.variance;
      out.log_evidence += y.log_evidence;
    }
    return out;
  } else {
    return MeanOutput<Scalar>{scan_mean(layer, state, x, how)};
  }
}

}  // namespace seqbayes
