// R4.1 to R4.6, R4.8, R4.9: tracking, against the layers' own covariances and gains.
#include <dynamics/designs.hpp>

#include <algorithm>
#include <array>
#include <functional>
#include <random>

#include <seqbayes/dynamics/drift.hpp>

namespace dynamics_test::drift_test {
namespace {

using namespace seqbayes::dynamics;

// Some hundred roundings of a recursion that contracts.
constexpr double rounding = 1e-11;

/// The Bayesian Layer's covariance, a token at a time.
class Covariance {
 public:
  using Layer = seqbayes::BayesianLayer<double>;

  Covariance(const FilterRule<double>& rule, Index d, double start)
      : layer_({.key_dim = d, .value_dim = 1, .prior_variance = start}),
        state_(layer_.initial_state()),
        x_(fields(rule, 1)) {
    x_.value = constant(1, 0);
  }

  /// Writes the key; returns k'Pk after it.
  double write(const Vector& key) {
    x_.query = x_.key = key.transpose();
    return layer_.step(state_, view(x_).token(0)).variance;
  }
  [[nodiscard]] Matrix matrix() const { return state_.covariance; }
  [[nodiscard]] double mean_variance() const {
    return matrix().trace() / static_cast<double>(state_.mean.rows());
  }

 private:
  Layer layer_;
  Layer::State state_;
  Fields x_;
};

/// The error covariance of a reset layer after one write, in the mean over `keys` (rows): the layer
/// writes value 0 into a square root of the error, and the values' noise.
Matrix average_error(const ResetRule<double>& rule, const Matrix& keys, Matrix error,
                     const FilterRule<double>& truth) {
  // The error fades with the layer and then gains the drift, which `decay` must not touch.
  const ResetRule<double> still{rule.gain, 1};
  error = truth.decay * truth.decay * error +
          truth.process_noise * Matrix::Identity(error.rows(), error.cols());
  return average_write(still, keys, {Vector::Zero(error.rows()), error}, truth.observation_noise)
      .square;
}

TEST_CASE("R4.1, R4.2: keys that take turns") {
  for (const Index d : {3, 6}) {
    for (const double decay : {1.0, 0.95}) {
      for (const double omega : {0.01, 0.3}) {
        INFO("d " << d << ", decay " << decay << ", process noise " << omega);
        const FilterRule<double> rule{1, 0.4, decay, omega};
        Covariance filter(rule, d, 1);
        Matrix keys = Matrix::Identity(d, d);
        keys.row(0).swap(keys.row(2));
        for (Index t = 0; t < 200 * d; ++t) filter.write(keys.row(t % d).transpose());
        const auto limit = cyclic_keys(rule, d);
        for (Index lag = 0; lag < d; ++lag) {
          const Vector key = keys.row(d - 1 - lag);
          CHECK(deviation(unvisited(rule, limit.posterior, lag), key.dot(filter.matrix() * key)) <
                rounding);
        }
        CHECK(deviation(cyclic_error(limit.gain, rule, d), limit.posterior) < rounding);
        for (const double b : {0.1, 1.0, 1.5}) {
          Matrix error = Matrix::Identity(d, d);
          for (Index t = 0; t < 200 * d; ++t) {
            error = average_error({b}, keys.row(t % d), error, rule);
          }
          const Vector last = keys.row(d - 1);
          const double got = cyclic_error(b, rule, d);
          CHECK(deviation(got, last.dot(error * last)) < rounding);
          const double regret = rule.observation_noise / (1 - limit.gain) *
                                std::pow(b - limit.gain, 2) /
                                (1 - std::pow(decay, 2 * d) * std::pow(1 - b, 2));
          CHECK(std::abs(got - limit.posterior - regret) < rounding * got);
        }
      }
    }
  }
}

TEST_CASE("R4.3: unequal visits") {
  const std::array<double, 4> periods{2, 4, 8, 8};
  const std::array<Index, 8> schedule{0, 1, 0, 2, 0, 1, 0, 3};
  const double omega = 0.05, r = 0.4;
  Covariance filter({1, r, 1, omega}, 4, 1);
  double error = 0;
  for (Index t = 0; t < 8 * 100; ++t) {
    const Vector key = Vector::Unit(4, schedule[static_cast<std::size_t>(t % 8)]);
    const double after = filter.write(key);
    if (t >= 8 * 99) error += after / 8;
  }
  const auto got = unequal_visits(periods, omega, r);
  CHECK(deviation(got.filter, error) < rounding);
  const auto reset = [&](double b) {
    double sum = 0;
    for (const double period : periods) {
      sum += ((1 - b) * (1 - b) * period * omega + b * b * r) / (b * (2 - b)) / period;
    }
    return sum;
  };
  CHECK(deviation(got.best_reset, reset(got.best_gain)) < rounding);
  CHECK(reset(got.best_gain * 1.001) > got.best_reset);
  CHECK(reset(got.best_gain * 0.999) > got.best_reset);
  CHECK(deviation(got.best_reset / got.filter, 1.053) < 1e-3);  // the document's example
}

TEST_CASE("R4.4, R4.8: reset layers on random keys") {
  for (const Matrix& design : designs()) {
    const Index d = design.cols();
    const auto dim = static_cast<double>(d);
    if (d == 8) continue;  // as slow as the others together, and no other formula
    for (const double omega : {0.02, 0.5}) {
      for (const double b : {0.3, 1.0}) {
        INFO("d " << d << ", process noise " << omega << ", gain " << b);
        const double r = 0.2, Q = dim * omega, steady = random_keys_error(b, Q, r, dim);
        const FilterRule<double> truth{1, r, 1, omega};
        Matrix error = steady * Matrix::Identity(d, d);
        const Matrix next = average_error({b}, design, error, truth);
        CHECK((next - error).norm() < rounding * error.norm());  // a fixed point
        const Vector a = Vector::LinSpaced(d, 0.3, 1).normalized();
        for (int i = 0; i < 3; ++i) error = average_error({b}, a.transpose(), error, truth);
        for (int m = 0; m <= 30; ++m) {
          if (m % 10 == 0) {
            CHECK(deviation(revisited_error(ResetRule<double>{b}, Q, r, dim, 3, m),
                            a.dot(error * a)) < rounding);
          }
          error = average_error({b}, design, error, truth);
        }
        const double best = tracking_gain(Q, r);
        const double least = random_keys_error(best, Q, r, dim);
        CHECK(deviation(least, (Q + std::sqrt(Q * Q + 4 * Q * r)) / 2 - omega) < rounding);
        CHECK(random_keys_error(best * 1.001, Q, r, dim) > least);
        CHECK(random_keys_error(best * 0.999, Q, r, dim) > least);
      }
    }
  }
}

TEST_CASE("R4.5, R4.6, R4.9: in 50 digits, and their limits") {
  for (const double ratio : {1e-12, 1e-3, 1.0, 100.0, 1e9}) {
    INFO("Q / r " << ratio);
    const double r = 0.5;
    const Digits50 Q = ratio * r, w = (sqrt(Q * Q + 16 * Q * r) - Q) / (8 * r);
    const auto law = random_keys_law(ratio * r, r);
    CHECK(deviation(law.w, w) < 1e-14);
    CHECK(deviation(law.variance, Digits50(r * (exp(w) / (1 - w) - 1))) < 1e-14);
    // The filter that assumes the truth: both coefficients together are its own error.
    CHECK(deviation(tracking_error(law, ratio * r, r), law.variance) < 1e-13);
    CHECK(deviation(random_keys_variance(ratio * r, 0.0, r), law.variance) < 1e-13);
    for (const double fading : {1e-9, 0.3, 40.0}) {
      // The root by bisection in 50 digits.
      const auto balance = [&](const Digits50& u) {
        return (Q * u * u + fading * u) * (2 * Q * r * u + Q + fading * r) - 2 * Q * u - fading;
      };
      Digits50 low = 0, high = 1;
      while (balance(high) < 0) high *= 2;
      for (int i = 0; i < 200; ++i) {
        const Digits50 u = (low + high) / 2;
        (balance(u) < 0 ? low : high) = u;
      }
      const Digits50 u = low, tau = exp(Q * r * u * u + (Q + fading * r) * u - 1) /
                                        (Q * u * u + fading * u) -
                                    r;
      CHECK(deviation(random_keys_variance(ratio * r, fading, r), tau) < 1e-12);
    }
  }
  const auto slow = random_keys_law(1e-8, 1.0), fast = random_keys_law(1e10, 1.0);
  CHECK(deviation((1 - slow.variance / ((1e-8 + std::sqrt(1e-16 + 4e-8)) / 2)) / 1e-4, 0.125) <
        1e-3);  // 1 - sqrt(Q / r) / 8 of the best reset layer
  CHECK(deviation(fast.variance / 1e10, std::exp(1.0) / 4) < 1e-4);
}

/// Errors of a filter on random keys at d = 64, in the mean between before and after a write: what
/// it claims, and the true one's coefficients of Q_true and r_true.
struct Tracked {
  double claimed = 0, of_drift = 0, of_noise = 0;
};

Tracked track(const FilterRule<double>& rule, Index d, int steps) {
  std::mt19937_64 engine(4);
  std::normal_distribution<double> normal;
  Covariance filter(rule, d, 0.5);
  const double alpha2 = rule.decay * rule.decay, omega = rule.process_noise;
  const auto dim = static_cast<double>(d);
  // The error covariance by Joseph's form, for unit Q_true and for unit r_true.
  Matrix drift = Matrix::Identity(d, d) * 0.2, noise = drift;
  Tracked sum;
  int counted = 0;
  for (int t = 0; t < steps; ++t) {
    const Vector k = Vector::NullaryExpr(d, [&] { return normal(engine); }).normalized();
    const Matrix before = alpha2 * filter.matrix() + omega * Matrix::Identity(d, d);
    const Vector gain = before * k / (rule.observation_noise + k.dot(before * k));
    drift = alpha2 * drift + Matrix::Identity(d, d) / dim;
    noise = alpha2 * noise;
    const double trace_drift = drift.trace(), trace_noise = noise.trace();
    const auto write = [&](Matrix& e, double r) {
      const Vector ek = e * k;
      e +=
          gain * gain.transpose() * (k.dot(ek) + r) - gain * ek.transpose() - ek * gain.transpose();
    };
    write(drift, 0);
    write(noise, 1);
    filter.write(k);
    if (2 * t < steps) continue;
    ++counted;
    sum.claimed += (before.trace() / dim + filter.mean_variance()) / 2;
    sum.of_drift += (trace_drift + drift.trace()) / dim / 2;
    sum.of_noise += (trace_noise + noise.trace()) / dim / 2;
  }
  return {sum.claimed / counted, sum.of_drift / counted, sum.of_noise / counted};
}

TEST_CASE("R4.5, R4.9: the filter on random keys at finite width") {
  for (const double Q : {0.1, 1.0, 10.0}) {
    INFO("Q / r " << Q);
    const Index d = 64;
    const Tracked want = track({1, 1, 1, Q / static_cast<double>(d)}, d, 2000);
    const auto law = random_keys_law(Q, 1.0);
    const double finite = 0.015;  // 0.4 % at d = 64 over 40 d writes; this run has 16 d
    CHECK(deviation(law.variance, want.claimed) < finite);
    CHECK(deviation(law.of_drift, want.of_drift) < finite);
    CHECK(deviation(law.of_noise, want.of_noise) < finite);
  }
}

TEST_CASE("R4.6: the same with decay") {
  const Index d = 64;
  const auto dim = static_cast<double>(d);
  for (const auto& [Q, fading] : {std::pair{0.5, 0.3}, std::pair{8.0, 1.0}}) {
    INFO("Q / r " << Q << ", fading " << fading);
    const Tracked want = track({1, 1, std::sqrt(1 - fading / dim), Q / dim}, d, 2000);
    // R4.6 has 0.13 % at d = 200, over 15 d writes.
    CHECK(deviation(random_keys_variance(Q, fading, 1.0), want.claimed) < 0.015);
  }
}

}  // namespace
}  // namespace dynamics_test::drift_test
