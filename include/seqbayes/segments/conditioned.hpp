/// @file
/// A memory conditioned on an observation of it, for covariances and observations of any rank.
#pragma once

#include <Eigen/Cholesky>
#include <cmath>

#include <seqbayes/sequence/view.hpp>

namespace seqbayes::detail {

/// F with F F' = M, of a symmetric, positive semidefinite M. Directions in which M is below its own
/// rounding, with rows and columns scaled to a diagonal of 1, count as 0.
template <class Scalar>
class Root {
 public:
  explicit Root(const Matrix<Scalar>& m) : scale_(m.diagonal()) {
    using std::sqrt;
    for (Scalar& d : scale_) d = d > Scalar(0) ? Scalar(sqrt(d)) : Scalar(1);
    const Vector<Scalar> shrink = scale_.cwiseInverse();
    ldlt_.compute(shrink.asDiagonal() * m * shrink.asDiagonal());
    pivots_ = ldlt_.vectorD();
    const Scalar least = Scalar(double(m.rows())) * Eigen::NumTraits<Scalar>::epsilon();
    for (Scalar& d : pivots_) d = d > least ? Scalar(sqrt(d)) : Scalar(0);
  }

  [[nodiscard]] Matrix<Scalar> factor() const {
    const Matrix<Scalar> lower = ldlt_.matrixL();
    const Matrix<Scalar> f =
        ldlt_.transpositionsP().transpose() * Matrix<Scalar>(lower * pivots_.asDiagonal());
    return scale_.asDiagonal() * f;
  }
  /// The X with F X = `y`, of a y in the range of F; 0 where F has a column of zeros.
  [[nodiscard]] Matrix<Scalar> solve(const Matrix<Scalar>& y) const {
    Matrix<Scalar> x =
        ldlt_.transpositionsP() * Matrix<Scalar>(scale_.cwiseInverse().asDiagonal() * y);
    ldlt_.matrixL().solveInPlace(x);
    for (Index i = 0; i < x.rows(); ++i) {
      x.row(i) *= pivots_[i] > Scalar(0) ? Scalar(Scalar(1) / pivots_[i]) : Scalar(0);
    }
    return x;
  }

 private:
  Vector<Scalar> scale_, pivots_;
  Eigen::LDLT<Matrix<Scalar>> ldlt_;
};

/// What a matrix of covariances in the wide type stands for: a float's rounding may have made it
/// indefinite.
template <class Scalar>
Matrix<Scalar> nonnegative(const Matrix<Scalar>& p) {
  const Matrix<Scalar> f = Root<Scalar>(p).factor();
  return f * f.transpose();
}

/// A memory of covariance P after y = R S + noise of variance 1: with G = R P and K = I + G R',
///
///     M X = X - G' K^-1 R X,    M (X + P R'y) = X + G' K^-1 (y - R X),    M P = P - G' K^-1 G.
template <class Scalar>
class Conditioned {
 public:
  Conditioned(const Matrix<Scalar>& p, const Matrix<Scalar>& rows)
      : p_(p),
        rows_(rows),
        seen_(rows * p),
        llt_(Matrix<Scalar>(seen_ * rows.transpose() +
                            Matrix<Scalar>::Identity(p.rows(), p.cols()))) {}

  /// M (X + P R'y).
  [[nodiscard]] Matrix<Scalar> mean(const Matrix<Scalar>& x, const Matrix<Scalar>& y) const {
    return x + seen_.transpose() * llt_.solve(y - rows_ * x);
  }
  /// M X.
  [[nodiscard]] Matrix<Scalar> operator()(const Matrix<Scalar>& x) const {
    return x - seen_.transpose() * llt_.solve(rows_ * x);
  }
  /// M' X.
  [[nodiscard]] Matrix<Scalar> transposed(const Matrix<Scalar>& x) const {
    return x - rows_.transpose() * llt_.solve(seen_ * x);
  }
  /// M P.
  [[nodiscard]] Matrix<Scalar> covariance() const {
    const Matrix<Scalar> half = whitened(seen_);
    return p_ - half.transpose() * half;
  }
  /// Rows whose noise is that of y - R S, K, as rows of variance 1.
  [[nodiscard]] Matrix<Scalar> whitened(const Matrix<Scalar>& x) const {
    return llt_.matrixL().solve(x);
  }

 private:
  Matrix<Scalar> p_, rows_, seen_;
  Eigen::LLT<Matrix<Scalar>> llt_;
};

}  // namespace seqbayes::detail
