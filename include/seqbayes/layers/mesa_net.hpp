/// @file
/// MesaNet: regression in information form, solved exactly at every read.
#pragma once

#include <Eigen/Cholesky>
#include <cmath>
#include <limits>
#include <type_traits>

#include <seqbayes/covariance/policy.hpp>
#include <seqbayes/sequence/output.hpp>
#include <seqbayes/sequence/parts.hpp>

namespace seqbayes {
namespace detail {

/// A = K + R = L L' with R = Diag(ridge), and whether the scalar resolves it.
///
/// *What is resolved.* K and L L' have relative errors of some rounding units, of which A^-1 makes
/// the condition of B = R^-1/2 A R^-1/2 = I + R^-1/2 K R^-1/2 as many. All eigenvalues of B are at
/// least 1, so with traces, which bound the largest eigenvalues, it is at most
///
///     kappa = tr(B) min(1, tr(B^-1)).
///
/// With W = A^-1 S the error of o = W' q is some units times kappa, relative to
/// |R^1/2 W| |R^-1/2 q|. Beyond a kappa of 1 / (256 units) no digit of it is sure.
template <class Scalar, int Dk>
class Precision {
  using Square = Eigen::Matrix<Scalar, Dk, Dk>;

 public:
  template <class Ridge>
  Precision(const Square& a, const Ridge& ridge) : factor_(a) {
    const Scalar most = Scalar(1) / (Scalar(Eigen::NumTraits<Scalar>::epsilon()) * Scalar(256));
    const Scalar trace = a.diagonal().cwiseQuotient(ridge).sum();
    if (factor_.info() != Eigen::Success) return;
    resolved_ = trace <= most || trace * inverse_trace(ridge) <= most;
  }

  /// `Eigen::NumericalIssue` where A isn't resolved.
  [[nodiscard]] Eigen::ComputationInfo info() const {
    return resolved_ ? Eigen::Success : Eigen::NumericalIssue;
  }

  /// A^-1 x, or NaN where A isn't resolved. Eigen's solve skips entries that are 0 (but for small
  /// fixed widths), and with them the derivatives that an autodiff scalar has there.
  [[nodiscard]] Vector<Scalar, Dk> solve(Vector<Scalar, Dk> x) const {
    if (!resolved_) {
      x.setConstant(Scalar(std::numeric_limits<double>::quiet_NaN()));
    } else if constexpr (std::is_floating_point_v<Scalar>) {
      factor_.solveInPlace(x);
    } else {
      const auto& l = factor_.matrixLLT();
      solve_lower(x, 0);
      for (Index i = x.size(); i-- > 0;) {
        for (Index j = i + 1; j < x.size(); ++j) x[i] -= l(j, i) * x[j];
        x[i] /= l(i, i);
      }
    }
    return x;
  }

 private:
  /// x <- L^-1 x, for x that is 0 before entry `first`.
  void solve_lower(Vector<Scalar, Dk>& x, Index first) const {
    const auto& l = factor_.matrixLLT();
    for (Index i = first; i < x.size(); ++i) {
      for (Index j = first; j < i; ++j) x[i] -= l(i, j) * x[j];
      x[i] /= l(i, i);
    }
  }

  /// tr(B^-1) = sum_i ridge_i |L^-1 e_i|^2.
  template <class Ridge>
  Scalar inverse_trace(const Ridge& ridge) const {
    Scalar trace(0);
    for (Index i = 0; i < ridge.size(); ++i) {
      Vector<Scalar, Dk> x = Vector<Scalar, Dk>::Unit(ridge.size(), i);
      solve_lower(x, i);
      trace += x.dot(x * ridge[i]);
    }
    return trace;
  }

  Eigen::LLT<Square> factor_;
  bool resolved_ = false;
};

}  // namespace detail

/// MesaNet (von Oswald et al. 2025, arXiv 2506.05233): o = S' (K + Diag(ridge))^{-1} q with
/// K_t = e^g K_{t-1} + beta k k' and S_t = e^g S_{t-1} + beta k v'.
///
/// The information form of associative regression with forgetting: K + Diag(ridge) is a precision.
/// The ridge doesn't decay. Reads query, key, value, log_decay and write_strength. A step costs a
/// Cholesky factorisation, Dk^3 / 3 multiplications.
///
/// *Condition.* While keys leave a direction out, o has an error of about tr(K) / ridge rounding
/// units (`detail::Precision` has it exactly). Where that leaves no digit, the output of the token
/// is NaN, and so are derivatives through it; the state is right, and so are the outputs of tokens
/// whose K + Diag(ridge) is resolved. In float, with unit keys, strength 1 and no decay, that is
/// beyond 3e4 ridge tokens in a subspace; in double, 2e13 ridge.
template <class ScalarType, int Dk = Eigen::Dynamic, int Dv = Eigen::Dynamic>
class MesaNet {
 public:
  using Scalar = ScalarType;

  /// Constant in time.
  struct Options {
    Index key_dim = Dk == Eigen::Dynamic ? 0 : Dk;
    Index value_dim = Dv == Eigen::Dynamic ? 0 : Dv;
    Vector<Scalar> ridge{};  ///< Dk entries > 0; empty: all 1.
  };

  /// What it carries between tokens; plain values.
  struct State {
    StateMatrix<Scalar, Dk, Dk> key_moment;    ///< K, Dk x Dk.
    StateMatrix<Scalar, Dk, Dv> value_moment;  ///< S, Dk x Dv.

    /// Calls f(name, part) for each matrix.
    template <class F>
    void for_each_part(const F& f) const {
      f("key_moment", key_moment);
      f("value_moment", value_moment);
    }
    friend bool operator==(const State& a, const State& b) {
      return detail::equal(a.key_moment, b.key_moment) &&
             detail::equal(a.value_moment, b.value_moment);
    }
  };

  /// @throws std::invalid_argument naming the option that is out of its domain.
  explicit MesaNet(const Options& options = {}) : options_(options) {
    check_widths<Dk, Dv>(options_);
    if (options_.ridge.size() == 0) options_.ridge.setOnes(key_dim());
    if (options_.ridge.size() != key_dim()) detail::fail("option ridge must have key_dim entries");
    for (const Scalar& entry : options_.ridge) {
      check_option("ridge", entry, Domain::positive);
    }
  }

  [[nodiscard]] Index key_dim() const { return options_.key_dim; }
  [[nodiscard]] Index value_dim() const { return options_.value_dim; }
  [[nodiscard]] const Options& options() const { return options_; }

  [[nodiscard]] InputWidths inputs() const {
    InputWidths inputs;
    inputs.query = inputs.key = key_dim();
    inputs.value = value_dim();
    inputs.log_decay = inputs.write_strength = 1;
    return inputs;
  }

  /// Nothing seen: zeros.
  [[nodiscard]] State initial_state() const {
    State state;
    state.key_moment.setZero(key_dim(), key_dim());
    state.value_moment.setZero(key_dim(), value_dim());
    return state;
  }
  /// @throws std::invalid_argument if the state has other widths than the layer.
  void check_state(const State& state) const {
    check_state_shape("key_moment", state.key_moment, key_dim(), key_dim());
    check_state_shape("value_moment", state.value_moment, key_dim(), value_dim());
  }

  /// Adds one token to the moments and solves for its query; NaN where the scalar doesn't resolve
  /// the solution. Checks nothing; with static widths it never allocates.
  StepMean<Scalar, Dv> step(State& state, const Token<Scalar>& token) const {
    advance(state, token);
    const Vector<Scalar, Dk> solved = precision(state).solve(token.query.template vector<Dk>());
    return {sized<Dk, Dv>(state.value_moment).transpose().lazyProduct(solved)};
  }
  /// What `step` does to the state alone.
  void advance(State& state, const Token<Scalar>& token) const {
    using std::exp;
    const Scalar decay = exp(token.log_decay[0]);
    const Vector<Scalar, Dk> k = token.key.template vector<Dk>();
    const Vector<Scalar, Dk> write = k * token.write_strength[0];
    auto key_moment = sized<Dk, Dk>(state.key_moment);
    auto value_moment = sized<Dk, Dv>(state.value_moment);
    key_moment *= decay;
    key_moment += write.lazyProduct(k.transpose());
    value_moment *= decay;
    value_moment += write.lazyProduct(token.value.template vector<Dv>().transpose());
  }
  /// K + Diag(ridge), factorised: `.solve(x)`, and `.info()`, which is not `Eigen::Success` where
  /// the scalar doesn't resolve it.
  detail::Precision<Scalar, Dk> precision(const State& state) const {
    Eigen::Matrix<Scalar, Dk, Dk> precision = state.key_moment;
    precision.diagonal() += options_.ridge;
    return {precision, options_.ridge};
  }

 private:
  Options options_;
};

}  // namespace seqbayes
