/// @file
/// A maximum of the log evidence over a few coordinates, and how it is curved there.
///
/// Of `evidence(point)` the members `log_evidence` and `log_r` are read (the latter for its
/// gradient alone); the static `clamped(point)` moves a point into its bounds.
#pragma once

#include <Eigen/Cholesky>

#include <seqbayes/sequence/view.hpp>

namespace seqbayes::dynamics::detail {

/// Gradient and Hessian of the log evidence by central differences, 0 for a coordinate at its
/// bound, which is held there; and the gradient of ln r, one-sided at a bound.
template <class Scalar>
struct Curvature {
  Vector<Scalar> gradient, log_r_gradient;
  Matrix<Scalar> hessian;

  template <class Evidence>
  Curvature(Evidence& evidence, const Vector<Scalar>& at)
      : gradient(Vector<Scalar>::Zero(at.size())),
        log_r_gradient(gradient),
        hessian(Matrix<Scalar>::Zero(at.size(), at.size())) {
    const Scalar h = Scalar(0.05), two = Scalar(2);
    const Scalar here = evidence(at).log_evidence;
    const auto shifted = [&](Index i, double a, Index j, double b) {
      Vector<Scalar> point = at;
      point[i] += Scalar(a) * h;
      point[j] += Scalar(b) * h;
      return point;
    };
    const auto is_free = [&](Index i) {
      const Vector<Scalar> up = shifted(i, 1, i, 0), down = shifted(i, -1, i, 0);
      return Evidence::clamped(up) == up && Evidence::clamped(down) == down;
    };
    for (Index i = 0; i < at.size(); ++i) {
      const Vector<Scalar> above = Evidence::clamped(shifted(i, 1, i, 0));
      const Vector<Scalar> below = Evidence::clamped(shifted(i, -1, i, 0));
      const auto up = evidence(above), down = evidence(below);
      log_r_gradient[i] = (up.log_r - down.log_r) / (above[i] - below[i]);
      if (!is_free(i)) continue;
      gradient[i] = (up.log_evidence - down.log_evidence) / (two * h);
      hessian(i, i) = (up.log_evidence + down.log_evidence - two * here) / (h * h);
      for (Index j = 0; j < i; ++j) {
        if (!is_free(j)) continue;
        Scalar sum(0);
        for (const double a : {1.0, -1.0}) {
          for (const double b : {1.0, -1.0}) {
            sum += Scalar(a * b) * evidence(shifted(i, a, j, b)).log_evidence;
          }
        }
        hessian(i, j) = hessian(j, i) = sum / (Scalar(4) * h * h);
      }
    }
  }

  /// Whether the evidence determines coordinate i at all, to within a factor e^30.
  [[nodiscard]] bool determines(Index i) const { return -hessian(i, i) > Scalar(1e-3); }

  /// The inverse of minus the Hessian, with 0 for what is not determined; empty where the point is
  /// no maximum.
  [[nodiscard]] Matrix<Scalar> covariance() const {
    Matrix<Scalar> information = -hessian;
    for (Index i = 0; i < information.rows(); ++i) {
      if (determines(i)) continue;
      information.row(i).setZero();
      information.col(i).setZero();
      information(i, i) = Scalar(1);
    }
    const Eigen::LLT<Matrix<Scalar>> factor(information);
    if (factor.info() != Eigen::Success) return {};
    Matrix<Scalar> inverse =
        factor.solve(Matrix<Scalar>::Identity(information.rows(), information.cols()));
    for (Index i = 0; i < information.rows(); ++i) {
      if (!determines(i)) inverse(i, i) = Scalar(0);
    }
    return inverse.allFinite() ? inverse : Matrix<Scalar>();
  }
};

/// Climbs to a maximum: compass search (a step along each axis, halved when nothing is gained),
/// then Newton's method.
template <class Evidence, class Point>
Point climb(Evidence& evidence, Point at) {
  using Scalar = typename Point::Scalar;
  Scalar best = evidence(at).log_evidence;
  const auto try_point = [&](const Point& wanted) {
    const Point point = Evidence::clamped(wanted);
    const Scalar found = evidence(point).log_evidence;
    if (!(found > best + Scalar(1e-6))) return false;
    best = found;
    at = point;
    return true;
  };
  for (Scalar step(1); step > Scalar(0.1);) {
    bool moved = false;
    for (Index i = 0; i < at.size(); ++i) {
      Point up = at, down = at;
      up[i] += step;
      down[i] -= step;
      moved |= try_point(up) || try_point(down);
    }
    if (!moved) step /= Scalar(2);
  }
  for (int round = 0; round < 3; ++round) {
    const Curvature<Scalar> curvature(evidence, at);
    const Matrix<Scalar> covariance = curvature.covariance();
    if (covariance.size() == 0) break;
    Point step = covariance * curvature.gradient;
    const Scalar longest = step.cwiseAbs().maxCoeff();
    if (longest > Scalar(1)) step /= longest;
    if (!try_point(at + step)) break;
  }
  return at;
}

}  // namespace seqbayes::dynamics::detail
