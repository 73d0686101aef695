// Four associations, each written ten times: what is recalled, how sure the memory is, and how
// probable the values were.
#include <cstdio>

#include <seqbayes/seqbayes.hpp>

int main() {
  const int T = 40;  // tokens; every matrix has one row a token
  seqbayes::Matrix<float> key = seqbayes::Matrix<float>::Zero(T, 4), value(T, 2);
  for (int t = 0; t < T; ++t) {
    key(t, t % 4) = 1;
    value.row(t) << float(t % 4), float(-(t % 4));  // the value of key i is (i, -i)
  }
  const seqbayes::Sequence<float> x{.query = key,  // views: nothing is copied
                                    .key = key,
                                    .value = value,
                                    .log_decay = seqbayes::constant(0.0f, T),
                                    .process_noise = seqbayes::constant(0.0f, T),
                                    .observation_noise = seqbayes::constant(0.1f, T)};

  const seqbayes::BayesianLayer<float, 4, 2> layer({.prior_variance = 1.0f});
  auto state = layer.initial_state();
  const auto out = seqbayes::scan(layer, state, x);

  // The last token asks for key 3, whose value is (3, -3).
  std::printf("mean %.3f %.3f, variance %.4f, log evidence %.2f\n", double(out.mean(T - 1, 0)),
              double(out.mean(T - 1, 1)), double(out.variance[T - 1]), double(out.log_evidence));
}
