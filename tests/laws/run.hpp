// Runs a layer, and compares runs within stated bounds. Everything is compared in long double, so
// that comparisons are compiled once and not for each layer.
#pragma once

#include <sstream>

#include <support/catch.hpp>

#include <laws/case.hpp>

namespace laws {

using Execution = seqbayes::Execution;

/// What a scan has yielded, and the state after it.
template <class Layer>
Run<Real> noted(const seqbayes::OutputOf<Layer>& out, const typename Layer::State& state) {
  Run<Real> run;
  run.mean = widen_matrix(out.mean);
  if constexpr (seqbayes::ProbabilisticLayer<Layer>) {
    run.variance = widen_matrix(out.variance);
    run.evidence = widen(out.log_evidence);
  } else {
    run.variance.resize(0, 1);
  }
  Case<Layer>::note_state(run, state);
  return run;
}

/// Advances `state` over x by `scan`.
template <class Layer>
Run<Real> run(const Layer& layer, typename Layer::State& state,
              const seqbayes::Sequence<typename Layer::Scalar>& x, Execution how = {}) {
  const auto out = seqbayes::scan(layer, state, x, how);
  return noted<Layer>(out, state);
}

/// The same by `step`, token by token.
template <class Layer>
Run<Real> run_steps(const Layer& layer, typename Layer::State& state,
                    const seqbayes::Sequence<typename Layer::Scalar>& x) {
  constexpr bool is_filter = seqbayes::ProbabilisticLayer<Layer>;
  using Scalar = typename Layer::Scalar;
  Matrix<Scalar> mean(x.length(), layer.value_dim()), variance(is_filter ? x.length() : 0, 1);
  seqbayes::CompensatedSum<Scalar> evidence;
  for (Index t = 0; t < x.length(); ++t) {
    const auto y = layer.step(state, x.token(t));
    mean.row(t) = y.mean;
    if constexpr (is_filter) {
      variance(t, 0) = y.variance;
      evidence += y.log_evidence;
    }
  }
  Run<Real> run{widen_matrix(mean), widen_matrix(variance), widen(evidence.value()), {}, {}};
  Case<Layer>::note_state(run, state);
  return run;
}

/// Absolute bounds on what a run may differ from another by.
struct Bounds {
  double mean = 0, variance = 0, evidence = 0, memory = 0, covariance = 0;
};

/// Every token's decay, gain, write and read round off a few units of what they work on; the maps
/// from token to token don't enlarge errors (decays and I - kappa k' are contractions in the norm
/// that belongs to the filter), so errors at worst add up: (T + Dk) units. A covariance that is
/// updated by subtraction has an absolute error of units of its largest entry, which is relative to
/// r in the innovation variance: `condition` times as much.
inline Bounds rounding_bounds(const Reference<Real>& want, double unit) {
  const Scale& scale = want.scale;
  const double steps = double(want.run.mean.rows() + want.run.memory.rows());
  const double relative = unit * steps * scale.condition;
  const double memory = std::max(scale.memory, 1e-30);
  return {relative * memory * scale.query, relative * scale.covariance * scale.query * scale.query,
          relative * (1 + scale.evidence), relative * memory, relative * scale.covariance};
}

/// A stream as the layer reads it, a state to start from, and what the reference says of them.
template <class Layer>
struct Trial {
  Stream<typename Layer::Scalar> x;
  typename Layer::State start;
  Run<Real> want;
  Bounds bounds;
};

template <class Layer>
Trial<Layer> trial(const Layer& layer, const Setup<double>& setup, const Stream<double>& stream,
                   double unit = rounding_unit<typename Layer::Scalar>()) {
  const auto start = some_state(layer);
  const auto want = reference_for(layer, setup, start, stream);
  return {stream.template as<typename Layer::Scalar>(), start, want.run,
          rounding_bounds(want, unit)};
}

inline double largest_difference(const Matrix<Real>& a, const Matrix<Real>& b) {
  double largest = 0;
  for (Index i = 0; i < a.size(); ++i) {
    const Real difference = std::abs(a.data()[i] - b.data()[i]);
    if (!(difference <= Real(largest))) largest = static_cast<double>(difference);  // keeps NaN
    if (std::isnan(largest)) return largest;
  }
  return largest;
}

inline double relative_difference(const Matrix<Real>& a, const Matrix<Real>& b) {
  return b.size() == 0 ? 0 : largest_difference(a, b) / double(b.cwiseAbs().maxCoeff());
}

/// What is wrong with a part of a run, in words; nothing if it is within its bound.
inline std::string complaint(const std::string& part, const Matrix<Real>& got,
                             const Matrix<Real>& want, double bound) {
  if (got.rows() != want.rows() || got.cols() != want.cols())
    return part + " has the wrong shape. ";
  const double difference = largest_difference(got, want);
  if (difference <= bound) return "";
  std::ostringstream text;
  text << part << " differs by " << difference << ", more than " << bound << ". ";
  return text.str();
}

inline std::string complaint(Real got, Real want, double bound) {
  if (got == want) return "";  // both may be minus infinity
  return complaint("log evidence", Matrix<Real>::Constant(1, 1, got),
                   Matrix<Real>::Constant(1, 1, want), bound);
}

inline void check_close(const Run<Real>& got, const Run<Real>& want, const Bounds& bounds) {
  std::string complaints =
      complaint("mean", got.mean, want.mean, bounds.mean) +
      complaint("memory", got.memory, want.memory, bounds.memory) +
      complaint("covariance", got.covariance, want.covariance, bounds.covariance);
  if (want.variance.cols() > 0) {
    complaints += complaint("variance", got.variance, want.variance, bounds.variance);
    if (want.variance.rows() > 0) {
      complaints += complaint(got.evidence, want.evidence, bounds.evidence);
    }
  }
  CHECK(complaints == "");
}

inline void check_equal(const Run<Real>& got, const Run<Real>& want) {
  check_close(got, want, Bounds{});
}

}  // namespace laws
