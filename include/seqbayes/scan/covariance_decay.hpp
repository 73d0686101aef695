/// @file
/// The covariance's decay over a tile of tokens.
#pragma once

#include <seqbayes/scan/layer.hpp>

namespace seqbayes::detail {

/// Covariance decay factors of token t: the covariance's own field, or the memory's decay.
template <class L, bool uniform_memory>
struct CovarianceDecay {
  using Scalar = typename L::Scalar;
  static constexpr int Dk = L::key_width;

  const Sequence<Scalar>& x;
  Index key_dim;
  const Scalar* memory_decay;  ///< Of token `first` on; null: none.
  Index first;

  /// Whether all channels have the same factor at every token.
  [[nodiscard]] bool is_uniform() const {
    return x.covariance_log_decay.cols() == 1 || (x.covariance_log_decay.empty() && uniform_memory);
  }

  /// That factor.
  Scalar uniform(Index t) const {
    if (!x.covariance_log_decay.empty()) return std::exp(x.covariance_log_decay.row(t)[0]);
    if constexpr (uniform_memory) return memory_decay ? memory_decay[t - first] : Scalar(1);
    return Scalar(1);
  }

  void operator()(Index t, Scalar* row) const {
    Eigen::Map<Vector<Scalar, Dk>> factors(row, key_dim);
    if (x.covariance_log_decay.cols() > 1 || (!x.covariance_log_decay.empty() && key_dim == 1)) {
      exponential(factors, x.covariance_log_decay.row(t));
    } else if (x.covariance_log_decay.empty() && !uniform_memory) {
      factors = Eigen::Map<const Vector<Scalar, Dk>>(memory_decay + (t - first) * key_dim, key_dim);
    } else {
      factors.setConstant(uniform(t));
    }
  }
};

/// Whether a covariance grows so fast that a group, which starts from the covariance before it,
/// would lose digits that single tokens keep: by more than e^(2 G / 4), at most e^2,
/// in a group.
template <class Scalar>
bool grows(const MatrixView<Scalar>& log_decay) {
  for (Index i = 0; i < log_decay.rows(); ++i) {
    if (log_decay.row(i).vector().maxCoeff() > Scalar(0.25)) return true;
  }
  return false;
}

}  // namespace seqbayes::detail
