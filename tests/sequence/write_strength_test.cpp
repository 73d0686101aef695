// Write strength and observation noise say the same: beta = sigma^2 / (r + sigma^2 |k|^2).
#include <limits>

#include <seqbayes/covariance/reset.hpp>

#include <support/catch.hpp>

using seqbayes::to_observation_noise;
using seqbayes::to_write_strength;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

TEMPLATE_TEST_CASE("There and back", "", float, double, long double) {
  using Scalar = TestType;
  const Scalar unit = std::numeric_limits<Scalar>::epsilon();
  for (const double variance : {0.25, 1.0, 3.0}) {
    for (const double norm2 : {0.0, 0.5, 1.0, 4.0}) {
      for (const double noise : {1e-3, 0.1, 1.0, 7.0, 1e6}) {
        const Scalar r = Scalar(noise), sigma2 = Scalar(variance), k2 = Scalar(norm2);
        const Scalar beta = to_write_strength(r, k2, sigma2);
        CHECK(beta > 0);
        CHECK(beta * k2 < 1);
        // 1 - beta |k|^2 = r beta / sigma^2 has an error of a unit: relative to itself, and so to
        // r, sigma^2 / (r beta) = 1 + sigma^2 |k|^2 / r units, for each of four operations.
        const Scalar loss = 4 * unit * (1 + sigma2 * k2 / r);
        CHECK(std::abs(to_observation_noise(beta, k2, sigma2) - r) <= loss * r);
        // The other way around, nothing is lost.
        const Scalar back = to_write_strength(to_observation_noise(beta, k2, sigma2), k2, sigma2);
        CHECK(std::abs(back - beta) <= 8 * unit * beta);
      }
    }
  }
}

TEST_CASE("Edges") {
  // No noise: what is read back is exactly what was written.
  CHECK(to_write_strength(0.0, 1.0, 1.0) == 1);
  CHECK(to_write_strength(0.0, 4.0, 2.0) == 0.25);
  CHECK(to_observation_noise(1.0, 1.0, 1.0) == 0);
  CHECK(to_observation_noise(0.25, 4.0, 2.0) == 0);
  // Nothing but noise: nothing is written.
  CHECK(to_write_strength(infinity, 1.0, 1.0) == 0);
  CHECK(to_observation_noise(0.0, 1.0, 1.0) == infinity);
  // Nothing is uncertain: nothing is written.
  CHECK(to_write_strength(1.0, 1.0, 0.0) == 0);
  // A zero key reads nothing, whatever the strength.
  CHECK(to_write_strength(2.0, 0.0, 1.0) == 0.5);
  CHECK(to_observation_noise(0.5, 0.0, 1.0) == 2);
  // beta |k|^2 > 1 stands for no filter: the noise would be negative.
  CHECK(to_observation_noise(2.0, 1.0, 1.0) == -0.5);
  // A pretrained layer, sigma^2 = |k|^2 = 1: r = (1 - beta) / beta.
  CHECK(to_observation_noise(0.25, 1.0, 1.0) == 3);
}

}  // namespace
