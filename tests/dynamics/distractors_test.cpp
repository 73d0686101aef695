// R3.1 to R3.7: what distractors leave of a target, against the layers.
#include <dynamics/designs.hpp>

#include <Eigen/Cholesky>
#include <algorithm>
#include <random>

#include <seqbayes/dynamics/distractors.hpp>

namespace dynamics_test::distractors_test {
namespace {

using namespace seqbayes::dynamics;

const Vector direction8 = Vector{{0.3, -0.2, 0.5, 0.1, -0.4, 0.6, -0.1, 0.2}};

TEST_CASE("R3.0: the designs have the moments of the sphere up to degree 4") {
  for (const Matrix& design : designs()) {
    const Index d = design.cols();
    const Vector u = direction8.head(d), v = direction8.reverse().head(d);
    double mean = 0;
    for (Index i = 0; i < design.rows(); ++i) {
      mean += std::pow(design.row(i) * u, 2) * std::pow(design.row(i) * v, 2);
    }
    const double want = (u.squaredNorm() * v.squaredNorm() + 2 * u.dot(v) * u.dot(v)) /
                        static_cast<double>(d * (d + 2));
    CHECK(deviation(mean / static_cast<double>(design.rows()), want) < 1e-14);
  }
}

/// Distractors in the mean over a design; `divisor` divides the answers.
template <class Rule, class Predict>
void check_with_designs(const Rule& rule, double divisor, const Predict& predict) {
  for (const Matrix& design : designs()) {
    const Index d = design.cols();
    const Vector a = direction8.head(d).normalized();
    for (const Index n_a : {1, 4}) {
      const Target<double> target{1.3, 0.2, n_a, 0.8};
      const Readout first = read(rule, repeated(a, n_a), a);
      const double z = first.writes.sum() * target.value;
      Moments moments{z * a,
                      (z * z + target.noise * first.writes.squaredNorm()) * a * a.transpose()};
      for (int m = 1; m <= 20; ++m) {
        moments = average_write(rule, design, moments, target.distractor_variance);
        if (m != 1 && m != 7 && m != 20) continue;
        INFO("d " << d << ", writes " << n_a << ", distractors " << m);
        const double answer = a.dot(moments.mean) / divisor;
        const double square = a.dot(moments.square * a) / (divisor * divisor);
        const double y = target.value;
        const Forgetting<double> got = predict(target, static_cast<double>(d), m);
        // 20 averages over up to 240 keys
        CHECK(deviation(got.retention, answer / y) < 1e-12);
        CHECK(std::abs(got.missing - (1 - answer / y)) < 1e-12 * (1 + std::abs(answer)));
        CHECK(std::abs(got.mse - (square - 2 * y * answer + y * y)) < 1e-12 * (square + y * y));
      }
    }
  }
}

TEST_CASE("R3.1, R3.2: linear attention and SSD among distractors") {
  for (const double decay : {1.0, 0.93}) {
    for (const double divisor : {1.0, 4.0}) {
      const AttentionRule<double> rule{decay};
      check_with_designs(rule, divisor, [&](const auto& target, double d, int m) {
        return after_distractors(rule, target, d, m, divisor);
      });
    }
  }
}

TEST_CASE("R3.3, R3.4: reset layers among distractors") {
  for (const double b : {0.3, 1.0, 1.5}) {
    for (const double decay : {1.0, 0.93}) {
      INFO("gain " << b << ", decay " << decay);
      const ResetRule<double> rule{b, decay};
      check_with_designs(rule, 1, [&](const auto& target, double d, int m) {
        return after_distractors(rule, target, d, m);
      });
    }
  }
}

TEST_CASE("R3.3: its limits, and nothing cancels in them") {
  const Target<double> exact{1.3, 0.0, 3, 0.0}, target{1.3, 0.2, 3, 0.8};
  // A perfect memory and one distractor: E = y^2 E (a'k)^4 = 3 y^2 / (d (d + 2))
  for (const double d : {4.0, 1e8}) {
    const auto got = after_distractors(ResetRule<double>{1}, exact, d, 1);
    CHECK(deviation(got.mse, 1.69 * 3 / (d * (d + 2))) < 1e-14);
    CHECK(deviation(got.missing, 1 / d) < 1e-14);
  }
  const auto none = after_distractors(ResetRule<double>{0.4}, target, 8.0, 0);
  CHECK(deviation(none.mse, after_writes(ResetRule<double>{0.4}, 3).mse(1.3, 0.2)) < 1e-14);
  for (const double b : {0.4, 1.0}) {
    for (const double c : {0.0, 0.2, 3.0}) {
      const double d = 5000;
      const ResetRule<double> rule{b};
      const auto wide = at_load(rule, target, c);
      const auto got = after_distractors(rule, target, d, static_cast<Count>(c * d));
      CHECK(deviation(wide.mse, got.mse) < 1e-3);  // O(1 / d); at most 4e-4 here
      CHECK(deviation(wide.retention, got.retention) < 1e-3);
      CHECK(std::abs(wide.missing - got.missing) < 1e-3);
    }
  }
}

TEST_CASE("R3.5: the filter among given distractors") {
  std::mt19937_64 engine(1);
  std::normal_distribution<double> normal;
  for (const Index d : {5, 12}) {
    for (const Index m : {1, 9, 30}) {
      for (const Index n_a : {1, 6}) {
        for (const double r : {0.01, 0.7}) {
          INFO("d " << d << ", distractors " << m << ", writes " << n_a << ", r " << r);
          const Vector a = direction8.replicate(2, 1).topRows(d).normalized();
          Matrix key = Matrix::NullaryExpr(n_a + m, d, [&] { return normal(engine); });
          key.rowwise().normalize();
          key.topRows(n_a) = repeated(a, n_a);
          const Target<double> target{1.3, 0.2, n_a, 0.8};
          const FilterRule<double> rule{2, r};
          const Matrix K = key.bottomRows(m);
          const Matrix resolvent = K.transpose() * K + r / 2 * Matrix::Identity(d, d);
          const Vector x = resolvent.llt().solve(a);
          const double g = a.dot(x);
          const auto got = after_distractors(
              rule, target, KeyResolvent<double>{1 / g, (K * x).squaredNorm() / (g * g)});
          const Readout want = read(rule, key, a);
          const Vector own = want.writes.head(n_a), others = want.writes.tail(m);
          const double missing = 1 - own.sum();
          // Rounding, amplified by the resolvent's condition of about 1000.
          CHECK(deviation(got.retention, own.sum()) < 1e-10);
          CHECK(std::abs(got.missing - missing) < 1e-10);
          CHECK(deviation(got.mse, 1.69 * missing * missing + 0.2 * own.squaredNorm() +
                                       0.8 * others.squaredNorm()) < 1e-10);
          CHECK(deviation(got.claimed_variance, want.variance) < 1e-10);
        }
      }
    }
  }
}

TEST_CASE("R3.5: without noise the mean retention is the mean leverage") {
  std::mt19937_64 engine(2);
  std::normal_distribution<double> normal;
  constexpr Index d = 10;
  for (const Index m : {5, 15, 40}) {
    double sum = 0, squares = 0;
    constexpr int draws = 500;
    for (int i = 0; i < draws; ++i) {
      Matrix key = Matrix::NullaryExpr(m + 1, d, [&] { return normal(engine); });
      key.rowwise().normalize();
      const Vector a = key.row(0);
      const double retention = read(FilterRule<double>{1, 1e-9}, key, a).writes[0];
      sum += retention;
      squares += retention * retention;
    }
    const double mean = sum / draws;
    const double error = std::sqrt(std::max(0.0, squares / draws - mean * mean) / draws);
    // 4 standard errors, and what r = 1e-9 leaves at badly conditioned keys.
    // The mean leverage of one of m + 1 exchangeable rows of rank min(d, m + 1).
    CHECK(std::abs(mean - std::min(1.0, double(d) / double(m + 1))) < 4 * error + 1e-6);
  }
}

TEST_CASE("R3.6: the filter at load c, against finite width") {
  std::mt19937_64 engine(3);
  std::normal_distribution<double> normal;
  constexpr Index d = 200;
  for (const double c : {0.25, 1.0, 4.0}) {
    const auto m = static_cast<Index>(c * d);
    Matrix K = Matrix::NullaryExpr(m, d, [&] { return normal(engine); });
    K.rowwise().normalize();
    for (const double lambda : {0.1, 2.0}) {
      const Matrix gram = K.transpose() * K + lambda * Matrix::Identity(d, d);
      const Eigen::LLT<Matrix> solver(gram);
      for (const Index n_a : {1, 5}) {
        const FilterRule<double> rule{2, 2 * lambda};
        const Target<double> target{1.3, 0.2, n_a, 0.8};
        double retention = 0, mse = 0, claimed = 0;
        constexpr int draws = 60;
        for (int i = 0; i < draws; ++i) {
          const Vector a = Vector::NullaryExpr(d, [&] { return normal(engine); }).normalized();
          const Vector x = solver.solve(a);
          const double g = a.dot(x);
          const auto one = after_distractors(
              rule, target, KeyResolvent<double>{1 / g, (K * x).squaredNorm() / (g * g)});
          retention += one.retention / draws;
          mse += one.mse / draws;
          claimed += one.claimed_variance / draws;
        }
        INFO("c " << c << ", lambda " << lambda << ", writes " << n_a);
        const auto got = at_load(rule, target, c);
        const double finite = 2.5e-2;  // 2.2e-2 at d = 100, 4.6e-3 at d = 800; and 60 draws
        CHECK(deviation(got.retention, retention) < finite);
        CHECK(deviation(got.mse, mse) < finite);
        CHECK(deviation(got.claimed_variance, claimed) < finite);
      }
    }
  }
}

TEST_CASE("R3.6: without noise") {
  const Target<double> target{1.3, 0.2, 3, 0.8};
  const auto below = at_load(FilterRule<double>{1, 0}, target, 0.5);
  CHECK(below.retention == 1);
  CHECK(below.missing == 0);
  CHECK(deviation(below.mse, 0.2 / 3) < 1e-14);
  const auto above = at_load(FilterRule<double>{1, 0}, target, 5.0);
  CHECK(deviation(above.retention, 3.0 / 7) < 1e-14);
  CHECK(deviation(above.mse, (16 * 1.69 + 3 * 0.2 + 4 * 0.8) / 49) < 1e-14);
}

TEST_CASE("R3.7: plateaus") {
  const Target<double> target{1.3, 0.2, 2, 0.8};
  for (const double decay : {1.0, 0.97}) {
    for (const double b : {0.5, 1.0}) {
      const ResetRule<double> rule{b, decay};
      CHECK(deviation(distracted_plateau(rule, target, 12.0),
                      after_distractors(rule, target, 12.0, 100000).mse) < 1e-12);
    }
  }
  CHECK(deviation(distracted_plateau(ResetRule<double>{0.5}, target, 12.0),
                  1.69 + 0.8 * 0.5 / 1.5) < 1e-14);
  const AttentionRule<double> ssd{0.97};
  CHECK(deviation(distracted_plateau(ssd, target, 12.0),
                  after_distractors(ssd, target, 12.0, 100000).mse) < 1e-12);
}

}  // namespace
}  // namespace dynamics_test::distractors_test
