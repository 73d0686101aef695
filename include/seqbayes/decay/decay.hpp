/// @file
/// Decay of memory between tokens: D_t = Diag(e^{g_t}), the first axis of the grid.
#pragma once

#include <limits>

#include <seqbayes/sequence/sequence.hpp>

namespace seqbayes {

/// D = I.
struct NoDecay {
  static constexpr InputWidth input(Index) { return 0; }
};
/// D = e^g I with the option `log_decay` for every token (RetNet).
struct ConstantDecay {
  static constexpr InputWidth input(Index) { return 0; }
};
/// D_t = e^{g_t} I with the field `log_decay`, T x 1.
struct ScalarDecay {
  static constexpr InputWidth input(Index) { return 1; }
};
/// D_t = Diag(e^{g_t}) with the field `log_decay`, T x Dk.
struct ChannelDecay {
  static constexpr InputWidth input(Index key_dim) { return key_dim; }
};

namespace detail {

/// The identity as a decay factor, so that a layer without decay pays nothing for it.
struct UnitFactor {};

/// factors = e^g for each entry; exactly 0 where g is minus infinity, where Eigen's vectorised exp
/// is not.
template <class Factors, class Scalar>
void exponential(Factors&& factors, const RowView<Scalar>& log_decay) {
  constexpr int Dk = std::remove_cvref_t<Factors>::RowsAtCompileTime;
  const auto g = log_decay.template vector<Dk>().array();
  const Scalar lowest(-Eigen::NumTraits<Scalar>::highest());
  if (g.minCoeff() >= lowest) {
    factors = g.exp().matrix();
  } else {
    factors = (g >= lowest).select(g.exp(), Scalar(0)).matrix();
  }
}

/// D_t of one token: `UnitFactor`, a scalar, or a vector of Dk factors.
template <class Decay, int Dk, class Scalar, class Options>
auto decay_factor(const Token<Scalar>& token, [[maybe_unused]] const Options& options) {
  using std::exp;
  if constexpr (std::is_same_v<Decay, NoDecay>) {
    return UnitFactor();
  } else if constexpr (std::is_same_v<Decay, ConstantDecay>) {
    return Scalar(exp(options.log_decay));
  } else if constexpr (std::is_same_v<Decay, ScalarDecay>) {
    return Scalar(exp(token.log_decay[0]));
  } else {
    Vector<Scalar, Dk> factors(token.log_decay.size());
    exponential(factors, token.log_decay);
    return factors;
  }
}

template <int Dk, class Scalar>
Vector<Scalar, Dk> spread(UnitFactor, Index key_dim) {
  return Vector<Scalar, Dk>::Ones(key_dim);
}
template <int Dk, class Scalar>
Vector<Scalar, Dk> spread(const Scalar& factor, Index key_dim) {
  return Vector<Scalar, Dk>::Constant(key_dim, factor);
}
template <int Dk, class Scalar>
const Vector<Scalar, Dk>& spread(const Vector<Scalar, Dk>& factor, Index) {
  return factor;
}

/// x += a field of width 1 or Dk.
template <int Dk, class Entries, class Scalar>
void add_field(Entries&& x, const RowView<Scalar>& field) {
  if (field.size() == 1) {
    x.array() += field[0];
  } else {
    x += field.template vector<Dk>();
  }
}

/// x += field * y, for a field of width 1 or Dk.
template <int Dk, class Entries, class Scalar, class Y>
void add_scaled_field(Entries& x, const RowView<Scalar>& field, const Y& y) {
  if (field.size() == 1) {
    x += y * field[0];
  } else {
    x += field.template vector<Dk>().cwiseProduct(y);
  }
}

/// The covariance's own decay D^c_t where the token has one, the memory's otherwise (the
/// dial from full propagation to exact reset).
template <int Dk, class Scalar, class Factor>
Vector<Scalar, Dk> covariance_decay(const Token<Scalar>& token, const Factor& memory_decay,
                                    Index key_dim) {
  using std::exp;
  const RowView<Scalar>& own = token.covariance_log_decay;
  if (own.empty()) return spread<Dk, Scalar>(memory_decay, key_dim);
  if (own.size() == 1) return Vector<Scalar, Dk>::Constant(key_dim, Scalar(exp(own[0])));
  Vector<Scalar, Dk> factors(key_dim);
  exponential(factors, own);
  return factors;
}

}  // namespace detail
}  // namespace seqbayes
