/// @file
/// Is the error that a layer claims the error it makes? What it makes is known exactly for every
/// gain, and in closed form for one key.
///
/// Errors and variances are per value channel. Data come from associative regression,
/// S_t = D_t S_{t-1} + W_t, v_t = S_t' k_t + noise; keys, decays and noises may depend on past
/// values, but not on v_t.
#pragma once

#include <Eigen/Core>
#include <cmath>
#include <string>

#include <seqbayes/sequence/check.hpp>
#include <seqbayes/sequence/concept.hpp>
#include <seqbayes/sequence/output.hpp>

namespace seqbayes::dynamics {

/// How noisy the data are: factors of a sequence's own noises. Where its field `observation_noise`
/// or `process_noise` is missing, 1 stands for it, and the factor is the variance itself.
template <class Scalar>
struct NoiseLevels {
  Scalar observation_noise{1};  ///< r > 0, in V^2.
  Scalar process_noise{0};      ///< omega >= 0, a variance added per token, in V^2 / K^2.
  Scalar prior_variance{1};     ///< sigma_0^2 >= 0 of each memory entry, in V^2 / K^2.
};

namespace detail {

/// What `check_inputs` asks of a layer.
template <class ScalarType>
struct DataFields {
  using Scalar = ScalarType;
  InputWidths widths;
  [[nodiscard]] InputWidths inputs() const { return widths; }
};

/// Checks what data bring: keys, and decays and noises where they are there.
/// @param value_dim 0 where values are not read
/// @throws std::invalid_argument
template <class Scalar>
void check_data(Sequence<Scalar> x, Index value_dim) {
  const Index key_dim = x.key.empty() ? 1 : x.key.cols();
  if (x.query.empty()) x.query = x.key;
  InputWidths widths;
  widths.query = widths.key = key_dim;
  widths.value = value_dim;
  widths.log_decay = widths.process_noise = InputWidth::one_or(key_dim).optional();
  widths.observation_noise = widths.write_strength = InputWidth(1).optional();
  check_inputs(DataFields<Scalar>{widths}, x);
}

/// @throws std::invalid_argument where levels are out of the domains that `NoiseLevels` names.
template <class Scalar>
void check_levels(const NoiseLevels<Scalar>& levels) {
  const auto check = [](const char* name, const Scalar& level, Domain domain) {
    if (seqbayes::detail::all_in_domain(Eigen::Array<Scalar, 1, 1>(level), domain)) return;
    seqbayes::detail::fail(std::string("levels.") + name + " must be " +
                           seqbayes::detail::describe(domain));
  };
  check("observation_noise", levels.observation_noise, Domain::positive);
  check("process_noise", levels.process_noise, Domain::non_negative);
  check("prior_variance", levels.prior_variance, Domain::non_negative);
}

template <class Scalar>
void check_gains(const Sequence<Scalar>& x, const Matrix<Scalar>& gains) {
  using seqbayes::detail::shape;
  if (gains.rows() != x.key.rows() || gains.cols() != x.key.cols()) {
    seqbayes::detail::fail("gains is " + shape(gains.rows(), gains.cols()) + ", expected " +
                           shape(x.key.rows(), x.key.cols()));
  }
  seqbayes::detail::check_field("gains", Domain::finite, MatrixView<Scalar>(gains),
                                InputWidth(gains.cols()), gains.rows());
}

}  // namespace detail

/// The gains kappa_t (T x Dk) of a layer of associative regression on `x`: what it writes of a
/// surprise of 1. Values and queries are not read.
template <SequenceLayer L>
Matrix<typename L::Scalar> write_gains(const L& layer, Sequence<typename L::Scalar> x) {
  using Scalar = typename L::Scalar;
  const Vector<Scalar> ones = Vector<Scalar>::Ones(layer.value_dim());
  x.query = x.key;
  x.value = MatrixView<Scalar>(ones.data(), x.length(), ones.size(), 0);  // one row for all
  check_inputs(layer, x);
  Matrix<Scalar> gains(x.length(), layer.key_dim());
  auto state = layer.initial_state();
  for (Index t = 0; t < x.length(); ++t) {
    state.mean.setZero();
    layer.step(state, x.token(t));
    gains.row(t) = state.mean.col(0).transpose();
  }
  return gains;
}

/// Of each token's innovation nu_t = v_t - \bar S_t' k_t, what a filter claimed and what came.
template <class Scalar>
struct Innovations {
  Vector<Scalar> claimed;       ///< s_t, T; 0 where the token observes nothing.
  Vector<Scalar> actual;        ///< |nu_t|^2 / Dv, T.
  Vector<Scalar> log_evidence;  ///< log N(nu_t; 0, s_t I), T.

  /// Normalised innovation squared, the mean of actual / claimed: 1 for an honest filter, above 1
  /// for an over-confident one. On the design model's own data |nu_t|^2 / s_t is chi^2 with Dv
  /// degrees of freedom, independent in t, so its standard error is sqrt(2 / (T Dv)) (R7.3).
  [[nodiscard]] Scalar nis() const {
    Scalar sum(0);
    Index observed = 0;
    for (Index t = 0; t < claimed.size(); ++t) {
      if (!(claimed[t] > Scalar(0))) continue;
      sum += actual[t] / claimed[t];
      ++observed;
    }
    return sum / Scalar(static_cast<double>(observed));
  }
};

/// Runs a filter over `x`, token by token. Queries are not read.
/// @throws std::invalid_argument on bad input, or if the layer gives a token an evidence without an
///   innovation variance.
template <FilterLayer L>
Innovations<typename L::Scalar> innovations(const L& layer, Sequence<typename L::Scalar> x) {
  using Scalar = typename L::Scalar;
  x.query = x.key;
  check_inputs(layer, x);
  const Scalar width = Scalar(static_cast<double>(layer.value_dim()));
  Innovations<Scalar> out;
  out.claimed.setZero(x.length());
  out.actual = out.log_evidence = out.claimed;
  auto state = layer.initial_state();
  for (Index t = 0; t < x.length(); ++t) {
    const auto y = layer.step(state, x.token(t));
    out.log_evidence[t] = y.log_evidence;
    if (y.innovation_variance > Scalar(0)) {
      out.claimed[t] = y.innovation_variance;
      out.actual[t] = y.innovation_norm2 / width;
    } else if (y.log_evidence != Scalar(0)) {
      seqbayes::detail::fail("this layer's step gives an evidence, but no innovation_variance");
    }
  }
  return out;
}

/// The covariance E_t of the error of a memory that is written with *any* gain kappa_t (R7.2):
///
///     \hat E = D E D + Omega,   E = J \hat E J' + r kappa kappa',   J = I - kappa k'.
///
/// For the gain of the exact filter it is the filter's own P_t. For a reset layer, whose own
/// variance knows of the last write alone, it is the variance that the layer should claim.
template <class Scalar>
class ErrorCovariance {
 public:
  /// @param levels of the data, whatever the layer assumes
  ErrorCovariance(Index key_dim, const NoiseLevels<Scalar>& levels)
      : levels_(levels),
        covariance_(Matrix<Scalar>::Identity(key_dim, key_dim) * levels.prior_variance) {}

  /// Takes the error over one write. Returns the variance r + k' \hat E k of its innovation.
  /// @param token of which key, log decay and noises are read
  /// @param gain kappa, Dk
  template <class Gain>
  Scalar step(const Token<Scalar>& token, const Gain& gain) {
    using std::exp;
    const auto k = token.key.vector();
    const auto entry = [](const RowView<Scalar>& field, Index i) {
      return field.empty() ? Scalar(1) : field[field.size() == 1 ? 0 : i];
    };
    Vector<Scalar> decay = Vector<Scalar>::Ones(k.size());
    for (Index i = 0; i < k.size() && !token.log_decay.empty(); ++i) {
      decay[i] = exp(entry(token.log_decay, i));
    }
    covariance_ = decay.asDiagonal() * covariance_ * decay.asDiagonal();
    for (Index i = 0; i < k.size(); ++i) {
      covariance_(i, i) += levels_.process_noise * entry(token.process_noise, i);
    }
    // J \hat E J' + r kappa kappa' = \hat E - kappa u' - u kappa', u = \hat E k - s kappa / 2
    with_innovation_ = covariance_ * k;
    const Scalar s =
        levels_.observation_noise * entry(token.observation_noise, 0) + k.dot(with_innovation_);
    const Vector<Scalar> u = with_innovation_ - gain * Scalar(s / Scalar(2));
    covariance_ -= gain * u.transpose() + u * gain.transpose();
    with_innovation_ -= gain * s;
    return s;
  }

  /// E_t, Dk x Dk: q' E_t q is the mean square error of a retrieval with query q.
  [[nodiscard]] const Matrix<Scalar>& matrix() const { return covariance_; }

  /// Cov(error after the write, innovation) = \hat E k - s kappa, Dk, which is 0 for the exact
  /// filter. The next innovation's covariance with this one is k_{t+1}' D_{t+1} times it.
  [[nodiscard]] const Vector<Scalar>& with_innovation() const { return with_innovation_; }

 private:
  NoiseLevels<Scalar> levels_;
  Matrix<Scalar> covariance_;
  Vector<Scalar> with_innovation_;
};

/// The variances q_t' E_t q_t (T) that a memory written with `gains` (T x Dk) should claim for its
/// retrievals, if the data have these noise levels (R7.2). One recursion, about 6 Dk^2 flops a
/// token.
/// @throws std::invalid_argument on bad input, levels included
template <class Scalar>
Vector<Scalar> error_variance(const Sequence<Scalar>& x, const Matrix<Scalar>& gains,
                              const NoiseLevels<Scalar>& levels) {
  if (x.query.empty()) seqbayes::detail::fail("query is missing: the variances are those of reads");
  detail::check_data(x, 0);
  detail::check_gains(x, gains);
  detail::check_levels(levels);
  ErrorCovariance<Scalar> error(gains.cols(), levels);
  Vector<Scalar> variance(x.length());
  for (Index t = 0; t < x.length(); ++t) {
    error.step(x.token(t), gains.row(t).transpose());
    const auto q = x.query.row(t).vector();
    variance[t] = q.dot(error.matrix() * q);
  }
  return variance;
}

/// What a filter claims and what is true, in the mean.
template <class Scalar>
struct Calibration {
  Scalar actual;   ///< Mean square error after the write.
  Scalar claimed;  ///< The filter's variance of it.
  Scalar nis;      ///< E nu^2 / s of the write's innovation.

  /// Above 1 if the filter is too sure.
  [[nodiscard]] Scalar overconfidence() const { return actual / claimed; }
};

/// One unit key written n >= 1 times into an exact filter that assumes no drift, no decay; data
/// have other noise levels, drift included (R7.4, R7.6). With drift overconfidence grows as
/// omega n^2 / (3 r); without, a wrong prior is forgotten as 1 / n and a wrong r never.
/// @param filter what it assumes; its process noise is not read. r and sigma_0^2 not both 0.
template <class Scalar>
Calibration<Scalar> repeated_write_calibration(Index n, const NoiseLevels<Scalar>& filter,
                                               const NoiseLevels<Scalar>& truth) {
  const Scalar r = filter.observation_noise, p = filter.prior_variance;
  // After m writes the prior has the weight `prior`, and each write the weight `write`.
  const auto weights = [&](const Scalar& m) {
    struct {
      Scalar prior, write;
    } w{r / (r + m * p), p / (r + m * p)};
    return w;
  };
  const auto error_over = [&](const Scalar& unit, const Scalar& m) {
    const auto w = weights(m);
    const Scalar earlier = m - Scalar(1), omega = truth.process_noise;
    // Causes: the prior and m drifts before all writes; noise; drift between writes
    const Scalar old = truth.prior_variance + m * omega;
    const Scalar noise = truth.observation_noise + earlier * (m + earlier) / Scalar(6) * omega;
    const Scalar all = m * w.write;
    return Scalar(w.prior * old * (w.prior / unit) + all * noise * (w.write / unit) +
                  all * (earlier * omega) * (w.prior / unit));
  };
  const auto claimed = [&](const Scalar& m) {  // r p / (r + m p)
    return r < p ? Scalar(r * weights(m).write) : Scalar(p * weights(m).prior);
  };
  const Scalar last = Scalar(static_cast<double>(n));
  const Scalar before = last - Scalar(1);
  // For a noiseless filter, r = 0, the claim before its first write is its prior.
  const Scalar claimed_before = before > Scalar(0) ? claimed(before) : p;
  const Scalar s = r + claimed_before;
  const Scalar error_before =
      before > Scalar(0) ? error_over(s, before) : Scalar(truth.prior_variance / s);
  return {error_over(Scalar(1), last), claimed(last),
          error_before + (truth.process_noise + truth.observation_noise) / s};
}

/// The steady state of a constant gain on one unit key without decay (R7.5).
/// @param gain a = k' kappa in (0, 2): the limit of an exact filter, or beta |k|^2 of a reset layer
/// @param innovation_variance s > 0 that the filter claims; it then assumes r = (1 - a) s,
///   omega = a^2 s, and claims the error (1 - a) a s
/// @param truth of which the prior is forgotten
template <class Scalar>
Calibration<Scalar> steady_calibration(const Scalar& gain, const Scalar& innovation_variance,
                                       const NoiseLevels<Scalar>& truth) {
  const Scalar rest = Scalar(1) - gain;
  const Scalar r = truth.observation_noise, omega = truth.process_noise;
  const Scalar lost = gain * (Scalar(2) - gain);  // of the error's variance, in one write
  return {(rest * rest * omega + gain * gain * r) / lost, rest * gain * innovation_variance,
          (omega + Scalar(2) * gain * r) / innovation_variance / lost};
}

}  // namespace seqbayes::dynamics
