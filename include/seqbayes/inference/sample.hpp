/// @file
/// Values drawn from the models that the filters are exact for.
#pragma once

#include <cmath>
#include <random>

#include <seqbayes/inference/calibration.hpp>

namespace seqbayes::dynamics {

/// What happens to the covariance of a filter of associative regression between two writes.
enum class Regime {
  reset,  ///< It is put back to sigma_0^2 I (DeltaNet, Gated DeltaNet, KDA).
  full    ///< It is propagated: \hat P = D P D + Omega (Bayesian Layer).
};

/// Values (T x `value_dim`) of associative regression S_t = D_t S_{t-1} + W_t, v_t = S_t' k_t +
/// noise, whose exact filter is the layer with this regime, which is told the same noise levels.
///
/// `full` draws W_t from N(0, Omega_t). `reset` draws it from N(0, sigma_0^2 I - D_t P_{t-1} D_t)
/// with P_{t-1} = sigma_0^2 I - s kappa kappa' after the write before: all that a write has learned
/// is undone before the next by drift along the key just written, so nothing can be known better
/// than from one write. Process noise is not read then.
/// @param x of which keys, log decays and noise fields are read
/// @param engine a standard random number engine
/// @throws std::invalid_argument on bad input, levels included
template <class Scalar, class Engine>
Matrix<Scalar> sample_values(const Sequence<Scalar>& x, Index value_dim,
                             const NoiseLevels<Scalar>& levels, Regime regime, Engine& engine) {
  using std::exp;
  using std::sqrt;
  detail::check_data(x, 0);
  detail::check_levels(levels);
  const Index length = x.key.rows(), dk = x.key.cols();
  std::normal_distribution<double> normal;
  const auto draw = [&](Index rows) {
    return Matrix<Scalar>(
        Matrix<Scalar>::NullaryExpr(rows, value_dim, [&] { return Scalar(normal(engine)); }));
  };
  const auto entry = [](const RowView<Scalar>& field, Index i, double missing) {
    return field.empty() ? Scalar(missing) : field[field.size() == 1 ? 0 : i];
  };
  Matrix<Scalar> values(length, value_dim);
  Matrix<Scalar> memory = draw(dk) * Scalar(sqrt(levels.prior_variance));
  Vector<Scalar> learned = Vector<Scalar>::Zero(dk);  // sqrt(s) kappa of the write before
  for (Index t = 0; t < length; ++t) {
    const Token<Scalar> token = x.token(t);
    const auto k = token.key.vector();
    const Matrix<Scalar> along = draw(1), drift = draw(dk);
    for (Index i = 0; i < dk; ++i) {
      const Scalar decay = exp(entry(token.log_decay, i, 0));
      Scalar variance = levels.process_noise * entry(token.process_noise, i, 1);
      if (regime == Regime::reset) {
        // The prior of the first token is sigma_0^2 I as it stands.
        variance = t == 0 ? Scalar(0) : Scalar(levels.prior_variance * (Scalar(1) - decay * decay));
      }
      if (regime == Regime::full || t > 0) memory.row(i) *= decay;
      memory.row(i) += drift.row(i) * Scalar(sqrt(variance)) + along * Scalar(decay * learned[i]);
    }
    const Scalar r = levels.observation_noise * entry(token.observation_noise, 0, 1);
    values.row(t) = k.transpose() * memory + draw(1) * Scalar(sqrt(r));
    if (regime == Regime::reset) {
      const Scalar s = r + levels.prior_variance * k.squaredNorm();
      learned = k * Scalar(levels.prior_variance / Scalar(sqrt(s)));
    }
  }
  return values;
}

}  // namespace seqbayes::dynamics
