/// @file
/// Runs a layer over a sequence.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <stdexcept>
#include <type_traits>

#include <seqbayes/scan/tiled.hpp>
#include <seqbayes/sequence/check.hpp>
#include <seqbayes/sequence/concept.hpp>
#include <seqbayes/sequence/output.hpp>

namespace seqbayes {

/// How a sequence is run. Every form yields the same numbers up to rounding.
class Execution {
 public:
  /// Tiles of tokens for layers that have such a form (`runs_tiled`); any other layer or scalar
  /// runs token by token.
  constexpr Execution() = default;

  /// Token by token through `step`.
  static constexpr Execution sequential() { return Execution(1); }
  /// Up to `tokens` tokens at a time, for layers that have such a form.
  /// @throws std::invalid_argument if tokens < 1.
  static constexpr Execution chunked(Index tokens) {
    if (tokens < 1) throw std::invalid_argument("seqbayes: a chunk has at least one token");
    return Execution(tokens);
  }

  /// Tokens at a time; 0 leaves it to the library.
  [[nodiscard]] constexpr Index chunk() const { return chunk_; }
  /// Tokens at a time for a sequence of `length` tokens: at most as many (at least 1), so that
  /// arithmetic with it doesn't overflow, and `otherwise` where it is left to the library.
  [[nodiscard]] constexpr Index chunk_of(Index length, Index otherwise) const {
    return std::clamp<Index>(chunk_ == 0 ? otherwise : chunk_, 1, std::max<Index>(1, length));
  }

 private:
  constexpr explicit Execution(Index chunk) : chunk_(chunk) {}
  Index chunk_ = 0;
};

namespace detail {

template <class Layer>
void check_call(const Layer& layer, const typename Layer::State& state,
                const Sequence<typename Layer::Scalar>& x) {
  check_state_of(layer, state);
  check_inputs(layer, x);
}

/// Refuses a result whose memory is an input's.
template <class L>
void check_output(const L& layer, const Sequence<typename L::Scalar>& x,
                  const Matrix<typename L::Scalar>& mean) {
  check_apart<typename L::Scalar>(layer.inputs(), x, "out.", "mean", mean.data(), mean.size());
}
template <class L>
void check_output(const L& layer, const Sequence<typename L::Scalar>& x,
                  const MeanOutput<typename L::Scalar>& out) {
  check_output(layer, x, out.mean);
}
template <class L>
void check_output(const L& layer, const Sequence<typename L::Scalar>& x,
                  const Output<typename L::Scalar>& out) {
  check_output(layer, x, out.mean);
  const auto check = [&](const char* name, const auto& row) {
    check_apart<typename L::Scalar>(layer.inputs(), x, "out.", name, row.data(), row.size());
  };
  check("variance", out.variance);
  check("innovation_variance", out.innovation_variance);
  check("innovation_norm2", out.innovation_norm2);
}

/// Runs checked input. Tiles where the layer can, unless it is asked to run token by token.
template <bool probabilistic, class L>
void run(const L& layer, typename L::State& state, const Sequence<typename L::Scalar>& x,
         Execution how, Workspace<typename L::Scalar>& workspace,
         const Results<typename L::Scalar>& out) {
  using Scalar = typename L::Scalar;
  if constexpr (runs_tiled<L>) {
    if (how.chunk() != 1) {
      const Index tile = how.chunk() == 0 ? 0 : how.chunk_of(x.length(), 1);
      run_tiles<probabilistic>(layer, state, x, tile, workspace, out);
      return;
    }
  }
  for (Index t = 0; t < x.length(); ++t) {
    const Token<Scalar> token = x.token(t);
    const auto store = [&](const auto& mean) {
      Eigen::Map<Vector<Scalar>>(out.mean + t * mean.size(), mean.size()) = mean;
    };
    if constexpr (probabilistic) {
      const auto y = layer.step(state, token);
      store(y.mean);
      out.variance[t] = y.variance;
      *out.log_evidence += y.log_evidence;
      if (out.token_evidence) out.token_evidence[t] = y.log_evidence;
      if constexpr (FilterLayer<L>) {
        out.innovation_variance[t] = y.innovation_variance;
        out.innovation_norm2[t] = y.innovation_norm2;
      }
    } else if constexpr (requires { layer.step_mean(state, token); }) {
      store(layer.step_mean(state, token).mean);
    } else {
      store(layer.step(state, token).mean);
    }
  }
}

/// Gives an output of `scan` its shape.
template <class L, class Out>
void reserve_output(const L& layer, Index length, Out& out) {
  out.mean.resize(length, layer.value_dim());
  if constexpr (ProbabilisticLayer<L>) {
    out.variance.resize(length);
    out.innovation_variance.resize(FilterLayer<L> ? length : 0);
    out.innovation_norm2.resize(out.innovation_variance.size());
  }
}

/// Runs checked input into the caller's output, resizing it if it has another shape.
template <class L>
void scan_checked(const L& layer, typename L::State& state, const Sequence<typename L::Scalar>& x,
                  Matrix<typename L::Scalar>& mean, Workspace<typename L::Scalar>& workspace,
                  Execution how) {
  mean.resize(x.length(), layer.value_dim());
  run<false>(layer, state, x, how, workspace, {mean.data()});
}

template <class L>
void scan_checked(const L& layer, typename L::State& state, const Sequence<typename L::Scalar>& x,
                  MeanOutput<typename L::Scalar>& out, Workspace<typename L::Scalar>& workspace,
                  Execution how) {
  scan_checked(layer, state, x, out.mean, workspace, how);
}

template <ProbabilisticLayer L>
void scan_checked(const L& layer, typename L::State& state, const Sequence<typename L::Scalar>& x,
                  Output<typename L::Scalar>& out, Workspace<typename L::Scalar>& workspace,
                  Execution how) {
  reserve_output(layer, x.length(), out);
  CompensatedSum<typename L::Scalar> log_evidence;
  run<true>(layer, state, x, how, workspace,
            {out.mean.data(), out.variance.data(), &log_evidence, out.innovation_variance.data(),
             out.innovation_norm2.data()});
  out.log_evidence = log_evidence.value();
}

}  // namespace detail

/// What `scan` yields for a layer: `Output` for a probabilistic one, `MeanOutput` for any other.
template <SequenceLayer L>
using OutputOf = std::conditional_t<ProbabilisticLayer<L>, Output<typename L::Scalar>,
                                    MeanOutput<typename L::Scalar>>;

/// Runs `layer` over `x` from `state`, which is advanced, into `out`, which keeps its memory if it
/// is of the right size: with a workspace that is used again, repeated scans don't allocate, but
/// for layers of dynamic widths that run token by token (see `Execution`).
/// @throws std::invalid_argument on bad input (see `check_inputs`), and if `out` shares memory with
/// what the layer reads of `x`; the state is then as it was.
template <SequenceLayer L>
void scan(const L& layer, typename L::State& state, const Sequence<typename L::Scalar>& x,
          OutputOf<L>& out, Workspace<typename L::Scalar>& workspace, Execution how = {}) {
  detail::check_call(layer, state, x);
  detail::check_output(layer, x, out);
  detail::scan_checked(layer, state, x, out, workspace, how);
}

/// As above, for the mean alone (T x Dv): the fast path.
template <SequenceLayer L>
void scan_mean(const L& layer, typename L::State& state, const Sequence<typename L::Scalar>& x,
               Matrix<typename L::Scalar>& mean, Workspace<typename L::Scalar>& workspace,
               Execution how = {}) {
  detail::check_call(layer, state, x);
  detail::check_output(layer, x, mean);
  detail::scan_checked(layer, state, x, mean, workspace, how);
}

/// Runs `layer` over `x` from `state`, which is advanced, and returns its output: T rows of Dv,
/// with T variances and the log evidence (in nats) if the layer has them.
/// @throws std::invalid_argument on bad input (see `check_inputs`); the state is then as it was.
template <SequenceLayer L>
OutputOf<L> scan(const L& layer, typename L::State& state, const Sequence<typename L::Scalar>& x,
                 Execution how = {}) {
  OutputOf<L> out;
  Workspace<typename L::Scalar> workspace;
  scan(layer, state, x, out, workspace, how);
  return out;
}

/// As `scan`, for the mean alone (T x Dv): the fast path.
template <SequenceLayer L>
Matrix<typename L::Scalar> scan_mean(const L& layer, typename L::State& state,
                                     const Sequence<typename L::Scalar>& x, Execution how = {}) {
  Matrix<typename L::Scalar> mean;
  Workspace<typename L::Scalar> workspace;
  scan_mean(layer, state, x, mean, workspace, how);
  return mean;
}

}  // namespace seqbayes
