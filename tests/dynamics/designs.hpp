// Finite sets of unit keys with all moments of the sphere up to degree 5: averages over isotropic
// keys, exactly.
#pragma once

#include <dynamics/runs.hpp>

namespace dynamics_test {

/// One key a row.
inline std::vector<Matrix> designs() {
  const auto rows = [](const std::vector<std::vector<double>>& keys) {
    Matrix m(static_cast<Index>(keys.size()), static_cast<Index>(keys.front().size()));
    for (Index i = 0; i < m.rows(); ++i) {
      for (Index j = 0; j < m.cols(); ++j) {
        m(i, j) = keys[static_cast<std::size_t>(i)][static_cast<std::size_t>(j)];
      }
      m.row(i).normalize();
    }
    return m;
  };
  const double golden = (1 + std::sqrt(5.0)) / 2;
  std::vector<std::vector<double>> icosahedron;
  for (const double s : {1.0, -1.0}) {
    for (const double t : {golden, -golden}) {
      icosahedron.insert(icosahedron.end(), {{0, s, t}, {s, t, 0}, {t, 0, s}});
    }
  }
  // +-e_i +- e_j: the 24-cell in 4 dimensions; with the even half-integers, the roots of E8 in 8.
  const auto pairs = [](std::size_t d) {
    std::vector<std::vector<double>> keys;
    for (std::size_t i = 0; i < d; ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        for (const double s : {1.0, -1.0}) {
          for (const double t : {1.0, -1.0}) {
            keys.emplace_back(d, 0.0);
            keys.back()[i] = s;
            keys.back()[j] = t;
          }
        }
      }
    }
    return keys;
  };
  auto e8 = pairs(8);
  for (unsigned signs = 0; signs < 256; ++signs) {
    std::vector<double> key(8);
    double product = 1;
    for (std::size_t i = 0; i < 8; ++i) {
      key[i] = (signs >> i) % 2 == 0 ? 0.5 : -0.5;
      product *= 2 * key[i];
    }
    if (product > 0) e8.push_back(key);
  }
  return {rows(icosahedron), rows(pairs(4)), rows(e8)};
}

/// L with L L' = the positive semi-definite `s`.
inline Matrix square_root(Matrix s) {
  const double tiny = 1e-15 * s.trace();
  Matrix root = Matrix::Zero(s.rows(), s.cols());
  for (Index j = 0; j < s.cols(); ++j) {
    if (s(j, j) <= tiny) continue;
    root.col(j) = s.col(j) / std::sqrt(s(j, j));
    s -= Vector(root.col(j)) * Vector(root.col(j)).transpose();
  }
  return root;
}

/// E of the memory's mean and second moment, for one value channel w.
struct Moments {
  Vector mean;    ///< E w
  Matrix square;  ///< E w w'
};

/// One write of a key drawn from the design, with a value of mean 0 and the given variance: the
/// layer itself writes every key, into a memory whose channels are E w and a square root of E w w'.
template <class Layer>
Moments average_write(const Matrix& design, const Moments& moments, double value_variance,
                      Fields x) {
  const Index d = design.cols();
  const Layer layer({.key_dim = d, .value_dim = d + 2});
  auto start = layer.initial_state();
  start.mean.col(0) = moments.mean;
  start.mean.middleCols(1, d) = square_root(moments.square);
  x.value = Matrix::Zero(1, d + 2);
  x.value(0, d + 1) = std::sqrt(value_variance);
  Moments after{Vector::Zero(d), Matrix::Zero(d, d)};
  const double share = 1.0 / static_cast<double>(design.rows());
  for (Index i = 0; i < design.rows(); ++i) {
    auto state = start;
    x.query = x.key = design.row(i);
    layer.step(state, view(x).token(0));
    after.mean += share * state.mean.col(0);
    const Matrix square = state.mean.rightCols(d + 1);
    after.square += share * square * square.transpose();
  }
  return after;
}

inline Moments average_write(const ResetRule<double>& rule, const Matrix& design,
                             const Moments& moments, double value_variance) {
  return average_write<seqbayes::GatedDeltaNet<double>>(design, moments, value_variance,
                                                        fields(rule, 1));
}

inline Moments average_write(const AttentionRule<double>& rule, const Matrix& design,
                             const Moments& moments, double value_variance) {
  return average_write<seqbayes::Ssd<double>>(design, moments, value_variance, fields(rule, 1));
}

}  // namespace dynamics_test
