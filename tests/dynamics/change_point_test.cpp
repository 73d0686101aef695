// R5.1 to R5.6: a value that changes, against the layers.
#include <dynamics/runs.hpp>

#include <seqbayes/dynamics/change_point.hpp>

namespace dynamics_test::change_point_test {
namespace {

using namespace seqbayes::dynamics;

// Some hundred roundings, amplified by at most 160 writes.
constexpr double rounding = 1e-11;
// Of a filter's writes: it keeps back two units of sigma_0^2 at each, of which r / n is left after
// n: 160^2 * 40 * 4e-16 at most.
constexpr double filtered = 5e-10;

const Vector key = Vector{{0.48, -0.6, 0.64}};

void check(const OldAndNew<double>& got, const Readout& want, Index n, Index m) {
  INFO(n << " old writes, " << m << " new ones");
  const double old_weight = want.writes.head(n).sum();
  CHECK(std::abs(got.old_weight - old_weight) < filtered * old_weight + 1e-15);
  CHECK(deviation(got.new_weight, want.writes.tail(m).sum()) < filtered);
}

constexpr Index old_counts[] = {1, 10, 100}, new_counts[] = {1, 5, 60};

TEST_CASE("R5.1 to R5.3: the filter after a change") {
  for (const double decay : {1.0, 0.99, 0.9}) {
    for (const double process_noise : {0.0, 0.01, 0.4}) {
      for (const double r : {0.1, 1.0}) {
        const FilterRule<double> rule{2.0, r, decay, process_noise};
        for (const Index n : old_counts) {
          for (const Index m : new_counts) {
            INFO(decay << ' ' << process_noise << ' ' << r);
            const auto got = after_change(rule, n, m);
            check(got, read(rule, repeated(key, n + m), key), n, m);
            const double all = static_cast<double>(n + m) + r / 2;
            if (decay == 1 && process_noise == 0) {
              CHECK(deviation(got.new_weight, static_cast<double>(m) / all) < rounding);
              CHECK(deviation(got.old_weight, static_cast<double>(n) / all) < rounding);
            }
          }
        }
        if (decay < 1 && process_noise == 0) {  // more stubborn with decay, not less
          const auto plain = after_change(FilterRule<double>{2.0, r}, 10, 5);
          const auto decaying = after_change(rule, 10, 5);
          CHECK(decaying.new_weight / decaying.old_weight < plain.new_weight / plain.old_weight);
        }
      }
    }
  }
}

TEST_CASE("R5.4: inflation instead of process noise") {
  for (const double kept : {0.93, 0.5, 1.0}) {
    for (const double r : {0.1, 1.0}) {
      const InflationRule<double> rule{2.0, r, kept};
      for (const Index n : old_counts) {
        for (const Index m : new_counts) {
          INFO(kept << ' ' << r);
          const Matrix inflation = constant(n + m, -std::log(kept) / 2);
          const FilterRule<double> filter{2.0, r};
          // One channel: variance across the key would grow as kept^-n and drown the rest.
          const Vector only = Vector::Ones(1);
          const Readout want = read(filter, repeated(only, n + m), only, inflation);
          check(after_change(rule, n, m), want, n, m);
          const auto all = after_writes(rule, n + m);
          CHECK(std::abs(all.initial_weight - want.initial) < filtered * want.initial + 1e-15);
          CHECK(deviation(all.noise_factor, want.writes.squaredNorm()) < filtered);
          CHECK(deviation(claimed_variance(rule, n + m), want.variance) < filtered);
        }
      }
    }
  }
}

TEST_CASE("R5.5: reset layers forget at one rate") {
  for (const double b : {0.2, 0.9, 1.0}) {
    for (const Index n : old_counts) {
      for (const Index m : new_counts) {
        const ResetRule<double> rule{b};
        check(after_change(rule, n, m), read(rule, repeated(key, n + m), key), n, m);
        CHECK(deviation(after_change(rule, n, m).new_weight,
                        1 - std::pow(1 - b, static_cast<double>(m))) < rounding);
      }
    }
  }
  // The stationary filter whose gain is b.
  const double b = 0.3, r = 0.7;
  const FilterRule<double> filter{1, r, 1, b * b * r / (1 - b)};
  for (const Index m : new_counts) {
    CHECK(deviation(after_change(filter, 400, m).new_weight,
                    after_change(ResetRule<double>{b}, 1, m).new_weight) < rounding);
  }
}

TEST_CASE("R5.6: half-lives, and the noise that they cost") {
  for (const double h : {0.1, 1.0, 3.0, 20.0, 1e12}) {
    const double b = gain_of_half_life(h);
    CHECK(deviation(half_life(b), h) < (h < 1 ? 1e-12 : 1e-14));  // 1 - b = 2^-10 rounds
    CHECK(deviation(plateau_of_half_life(h), std::tanh(std::log(2.0) / (2 * h))) < 1e-14);
  }
  // From the weights themselves: half-life 3, so after 3 writes half is new.
  const double b = gain_of_half_life(3.0);
  const Readout want = read(ResetRule<double>{b}, repeated(key, 203), key);
  CHECK(deviation(want.writes.tail(3).sum(), 0.5) < rounding);
  CHECK(deviation(plateau_of_half_life(3.0), want.writes.squaredNorm()) < rounding);
  // Drift: about ln 2 sqrt(r / omega).
  const double slow = half_life(riccati_limit(FilterRule<double>{1, 1, 1, 1e-8}).gain);
  CHECK(deviation(slow, std::log(2.0) * 1e4) < 1e-3);  // its next order is sqrt(omega / r) / 2
}

}  // namespace
}  // namespace dynamics_test::change_point_test
