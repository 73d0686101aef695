/// @file
/// Any layer with tokens pending: its state before them, its state now, and the tokens.
#pragma once

#include <Eigen/Core>

#include <seqbayes/sequence/concept.hpp>
#include <seqbayes/sequence/token_records.hpp>

namespace seqbayes::detail {

template <SequenceLayer L>
class Replay {
  using Scalar = typename L::Scalar;
  using State = typename L::State;

 public:
  Replay(const L& layer, const State& state, Index capacity)
      : layer_(layer),
        capacity_(capacity),
        before_(state),
        now_(state),
        tokens_(layer.inputs(), capacity) {}

  [[nodiscard]] const L& layer() const { return layer_; }
  [[nodiscard]] Index pending() const { return count_; }
  [[nodiscard]] const void* data() const { return nullptr; }
  [[nodiscard]] State state() const { return now_; }
  void load(const State& state) {
    before_ = now_ = state;
    count_ = 0;
  }

  void prefetch_pending() const {}
  Replay& scratch_for(Replay&) { return *this; }  // none

  void step(const Token<Scalar>& token, Scalar* mean, Replay&, const void*) { step(token, mean); }
  void step(const Token<Scalar>& token, Scalar* mean) {
    if (count_ == capacity_) fold();
    tokens_.store(count_++, token);
    Eigen::Map<Vector<Scalar>>(mean, layer_.value_dim()) = run(token);
  }
  void span(const Sequence<Scalar>& x, Scalar* mean) {
    for (Index t = 0; t < x.length(); ++t) step(x.token(t), mean + t * layer_.value_dim());
  }
  void rollback(Index tokens) {
    if (tokens == 0) return;
    count_ -= tokens;
    now_ = before_;
    for (Index s = 0; s < count_; ++s) run(tokens_[s]);
  }
  void fold() {
    before_ = now_;
    count_ = 0;
  }

 private:
  auto run(const Token<Scalar>& token) {
    if constexpr (requires { layer_.step_mean(now_, token); }) {
      return layer_.step_mean(now_, token).mean;
    } else {
      return layer_.step(now_, token).mean;
    }
  }

  L layer_;
  Index capacity_, count_ = 0;
  State before_, now_;
  TokenRecords<Scalar> tokens_;
};

}  // namespace seqbayes::detail
