// A layer of your own: softmax attention over the last W tokens. Anything that satisfies
// SequenceLayer is scanned as the library's layers are, on the same streams
// (docs/writing-a-layer.md).
#include <algorithm>
#include <cstdio>

#include <seqbayes/seqbayes.hpp>

using seqbayes::Index;
using seqbayes::Matrix;

// o = sum_i w_i v_i,  w_i = exp(10 q'k_i) / sum_j exp(10 q'k_j),  i, j of the last W tokens.
class WindowAttention {
 public:
  using Scalar = float;
  struct State {
    Matrix<float> keys, values;  // the last W, row t % W
    Index tokens = 0;
  };

  WindowAttention(Index window, Index key_dim, Index value_dim)
      : window_(window), key_dim_(key_dim), value_dim_(value_dim) {}

  Index key_dim() const { return key_dim_; }
  Index value_dim() const { return value_dim_; }
  seqbayes::InputWidths inputs() const {  // what scan checks before it calls step
    seqbayes::InputWidths inputs;
    inputs.query = inputs.key = key_dim_;
    inputs.value = value_dim_;
    return inputs;
  }
  State initial_state() const {
    return {Matrix<float>::Zero(window_, key_dim_), Matrix<float>::Zero(window_, value_dim_)};
  }
  seqbayes::StepMean<float, Eigen::Dynamic> step(State& state,
                                                 const seqbayes::Token<float>& token) const {
    const Index row = state.tokens++ % window_, filled = std::min(state.tokens, window_);
    state.keys.row(row) = token.key.vector().transpose();
    state.values.row(row) = token.value.vector().transpose();
    const seqbayes::Vector<float> scores =
        10.0f * state.keys.topRows(filled) * token.query.vector();
    const seqbayes::Vector<float> weight = (scores.array() - scores.maxCoeff()).exp();
    return {state.values.topRows(filled).transpose() * weight / weight.sum()};
  }

 private:
  Index window_, key_dim_, value_dim_;
};
static_assert(seqbayes::SequenceLayer<WindowAttention>);

int main() {
  // Key i, a unit vector, comes once, with the value i + 1; every token asks for the first key.
  const int T = 6, window = 4;
  const Matrix<float> key = Matrix<float>::Identity(T, T);
  const Matrix<float> value = Eigen::VectorXf::LinSpaced(T, 1, T);
  const Matrix<float> query = key.row(0).replicate(T, 1);
  const auto strength = seqbayes::constant(1.0f, T);
  const seqbayes::Sequence<float> x{
      .query = query, .key = key, .value = value, .write_strength = strength};

  const WindowAttention own(window, T, 1);
  auto own_state = own.initial_state();
  const Matrix<float> by_own = seqbayes::scan_mean(own, own_state, x);

  const seqbayes::DeltaNet<float> delta({.key_dim = T, .value_dim = 1});
  auto delta_state = delta.initial_state();
  const Matrix<float> by_delta = seqbayes::scan_mean(delta, delta_state, x);

  for (int t = 0; t < T; ++t) {
    std::printf("token %d: a window of %d recalls %.3f, DeltaNet %.3f\n", t, window,
                double(by_own(t, 0)), double(by_delta(t, 0)));
  }
}
