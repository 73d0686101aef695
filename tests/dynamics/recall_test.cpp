// R6.1 to R6.5: N associations written once each and recalled, by formula and by the layers.
#include <ceres/jet.h>

#include <Eigen/Cholesky>
#include <array>
#include <functional>
#include <random>

#include <dynamics/runs.hpp>
#include <seqbayes/dynamics/recall.hpp>
#include <seqbayes/inference/noise_estimate.hpp>

namespace dynamics_test::recall_test {
namespace {

using namespace seqbayes::dynamics;

/// What a layer's memory answers to each of its keys, N x N: with one-hot values, entry (i, j) is
/// the weight of value j in the answer to key i.
template <class Layer>
Matrix recalled(const Matrix& key, Fields x) {
  const Index N = key.rows();
  const Layer layer({.key_dim = key.cols(), .value_dim = N});
  x.key = x.query = key;
  x.value = Matrix::Identity(N, N);
  auto state = layer.initial_state();
  for (Index t = 0; t < N; ++t) layer.step_mean(state, view(x).token(t));
  return key * state.mean;
}

Matrix recalled_by_reset(const Matrix& key, double gain) {
  return recalled<seqbayes::DeltaNet<double>>(key, fields(ResetRule<double>{gain}, key.rows()));
}
Matrix recalled_by_attention(const Matrix& key, double decay) {
  return recalled<seqbayes::Ssd<double>>(key, fields(AttentionRule<double>{decay}, key.rows()));
}

/// Error and sum of squared weights of each item (N x 2), for values of variance 1: a mean over
/// values.
Matrix errors(const Matrix& recalled) {
  Matrix both(recalled.rows(), 2);
  both.col(0) =
      (recalled - Matrix::Identity(recalled.rows(), recalled.rows())).rowwise().squaredNorm();
  both.col(1) = recalled.rowwise().squaredNorm();
  return both;
}

/// The mean over all sequences of N keys out of the axes of an icosahedron, whose moments up to
/// degree 5 are those of the sphere: the mean over all directions, exactly.
Matrix mean_over_directions(Index N, const std::function<Matrix(const Matrix&)>& recall) {
  const double phi = (1 + std::sqrt(5.0)) / 2;
  Matrix axes(6, 3);
  axes << 0, 1, phi, 0, 1, -phi, 1, phi, 0, 1, -phi, 0, phi, 0, 1, phi, 0, -1;
  axes.rowwise().normalize();
  Matrix sum = Matrix::Zero(N, 2);
  int sequences = 1;
  for (Index i = 0; i < N; ++i) sequences *= 6;
  for (int sequence = 0; sequence < sequences; ++sequence) {
    Matrix key(N, 3);
    for (int i = 0, rest = sequence; i < N; ++i, rest /= 6) key.row(i) = axes.row(rest % 6);
    sum += errors(recall(key));
  }
  return sum / sequences;
}

/// Keys uniform on the sphere.
Matrix random_keys(Index N, Index d, std::mt19937& engine) {
  std::normal_distribution<double> normal;
  Matrix key = Matrix::NullaryExpr(N, d, [&] { return normal(engine); });
  key.rowwise().normalize();
  return key;
}

/// Some 10^3 layer runs of a few products each, summed: 1e-13.
void check_both(const Recall<double>& found, const Eigen::RowVector2d& want) {
  CHECK(found.error == Approx(want[0]).epsilon(1e-13).margin(1e-14));
  CHECK(found.noise() == Approx(want[1]).epsilon(1e-13).margin(1e-14));
}

TEST_CASE("Recall by reset layers and attention, exact in three dimensions (R6.1 to R6.3)") {
  const Count N = 4;
  for (const double b : {0.0, 0.3, 1.0, 1.6, 2.0}) {
    const Matrix want =
        mean_over_directions(N, [&](const Matrix& key) { return recalled_by_reset(key, b); });
    check_both(reset_recall(b, Load<double>::of(N, 3)), want.colwise().mean());
    for (Index i = 0; i < N; ++i) check_both(reset_recall_at(N - 1 - i, b, N, 3), want.row(i));
  }
  for (const double alpha : {0.4, 0.9, 1.0}) {
    const Matrix want = mean_over_directions(
        N, [&](const Matrix& key) { return recalled_by_attention(key, alpha); });
    check_both(attention_recall(alpha, N, 3), want.colwise().mean());
    for (Index i = 0; i < N; ++i) {
      check_both(attention_recall_at(N - 1 - i, alpha, N, 3), want.row(i));
    }
  }
  CHECK(attention_recall(1.0, N, 3).error == Approx(1.0).epsilon(1e-15));  // (N - 1) / d
  for (const double r : {0.0, 0.7}) {
    const auto load = Load<double>::of(N, 3);
    const Matrix want = mean_over_directions(N, [&](const Matrix& key) {
      return Matrix(recalled_by_attention(key, 1) / (2 * (1 + r)));  // 1 + xi = 2
    });
    check_both(scaled_attention_recall(load, r), want.colwise().mean());
  }
}

TEST_CASE("Recall by reset layers and attention on random keys (R6.1 to R6.3)") {
  constexpr Index d = 24;
  constexpr int runs = 200;
  std::mt19937 engine(1);
  for (const Index N : {6, 24, 72}) {
    const auto load = Load<double>::of(N, d);
    const double best = best_recall_gain(load);
    // Errors of linear attention, of it with the best scale, of DeltaNet with gain 1 and the best
    const std::array want{attention_recall(1.0, N, d).error, scaled_attention_recall(load).error,
                          reset_recall(1.0, load).error, reset_recall(best, load).error};
    Matrix found(runs, 4);
    for (int run = 0; run < runs; ++run) {
      const Matrix key = random_keys(N, d, engine);
      const Matrix attention = recalled_by_attention(key, 1);
      found.row(run) << errors(attention).col(0).mean(),
          errors(attention / (1 + double(N - 1) / d)).col(0).mean(),
          errors(recalled_by_reset(key, 1)).col(0).mean(),
          errors(recalled_by_reset(key, best)).col(0).mean();
    }
    for (Index i = 0; i < 4; ++i) {
      const double mean = found.col(i).mean();
      const double error =
          (found.col(i).array() - mean).matrix().norm() / std::sqrt(double(runs * (runs - 1)));
      INFO("N " << N << ", layer " << i << ": " << mean << " +- " << error);
      CHECK(std::abs(mean - want[std::size_t(i)]) < 4 * error);
      CHECK(error < 0.03 * mean);  // or the check above says little
    }
  }
}

TEST_CASE("Recall by the exact filter (R6.4, R6.5)") {
  constexpr Index d = 96;
  std::mt19937 engine(2);
  for (const Index N : {48, 96, 192}) {
    const Matrix key = random_keys(N, d, engine);
    for (const double lambda : {0.03, 0.5}) {
      using Filter = seqbayes::BayesianLayer<double, -1, -1, seqbayes::NoDecay>;
      const Matrix found = recalled<Filter>(key, fields(FilterRule<double>{1, lambda}, N));
      // For these keys: what is not recalled is lambda (K K' + lambda)^-1, exactly.
      const Matrix ridge = key * key.transpose() + lambda * Matrix::Identity(N, N);
      const Matrix missing = lambda * ridge.llt().solve(Matrix::Identity(N, N));
      CHECK((found - Matrix::Identity(N, N) + missing).cwiseAbs().maxCoeff() < 1e-12);
      // In the limit: d = 96 is off by O(1/d), 4 % at d = 100.
      const auto limit = filter_recall(lambda, double(N) / d);
      CHECK(limit.error == Approx(missing.squaredNorm() / double(N)).epsilon(0.06));
      CHECK(limit.noise() == Approx(found.squaredNorm() / double(N)).epsilon(0.06));
    }
    // r -> 0 is exact at every N and d, of which 1e-9 leaves about 1e-6 (sqrt at N = d).
    const Matrix ridge = key * key.transpose() + 1e-9 * Matrix::Identity(N, N);
    const Matrix missing = 1e-9 * ridge.llt().solve(Matrix::Identity(N, N));
    CHECK(filter_recall(0.0, double(N) / d).error ==
          Approx(missing.squaredNorm() / double(N)).margin(1e-3));
  }
}

TEST_CASE("Limits of recall") {
  // Small lambda below, at and above load 1, by R6.5's limits, and lambda = 0 itself
  const double lambda = 1e-6;
  CHECK(filter_recall(lambda, 0.5).error == Approx(lambda * lambda / 0.125).epsilon(1e-4));
  CHECK(filter_recall(lambda, 1.0).error == Approx(std::sqrt(lambda) / 2).epsilon(1e-5));
  CHECK(filter_recall(lambda, 4.0).error == Approx(0.75).epsilon(1e-5));
  CHECK(filter_recall(0.0, 1.0).error == 0);
  CHECK(filter_recall(0.0, 4.0).error == 0.75);
  CHECK(filter_recall(0.0, 4.0).noise() == filter_recall(1e-300, 4.0).noise());
  // Finite d tends to the limit.
  const Load<double> limit{2.0};
  CHECK(reset_recall(0.7, Load<double>::of(2000000, 1000000)).error ==
        Approx(reset_recall(0.7, limit).error).epsilon(1e-5));
  // Gain 1: half of linear attention's error at small load, 2 at large load
  CHECK(reset_recall(1.0, Load<double>{1e-9}).error == Approx(0.5e-9).epsilon(1e-8));
  CHECK(reset_recall(1.0, Load<double>{1e9}).error == Approx(2).epsilon(1e-8));
  // The best gain of a large load, 1.272 / x, with the error 1 - 0.853 / x
  const Load<double> large{4000.0};
  CHECK(best_recall_gain(large) == Approx(1.272 / 4000).epsilon(1e-3));
  CHECK(1 - reset_recall(best_recall_gain(large), large).error ==
        Approx(0.853 / 4000).epsilon(1e-3));
  // The best is the best.
  for (const double x : {0.1, 1.0, 4.0}) {
    for (const double r : {0.0, 0.5}) {
      const Load<double> load{x};
      const double least = reset_recall(best_recall_gain(load, r), load).mse(r);
      for (double b = 0; b < 2; b += 0.01) CHECK(reset_recall(b, load).mse(r) >= least - 1e-15);
    }
  }
  CHECK(best_recall_gain(Load<double>{1.0}) == Approx(0.654).margin(5e-4));
}

/// R6.3's sum as it stands, which cancels near gain 1 and small load, in 50 digits.
Digits50 reset_recall_as_derived(const Digits50& b, const Digits50& N, const Digits50& d) {
  const Digits50 t = 1 - b * (2 - b) / d, x = t - b * b / (d + 2);
  return 1 + b / (2 - b) * (1 - pow(t, N)) + (d - 1) * (d + 2) / (d * N) * (pow(t, N) - pow(x, N)) -
         2 * d / N * (1 - pow(Digits50(1 - b / d), N));
}

TEST_CASE("Recall keeps its digits where terms of order 1 cancel") {
  for (const double b : {1e-9, 0.4, 1 - 1e-9, 1.0, 1.5, 2 - 1e-9}) {
    for (const double d : {2.0, 64.0, 1e6}) {
      for (const double N : {2.0, 100.0, 3e6}) {
        const Load<double> load{N / d, 1 / d};
        const Digits50 want = reset_recall_as_derived(b, N, d);
        INFO("b " << b << ", d " << d << ", N " << N);
        CHECK(deviation(reset_recall(b, load).error, want) < 3e-14);  // some 30 roundings
        CHECK(deviation(
                  reset_recall(Digits50(b), Load<Digits50>{Digits50(N) / d, Digits50(1) / d}).error,
                  want) < 1e-30);
      }
    }
  }
}

/// f in each scalar against 50 digits, and its derivative by Jet against differences of them.
template <class F>
void check_scalars(const F& f, double x) {
  const Digits50 want = f(Digits50(x)), h("1e-17");
  CHECK(deviation(f(x), want) < 1e-14);
  CHECK(deviation(f(static_cast<long double>(x)), want) < 1e-17);
  CHECK(deviation(f(static_cast<float>(x)), f(Digits50(static_cast<float>(x)))) < 3e-6);
  const Digits50 slope = (f(Digits50(x + h)) - f(Digits50(x - h))) / (2 * h);
  CHECK(deviation(f(ceres::Jet<double, 1>(x, 0)).v[0], slope) < 1e-12);
}

TEST_CASE("Closed forms of recall and calibration take any scalar") {
  const auto load = [](auto x) { return Load<decltype(x)>{x, decltype(x)(1) / decltype(x)(64)}; };
  check_scalars([&](auto x) { return reset_recall(x, load(decltype(x)(2))).mse(x); }, 0.75);
  check_scalars([&](auto x) { return reset_recall(decltype(x)(1), load(x)).error; }, 0.125);
  check_scalars([](auto x) { return attention_recall(x, 20, 30).mse(x); }, 0.9375);
  check_scalars([](auto x) { return reset_recall_at(5, x, 20, 30).mse(x); }, 0.5);
  check_scalars([](auto x) { return filter_recall(x, decltype(x)(0.5)).error; }, 0.0625);
  check_scalars([](auto x) { return filter_recall(decltype(x)(0.25), x).noise(); }, 1.5);
  const auto levels = [](auto r, double omega) {
    return NoiseLevels<decltype(r)>{r, decltype(r)(omega), decltype(r)(2)};
  };
  check_scalars(
      [&](auto x) {
        return repeated_write_calibration(7, levels(x, 0), levels(decltype(x)(0.5), 0.25)).nis;
      },
      0.375);
  check_scalars(
      [&](auto x) {
        return steady_calibration(x, decltype(x)(3), levels(decltype(x)(0.5), 0.25))
            .overconfidence();
      },
      0.375);
  check_scalars(
      [](auto x) {
        return noise_from_innovations(decltype(x)(2), decltype(x)(0.125), x).process_noise;
      },
      0.375);
}

}  // namespace
}  // namespace dynamics_test::recall_test
