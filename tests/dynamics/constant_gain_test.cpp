// R1.6 and R1.7: the filter against constant write strengths.
#include <dynamics/runs.hpp>

#include <seqbayes/dynamics/constant_gain.hpp>

namespace dynamics_test::constant_gain_test {
namespace {

using namespace seqbayes::dynamics;

TEST_CASE("R1.6: with the right prior no constant gain wins") {
  for (const double lambda : {0.05, 1.0, 6.0}) {
    for (const double b : {0.1, 0.5, 1.0}) {
      for (const Count n : {1, 2, 7, 40}) {
        const double reset = after_writes(ResetRule<double>{b}, n).mse(0, 1, 1 / std::sqrt(lambda));
        const double bayes = claimed_variance(FilterRule<double>{1 / lambda, 1}, n);
        CHECK(reset >=
              bayes * (1 - 1e-12));  // the same, up to rounding, with the filter's own gain
        if (b * (1 + lambda) != 1 || n > 1) CHECK(reset > bayes);
      }
    }
  }
}

TEST_CASE("R1.6: the crossover for one fixed first error") {
  int attained = 0;
  for (const double lambda : {5.0, 20.0}) {
    for (const double b : {0.3, 0.5, 0.9}) {
      for (const double D : {1.0, 10.0, 100.0}) {
        INFO(lambda << ' ' << b << ' ' << D);
        const auto bayes_wins = [&](Count n) {
          return after_writes(FilterRule<double>{1, lambda}, n).mse(0, 1, std::sqrt(D)) <=
                 after_writes(ResetRule<double>{b}, n).mse(0, 1, std::sqrt(D));
        };
        Count last = 20000;  // where the reset layer last wins; all crossovers here lie below 2000
        while (last > 0 && bayes_wins(last)) --last;
        const auto bound = static_cast<Count>(std::ceil(crossover(lambda, b, D)));
        CHECK(last < 20000);
        CHECK(last + 1 <= bound);
        if (D * std::pow(1 - b, 2 * last) < 1e-6) {  // there the reset layer is at its plateau
          CHECK(last + 1 == bound);
          ++attained;
        }
      }
    }
  }
  CHECK(attained >= 12);
  CHECK(deviation(crossover(4.0, 0.2, 0.25), 2 / 0.2 - 1 - 4) < 1e-14);  // lambda D = 1
  CHECK(crossover(100.0, 1.0, 1e-3) == 0);
}

TEST_CASE("R1.7: the best constant gain") {
  for (const double D : {0.02, 1.0, 100.0}) {
    for (const Count n : {1, 2, 5, 100, 10000}) {
      INFO(D << ' ' << n);
      const double best = best_constant_gain(D, n);
      const auto error = [&](const Digits50& b) {
        return after_writes(ResetRule<Digits50>{b, 1}, n).mse(0, 1, Digits50(sqrt(Digits50(D))));
      };
      // In 50 digits the minimum shows: the slope changes sign within rounding of the gain.
      const Digits50 step = 1e-20, above = best * (1 + 1e-12), below = best * (1 - 1e-12);
      CHECK(error(above + step) > error(above));
      CHECK(error(below + step) < error(below));
      for (const double other : {0.01, 0.1, 0.4, 0.9, 1.0}) CHECK(error(other) > error(best));
      if (n == 1) CHECK(deviation(best, D / (1 + D)) < 1e-14);
      if (n == 10000 && D >= 1) {
        double L = std::log(4 * static_cast<double>(n) * D);
        for (int i = 0; i < 50; ++i) L = std::log(4 * static_cast<double>(n) * D + 1 - L);
        const double small = L / (2 * static_cast<double>(n));  // the asymptotic law's own error
        CHECK(deviation(best, small) < 0.5 * small);
        CHECK(deviation(error(best), Digits50((1 + L) / (4 * static_cast<double>(n)))) < small);
      }
    }
  }
  CHECK(best_constant_gain(0.0, 5) == 0);
}

}  // namespace
}  // namespace dynamics_test::constant_gain_test
