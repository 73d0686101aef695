// Float for a very long time: a million tokens keep the covariance positive and stay where double
// is.
#include <Eigen/Eigenvalues>

#include <laws/layers.hpp>
#include <laws/run.hpp>

namespace laws::long_test {
namespace {

constexpr double unit = std::numeric_limits<float>::epsilon();
constexpr Index block = 20'000;
constexpr int blocks = 50;

double least_eigenvalue(const Matrix<Real>& p) {
  const Matrix<double> narrow = p.cast<double>();
  return Eigen::SelfAdjointEigenSolver<Matrix<double>>(narrow, Eigen::EigenvaluesOnly)
      .eigenvalues()[0];
}

double size(const Matrix<Real>& m) { return double(m.cwiseAbs().maxCoeff()); }

struct Drift {
  double mean = 0, variance = 0, covariance = 0;  ///< Largest relative difference of any block.
  double least = infinity;  ///< Smallest eigenvalue, relative to the largest entry before it.
};

/// A block of random tokens, again and again.
template <class Layer>
Drift run_long(const Setup<double>& setup, const Stream<double>& x, Execution how = {}) {
  const auto narrow = make<Layer>(setup);
  const auto wide = make<Rebind<Layer, double>>(setup);
  const auto x_narrow = x.as<float>();
  auto state = narrow.initial_state();
  auto wide_state = wide.initial_state();
  Drift drift;
  double largest = setup.prior_variance;
  for (int i = 0; i < blocks; ++i) {
    const Run<Real> got = run(narrow, state, x_narrow.view(), how);
    const Run<Real> want = run(wide, wide_state, x.view(), Execution::sequential());
    drift.mean = std::max(drift.mean, relative_difference(got.mean, want.mean));
    drift.variance = std::max(drift.variance, relative_difference(got.variance, want.variance));
    drift.covariance =
        std::max(drift.covariance, relative_difference(got.covariance, want.covariance));
    if constexpr (recipe_of<Layer>.kept == Kept::full) {
      drift.least = std::min(drift.least, least_eigenvalue(got.covariance) / largest);
      largest = std::max(largest, size(got.covariance));
    }
  }
  return drift;
}

template <class Layer>
Stream<double> tokens(const Setup<double>& setup) {
  return draw_slow_stream(make<Layer>(setup).inputs(), block, 61);
}

/// What layers forget, their errors are forgotten with: after a million tokens they are those of
/// the last few, some units (measured: 5).
template <class Layer>
void check_forgetting(const Setup<double>& setup, Execution how = {}) {
  const Drift drift = run_long<Layer>(setup, tokens<Layer>(setup), how);
  CHECK(drift.mean / unit <= 16);
  CHECK(drift.variance / unit <= 16);
  CHECK(drift.covariance / unit <= 16);
  CHECK(drift.least / unit >= -1);
}

using Stationary = seqbayes::BayesianLayer<float, any, any, seqbayes::NoDecay>;
using Bayesian = seqbayes::BayesianLayer<float>;

TEST_CASE("A million float tokens: layers that forget don't drift") {
  const Setup<double> setup{8, 4};
  check_forgetting<seqbayes::GatedLinearAttention<float>>(setup);
  check_forgetting<LatentFilter<float, any, any, seqbayes::ScalarDecay>>(setup);
  check_forgetting<seqbayes::DeltaNet<float>>(setup);
  check_forgetting<seqbayes::KimiDeltaAttention<float>>(setup);
  check_forgetting<seqbayes::IsotropicKalmanDeltaNet<float>>(setup);
  check_forgetting<seqbayes::DiagonalKalmanDeltaNet<float>>(setup);
  check_forgetting<Bayesian>(setup, Execution::sequential());
  check_forgetting<Bayesian>({16, 4});
  check_forgetting<Stationary>({16, 4});
}

/// Nothing is forgotten: entries grow as sqrt(T), and so do the roundings of a sum of T terms that
/// are rounded to the size it has by then: sqrt(T) units relative to it (measured: 0.5).
TEST_CASE("A million float tokens: linear attention drifts as a sum does") {
  const Setup<double> setup{8, 4};
  using Linear = seqbayes::LinearAttention<float>;
  const Drift drift = run_long<Linear>(setup, tokens<Linear>(setup));
  CHECK(drift.mean / unit <= 2 * std::sqrt(double(block * blocks)));
}

/// Neither decay nor process noise: P falls as 1 / T, each token rounds off a unit of what is left,
/// and nothing forgets those roundings: sqrt(T) of them if they are random (measured: 5 for P, 0.2
/// for the mean).
TEST_CASE(
    "A million float tokens: a filter of a constant memory drifts slowly and stays positive") {
  const double root = std::sqrt(double(block * blocks));
  for (const double noise : {1.0, 1e-3}) {
    for (const Execution how : {Execution::sequential(), Execution()}) {
      const Setup<double> setup{16, 4};
      auto x = tokens<Stationary>(setup);
      x.fields.process_noise.setZero();
      x.fields.observation_noise.setConstant(static_cast<float>(noise));
      const Drift drift = run_long<Stationary>(setup, x, how);
      CHECK(drift.mean / unit <= root);
      CHECK(drift.variance / unit <= 16 * root);
      CHECK(drift.covariance / unit <= 16 * root);
      CHECK(drift.least >= 0);  // no eigenvalue near the rounding of the prior's: none is negative
    }
  }
}

/// Values that contradict each other, almost without noise: after the first writes P is below the
/// rounding of sigma_0^2 along these keys, where FullCovariance leaves it as it is rather than let
/// it go negative.
template <class Layer>
void check_few_keys(Execution how) {
  const Index width = 8, writes = 100'000;
  const Setup<double> setup{width, 4};
  const auto layer = make<Layer>(setup);
  INFO(describe(layer) << ", chunk " << how.chunk());
  auto x = draw_stream(layer.inputs(), writes, 65);
  for (Index t = 3; t < writes; ++t) x.fields.key.row(t) = x.fields.key.row(t % 3);
  x.fields.query = x.fields.key;
  x.fields.log_decay.setZero();
  x.fields.process_noise.setZero();
  x.fields.observation_noise.setConstant(1e-6f);
  const auto typed = x.template as<float>();
  auto state = layer.initial_state();
  const Run<Real> got = run(layer, state, typed.view(), how);

  // Nothing is learned or lost across the keys: the trace can only fall, up to a unit an entry.
  CHECK(double(got.covariance.trace()) <= double(width) * (1 + unit));
  CHECK(double(got.covariance.trace()) >= double(width - 3) * (1 - 16 * unit));
  CHECK(least_eigenvalue(got.covariance) >= -double(width) * unit);
  CHECK(double(got.variance.minCoeff()) >= -double(width) * unit);
  // What a key reads is an average of values written under it.
  CHECK(size(got.mean) <= 2 * size(widen_matrix(x.fields.value)));
}

TEST_CASE("Few keys written 100 000 times almost without noise") {
  for (const Execution how : {Execution::sequential(), Execution(), Execution::chunked(5)}) {
    check_few_keys<Stationary>(how);
    check_few_keys<Bayesian>(how);
  }
}

}  // namespace
}  // namespace laws::long_test
