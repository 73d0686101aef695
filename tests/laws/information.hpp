// The layers that keep information instead of covariance, for the laws: how to make them, and their
// recurrences once more in plain loops.
#pragma once

#include <laws/run.hpp>

namespace laws {

namespace detail {

template <class S, int Dk, int Dv>
struct RecipeOf<seqbayes::MesaNet<S, Dk, Dv>> {
  static constexpr Recipe value{Design::moments, Decay::field, Kept::nothing, 1};
};
template <class S, int Dk, int Dv>
struct RecipeOf<seqbayes::KalmanLinearAttention<S, Dk, Dv>> {
  static constexpr Recipe value{Design::entrywise, Decay::constant, Kept::nothing, 1};
};

inline double ridge(Index i) { return 1 + 0.25 * double(i % 3); }
inline double entry_decay(Index m, Index s) { return 1 - 0.125 * double((m + 2 * s) % 4); }
inline double entry_noise(Index m, Index s) { return 0.0625 * double((2 * m + s) % 3); }

}  // namespace detail

namespace detail {

/// Solves A x = b by elimination; A is positive definite.
inline std::vector<Real> solve(Matrix<Real> a, std::vector<Real> b) {
  const Index n = a.rows();
  for (Index i = 0; i < n; ++i) {
    for (Index r = i + 1; r < n; ++r) {
      const Real factor = a(r, i) / a(i, i);
      for (Index c = i; c < n; ++c) a(r, c) -= factor * a(i, c);
      b[at(r)] -= factor * b[at(i)];
    }
  }
  for (Index i = n - 1; i >= 0; --i) {
    for (Index c = i + 1; c < n; ++c) b[at(i)] -= a(i, c) * b[at(c)];
    b[at(i)] /= a(i, i);
  }
  return b;
}

inline double norm1(const Matrix<double>& rows, Index t) {
  return rows.cols() == 0 ? 0 : rows.row(t).cwiseAbs().sum();
}

}  // namespace detail

template <class S, int Dk, int Dv>
struct Case<seqbayes::MesaNet<S, Dk, Dv>> {
  using Layer = seqbayes::MesaNet<S, Dk, Dv>;

  static Layer make(const Setup<double>& setup) {
    typename Layer::Options options;
    options.key_dim = setup.key_dim;
    options.value_dim = setup.value_dim;
    options.ridge.resize(setup.key_dim);
    for (Index i = 0; i < setup.key_dim; ++i) options.ridge[i] = S(detail::ridge(i));
    return Layer(options);
  }

  static auto some_state(const Layer& layer, Draw& draw) {
    auto state = layer.initial_state();
    for (S& entry : state.value_moment.reshaped()) entry = S(draw.normal());
    state.key_moment.setIdentity();
    state.key_moment.array() += S(0.25);
    return state;
  }

  /// K as the run's covariance, the other moment as its memory.
  static void note_state(Run<Real>& run, const typename Layer::State& state) {
    run.memory = widen_matrix(state.value_moment);
    run.covariance = widen_matrix(state.key_moment);
  }

  static Reference<Real> reference_from(const Run<Real>& start, const Setup<double>& setup,
                                        const Stream<double>& x) {
    const Index dk = setup.key_dim, dv = setup.value_dim;
    Reference<Real> out;
    Matrix<Real>&K = out.run.covariance, &M = out.run.memory;
    out.run = start;
    out.run.mean.setZero(x.length(), dv);
    for (Index t = 0; t < x.length(); ++t) {
      const Real decay = std::exp(Real(x.fields.log_decay(t, 0)));
      const Real beta = x.fields.write_strength(t, 0);
      for (Index i = 0; i < dk; ++i) {
        const Real write = beta * x.fields.key(t, i);
        for (Index j = 0; j < dk; ++j) K(i, j) = decay * K(i, j) + write * x.fields.key(t, j);
        for (Index c = 0; c < dv; ++c) M(i, c) = decay * M(i, c) + write * x.fields.value(t, c);
      }
      Matrix<Real> precision = K;
      std::vector<Real> q;
      for (Index i = 0; i < dk; ++i) {
        precision(i, i) += detail::ridge(i);
        q.push_back(x.fields.query(t, i));
      }
      const auto solved = detail::solve(precision, q);
      for (Index i = 0; i < dk; ++i) {
        for (Index c = 0; c < dv; ++c) out.run.mean(t, c) += M(i, c) * solved[detail::at(i)];
      }
      Scale& scale = out.scale;
      scale.query = std::max(scale.query, detail::norm1(x.fields.query, t));
      scale.memory = std::max(scale.memory, double(M.cwiseAbs().maxCoeff()));
      scale.covariance = std::max(scale.covariance, double(K.cwiseAbs().maxCoeff()));
      // The ridge, at least 1, is the least eigenvalue that can be; the trace is above the largest.
      scale.condition = std::max(scale.condition, double(precision.trace()));
    }
    out.run.variance.resize(0, 1);
    return out;
  }
};

template <class S, int Dk, int Dv>
struct Case<seqbayes::KalmanLinearAttention<S, Dk, Dv>> {
  using Layer = seqbayes::KalmanLinearAttention<S, Dk, Dv>;

  static Layer make(const Setup<double>& setup) {
    typename Layer::Options options;
    options.key_dim = setup.key_dim;
    options.value_dim = setup.value_dim;
    options.decay.resize(setup.value_dim, setup.key_dim);
    options.process_noise.resize(setup.value_dim, setup.key_dim);
    for (Index m = 0; m < setup.value_dim; ++m) {
      for (Index s = 0; s < setup.key_dim; ++s) {
        options.decay(m, s) = S(detail::entry_decay(m, s));
        options.process_noise(m, s) = S(detail::entry_noise(m, s));
      }
    }
    return Layer(options);
  }

  static auto some_state(const Layer& layer, Draw& draw) {
    auto state = layer.initial_state();
    for (S& entry : state.information.reshaped()) entry = S(draw.normal());
    for (S& entry : state.precision.reshaped()) entry = S(0.25 + draw.uniform());
    return state;
  }

  /// The precision as the run's covariance, precision times mean as its memory.
  static void note_state(Run<Real>& run, const typename Layer::State& state) {
    run.memory = widen_matrix(state.information);
    run.covariance = widen_matrix(state.precision);
  }

  static Reference<Real> reference_from(const Run<Real>& start, const Setup<double>& setup,
                                        const Stream<double>& x) {
    Reference<Real> out;
    Scale& scale = out.scale;
    out.run = start;
    out.run.mean.setZero(x.length(), setup.value_dim);
    // The floor is a Scalar and rounds with it; in float 1e-12 is off by less than a unit.
    const Real floor = widen(S(1e-12));
    for (Index m = 0; m < setup.value_dim; ++m) {
      for (Index s = 0; s < setup.key_dim; ++s) {
        const Real a = detail::entry_decay(m, s);
        const Real p = std::max(Real(detail::entry_noise(m, s)), floor);
        Real variance = 1 / out.run.covariance(m, s);
        Real mu = out.run.memory(m, s) * variance;
        for (Index t = 0; t < x.length(); ++t) {
          const Real k = x.fields.key(t, s);
          const Real lambda = x.fields.value_precision(t, m);
          const Real predicted = a * a * variance + p;
          const Real information = a * mu / predicted + lambda * x.fields.value(t, m) * k;
          variance = 1 / (1 / predicted + std::max(lambda * k * k, floor));
          mu = variance * information;
          out.run.mean(t, m) += x.fields.query(t, s) * mu;
          scale.memory =
              std::max({scale.memory, detail::magnitude(mu), detail::magnitude(information)});
          scale.covariance = std::max(scale.covariance, detail::magnitude(Real(1 / variance)));
          scale.query = std::max(scale.query, detail::norm1(x.fields.query, t));
        }
        out.run.memory(m, s) = mu / variance;
        out.run.covariance(m, s) = 1 / variance;
      }
    }
    // Divisions by the precision: relative to it, information and mean round off as it does.
    scale.condition = std::max(1.0, scale.covariance);
    out.run.variance.resize(0, 1);
    return out;
  }
};

template <class S, int Dk = Eigen::Dynamic, int Dv = Eigen::Dynamic>
using InformationLayers =
    std::tuple<seqbayes::MesaNet<S, Dk, Dv>, seqbayes::KalmanLinearAttention<S, Dk, Dv>>;

}  // namespace laws
