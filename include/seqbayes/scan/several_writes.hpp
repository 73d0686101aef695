/// @file
/// Several writes a token through one layer: the DeltaProduct construction.
#pragma once

#include <cassert>

#include <seqbayes/scan/layer.hpp>

namespace seqbayes {

/// A layer that, each token, decays once, makes `Writes` writes of `Base` and reads once. The
/// fields `key`, `value` and `write_strength` hold the writes of a token side by side (widths
/// Writes Dk, Writes Dv, Writes), which is what a contiguous [T Writes, Dk] array is when seen as T
/// rows.
template <class Base, int Dk, int Dv, int Writes>
class SeveralWrites {
  static_assert(Writes >= 1, "seqbayes: a token makes at least one write");
  static_assert(std::is_same_v<typename Base::Decay, NoDecay> ||
                    std::is_same_v<typename Base::Decay, ScalarDecay>,
                "seqbayes: a token of several writes decays once, by NoDecay or ScalarDecay");

 public:
  using Scalar = typename Base::Scalar;
  using Options = typename Base::Options;
  using State = typename Base::State;

  /// @throws std::invalid_argument naming the option that is out of its domain.
  explicit SeveralWrites(const Options& options = {}) : base_(options) {}

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
    Vector<Scalar, Dv> mean;
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
  /// Write j of a token, seen as a token of `Base`: only the first one decays.
  Token<Scalar> write(const Token<Scalar>& token, Index j) const {
    static const Scalar no_decay(0);
    Token<Scalar> part = token;
    part.key = {token.key.data() + j * key_dim(), key_dim()};
    part.value = {token.value.data() + j * value_dim(), value_dim()};
    part.write_strength = {token.write_strength.data() + j, 1};
    if (j > 0) part.log_decay = {&no_decay, 1};
    return part;
  }

  Base base_;
};

}  // namespace seqbayes
