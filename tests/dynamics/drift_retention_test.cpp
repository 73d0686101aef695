// R4.7 against the layer at finite width, and against its own limits.
#include <dynamics/runs.hpp>

#include <algorithm>
#include <random>

#include <seqbayes/dynamics/drift_retention.hpp>

namespace dynamics_test::drift_retention_test {
namespace {

using namespace seqbayes::dynamics;

TEST_CASE("R4.7: where the law starts and how it ends") {
  for (const double Q : {0.05, 0.5, 5.0}) {
    const double r = 0.8;
    const auto law = random_keys_law(Q, r);
    for (const Count n : {1, 4, 100}) {
      INFO("Q " << Q << ", writes " << n);
      const auto now = retention_under_drift(Q, r, n, 0.0);
      const FilterRule<double> alone{law.variance, r};  // R1.1
      CHECK(deviation(now.retention, after_writes(alone, n).total_weight) < 1e-14);
      CHECK(deviation(now.mse, claimed_variance(alone, n)) < 1e-13);
      const double far = 8 / law.w;  // e^(-4 w c) of the transient is 1e-14 there
      const double late = retention_under_drift(Q, r, n, far, 4000).retention,
                   later = retention_under_drift(Q, r, n, far + 1, 4000).retention;
      CHECK(deviation(std::log(late / later), 2 * law.w) < 1e-6);
      CHECK(deviation(retention_under_drift(Q, r, n, far).mse, law.variance) < 1e-6);
      // Fourth order: 200 steps against 2000.
      CHECK(deviation(retention_under_drift(Q, r, n, 2.0).retention,
                      retention_under_drift(Q, r, n, 2.0, 2000).retention) < 1e-7);
    }
  }
}

/// R4.7's equations as they stand, in v, with eta by bisection: ln(retention) after load c.
long double log_retention(long double Q, long double r, Count n, long double load, int steps) {
  using Real = long double;
  const auto law = random_keys_law(Q, r);
  const Real settled = 2 * law.w / Q;
  const auto eta_at = [&](Real v) {
    const Real product = Q * (r + law.variance) * v * v * std::exp(-Q * (r * v * v + v));
    Real low = 0, high = 1;
    for (int i = 0; i < 80; ++i) {
      const Real middle = (low + high) / 2;
      (middle * std::exp(-middle) < product ? low : high) = middle;
    }
    return low;
  };
  const auto slope = [&](Real v) {
    if (v == 0) return 1 / (r + law.variance);
    if (v >= settled) return Real(0);  // it comes no further, but for rounding
    const Real eta = eta_at(v);
    return (1 - eta) * Q * v * v / eta;
  };
  const Real h = load / steps;
  Real v = 0, faded = 0;
  for (int i = 0; i < steps; ++i) {
    const Real k1 = slope(v), k2 = slope(v + h / 2 * k1), k3 = slope(v + h / 2 * k2);
    const Real k4 = slope(v + h * k3);
    faded += Q * h * (v + h / 6 * (k1 + k2 + k3));
    v += h / 6 * (k1 + 2 * k2 + 2 * k3 + k4);
  }
  const Real sigma = eta_at(v) / (Q * v * v) - r;
  return std::log(sigma / (sigma + r / static_cast<Real>(n))) - faded;
}

TEST_CASE("R4.7: at large loads and any drift, against its equations in long double") {
  const double cases[][3] = {
      {0.05, 0.8, 3}, {1, 1, 50}, {100, 1, 20}, {1e4, 1, 20}, {3e6, 1e6, 50}};
  for (const auto& [Q, r, load] : cases) {
    INFO("Q " << Q << ", r " << r << ", load " << load);
    const auto got = retention_under_drift(Q, r, 2, load);
    const double want = double(log_retention(Q, r, 2, load, 4000));
    // 200 steps are right to 1e-6. Where eta nears 1 its equation is even in 1 - eta, so that the
    // reference has half its digits: sqrt(1e-19) times 2 w c, at most 40.
    CHECK(std::abs(std::log(got.retention) - want) < 2e-6);
    CHECK(std::isfinite(got.mse));
  }
  // Drift and noise matter by their ratio alone, whatever their size.
  const auto one = retention_under_drift(0.5, 1.0, 3, 2.0);
  for (const double unit : {1e-290, 1e-100, 1e100, 1e290}) {
    const auto same = retention_under_drift(0.5 * unit, unit, 3, 2.0);
    CHECK(deviation(same.retention, one.retention) < 1e-14);
    CHECK(deviation(same.mse / unit, one.mse) < 1e-14);
  }
}

TEST_CASE("R4.7: against the layer") {
  constexpr Index d = 100, most = 2 * d;
  constexpr int targets = 60;
  std::mt19937_64 engine(5);
  std::normal_distribution<double> normal;
  using Layer = seqbayes::BayesianLayer<double>;
  for (const double Q : {0.5, 5.0}) {
    const Layer layer(
        {.key_dim = d, .value_dim = 1, .prior_variance = random_keys_law(Q, 1.0).variance});
    const auto write = [&](Layer::State& state, const Matrix& key, const Matrix& query,
                           double value, double process_noise) {
      Fields x = fields(FilterRule<double>{1, 1, 1, process_noise}, 1);
      x.query = query;
      x.key = key;
      x.value = constant(1, value);
      return layer.step(state, view(x).token(0));
    };
    const auto random_key = [&] {
      return Matrix(Matrix::NullaryExpr(1, d, [&] { return normal(engine); }).normalized());
    };
    auto steady = layer.initial_state();
    const double omega = Q / static_cast<double>(d);
    for (Index t = 0; t < 6 * d; ++t) {
      const Matrix key = random_key();
      write(steady, key, key, 0, omega);
    }
    for (const Count n : {1, 10}) {
      double retention[2] = {0, 0}, squares[2] = {0, 0}, variance[2] = {0, 0};
      for (int i = 0; i < targets; ++i) {
        auto state = steady;
        state.mean.setZero();
        const Matrix target = random_key();
        for (Count j = 0; j < n; ++j) write(state, target, target, 1, 0);
        for (Index m = 1; m <= most; ++m) {
          const auto out = write(state, random_key(), target, 0, omega);
          if (m % d != 0) continue;
          retention[m / d - 1] += out.mean[0] / targets;
          squares[m / d - 1] += out.mean[0] * out.mean[0] / targets;
          variance[m / d - 1] += out.variance / targets;
        }
      }
      for (int c = 1; c <= 2; ++c) {
        INFO("Q " << Q << ", writes " << n << ", load " << c);
        const auto got = retention_under_drift(Q, 1.0, n, static_cast<double>(c));
        const double mean = retention[c - 1];
        const double error = std::sqrt((squares[c - 1] - mean * mean) / targets);
        // 0.7 % (of 0.05 or more) at d = 300, so 2 % at a third of the width; 4 standard errors
        CHECK(std::abs(got.retention - mean) < 0.02 * std::max(0.05, mean) + 4 * error);
        CHECK(error < 0.1 * mean);
        CHECK(deviation(got.mse, variance[c - 1]) < 0.04);
      }
    }
  }
}

}  // namespace
}  // namespace dynamics_test::drift_retention_test
