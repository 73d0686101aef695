// R7.1 to R7.6 against the layers: what they claim, and what their errors are.
#include <dynamics/levels.hpp>

#include <seqbayes/inference/calibration.hpp>
#include <seqbayes/layers/grid.hpp>

namespace dynamics_test::calibration_test {
namespace {

/// Everything that any layer here reads. Keys of any norm, channel decays, noises of all sizes.
struct Stream {
  static constexpr Index length = 25, dk = 4;
  Mat key, query, log_decay, process_noise;
  Vec observation_noise, write_strength;

  Stream() {
    std::mt19937 engine(5);
    std::normal_distribution<double> normal;
    std::uniform_real_distribution<double> unit(0, 1);
    const auto draw = [&](Index cols, auto& distribution) {
      return Mat(Mat::NullaryExpr(length, cols, [&] { return distribution(engine); }));
    };
    key = draw(dk, normal);
    query = draw(dk, normal);
    log_decay = -0.3 * draw(dk, unit);
    process_noise = 0.2 * draw(dk, unit);
    observation_noise = draw(1, unit).array() + 0.1;
    write_strength = draw(1, unit).cwiseQuotient(key.rowwise().squaredNorm());
  }
  [[nodiscard]] Sequence<double> view() const {
    Sequence<double> x;
    x.key = key;
    x.query = query;
    x.log_decay = log_decay;
    x.process_noise = process_noise;
    x.observation_noise = observation_noise;
    x.write_strength = write_strength;
    return x;
  }
};

template <class L>
L layer_of(Index key_dim, Index value_dim, double prior_variance) {
  return L({.key_dim = key_dim, .value_dim = value_dim, .prior_variance = prior_variance});
}

/// What `scan` would yield, without compiling it.
template <class L>
struct Steps {
  typename L::State state;
  Vec variance;
  double log_evidence = 0;

  Steps(const L& layer, const Sequence<double>& x)
      : state(layer.initial_state()), variance(x.length()) {
    for (Index t = 0; t < x.length(); ++t) {
      const auto out = layer.step(state, x.token(t));
      variance[t] = out.variance;
      log_evidence += out.log_evidence;
    }
  }
};

/// The covariance of the error, without a recursion for it: one value channel for each independent
/// cause (each entry of S_0 and of every W_t, the noise of each value) with what that cause adds to
/// the values, so that the layer's memory less the true one is the error that the cause makes.
template <class L>
Mat error_by_causes(const Stream& stream, double prior_variance, const Levels& truth) {
  constexpr Index T = Stream::length, dk = Stream::dk, causes = dk + T * (dk + 1);
  Mat memory = Mat::Zero(dk, causes), values = Mat::Zero(T, causes);
  Vec variance = Vec::Constant(causes, truth.prior_variance);
  memory.leftCols(dk).setIdentity();
  for (Index t = 0; t < T; ++t) {
    const Index first = dk + t * (dk + 1);
    memory = Vec(stream.log_decay.row(t).array().exp()).asDiagonal() * memory;
    memory.middleCols(first, dk).setIdentity();
    variance.segment(first, dk) = truth.process_noise * stream.process_noise.row(t).transpose();
    values.row(t) = stream.key.row(t) * memory;
    values(t, first + dk) = 1;
    variance[first + dk] = truth.observation_noise * stream.observation_noise[t];
  }
  const auto layer = layer_of<L>(dk, causes, prior_variance);
  auto x = stream.view();
  x.value = values;
  auto state = layer.initial_state();
  for (Index t = 0; t < T; ++t) layer.step_mean(state, x.token(t));
  const Mat error = state.mean - memory;
  return error * variance.asDiagonal() * error.transpose();
}

TEMPLATE_TEST_CASE("The error covariance of any gain is that of its causes (R7.2)", "",
                   KimiDeltaAttention<double>, DiagonalKalmanDeltaNet<double>) {
  const Stream stream;
  const Levels truth{0.7, 1.4, 2.5};  // not what the layer assumes: 1, 1 and 1.3
  const auto layer = layer_of<TestType>(Stream::dk, 2, 1.3);
  const auto x = stream.view();
  const Mat gains = write_gains(layer, x);
  if (!layer.inputs().process_noise.width) {  // a reset layer: beta k, by one multiplication
    CHECK(gains == Mat(stream.write_strength.asDiagonal() * stream.key));
  }
  ErrorCovariance<double> error(Stream::dk, truth);
  for (Index t = 0; t < x.length(); ++t) error.step(x.token(t), gains.row(t).transpose());
  const Mat want = error_by_causes<TestType>(stream, 1.3, truth);
  // 25 steps of 4 x 4 products, each with a few roundings of what cancels: 1e-13 of the largest
  CHECK((error.matrix() - want).cwiseAbs().maxCoeff() < 1e-13 * want.cwiseAbs().maxCoeff());
  const Vec variance = error_variance(x, gains, truth);
  const Vec q = stream.query.row(x.length() - 1);
  CHECK(variance[x.length() - 1] == Approx(q.dot(want * q)).epsilon(1e-12));
}

TEST_CASE("The exact filter claims the error that it makes (R7.1)") {
  using Exact = BayesianLayer<double, Eigen::Dynamic, Eigen::Dynamic, ChannelDecay>;
  const Stream stream;
  const auto layer = layer_of<Exact>(Stream::dk, 1, 1.3);
  auto x = stream.view();
  const Vec zero = Vec::Zero(x.length());
  x.value = zero;
  const auto [state, claimed, evidence] = Steps(layer, x);
  const Levels truth{1, 1, 1.3};
  const Mat want = error_by_causes<Exact>(stream, 1.3, truth);
  CHECK((state.covariance - want).cwiseAbs().maxCoeff() < 1e-13 * want.cwiseAbs().maxCoeff());
  const Mat gains = write_gains(layer, x);
  const Vec actual = error_variance(x, gains, truth);
  CHECK((actual - claimed).cwiseAbs().maxCoeff() < 1e-12 * claimed.maxCoeff());

  ErrorCovariance<double> error(Stream::dk, truth);
  const auto seen = innovations(layer, x);
  for (Index t = 0; t < x.length(); ++t) {
    CHECK(error.step(x.token(t), gains.row(t).transpose()) ==
          Approx(seen.claimed[t]).epsilon(1e-12));
    CHECK(error.with_innovation().norm() < 1e-13 * gains.row(t).norm() * seen.claimed[t] * 30);
  }
}

TEST_CASE("Innovations are white with the claimed variance if the model is right (R7.3)") {
  const Stream stream;
  auto x = stream.view();
  std::mt19937 engine(11);
  const Levels truth{1, 1, 1.3};
  constexpr Index dv = 4000;
  const double error = std::sqrt(2.0 / double(dv * x.length()));
  SECTION("full covariance") {
    using Exact = BayesianLayer<double, Eigen::Dynamic, Eigen::Dynamic, ChannelDecay>;
    const auto layer = layer_of<Exact>(Stream::dk, dv, 1.3);
    const Mat values = sample_values(x, dv, truth, Regime::full, engine);
    x.value = values;
    CHECK(std::abs(innovations(layer, x).nis() - 1) < 4 * error);
    // Over-confident: told half the noise of the values
    const Vec half = stream.observation_noise / 2;
    x.observation_noise = half;
    CHECK(innovations(layer, x).nis() > 1 + 20 * error);
  }
  SECTION("reset covariance") {
    const auto layer = layer_of<KimiDeltaAttention<double>>(Stream::dk, dv, 1.3);
    const Mat values = sample_values(x, dv, truth, Regime::reset, engine);
    x.value = values;
    Vec beta(x.length());
    for (Index t = 0; t < x.length(); ++t) {
      beta[t] =
          to_write_strength(stream.observation_noise[t], stream.key.row(t).squaredNorm(), 1.3);
    }
    x.write_strength = beta;
    const auto seen = innovations(layer, x);
    CHECK(std::abs(seen.nis() - 1) < 4 * error);
    // and each token by itself: the largest of 25 is beyond 4 in one seed of 600
    const auto ratio = seen.actual.cwiseQuotient(seen.claimed).array() - 1;
    CHECK(ratio.abs().maxCoeff() < 4 * std::sqrt(2.0 / double(dv)));
    CHECK(seen.log_evidence.sum() == Approx(Steps(layer, x).log_evidence).epsilon(1e-12));
  }
}

/// One unit key n times into an exact filter, its claims, and the truth by R7.2.
Calibration<double> repeated(Index n, const Levels& filter, const Levels& truth) {
  const auto layer = layer_of<BayesianLayer<double, Eigen::Dynamic, Eigen::Dynamic, NoDecay>>(
      1, 1, filter.prior_variance);
  const Vec one = Vec::Ones(n), r = one * filter.observation_noise;
  const Vec omega = one * filter.process_noise;
  Sequence<double> x;
  x.query = x.key = x.value = one;
  x.observation_noise = r;
  x.process_noise = omega;
  const Mat gains = write_gains(layer, x);
  const auto seen = innovations(layer, x);
  const Vec claimed = Steps(layer, x).variance;
  Sequence<double> data;
  data.key = data.query = one;
  ErrorCovariance<double> error(1, truth);
  double nis = 0;
  for (Index t = 0; t < n; ++t) {
    nis = error.step(data.token(t), gains.row(t).transpose()) / seen.claimed[t];
  }
  return {error.matrix()(0, 0), claimed[n - 1], nis};
}

void check_same(const Calibration<double>& found, const Calibration<double>& want, double epsilon) {
  CHECK(found.actual == Approx(want.actual).epsilon(epsilon));
  CHECK(found.claimed == Approx(want.claimed).epsilon(epsilon));
  CHECK(found.nis == Approx(want.nis).epsilon(epsilon));
  CHECK(found.overconfidence() == Approx(want.actual / want.claimed).epsilon(2 * epsilon));
}

TEST_CASE("Wrong noise, wrong prior and unmodelled drift under repeated writes (R7.4, R7.6)") {
  for (const double r : {0.2, 1.0}) {
    for (const double omega : {0.0, 0.01, 0.5}) {
      for (const double p : {0.3, 3.0}) {
        for (const Index n : {1, 2, 5, 60}) {
          const Levels filter{0.5, 0, 1.0}, truth{r, omega, p};
          // n steps of a recursion against a formula
          check_same(repeated_write_calibration(n, filter, truth), repeated(n, filter, truth),
                     1e-14 * double(20 + n));
        }
      }
    }
  }
  // Limits. A noiseless filter averages; its second claim is 0 + r.
  const Levels truth{0.7, 0, 2};
  CHECK(repeated_write_calibration<double>(4, {0, 0, 1}, truth).actual == Approx(0.7 / 4));
  CHECK(repeated_write_calibration<double>(1, {0, 0, 1}, truth).nis == Approx(2.7));
  CHECK(repeated_write_calibration<double>(3, {1, 0, 0}, {1, 0.5, 2}).actual == Approx(3.5));
  // Drift: overconfidence near omega n^2 / (3 r), by 3 / (2 n) less or more
  CHECK(repeated_write_calibration<double>(10000, {1, 0, 1}, {1, 0.1, 1}).overconfidence() ==
        Approx(0.1 * 1e8 / 3).epsilon(1e-3));
}

TEST_CASE("Wrong noises in the steady state (R7.5)") {
  for (const double r : {0.2, 1.0}) {
    for (const double omega : {0.0, 0.1, 1.0}) {
      const Levels truth{r, omega, 1};
      // What an exact filter settles at after 600 writes: (1 - a)^1200 is below 1e-16.
      const Levels filter{0.5, 0.02, 1.0};
      const double predicted = (0.02 + std::sqrt(0.02 * 0.02 + 4 * 0.02 * 0.5)) / 2;
      const double s = predicted + 0.5;
      check_same(steady_calibration(predicted / s, s, truth), repeated(600, filter, truth), 1e-11);
      // A reset layer of any gain, over-relaxed ones included
      for (const double b : {0.05, 0.5, 1.0, 1.6}) {
        ErrorCovariance<double> error(1, truth);
        Sequence<double> x;
        const Vec one = Vec::Ones(1), gain = Vec::Constant(1, b);
        x.key = one;
        double innovation = 0;
        for (int t = 0; t < 600; ++t) innovation = error.step(x.token(0), gain);
        const auto found = steady_calibration(b, 0.9, truth);
        CHECK(found.actual == Approx(error.matrix()(0, 0)).epsilon(1e-12));
        CHECK(found.nis == Approx(innovation / 0.9).epsilon(1e-12));
        CHECK(found.claimed == Approx((1 - b) * b * 0.9).margin(1e-16));
      }
    }
  }
  // Static data: the tracker is too cautious, by 2 - a.
  CHECK(steady_calibration<double>(0.3, 1 / 0.7, {1, 0, 1}).overconfidence() == Approx(1 / 1.7));
}

}  // namespace
}  // namespace dynamics_test::calibration_test
