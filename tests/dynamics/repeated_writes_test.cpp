// R1.1 to R1.5 against the layers themselves, and in 50 digits where they could cancel.
#include <dynamics/runs.hpp>

namespace dynamics_test::repeated_writes_test {
namespace {

using namespace seqbayes::dynamics;

// Some hundred roundings of 1e-16, amplified by at most 25 writes.
constexpr double rounding = 1e-12;
// Of a filter's writes: it keeps back two units of sigma_0^2 at each, of which r / n is left after
// n: 25^2 * 80 * 4e-16 at most.
constexpr double filtered = 3e-11;

const Vector key = Vector{{0.48, -0.6, 0.64}};

void check(const Retrieval<double>& got, const Readout& want) {
  CHECK(std::abs(got.initial_weight - want.initial) < filtered * std::abs(want.initial) + 1e-15);
  CHECK(deviation(got.total_weight, want.writes.sum()) < filtered);
  CHECK(deviation(got.noise_factor, want.writes.squaredNorm()) < filtered);
  CHECK(std::abs(got.missing_weight - (1 - want.writes.sum())) <
        filtered * (1 + want.writes.sum()));
  const double y = 1.3, y0 = -0.4, r = 0.7;
  const double bias = want.initial * y0 + (want.writes.sum() - 1) * y;
  CHECK(std::abs(got.bias(y, y0) - bias) < filtered * (1 + std::abs(bias)));
  CHECK(deviation(got.mse(y, r, y0), bias * bias + r * want.writes.squaredNorm()) < filtered);
}

TEST_CASE("R1.1, R1.2: the filter after n writes of one key") {
  for (const double decay : {1.0, 0.97, 0.5}) {
    for (const double process_noise : {0.0, 0.02, 0.7}) {
      for (const double r : {0.05, 1.0}) {
        for (const double prior : {0.2, 4.0}) {
          for (const Index n : {1, 2, 7, 25}) {
            INFO(decay << ' ' << process_noise << ' ' << r << ' ' << prior << ' ' << n);
            const FilterRule<double> rule{prior, r, decay, process_noise};
            const Readout want = read(rule, repeated(key, n), key);
            check(after_writes(rule, n), want);
            CHECK(deviation(claimed_variance(rule, n), want.variance) < filtered);
            CHECK(deviation(gain_of_write(rule, n), want.writes[n - 1]) < filtered);
          }
        }
      }
    }
  }
}

TEST_CASE("R1.1: equal weights 1 / (n + lambda), also without noise") {
  for (const double lambda : {0.0, 0.37, 5.0}) {
    const FilterRule<double> rule{2.0, 2.0 * lambda};
    for (const Count n : {1, 3, 1000}) {
      const auto n_ = static_cast<double>(n);
      const auto got = after_writes(rule, n);
      CHECK(deviation(got.initial_weight, lambda / (n_ + lambda)) < rounding);
      CHECK(got.missing_weight == got.initial_weight);
      CHECK(deviation(got.total_weight, n_ / (n_ + lambda)) < rounding);
      CHECK(deviation(got.noise_factor, n_ / (n_ + lambda) / (n_ + lambda)) < rounding);
      CHECK(deviation(gain_of_write(rule, n), 1 / (n_ + lambda)) < rounding);
    }
  }
  const auto nothing = after_writes(FilterRule<double>{2.0, 1.0, 0.9, 0.1}, 0);
  CHECK(nothing.initial_weight == 1);
  CHECK(nothing.total_weight == 0);
  CHECK(nothing.missing_weight == 1);
  CHECK(nothing.noise_factor == 0);
  CHECK(claimed_variance(FilterRule<double>{2.0, 1.0, 0.9, 0.1}, 0) == 2.0);
}

TEST_CASE("R1.2: near alpha = 1, omega = 0 and r = 0 nothing cancels") {
  for (const double fading : {0.0, 0x1p-50, 0x1p-20, 0.25}) {
    for (const double process_noise : {0.0, 1e-20, 1e-9, 0.1}) {
      for (const double r : {1e-30, 1.0}) {
        INFO(fading << ' ' << process_noise << ' ' << r);
        const FilterRule<double> rule{1.5, r, 1 - fading, process_noise};
        constexpr int n = 60;
        // The recursion itself, weight by weight.
        const Digits50 alpha = rule.decay;
        Digits50 p = 1.5, initial = 1, missing = 1, total = 0, squares = 0;
        for (int j = 0; j < n; ++j) {
          const Digits50 predicted = alpha * alpha * p + process_noise, s = r + predicted;
          const Digits50 gain = predicted / s, keep = alpha * r / s;
          p = gain * r;
          initial *= keep;
          missing = missing * keep + (1 - alpha) * r / s;
          total = total * keep + gain;
          squares = squares * keep * keep + gain * gain;
        }
        const auto got = after_writes(rule, n);
        // What doubles can hold; below, both are 0.
        if (initial > 1e-300) CHECK(deviation(got.initial_weight, initial) < rounding);
        CHECK(deviation(got.total_weight, total) < rounding);
        if (missing > 1e-300) CHECK(deviation(got.missing_weight, missing) < rounding);
        CHECK(deviation(got.noise_factor, squares) < rounding);
        CHECK(deviation(claimed_variance(rule, n), p) < rounding);
      }
    }
  }
}

TEST_CASE("R1.3: the filter's plateau") {
  for (const double decay : {1.0, 0.95}) {
    for (const double process_noise : {0.01, 5.0}) {
      const FilterRule<double> rule{1.0, 0.3, decay, process_noise};
      const auto got = plateau(rule), late = after_writes(rule, 2000);
      CHECK(deviation(got.total_weight, late.total_weight) < rounding);
      CHECK(std::abs(got.missing_weight - late.missing_weight) < rounding);
      CHECK(deviation(got.noise_factor, late.noise_factor) < rounding);
      const auto limit = riccati_limit(rule);
      CHECK(deviation(limit.gain, gain_of_write(rule, 2000)) < rounding);
      CHECK(deviation(limit.posterior, claimed_variance(rule, 2000)) < rounding);
      CHECK(deviation(limit.predicted, decay * decay * limit.posterior + process_noise) < rounding);
    }
  }
  const auto learnt = plateau(FilterRule<double>{1.0, 0.3});  // R1.1's limit
  CHECK(learnt.missing_weight == 0);
  CHECK(learnt.noise_factor == 0);
}

TEST_CASE("R1.4: reset layers after n writes") {
  for (const double b : {0.05, 0.5, 1.0, 1.6}) {
    for (const double decay : {1.0, 0.9}) {
      for (const Index n : {1, 3, 20}) {
        INFO(b << ' ' << decay << ' ' << n);
        const ResetRule<double> rule{b, decay};
        check(after_writes(rule, n), read(rule, repeated(key, n), key));
      }
      const auto got = plateau(ResetRule<double>{b, decay}),
                 late = after_writes(ResetRule<double>{b, decay}, 5000);
      CHECK(deviation(got.total_weight, late.total_weight) < rounding);
      CHECK(std::abs(got.missing_weight - late.missing_weight) < rounding);
      CHECK(deviation(got.noise_factor, late.noise_factor) < rounding);
    }
  }
  // b -> 0: weights b each, their sum to first order
  const auto weak = after_writes(ResetRule<double>{1e-20}, 1000);
  CHECK(deviation(weak.total_weight, 1e-17) < rounding);
  CHECK(deviation(weak.noise_factor, 1e-37) < rounding);
}

TEST_CASE("R1.5: linear attention and SSD after n writes") {
  for (const double decay : {1.0, 0.9, 0.5}) {
    for (const Index n : {1, 4, 30}) {
      INFO(decay << ' ' << n);
      const AttentionRule<double> rule{decay};
      const Readout want = read(rule, repeated(key, n), key);
      check(after_writes(rule, n), want);
      const auto normalised = after_writes_normalised(rule, n);
      CHECK(normalised.total_weight == 1);
      CHECK(deviation(normalised.noise_factor,
                      want.writes.squaredNorm() / std::pow(want.writes.sum(), 2)) < rounding);
    }
    CHECK(std::abs(
              (1 - decay) / (1 + decay) -
              after_writes_normalised(AttentionRule<double>{decay}, Count(1) << 50).noise_factor) <
          rounding);
  }
  // Divided by n + lambda it is the filter.
  const Readout attention = read(AttentionRule<double>{}, repeated(key, 7), key);
  const Readout filter = read(FilterRule<double>{2.0, 0.74}, repeated(key, 7), key);
  CHECK((attention.writes / (7 + 0.37) - filter.writes).norm() < rounding);
}

}  // namespace
}  // namespace dynamics_test::repeated_writes_test
