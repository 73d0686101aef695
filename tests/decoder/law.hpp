// The law of decoders: whatever is stepped, spanned, drafted, taken back, copied, folded and read
// in between, a decoder says what the layer says of the tokens that remain.
#pragma once

#include <laws/hard_streams.hpp>
#include <laws/information.hpp>

namespace laws {

/// A decoder that goes through a stream in random ways, checked against the reference. Bounds are
/// those of a layer's own steps: a token's read sums as many products, and a fold rounds each entry
/// once a write.
template <class Layer>
class DecoderWalk {
  using Scalar = typename Layer::Scalar;
  using Decoder = seqbayes::Decoder<Layer>;

 public:
  DecoderWalk(const Layer& layer, const Trial<Layer>& trial, Index pending, std::uint64_t seed)
      : layer_(layer),
        trial_(trial),
        x_(trial.x.view()),
        decoder_(layer, trial.start, {.pending = pending}),
        draw_(seed),
        means_(x_.length(), layer.value_dim()) {
    states_.push_back(trial.start);
    for (Index t = 0; t < x_.length(); ++t) {
      states_.push_back(states_.back());
      layer.step(states_.back(), x_.token(t));
    }
  }

  void run() {
    while (at_ < x_.length()) {
      switch (draw_.below(8)) {
        case 0: span(1 + draw_.below(decoder_.options().pending)); break;
        case 1: span(draw_.below(2) * (decoder_.options().pending + 1 + draw_.below(9))); break;
        case 2: draft(); break;
        case 3: take_back(); break;
        case 4: branch(); break;
        case 5: decoder_.fold(); break;
        case 6: read_state(); break;
        default: step();
      }
    }
    Run<Real> got = trial_.want;  // without a variance of its own
    got.mean = widen_matrix(means_);
    Case<Layer>::note_state(got, decoder_.state());
    check_close(got, trial_.want, trial_.bounds);
    CHECK(complaints_ == "");
  }

 private:
  void step() {
    const Index waited = decoder_.pending();
    decoder_.step(x_.token(at_), means_.row(at_).data());
    ++at_;
    expect(decoder_.pending() == waited + 1 || (decoder_.pending() == 1 && waited == most()),
           "tokens pending after a step");
  }

  void span(Index count) {
    count = std::min(count, x_.length() - at_);
    const Matrix<Scalar> mean = decoder_.span(x_.tokens(at_, count));
    means_.middleRows(at_, count) = mean;
    at_ += count;
    expect(count > most() ? decoder_.pending() == 0 : decoder_.pending() >= count,
           "tokens pending after a span");
  }

  /// Tokens from elsewhere, none of which is kept: what comes next is the same, bit by bit.
  void draft() {
    const Index count = 1 + draw_.below(most());
    if (decoder_.pending() + count > most()) decoder_.fold();
    Decoder twin = decoder_;
    auto state = states_[std::size_t(at_)];
    for (Index i = 0; i < count; ++i) {
      const auto token = x_.token(draw_.below(x_.length()));
      const auto got = decoder_.step(token).mean;
      const auto want = layer_.step(state, token).mean;
      expect(got.size() == want.size(), "size of a mean");
      if (i == 0) {  // later ones are of a history that the reference doesn't know
        close(complaint("draft", widen_matrix(got), widen_matrix(want), 2 * trial_.bounds.mean));
      }
    }
    // In one or in two goes.
    const Index first = draw_.below(count + 1);
    decoder_.rollback(first);
    decoder_.rollback(count - first);
    same_next(twin);
  }

  /// Tokens of the stream, which come again.
  void take_back() {
    const Index count = draw_.below(decoder_.pending() + 1);
    Decoder twin = decoder_;
    decoder_.rollback(count);
    at_ -= count;
    expect(decoder_.pending() == twin.pending() - count, "tokens pending after rollback");
    for (Index i = 0; i < count; ++i) {
      step();
    }
    same_next(twin);
  }

  void same_next(Decoder& twin) {
    const auto token = x_.token(draw_.below(x_.length()));
    Decoder copy = decoder_;
    expect(copy.pending() == twin.pending(), "tokens pending of a twin");
    expect(copy.state() == twin.state(), "state of a twin");
    expect(Vector(copy.step(token).mean) == Vector(twin.step(token).mean), "next token of a twin");
    copy.fold();
    twin.fold();
    expect(copy.state() == twin.state(), "folded state of a twin");
  }

  /// Goes on in a copy, or in what was moved, whatever becomes of the other.
  void branch() {
    Decoder other = decoder_;
    if (at_ < x_.length()) other.step(x_.token(at_));
    Decoder copy = decoder_;
    decoder_ = std::move(other);
    decoder_ = std::move(copy);
  }

  void read_state() {
    Run<Real> got, want;
    Case<Layer>::note_state(got, decoder_.state());
    Case<Layer>::note_state(want, states_[std::size_t(at_)]);
    close(complaint("memory", got.memory, want.memory, 2 * trial_.bounds.memory));
    close(complaint("covariance", got.covariance, want.covariance, 2 * trial_.bounds.covariance));
  }

  [[nodiscard]] Index most() const { return decoder_.options().pending; }
  void close(const std::string& complaint) { complaints_ += complaint; }
  void expect(bool holds, const char* what) {
    if (!holds) complaints_ += std::string(what) + ". ";
  }

  using Vector = seqbayes::Vector<Scalar>;
  const Layer& layer_;
  const Trial<Layer>& trial_;
  seqbayes::Sequence<Scalar> x_;
  Decoder decoder_;
  Draw draw_;
  Matrix<Scalar> means_;
  std::vector<typename Layer::State> states_;  ///< By steps.
  Index at_ = 0;                               ///< The token that comes.
  std::string complaints_;
};

template <class Layer>
void decoder_obeys_its_law() {
  std::uint64_t seed = 1;
  for (const auto& [key_dim, value_dim] : shapes_of<Layer>({{5, 3}, {24, 40}, {1, 1}})) {
    const Setup<double> setup{key_dim, value_dim};
    const auto layer = make<Layer>(setup);
    for (const Hardship& hard : hardships()) {
      INFO(describe(layer) << ", " << hard.name);
      const auto stream = draw_hard_stream(hard, 11, layer.inputs(), 83, 3, key_dim == 5);
      const auto start = trial(layer, setup, stream);
      for (const Index pending : {1, 2, 7, 32}) {
        INFO("pending: " << pending);
        DecoderWalk<Layer>(layer, start, pending, seed++).run();
      }
    }
  }
}

}  // namespace laws
