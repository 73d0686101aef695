// A stream of four associations, run through the Bayesian Layer: what it recalls, how sure it is,
// and how probable the values were.
#include <cstdio>

#include <seqbayes/seqbayes.hpp>

int main() {
  using seqbayes::Matrix;  // row-major, one row a token
  const int T = 40;

  // Four unit keys in turn, ten times each; the value of key i is (i, -i).
  Matrix<float> key = Matrix<float>::Zero(T, 4), value(T, 2);
  for (int t = 0; t < T; ++t) {
    const int i = t % 4;
    key(t, i) = 1;
    value.row(t) << float(i), float(-i);
  }

  const seqbayes::BayesianLayer<float, 4, 2> layer({.prior_variance = 1.0f});
  auto state = layer.initial_state();
  // Nothing is forgotten, nothing changes, and values have noise of variance 0.1. The fields are
  // views: nothing is copied.
  const seqbayes::Sequence<float> x{.query = key,
                                    .key = key,
                                    .value = value,
                                    .log_decay = seqbayes::constant(0.0f, T),
                                    .process_noise = seqbayes::constant(0.0f, T),
                                    .observation_noise = seqbayes::constant(0.1f, T)};
  const auto out = seqbayes::scan(layer, state, x);

  // The last token asks for key 3, whose value is (3, -3).
  std::printf("mean %.3f %.3f, variance %.4f, log evidence %.2f\n", double(out.mean(T - 1, 0)),
              double(out.mean(T - 1, 1)), double(out.variance[T - 1]), double(out.log_evidence));
}
