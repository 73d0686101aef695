// Marchenko-Pastur in 50 digits by the textbook formulas, and its domain's edges.
#include <support/catch.hpp>

#include <boost/multiprecision/cpp_dec_float.hpp>

#include <seqbayes/dynamics/marchenko_pastur.hpp>

namespace {

using Digits50 = boost::multiprecision::number<boost::multiprecision::cpp_dec_float<50>,
                                               boost::multiprecision::et_off>;
using seqbayes::dynamics::marchenko_pastur;

double deviation(double got, const Digits50& want) { return double(abs(got / want - 1)); }

TEST_CASE("Marchenko-Pastur: g, g2 and what is unlearned, also where they cancel") {
  for (const double c : {0.0, 0.1, 0.75, 1 - 0x1p-30, 1.0, 1 + 0x1p-30, 1.5, 40.0}) {
    for (const double lambda : {1e-12, 1e-3, 0.3, 2.0, 1e6}) {
      INFO("c = " << c << ", lambda = " << lambda);
      const Digits50 l = lambda, u = l + c - 1, root = sqrt(u * u + 4 * l);
      const Digits50 g = (root - u) / (2 * l), g2 = g * (1 + g) / root;
      const auto got = marchenko_pastur(lambda, c);
      const double rounding = 1e-14;  // about ten operations, none of which cancels
      CHECK(deviation(got.g(), g) < rounding);
      CHECK(deviation(got.g2(), g2) < rounding);
      CHECK(deviation(got.g(), 1 / (l + c / (1 + g))) < rounding);
      if (c > 0) {
        CHECK(deviation(got.relative_crosstalk(), (g - l * g2) / (g * g)) < rounding);
        CHECK(deviation(got.unlearned(), (l * g + c - 1) / c) < rounding);
        CHECK(deviation(got.unlearned2(), (l * l * g2 + c - 1) / c) < rounding);
      }
    }
  }
}

TEST_CASE("Marchenko-Pastur: without noise") {
  const auto below = marchenko_pastur(0.0, 0.25), above = marchenko_pastur(0.0, 5.0);
  CHECK(below.inverse_g == 0);
  CHECK(below.unlearned() == 0);
  CHECK(below.unlearned2() == 0);
  CHECK(above.g() == 0.25);  // 1 / (c - 1)
  CHECK(above.unlearned() == Approx(1 - 1 / 5.0).epsilon(1e-15));
  CHECK(above.unlearned2() == Approx(1 - 1 / 5.0).epsilon(1e-15));  // a projector
}

}  // namespace
