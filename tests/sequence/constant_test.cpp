// Fields without a matrix, and sequences with designated initialisers.
#include <vector>

#include <seqbayes/seqbayes.hpp>

#include <support/catch.hpp>

namespace {

using seqbayes::Matrix;
constexpr int T = 9, D = 3;

TEST_CASE("a constant field is a matrix of that entry, in every form of execution") {
  const Matrix<float> q = Matrix<float>::Random(T, D), r = Matrix<float>::Constant(T, 1, 0.25f);
  const Matrix<float> g = Matrix<float>::Constant(T, D, -0.125f);
  const seqbayes::Sequence<float> x{.query = q,
                                    .key = q,
                                    .value = q,
                                    .log_decay = seqbayes::constant(-0.125f, T),
                                    .process_noise = seqbayes::constant(0.0f, T),
                                    .observation_noise = seqbayes::constant(0.25f, T)};
  auto wide = x;
  wide.log_decay = g;
  wide.observation_noise = r;
  using Layer = seqbayes::BayesianLayer<float, D, D, seqbayes::ChannelDecay>;
  const Layer layer;
  for (const auto how : {seqbayes::Execution::sequential(), seqbayes::Execution::chunked(4)}) {
    auto state = layer.initial_state(), wide_state = state;
    const auto got = seqbayes::scan(layer, state, x, how);
    const auto want = seqbayes::scan(layer, wide_state, wide, how);
    // One factor for all channels is kept lazily, one a channel is not: sums of 9 products.
    CHECK((got.mean - want.mean).cwiseAbs().maxCoeff() <= 1e-5f);
    CHECK((got.variance - want.variance).cwiseAbs().maxCoeff() <= 1e-5f);
  }
  seqbayes::Cotangent<Layer> c;
  c.mean = q;
  const auto grad = seqbayes::scan_vjp(layer, layer.initial_state(), x, c);
  CHECK(grad.observation_noise.rows() == T);
  CHECK(grad.log_decay.cols() == 1);  // the sum over channels
}

TEST_CASE("copies and parts of a constant keep their entry") {
  seqbayes::MatrixView<double> part;
  {
    const auto all = seqbayes::constant(0.5, T);
    part = all.rows(2, 4);
  }
  CHECK(part.rows() == 4);
  CHECK(part.cols() == 1);
  CHECK(part.row(3)[0] == 0.5);
  CHECK(seqbayes::constant(0.5, 0).rows() == 0);
}

TEST_CASE("an optional field of no columns is a missing one, in every form of execution") {
  const Matrix<double> q = Matrix<double>::Random(T, D), none(T, 0);
  seqbayes::Sequence<double> x{.query = q,
                               .key = q,
                               .value = q,
                               .log_decay = seqbayes::constant(-0.125, T),
                               .process_noise = seqbayes::constant(0.0, T),
                               .observation_noise = seqbayes::constant(0.25, T)};
  using Layer = seqbayes::BayesianLayer<double, D, D>;
  const Layer layer;
  seqbayes::Cotangent<Layer> c;
  c.mean = q;
  for (const auto how : {seqbayes::Execution::sequential(), seqbayes::Execution()}) {
    x.covariance_log_decay = {};
    auto state = layer.initial_state();
    const auto want = seqbayes::scan_mean(layer, state, x, how);
    const auto dwant = seqbayes::scan_vjp(layer, layer.initial_state(), x, c, how);
    x.covariance_log_decay = none;
    state = layer.initial_state();
    CHECK(seqbayes::scan_mean(layer, state, x, how) == want);
    CHECK(seqbayes::scan_vjp(layer, layer.initial_state(), x, c, how).key == dwant.key);
  }
}

TEST_CASE("a constant is checked as a matrix is") {
  const Matrix<double> q = Matrix<double>::Random(T, D);
  const seqbayes::GatedDeltaNet<double, D, D> layer;
  auto state = layer.initial_state();
  const auto run = [&](double g, int length) {
    const seqbayes::Sequence<double> x{.query = q,
                                       .key = q,
                                       .value = q,
                                       .log_decay = seqbayes::constant(g, length),
                                       .write_strength = seqbayes::constant(0.5, T)};
    seqbayes::scan(layer, state, x);
  };
  CHECK_THROWS_WITH(run(0.5, T), containing("log_decay (9 x 1) has a bad entry in row 0"));
  CHECK_THROWS_WITH(run(-0.5, 4), containing("log_decay is 4 x 1, expected 9 x 1"));
}

TEST_CASE("options that a layer doesn't read are refused by name") {
  CHECK_THROWS_WITH((seqbayes::GatedDeltaNet<double, D, D>({.log_decay = -0.01})),
                    "seqbayes: option log_decay is not read by this layer");
  CHECK_THROWS_WITH((seqbayes::BayesianLayer<double, D, D>({.info_scale = 2})),
                    "seqbayes: option info_scale is not read by this layer");
  CHECK_THROWS_WITH((seqbayes::BayesianLayer<double, D, D>({.input_variance = 2})),
                    "seqbayes: option input_variance is not read by this layer");
  CHECK_THROWS_WITH((seqbayes::Ssd<double, D, D>({.prior_variance = 2})),
                    "seqbayes: option prior_variance is not read by this layer");
  CHECK_NOTHROW(seqbayes::Retention<double, D, D>({.log_decay = -0.01}));
}

TEST_CASE("a batch of means, and a gradient's workspace that is used again") {
  const Matrix<double> q = Matrix<double>::Random(T, D);
  const seqbayes::Sequence<double> x{.query = q,
                                     .key = q,
                                     .value = q,
                                     .log_decay = seqbayes::constant(-0.5, T),
                                     .write_strength = seqbayes::constant(0.25, T)};
  using Layer = seqbayes::GatedDeltaNet<double, D, D>;
  const std::vector<Layer> heads(2);
  std::vector<Layer::State> states(4, heads[0].initial_state());
  const std::vector<seqbayes::Sequence<double>> inputs(4, x);
  std::vector<Matrix<double>> means(4);
  seqbayes::scan_mean(seqbayes::Threads{2}, heads, states, inputs, means);
  auto state = heads[0].initial_state();
  CHECK(means[3] == seqbayes::scan_mean(heads[0], state, x));

  seqbayes::Cotangent<Layer> c;
  c.mean = q;
  seqbayes::GradientWorkspace<Layer> workspace;
  seqbayes::Gradient<Layer> grad;
  for (const int tokens : {9, 4, 9}) {  // shorter in between: nothing of a longer run may stay
    const auto part = x.tokens(0, tokens);
    seqbayes::Cotangent<Layer> some;
    some.mean = c.mean.rows(0, tokens);
    const auto start = heads[0].initial_state();
    for (const auto how : {seqbayes::Execution(), seqbayes::Execution::chunked(3),
                           seqbayes::Execution::sequential()}) {
      seqbayes::scan_vjp(heads[0], start, part, some, grad, workspace, how);
      const auto want = seqbayes::scan_vjp(heads[0], start, part, some, how);
      CHECK(grad.key == want.key);
      CHECK(grad.log_decay == want.log_decay);
      CHECK(grad.initial_state == want.initial_state);
    }
  }
}

}  // namespace
