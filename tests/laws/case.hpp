// What the laws need to know of a layer: how to make it, a state of it, and its reference.
#pragma once

#include <algorithm>
#include <limits>

#include <laws/reference.hpp>

namespace laws {

using Real = long double;

template <class Scalar>
Real widen(const Scalar& x) {
  if constexpr (requires { x.a; }) {
    return Real(x.a);  // ceres::Jet
  } else if constexpr (requires { x.derivatives(); }) {
    return Real(x.value());  // Eigen::AutoDiffScalar
  } else {
    return static_cast<Real>(x);
  }
}
template <class Derived>
Matrix<Real> widen_matrix(const Eigen::MatrixBase<Derived>& m) {
  Matrix<Real> wide(m.rows(), m.cols());
  for (Index i = 0; i < m.rows(); ++i) {
    for (Index j = 0; j < m.cols(); ++j) wide(i, j) = widen(m(i, j));
  }
  return wide;
}
inline Matrix<Real> widen_kept(seqbayes::Empty) { return {}; }
template <class Kept>
Matrix<Real> widen_kept(const Kept& kept) {
  if constexpr (requires { kept.rows(); }) {
    return widen_matrix(kept);
  } else {
    return Matrix<Real>::Constant(1, 1, widen(kept));
  }
}

/// Names the scalar's rounding unit; of Jet and AutoDiffScalar that of their values.
template <class Scalar>
double rounding_unit() {
  return static_cast<double>(widen(Scalar(Eigen::NumTraits<Scalar>::epsilon())));
}
/// The same where a result is compared with the reference: no less than the reference's own.
template <class Scalar>
double compared_unit() {
  return std::max(rounding_unit<Scalar>(), double(std::numeric_limits<Real>::epsilon()));
}

/// For the layers of the grid and the delta family; information.hpp has those of the others.
template <class Layer>
struct Case {
  using Scalar = typename Layer::Scalar;
  using State = typename Layer::State;

  template <class Number>
  static Layer make(const Setup<Number>& setup) {
    typename Layer::Options options;
    options.key_dim = setup.key_dim;
    options.value_dim = setup.value_dim;
    // What a layer doesn't read has to keep its default.
    constexpr Recipe recipe = recipe_of<Layer>;
    constexpr bool approximate = recipe.kept == Kept::isotropic || recipe.kept == Kept::diagonal;
    if constexpr (recipe.kept == Kept::reset || recipe.kept == Kept::full || approximate) {
      options.prior_variance = Scalar(setup.prior_variance);
    }
    if constexpr (recipe.decay == Decay::constant) options.log_decay = Scalar(setup.log_decay);
    if constexpr (recipe.design == Design::latent_input) {
      options.input_variance = Scalar(setup.input_variance);
    }
    if constexpr (approximate) options.info_scale = Scalar(setup.info_scale);
    return Layer(options);
  }

  static State some_state(const Layer& layer, Draw& draw) {
    State state = layer.initial_state();
    for (Index i = 0; i < state.mean.rows(); ++i) {
      for (Index j = 0; j < state.mean.cols(); ++j) state.mean(i, j) = Scalar(draw.normal());
    }
    const auto binary = [&draw] { return double(draw.below(256)) / 256; };
    constexpr Kept kept = recipe_of<Layer>.kept;
    if constexpr (kept == Kept::isotropic) state.covariance = Scalar(0.25 + binary());
    if constexpr (kept == Kept::diagonal || kept == Kept::preconditioned) {
      for (Index i = 0; i < layer.key_dim(); ++i) state.covariance(i, 0) = Scalar(0.25 + binary());
    }
    if constexpr (kept == Kept::full) {
      std::vector<double> c;
      for (Index i = 0; i < layer.key_dim(); ++i) c.push_back(binary() - 0.5);
      for (Index i = 0; i < layer.key_dim(); ++i) {
        for (Index j = 0; j < layer.key_dim(); ++j) {
          const double entry = c[std::size_t(i)] * c[std::size_t(j)];
          state.covariance(i, j) = Scalar(entry + (i == j ? 0.5 : 0));
        }
      }
    }
    return state;
  }

  static void note_state(Run<Real>& run, const State& state) {
    run.memory = widen_matrix(state.mean);
    run.covariance = widen_kept(state.covariance);
  }

  static Reference<Real> reference_from(const Run<Real>& start, const Setup<double>& setup,
                                        const Stream<double>& x) {
    return reference<Real>(recipe_of<Layer>, setup.as<Real>(), x.as<Real>().fields, start.memory,
                           start.covariance);
  }
};

template <class Layer, class Number>
Layer make(const Setup<Number>& setup) {
  return Case<Layer>::make(setup);
}

/// A state that is not the initial one: memory of order one, and a covariance with off-diagonal
/// entries where one is kept. Exactly representable in float.
template <class Layer>
typename Layer::State some_state(const Layer& layer, std::uint64_t seed = 7) {
  Draw draw(seed);
  return Case<Layer>::some_state(layer, draw);
}

/// The reference from the state at hand, in long double.
template <class Layer>
Reference<Real> reference_for(const Layer&, const Setup<double>& setup,
                              const typename Layer::State& state, const Stream<double>& x) {
  Run<Real> start;
  Case<Layer>::note_state(start, state);
  return Case<Layer>::reference_from(start, setup, x);
}

}  // namespace laws
