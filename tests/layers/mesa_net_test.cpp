// MesaNet where K + Diag(ridge) is badly conditioned: the right answer, or NaN.
#include <support/catch.hpp>

#include <cmath>

#include <Eigen/Dense>

#include <laws/stream.hpp>

namespace {

using laws::Draw;
using seqbayes::Index;
using seqbayes::Matrix;
using Wide = Eigen::Matrix<long double, Eigen::Dynamic, Eigen::Dynamic>;

struct Difficulty {
  Index width, subspace;
  double ridge, norm, log_decay;
  bool scaled;  ///< Channels, and ridges with them, of sizes from 1 to 1e-4.
};

struct Verdict {
  int right = 0, refused = 0;
};

/// Each output against a pivoting solve of the same sums in long double.
template <class Scalar>
Verdict check(const Difficulty& hard, std::uint64_t seed) {
  constexpr Index T = 60, dv = 3;
  constexpr double unit = std::numeric_limits<Scalar>::epsilon();
  const Index dk = hard.width;
  const auto size = [&](Index i) {
    return hard.scaled ? std::pow(10, -4.0 * double(i) / double(dk)) : 1;
  };
  Draw draw(seed);
  Matrix<double> basis(hard.subspace, dk), queries(T, dk), values(T, dv), keys(T, dk);
  laws::draw_normal(basis, draw);
  laws::draw_normal(queries, draw);
  laws::draw_normal(values, draw);
  for (Index t = 0; t < T; ++t) {
    Matrix<double> weights(1, hard.subspace);
    laws::draw_normal(weights, draw);
    keys.row(t) = weights * basis;
    keys.row(t) *= hard.norm / keys.row(t).norm();
    for (Index i = 0; i < dk; ++i) {
      keys(t, i) *= size(i);
      queries(t, i) /= size(i);
    }
  }
  typename seqbayes::MesaNet<Scalar>::Options options{.key_dim = dk, .value_dim = dv};
  options.ridge.resize(dk);
  for (Index i = 0; i < dk; ++i) options.ridge[i] = Scalar(hard.ridge * size(i) * size(i));
  const seqbayes::MesaNet<Scalar> layer(options);
  const Matrix<Scalar> query = queries.cast<Scalar>(), key = keys.cast<Scalar>(),
                       value = values.cast<Scalar>(), strength = Matrix<Scalar>::Ones(T, 1),
                       decay = Matrix<Scalar>::Constant(T, 1, Scalar(hard.log_decay));
  seqbayes::Sequence<Scalar> x;
  x.query = query;
  x.key = key;
  x.value = value;
  x.write_strength = strength;
  x.log_decay = decay;
  auto state = layer.initial_state();
  const Matrix<Scalar> out = seqbayes::scan_mean(layer, state, x);
  CHECK(state.key_moment.allFinite());
  CHECK(state.value_moment.allFinite());

  Verdict verdict;
  Wide K = Wide::Zero(dk, dk), S = Wide::Zero(dk, dv);
  const Wide ridge = options.ridge.template cast<long double>(), root = ridge.cwiseSqrt();
  const long double factor = std::exp(static_cast<long double>(Scalar(hard.log_decay)));
  for (Index t = 0; t < T; ++t) {
    const Wide k = key.row(t).transpose().template cast<long double>();
    K = factor * K + k * k.transpose();
    S = factor * S + k * value.row(t).template cast<long double>();
    // In units of the ridge, so that sizes of channels play no part.
    Wide scaled = root.cwiseInverse().asDiagonal() * K * root.cwiseInverse().asDiagonal();
    scaled.diagonal().array() += 1;
    const Wide q = query.row(t).transpose().template cast<long double>().cwiseQuotient(root);
    const Wide w = scaled.fullPivLu().solve(root.cwiseInverse().asDiagonal() * S);
    const Eigen::VectorXd eigenvalues =
        Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>(scaled.cast<double>()).eigenvalues();
    const double condition = eigenvalues[dk - 1] / std::max(1.0, eigenvalues[0]);
    const long double sizes = w.norm() * q.norm();
    INFO("token " << t << ", condition " << condition << ", ridge " << hard.ridge);
    if (out.row(t).allFinite()) {
      ++verdict.right;
      const Wide got = out.row(t).transpose().template cast<long double>();
      // Each of up to 60 tokens, of which a sum remembers some 20, rounds K; a solve has Dk units.
      CHECK(double((got - w.transpose() * q).norm() / sizes) <= 16 * unit * condition);
      CHECK(unit * condition < 0.01);
    } else {
      ++verdict.refused;
      CHECK(out.row(t).array().isNaN().all());
      // Traces are at most Dk times the largest eigenvalues.
      CHECK(unit * condition * double(dk) * double(dk) > 1.0 / 256);
    }
  }
  return verdict;
}

TEMPLATE_TEST_CASE("MesaNet: the right answer, or NaN where the scalar does not resolve it", "",
                   float, double) {
  // Ridges in units of the rounding error, so that each scalar meets the same conditions.
  const double small = 8 * double(std::numeric_limits<TestType>::epsilon());
  Verdict all;
  for (const Index width : {1, 4, 16}) {
    for (const Index subspace : {Index(1), (width + 1) / 2, width}) {
      for (const double ridge : {1.0, 1e-2, 1e3 * small, small, small / 1e4}) {
        for (const double norm : {1.0, 100.0}) {
          for (const double log_decay : {0.0, -0.1}) {
            for (const bool scaled : {false, true}) {
              const auto got = check<TestType>({width, subspace, ridge, norm, log_decay, scaled},
                                               5 + std::uint64_t(width));
              all.right += got.right;
              all.refused += got.refused;
            }
          }
        }
      }
    }
  }
  CHECK(all.right > 1000);
  CHECK(all.refused > 1000);
}

TEST_CASE("MesaNet: keys that span the space are resolved however small the ridge") {
  const auto verdict = check<float>({4, 4, 1e-30, 1, 0, false}, 3);
  CHECK(verdict.refused < 10);
}

TEST_CASE("MesaNet: a moment that is not positive is not solved for") {
  const seqbayes::MesaNet<double, 2, 1> layer;
  auto state = layer.initial_state();
  CHECK(layer.precision(state).info() == Eigen::Success);
  state.key_moment(1, 1) = -2;
  CHECK(layer.precision(state).info() == Eigen::NumericalIssue);
  CHECK(layer.precision(state).solve(Eigen::Vector2d::Ones()).array().isNaN().all());
}

}  // namespace
