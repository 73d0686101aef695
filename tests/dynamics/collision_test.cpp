// R2.1 to R2.6: two keys that collide, against the layers and in 50 digits.
#include <dynamics/runs.hpp>

#include <seqbayes/dynamics/collision.hpp>

namespace dynamics_test::collision_test {
namespace {

using namespace seqbayes::dynamics;

// A few hundred roundings; the layers' own, amplified by 1 / lambda <= 100 at nearly equal keys.
constexpr double rounding = 1e-10;
// Of a filter's n writes, two units of sigma_0^2 kept back at each: n^2 / lambda of them.
constexpr double filtered = 2e-9;

struct Keys {
  Vector a = Vector{{0.48, -0.6, 0.64}}, b;
  explicit Keys(double rho) {
    const Vector across = Vector{{0.8, 0.64, 0.0}}.normalized();  // orthogonal to a
    b = rho * a + std::sqrt(1 - rho * rho) * across;
  }
  [[nodiscard]] Matrix written(Index n_a, Index n_b) const {
    Matrix key(n_a + n_b, a.size());
    key << repeated(a, n_a), repeated(b, n_b);
    return key;
  }
};

/// `want` is read at the key that was written by the tokens of `own`.
void check(const MixedRetrieval<double>& got, const Vector& own, const Vector& other) {
  CHECK(std::abs(got.own - own.sum()) < rounding * (1 + std::abs(own.sum())));
  CHECK(std::abs(got.missing - (1 - own.sum())) < rounding * (1 + std::abs(own.sum())));
  CHECK(std::abs(got.interference - other.sum()) < rounding * (1 + std::abs(other.sum())));
  CHECK(deviation(got.noise_factor, own.squaredNorm() + other.squaredNorm()) < rounding);
}

template <class Rule>
void check(const Rule& rule, double rho, Index n_a, Index n_b) {
  INFO("rho " << rho << ", writes " << n_a << ' ' << n_b);
  const Keys keys(rho);
  const Matrix written = keys.written(n_a, n_b);
  const Readout at_a = read(rule, written, keys.a), at_b = read(rule, written, keys.b);
  const auto got = after_collision(rule, rho, n_a, n_b);
  check(got.a, at_a.writes.head(n_a), at_a.writes.tail(n_b));
  check(got.b, at_b.writes.tail(n_b), at_b.writes.head(n_a));
  if constexpr (std::is_same_v<Rule, FilterRule<double>>) {
    CHECK(deviation(got.variance_a, at_a.variance) < rounding);
    CHECK(deviation(got.variance_b, at_b.variance) < rounding);
  }
}

constexpr double cosines[] = {-0.6, 0.0, 0.3, 0.95, 1.0};

TEST_CASE("R2.1, R2.2, R2.6: the filter after a collision") {
  for (const double rho : cosines) {
    for (const Index n_a : {1, 3, 40}) {
      for (const Index n_b : {1, 2, 9}) {
        for (const double r : {0.01, 0.5}) {
          for (const double process_noise : {0.0, 0.03, 2.0}) {
            INFO("r " << r << ", process noise " << process_noise);
            check(FilterRule<double>{2.5, r, 1, process_noise}, rho, n_a, n_b);
          }
        }
      }
    }
  }
}

TEST_CASE("R2.3: reset layers after a collision") {
  for (const double rho : cosines) {
    for (const Index n_a : {1, 3, 40}) {
      for (const Index n_b : {1, 2, 9}) {
        for (const double b : {0.05, 0.4, 1.0, 1.5}) {
          for (const double decay : {1.0, 0.9}) check(ResetRule<double>{b, decay}, rho, n_a, n_b);
        }
      }
    }
  }
}

TEST_CASE("R2.4: linear attention and SSD after a collision") {
  for (const double rho : cosines) {
    for (const Index n_a : {1, 3, 40}) {
      for (const Index n_b : {1, 2, 9}) {
        for (const double decay : {1.0, 0.9}) check(AttentionRule<double>{decay}, rho, n_a, n_b);
      }
    }
  }
}

TEST_CASE("R2.5: protection by confidence, and none by a reset layer") {
  for (const double lambda : {0.01, 0.4, 3.0}) {
    for (const double rho : {0.3, 0.95}) {
      CHECK(deviation(protection_factor(lambda, rho, 0), 1.0) < 1e-14);
      for (const Index n_a : {1, 10, 300}) {
        const Keys keys(rho);
        const Readout filter = read(FilterRule<double>{1, lambda}, keys.written(n_a, 1), keys.a);
        const Readout reset =
            read(ResetRule<double>{1 / (1 + lambda)}, keys.written(n_a, 1), keys.a);
        const double want = filter.writes[n_a] / reset.writes[n_a];
        CHECK(deviation(protection_factor(lambda, rho, n_a), want) < filtered);
      }
    }
  }
}

/// R2.1, R2.2 as they stand in the document, at key a.
MixedRetrieval<Digits50> kernel_form(const Digits50& lambda, const Digits50& rho, int n_a,
                                     int n_b) {
  const Digits50 l_a = lambda / n_a, l_b = lambda / n_b;
  const Digits50 delta = (1 + l_a) * (1 + l_b) - rho * rho;
  const Digits50 own = (1 + l_b - rho * rho) / delta, other = rho * l_a / delta;
  return {own, l_a * (1 + l_b) / delta, other, own * own / n_a + other * other / n_b};
}

TEST_CASE("R2.1: near r = 0, rho = 1 and very confident memories nothing cancels") {
  const double sharp = 1e-13;  // a hundred roundings
  for (const double rho : {0.5, 1 - 0x1p-40, 1.0, -1.0}) {
    for (const double r : {1e-12, 0.3, 1e9}) {
      for (const int n_a : {1, 1000000}) {
        INFO(rho << ' ' << r << ' ' << n_a);
        const auto want = kernel_form(r, rho, n_a, 3);
        const auto got = after_collision(FilterRule<double>{1, r}, rho, n_a, 3);
        CHECK(deviation(got.a.own, want.own) < sharp);
        CHECK(deviation(got.a.missing, want.missing) < sharp);
        CHECK(deviation(got.a.interference, want.interference) < sharp);
        CHECK(deviation(got.a.noise_factor, want.noise_factor) < sharp);
        CHECK(deviation(got.variance_a, Digits50(r * want.own / n_a)) < sharp);
        const auto at_b = kernel_form(r, rho, 3, n_a);
        const auto swapped = after_collision(FilterRule<double>{1, r}, rho, n_a, 3).b;
        CHECK(deviation(swapped.own, at_b.own) < sharp);
        CHECK(deviation(swapped.missing, at_b.missing) < sharp);
        CHECK(deviation(swapped.interference, at_b.interference) < sharp);
      }
    }
  }
  // A count of 0 is R1.1.
  const auto alone = after_collision(FilterRule<double>{2, 1}, 0.7, 5, 0);
  CHECK(alone.a.own == after_writes(FilterRule<double>{2, 1}, 5).total_weight);
  CHECK(alone.a.interference == 0);
  CHECK(deviation(alone.variance_b, 0.49 / (5 + 0.5) + 0.51 * 2) < sharp);
  const auto unwritten = after_collision(FilterRule<double>{2, 1}, 0.7, 0, 5);
  CHECK(unwritten.a.own == 0);
  CHECK(deviation(unwritten.a.interference, 0.7 * 5 / 5.5) < sharp);
}

}  // namespace
}  // namespace dynamics_test::collision_test
