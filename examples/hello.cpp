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
  const Matrix<float> log_decay = Matrix<float>::Zero(T, 1);      // nothing is forgotten
  const Matrix<float> process_noise = Matrix<float>::Zero(T, 1);  // and nothing changes
  const Matrix<float> observation_noise = Matrix<float>::Constant(T, 1, 0.1f);

  const seqbayes::BayesianLayer<float, 4, 2> layer({.prior_variance = 1.0f});
  auto state = layer.initial_state();
  seqbayes::Sequence<float> x;  // views: nothing is copied
  x.query = x.key = key;
  x.value = value;
  x.log_decay = log_decay;
  x.process_noise = process_noise;
  x.observation_noise = observation_noise;
  const auto out = seqbayes::scan(layer, state, x);

  // The last token asks for key 3, whose value is (3, -3).
  std::printf("mean %.3f %.3f, variance %.4f, log evidence %.2f\n", double(out.mean(T - 1, 0)),
              double(out.mean(T - 1, 1)), double(out.variance[T - 1]), double(out.log_evidence));
}
