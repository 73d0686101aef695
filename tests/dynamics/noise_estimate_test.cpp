// R7.7: noise levels from innovations.
#include <dynamics/levels.hpp>

#include <seqbayes/inference/noise_estimate.hpp>

namespace dynamics_test::noise_estimate_test {
namespace {

TEST_CASE("The innovations of a constant gain tell both noise levels (R7.7)") {
  for (const double alpha : {1.0, 0.95}) {
    for (const double omega : {0.0, 0.05, 0.5}) {
      for (const double a : {0.1, 0.4, 1.0, 1.6}) {
        const Levels truth{0.3, omega, 1};
        const Vec one = Vec::Ones(1), gain = Vec::Constant(1, a);
        const Vec log_decay = Vec::Constant(1, std::log(alpha));
        Sequence<double> x;
        x.key = one;
        x.log_decay = log_decay;
        ErrorCovariance<double> error(1, truth);
        double mean_square = 0;
        for (int t = 0; t < 500; ++t) mean_square = error.step(x.token(0), gain);
        const double lag_one = alpha * error.with_innovation()[0];
        // rho_1 = alpha (\hat a - a) with the best gain \hat a
        CHECK(lag_one / mean_square == Approx(alpha * (1 - 0.3 / mean_square - a)).margin(1e-14));
        const Levels found = noise_from_innovations(mean_square, lag_one, a, alpha);
        CHECK(found.observation_noise == Approx(0.3).epsilon(1e-12));
        CHECK(found.process_noise == Approx(omega).epsilon(1e-12).margin(1e-14));
      }
    }
  }
}

/// Keys of unit norm in all directions, some of which come back.
Mat keys(Index length, Index dk, std::mt19937& engine) {
  const Mat pool = unit_keys(3 * dk, dk, engine);
  std::uniform_int_distribution<Index> pick(0, pool.rows() - 1);
  Mat key(length, dk);
  for (Index t = 0; t < length; ++t) key.row(t) = pool.row(pick(engine));
  return key;
}

TEST_CASE("Noise levels of a stream of many keys are estimated without bias") {
  constexpr Index length = 300, dk = 6, dv = 8;
  constexpr int seeds = 40;
  const Levels truth{0.4, 0.03, 1.5};
  std::mt19937 engine(3);
  const DecayingStream stream{keys(length, dk, engine)};
  auto x = stream.view();
  const Mat gains = 0.3 * stream.key;
  Mat found(seeds, 3);
  for (int seed = 0; seed < seeds; ++seed) {
    const Mat values = sample_values(x, dv, truth, Regime::full, engine);
    x.value = values;
    const Levels levels = estimate_noise(x, gains);
    found.row(seed) << levels.observation_noise, levels.process_noise, levels.prior_variance;
  }
  const Vec mean = found.colwise().mean();
  const Vec deviation =
      ((found.rowwise() - mean.transpose()).colwise().squaredNorm() / double(seeds - 1))
          .cwiseSqrt();
  const Vec want = (Vec(3) << 0.4, 0.03, 1.5).finished();
  for (Index i = 0; i < 3; ++i) {
    INFO("level " << i << ": " << mean[i] << " +- " << deviation[i] << ", true " << want[i]);
    CHECK(std::abs(mean[i] - want[i]) < 4 * deviation[i] / std::sqrt(double(seeds)));
    CHECK(deviation[i] < 0.5 * want[i]);  // and of use as a start
  }
}

TEST_CASE("Estimated noise levels are never negative") {
  constexpr Index length = 60, dk = 6, dv = 2;
  std::mt19937 engine(4);
  const Mat key = keys(length, dk, engine);
  Sequence<double> x;
  x.key = key;
  int at_zero = 0;
  for (int seed = 0; seed < 30; ++seed) {
    const Mat values = sample_values(x, dv, Levels{1, 0, 0.2}, Regime::full, engine);
    x.value = values;
    const Levels levels = estimate_noise(x, Mat(0.2 * key));
    CHECK(levels.observation_noise >= 0);
    CHECK(levels.process_noise >= 0);
    CHECK(levels.prior_variance >= 0);
    CHECK(levels.observation_noise + levels.prior_variance > 0.3);
    at_zero += levels.process_noise == 0;
  }
  CHECK(at_zero > 5);  // the bound is met: there is no drift
}

TEST_CASE("Bad data are refused by name") {
  std::mt19937 engine(5);
  const Mat key = keys(5, 3, engine), values = Mat::Ones(5, 2);
  Sequence<double> x;
  x.key = key;
  x.value = values;
  using Catch::Matchers::StartsWith;
  CHECK_NOTHROW(estimate_noise(x, key));
  CHECK_THROWS_WITH(estimate_noise(x, Mat(key.topRows(4))), StartsWith("seqbayes: gains"));
  const Vec bad = Vec::Zero(5);
  x.observation_noise = bad;
  CHECK_THROWS_WITH(estimate_noise(x, key), StartsWith("seqbayes: observation_noise"));
  CHECK_THROWS_WITH(sample_values(x, 2, Levels{}, Regime::full, engine),
                    StartsWith("seqbayes: observation_noise"));
  x = {};
  x.key = key;
  CHECK_THROWS_WITH(estimate_noise(x, key), StartsWith("seqbayes: value is missing"));
  x = {};
  CHECK_THROWS_WITH(error_variance(x, key, Levels{}), StartsWith("seqbayes: query is missing"));
}

}  // namespace
}  // namespace dynamics_test::noise_estimate_test
