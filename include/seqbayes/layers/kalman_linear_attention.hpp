/// @file
/// Kalman Linear Attention: one scalar filter for each memory entry, in information form.
#pragma once

#include <Eigen/Core>
#include <string>

#include <seqbayes/covariance/policy.hpp>
#include <seqbayes/sequence/parts.hpp>

namespace seqbayes {

/// Kalman Linear Attention (Shaj et al. 2026, arXiv 2602.10743). Every entry (m, s) of the memory
/// is its own filter: mu decays by a, gains process noise p, and is observed as v_m = k_s mu +
/// noise with precision lambda_v. Entries don't explain each other's values away, so this is no
/// delta rule.
///
/// Reads query, key, value and value_precision (lambda_v).
template <class ScalarType, int Dk = Eigen::Dynamic, int Dv = Eigen::Dynamic>
class KalmanLinearAttention {
 public:
  using Scalar = ScalarType;
  using Entries = StateMatrix<Scalar, Dv, Dk>;

  /// Constant in time.
  struct Options {
    Index key_dim = Dk == Eigen::Dynamic ? 0 : Dk;
    Index value_dim = Dv == Eigen::Dynamic ? 0 : Dv;
    Entries decay{};                 ///< a >= 0, Dv x Dk: decays means; a^2 decays variances.
    Entries process_noise{};         ///< p, Dv x Dk: >= 0, floored at `floor`.
    bool decode_from_prior = false;  ///< Read the prediction for the next token, not the posterior.
    Scalar floor = Scalar(1e-12);    ///< Least process noise and least information of a write.
  };

  /// What it carries between tokens; plain values.
  struct State {
    Entries precision;    ///< 1 / variance, Dv x Dk.
    Entries information;  ///< precision times mean, Dv x Dk.

    /// Calls f(name, part) for each matrix.
    template <class F>
    void for_each_part(const F& f) const {
      f("precision", precision);
      f("information", information);
    }
    friend bool operator==(const State& a, const State& b) {
      return detail::equal(a.precision, b.precision) && detail::equal(a.information, b.information);
    }
  };

  /// One token's output.
  struct Step {
    Vector<Scalar, Dv> mean;      ///< sum_s q_s mu_ms.
    Vector<Scalar, Dv> variance;  ///< sum_s q_s^2 P_ms: one for each value channel.
  };

  /// @throws std::invalid_argument naming the option that is out of its domain.
  explicit KalmanLinearAttention(const Options& options) : options_(options) {
    check_widths<Dk, Dv>(options_);
    check_entries("decay", options_.decay);
    check_entries("process_noise", options_.process_noise);
    check_option("floor", options_.floor, Domain::positive);
  }

  [[nodiscard]] Index key_dim() const { return options_.key_dim; }
  [[nodiscard]] Index value_dim() const { return options_.value_dim; }
  [[nodiscard]] const Options& options() const { return options_; }

  [[nodiscard]] InputWidths inputs() const {
    InputWidths inputs;
    inputs.query = inputs.key = key_dim();
    inputs.value = inputs.value_precision = value_dim();
    return inputs;
  }

  /// Unit precision, zero mean.
  [[nodiscard]] State initial_state() const {
    State state;
    state.precision.setOnes(value_dim(), key_dim());
    state.information.setZero(value_dim(), key_dim());
    return state;
  }
  /// @throws std::invalid_argument if the state has other widths than the layer.
  void check_state(const State& state) const {
    check_state_shape("precision", state.precision, value_dim(), key_dim());
    check_state_shape("information", state.information, value_dim(), key_dim());
  }

  /// Advances all filters by one token and reads them. Checks nothing; with static widths it never
  /// allocates.
  Step step(State& state, const Token<Scalar>& token) const {
    const Scalar& floor = options_.floor;
    const auto floored = [&floor](const Scalar& x) { return x > floor ? x : floor; };
    Step out{Vector<Scalar, Dv>::Zero(value_dim()), Vector<Scalar, Dv>::Zero(value_dim())};
    for (Index m = 0; m < value_dim(); ++m) {
      for (Index s = 0; s < key_dim(); ++s) {
        const Scalar a = options_.decay(m, s);
        const Scalar noise = floored(options_.process_noise(m, s));
        const Scalar k = token.key[s];
        const Scalar q = token.query[s];
        const Scalar lambda = token.value_precision[m];
        Scalar& precision = state.precision(m, s);
        Scalar& information = state.information(m, s);
        information *= a / (a * a + noise * precision);
        information += lambda * token.value[m] * k;
        precision = precision / (a * a + noise * precision) + floored(lambda * k * k);
        Scalar mu = information / precision;
        Scalar variance = Scalar(1) / precision;
        if (options_.decode_from_prior) {
          mu *= a;
          variance = a * a * variance + noise;
        }
        out.mean[m] += q * mu;
        out.variance[m] += q * q * variance;
      }
    }
    return out;
  }

 private:
  void check_entries(const char* name, const Entries& entries) const {
    if (entries.rows() != value_dim() || entries.cols() != key_dim()) {
      detail::fail(std::string("option ") + name + " is " +
                   detail::shape(entries.rows(), entries.cols()) + ", expected " +
                   detail::shape(value_dim(), key_dim()));
    }
    for (Index i = 0; i < entries.size(); ++i) {
      check_option(name, entries.data()[i], Domain::non_negative);
    }
  }

  Options options_;
};

}  // namespace seqbayes
