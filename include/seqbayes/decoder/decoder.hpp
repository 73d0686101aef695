/// @file
/// A decoder: one sequence, token by token, for inference engines.
#pragma once

#include <Eigen/Core>
#include <string>
#include <type_traits>
#include <utility>

#include <seqbayes/decoder/pending_layer.hpp>
#include <seqbayes/decoder/replay.hpp>
#include <seqbayes/scan/scan.hpp>

namespace seqbayes {

struct DecoderOptions {
  Index pending = 8;  ///< At most as many tokens wait to be folded into the state, >= 1.
};

namespace detail {

/// Whether a layer's writes can wait beside its memory: exactly a `Layer` of a native type.
template <class L>
inline constexpr bool writes_wait = false;
template <class Scalar, int Dk, int Dv, class Model, class Decay, class Covariance>
inline constexpr bool writes_wait<Layer<Scalar, Dk, Dv, Model, Decay, Covariance>> =
    std::is_floating_point_v<Scalar>;

template <class L, class Storage>
struct PendingTokensOf : std::type_identity<Replay<L>> {
  static_assert(std::is_same_v<Storage, typename L::Scalar>,
                "seqbayes: a decoder stores the state of this layer in its own scalar: only layers "
                "of the grid and the delta family have one in 16 bits.");
};
template <class L, class Storage>
requires writes_wait<L>
struct PendingTokensOf<L, Storage> : std::type_identity<PendingLayer<L, Storage>> {
};

}  // namespace detail

/// Runs a layer over one sequence, token by token, as `layer.step_mean` does up to rounding. The
/// last tokens, at most `options.pending`, wait beside the state, which is only read; when as many
/// wait, the next token first folds them in. Until then they can be taken back, exactly: what is
/// decoded after `rollback` is, bit by bit, what would have been without them.
///
/// A plain value: a copy is a branch of the sequence and takes what is pending with it. One thread
/// at a time. Nothing is allocated after construction by what names a result to write to, but for
/// spans longer than `options.pending` and layers of dynamic widths that aren't a `Layer`, whose
/// `step` does.
///
/// `Storage` is what a `Layer` keeps its memory in, and a full covariance but for its diagonal: its
/// scalar, or with half of the memory traffic `Eigen::bfloat16` or `Eigen::half` (whose largest
/// number is 65504). Arithmetic is the scalar's; only folds round (docs/inference.md has errors).
/// Any other `SequenceLayer` is kept as two states and the pending tokens, and taken back by
/// running the remaining ones again.
template <SequenceLayer L, class Storage = typename L::Scalar>
class Decoder {
 public:
  using Layer = L;
  using Scalar = typename L::Scalar;
  using State = typename L::State;

  /// @throws std::invalid_argument if the state has other widths than the layer, or no token may be
  /// pending.
  Decoder(const L& layer, const State& state, const DecoderOptions& options = {})
      : options_(checked(layer, state, options)), tokens_(layer, state, options.pending) {}

  [[nodiscard]] const L& layer() const { return tokens_.layer(); }
  [[nodiscard]] const DecoderOptions& options() const { return options_; }
  /// How many tokens can be taken back.
  [[nodiscard]] Index pending() const { return tokens_.pending(); }
  /// The state after all tokens, as the layer has it.
  [[nodiscard]] State state() const { return tokens_.state(); }

  /// One token; its mean, value_dim() entries, goes to `mean`. Checks nothing but by debug
  /// assertions, as `Layer::step`.
  void step(const Token<Scalar>& token, Scalar* mean) { tokens_.step(token, mean); }
  /// As above; for dynamic widths the result is allocated.
  auto step(const Token<Scalar>& token) {
    StepMean<Scalar, value_width()> out;
    out.mean.resize(layer().value_dim());
    step(token, out.mean.data());
    return out;
  }

  /// All tokens of `x`, whose means become the rows of `mean`, T x Dv. If they are no more than
  /// `options.pending` they are pending afterwards, all of them: a draft that is verified. A longer
  /// span, such as a prompt, is scanned and folded in.
  /// @throws std::invalid_argument on bad input, as `scan`; nothing has changed then.
  void span(const Sequence<Scalar>& x, Matrix<Scalar>& mean) {
    check_inputs(layer(), x);
    detail::check_output(layer(), x, mean);
    const Index length = x.length();
    if (length > options_.pending) {
      Workspace<Scalar> workspace;
      State state = tokens_.state();
      detail::scan_checked(layer(), state, x, mean, workspace, {});
      tokens_.load(state);
      return;
    }
    mean.resize(length, layer().value_dim());
    if (pending() + length > options_.pending) fold();
    tokens_.span(x, mean.data());
  }
  Matrix<Scalar> span(const Sequence<Scalar>& x) {
    Matrix<Scalar> mean;
    span(x, mean);
    return mean;
  }

  /// Takes the last `tokens` tokens back.
  /// @throws std::invalid_argument unless 0 <= tokens <= pending().
  void rollback(Index tokens) {
    if (tokens < 0 || tokens > pending()) {
      detail::fail("cannot take back " + std::to_string(tokens) +
                   " tokens: " + std::to_string(pending()) + " are pending");
    }
    tokens_.rollback(tokens);
  }
  /// Makes what is pending final, in one pass over the state.
  void fold() { tokens_.fold(); }

 private:
  template <class Executor, class Decoders, class Number>
  friend void decode(const Executor& executor, Decoders&& decoders, const Sequence<Number>& x,
                     Matrix<Number>& mean);

  static constexpr int value_width() {
    if constexpr (requires { L::value_width; }) {
      return L::value_width;
    } else {
      return Eigen::Dynamic;
    }
  }
  static const DecoderOptions& checked(const L& layer, const State& state,
                                       const DecoderOptions& options) {
    detail::check_state_of(layer, state);
    if (options.pending < 1) detail::fail("option pending must be at least 1");
    return options;
  }

  DecoderOptions options_;
  typename detail::PendingTokensOf<L, Storage>::type tokens_;
};

}  // namespace seqbayes
