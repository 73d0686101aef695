/// @file
/// Several writes a token through one layer: the DeltaProduct construction.
#pragma once

#include <cassert>
#include <type_traits>
#include <utility>

#include <seqbayes/layers/layer.hpp>

namespace seqbayes {

/// A layer that, each token, decays once, makes `Writes` writes of `Base` and reads once. The
/// fields `key`, `value` and `write_strength` hold the writes of a token side by side (widths
/// Writes Dk, Writes Dv, Writes), which is what a contiguous [T Writes, Dk] array is when seen as T
/// rows. What happens between tokens, decays and process noise, happens before the first write.
template <class BaseLayer, int Writes>
class SeveralWrites {
  static_assert(Writes >= 1, "seqbayes: a token makes at least one write");
  static_assert(BaseLayer::Decay::width == DecayWidth::none ||
                    std::is_same_v<typename BaseLayer::Decay, ScalarDecay>,
                "seqbayes: a token of several writes decays once, by NoDecay or ScalarDecay");

 public:
  using Base = BaseLayer;
  using Scalar = typename Base::Scalar;
  using Options = typename Base::Options;
  using State = typename Base::State;
  static constexpr int writes = Writes;

  /// @throws std::invalid_argument naming the option that is out of its domain.
  explicit SeveralWrites(const Options& options = {})
      : base_(options), zeros_(Vector<Scalar>::Zero(base_.key_dim())) {}

  [[nodiscard]] const Base& base() const { return base_; }
  [[nodiscard]] Index key_dim() const { return base_.key_dim(); }
  [[nodiscard]] Index value_dim() const { return base_.value_dim(); }
  [[nodiscard]] const Options& options() const { return base_.options(); }

  [[nodiscard]] InputWidths inputs() const {
    InputWidths inputs = base_.inputs();
    inputs.key = Writes * key_dim();
    inputs.value = Writes * value_dim();
    inputs.write_strength = Writes;
    return inputs;
  }

  [[nodiscard]] State initial_state() const { return base_.initial_state(); }
  void check_state(const State& state) const { base_.check_state(state); }

  /// One token's output. There is an innovation for each write, so none for the token.
  struct Step {
    Vector<Scalar, Base::value_width> mean;
    Scalar variance;      ///< After the last write.
    Scalar log_evidence;  ///< Summed over the writes.
  };

  /// As `Layer::step`.
  Step step(State& state, const Token<Scalar>& token) const {
    assert(token.key.size() == Writes * key_dim() && token.value.size() == Writes * value_dim());
    assert(token.write_strength.size() == Writes);
    auto last = base_.step(state, write(token, 0));
    Scalar evidence = last.log_evidence;
    for (Index j = 1; j < Writes; ++j) {
      last = base_.step(state, write(token, j));
      evidence += last.log_evidence;
    }
    return {std::move(last.mean), last.variance, evidence};
  }

 private:
  /// Write j of a token, seen as a token of `Base`.
  Token<Scalar> write(const Token<Scalar>& token, Index j) const {
    Token<Scalar> part = token;
    part.key = {token.key.data() + j * key_dim(), key_dim()};
    part.value = {token.value.data() + j * value_dim(), value_dim()};
    part.write_strength = {token.write_strength.data() + j, 1};
    if (j > 0) {
      for (auto* field : {&part.log_decay, &part.process_noise, &part.covariance_log_decay}) {
        if (!field->empty()) *field = {zeros_.data(), field->size()};
      }
    }
    return part;
  }

  Base base_;
  Vector<Scalar> zeros_;  ///< What happens between the writes of a token, Dk entries.
};

namespace detail {

/// How a field's row is dealt out to the writes of a token: a part for each, all of it to the first
/// (0 to the others), or all of it to each.
enum class Share { split, first, all };

inline Share share_of(const InputWidth& one, const InputWidth& several, bool between_tokens) {
  if (one.width != several.width) return Share::split;
  return between_tokens ? Share::first : Share::all;
}

/// Calls f(share, fields...) for each field that a layer of several writes reads.
template <class L, class F, class... FieldSets>
void for_each_share(const L& layer, const F& f, FieldSets&&... sets) {
  Fields<bool> between_tokens;
  between_tokens.log_decay = between_tokens.process_noise = true;
  between_tokens.covariance_log_decay = true;
  for_each_field(
      [&f](auto, auto, const InputWidth& one, const InputWidth& several, bool between,
           auto&... fields) {
        if (one.width > 0) f(share_of(one, several, between), fields...);
      },
      layer.base().inputs(), layer.inputs(), between_tokens, sets...);
}

/// The same as a sequence of single writes: write j of token t is token t * Writes + j of `Base`.
/// Rows that don't lie so in the caller's memory are in `own`, which grows and has to outlive the
/// result.
template <class Base, int Writes>
Sequence<typename Base::Scalar> expand_writes(const SeveralWrites<Base, Writes>& layer,
                                              const Sequence<typename Base::Scalar>& x,
                                              Fields<Matrix<typename Base::Scalar>>& own) {
  using Scalar = typename Base::Scalar;
  Sequence<Scalar> expanded;
  const Index length = x.length();
  for_each_share(
      layer,
      [length](Share share, const MatrixView<Scalar>& from, Matrix<Scalar>& to,
               MatrixView<Scalar>& view) {
        if (from.empty()) return;
        const Index parts = share == Share::split ? Writes : 1, width = from.cols() / parts;
        if (share == Share::split && from.row_stride() == from.cols()) {
          view = {from.data(), length * Writes, width};
          return;
        }
        if (to.rows() < length * Writes || to.cols() != width) to.resize(length * Writes, width);
        for (Index i = 0; i < length * Writes; ++i) {
          const auto row = from.row(i / Writes).vector();
          const Index j = i % Writes;
          if (share == Share::first && j > 0) {
            to.row(i).setZero();
          } else {
            to.row(i) = row.segment(share == Share::split ? j * width : 0, width).transpose();
          }
        }
        view = {to.data(), length * Writes, width};
      },
      x, own, expanded);
  return expanded;
}

}  // namespace detail
}  // namespace seqbayes
