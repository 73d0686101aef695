/// @file
/// Decay of memory between tokens, \bar S = D_t S: the second axis of the grid, its concept and its
/// points with their derivatives.
#pragma once

#include <Eigen/Core>
#include <cmath>
#include <concepts>
#include <limits>
#include <type_traits>

#include <seqbayes/sequence/gradient_row.hpp>
#include <seqbayes/sequence/options.hpp>

namespace seqbayes {

/// How many factors a token's decay has: none, one for the whole memory, one a key channel (a row
/// of S, D = Diag(e^g)) or one a value channel (a column of S: \bar S = S Diag(e^g)).
enum class DecayWidth { none, one, key_channel, value_channel };

/// A kind of decay: a struct of static members.
///
/// - `width`: how many factors a token has;
/// - `add_inputs(inputs, options)`: adds the fields that it reads;
/// - `log_decay(token, options)`: g <= 0, unless `width` is `none`: a scalar, or as many entries as
///   the width says (a `RowView` or an Eigen vector; a single one stands for all of them);
/// - `reads_option` = true, if it reads the option `log_decay`;
/// - `Self` and `log_decay_vjp(token, options, dg, grad, doptions)`, if it is to have gradients:
/// adds
///   the derivative dg of a loss with respect to what `log_decay` returned, a scalar or a vector of
///   the width's entries, to those of the token's fields (`TokenGradient`) and of the options
///   (`LayerOptionSums`). `Self` names the struct itself: one that is derived from it and changes
///   `log_decay` has other derivatives.
///
/// `Options` are those of its layers.
template <class D, class Options = LayerOptions<double, Eigen::Dynamic, Eigen::Dynamic>>
concept DecayKind = requires(InputWidths& inputs, const Options& options) {
  { D::width } -> std::convertible_to<DecayWidth>;
  D::add_inputs(inputs, options);
}
&&(D::width == DecayWidth::none ||
   requires(const Token<double>& token, const Options& options) { D::log_decay(token, options); });

namespace detail {

template <class Decay>
inline constexpr bool reads_option = false;
template <class Decay>
requires requires { Decay::reads_option; }
inline constexpr bool reads_option<Decay> = Decay::reads_option;

}  // namespace detail

/// D = I.
struct NoDecay {
  using Self = NoDecay;
  static constexpr DecayWidth width = DecayWidth::none;

  template <class Options>
  static constexpr void add_inputs(InputWidths&, const Options&) {}
};

/// D = e^g I with the option `log_decay` for every token (RetNet).
struct ConstantDecay {
  using Self = ConstantDecay;
  static constexpr DecayWidth width = DecayWidth::one;
  static constexpr bool reads_option = true;

  template <class Options>
  static constexpr void add_inputs(InputWidths&, const Options&) {}
  template <class Scalar, class Options>
  static const Scalar& log_decay(const Token<Scalar>&, const Options& options) {
    return options.log_decay;
  }
  template <class Scalar, class Options, class OptionSums>
  static void log_decay_vjp(const Token<Scalar>&, const Options&, const Scalar& dg,
                            TokenGradient<Scalar>&, OptionSums& doptions) {
    doptions.log_decay += dg;
  }
};

/// D_t = e^{g_t} I with the field `log_decay`, T x 1.
struct ScalarDecay {
  using Self = ScalarDecay;
  static constexpr DecayWidth width = DecayWidth::one;

  template <class Options>
  static constexpr void add_inputs(InputWidths& inputs, const Options&) {
    inputs.log_decay = 1;
  }
  template <class Scalar, class Options>
  static const Scalar& log_decay(const Token<Scalar>& token, const Options&) {
    return token.log_decay[0];
  }
  template <class Scalar, class Options, class OptionSums>
  static void log_decay_vjp(const Token<Scalar>&, const Options&, const Scalar& dg,
                            TokenGradient<Scalar>& grad, OptionSums&) {
    grad.log_decay.add_one(dg);
  }
};

/// D_t = Diag(e^{g_t}) with the field `log_decay`, T x Dk, or T x 1 for all channels.
struct ChannelDecay {
  using Self = ChannelDecay;
  static constexpr DecayWidth width = DecayWidth::key_channel;

  template <class Options>
  static constexpr void add_inputs(InputWidths& inputs, const Options& options) {
    inputs.log_decay = InputWidth::one_or(options.key_dim);
  }
  template <class Scalar, class Options>
  static const RowView<Scalar>& log_decay(const Token<Scalar>& token, const Options&) {
    return token.log_decay;
  }
  template <class Scalar, class Options, class Entries, class OptionSums>
  static void log_decay_vjp(const Token<Scalar>&, const Options&, const Entries& dg,
                            TokenGradient<Scalar>& grad, OptionSums&) {
    grad.log_decay.add(dg);
  }
};

namespace detail {

/// Factors of a token's decay: none, so that a layer without decay pays nothing for it; a scalar;
/// a vector, of key channels; or one of value channels.
struct UnitFactor {};
template <class Scalar, int Dv>
struct ValueFactors {
  Vector<Scalar, Dv> factors;
};

/// factors = e^g for each entry; exactly 0 where g is minus infinity, where Eigen's vectorised exp
/// is not. A single g stands for all entries.
template <class Factors, class Entries>
void exponential(Factors&& factors, const Eigen::MatrixBase<Entries>& log_decay) {
  using std::exp;
  using Scalar = typename Entries::Scalar;
  const auto g = log_decay.derived().array();
  if constexpr (Entries::SizeAtCompileTime != 1) {
    const Scalar lowest(-Eigen::NumTraits<Scalar>::highest());
    if (g.size() != 1 && g.minCoeff() >= lowest) {
      factors = g.exp().matrix();
      return;
    }
    if (g.size() != 1) {
      factors = (g >= lowest).select(g.exp(), Scalar(0)).matrix();
      return;
    }
  }
  factors.setConstant(Scalar(exp(g[0])));
}
template <class Factors, class Scalar>
void exponential(Factors&& factors, const RowView<Scalar>& log_decay) {
  constexpr int Width = std::remove_cvref_t<Factors>::RowsAtCompileTime;
  if (log_decay.size() == 1) {
    exponential(factors, log_decay.template vector<1>());
  } else {
    exponential(factors, log_decay.template vector<Width>());
  }
}

/// D_t of one token.
template <class Decay, int Dk, int Dv, class Scalar, class Options>
auto decay_factor(const Token<Scalar>& token, const Options& options) {
  using std::exp;
  if constexpr (Decay::width == DecayWidth::none) {
    return UnitFactor();
  } else if constexpr (Decay::width == DecayWidth::one) {
    return Scalar(exp(Decay::log_decay(token, options)));
  } else if constexpr (Decay::width == DecayWidth::key_channel) {
    Vector<Scalar, Dk> factors(options.key_dim);
    exponential(factors, Decay::log_decay(token, options));
    return factors;
  } else {
    ValueFactors<Scalar, Dv> value{Vector<Scalar, Dv>(options.value_dim)};
    exponential(value.factors, Decay::log_decay(token, options));
    return value;
  }
}

/// A factor of the memory as Dk factors of the covariance.
template <int Dk, class Scalar>
Vector<Scalar, Dk> key_factors(UnitFactor, Index key_dim) {
  return Vector<Scalar, Dk>::Ones(key_dim);
}
template <int Dk, class Scalar>
Vector<Scalar, Dk> key_factors(const Scalar& factor, Index key_dim) {
  return Vector<Scalar, Dk>::Constant(key_dim, factor);
}
template <int Dk, class Scalar>
const Vector<Scalar, Dk>& key_factors(const Vector<Scalar, Dk>& factor, Index) {
  return factor;
}

/// The covariance's own decay D^c_t where the token has one, the memory's otherwise (the
/// dial from full propagation to exact reset).
template <int Dk, class Scalar, class Factor>
Vector<Scalar, Dk> covariance_decay(const Token<Scalar>& token, const Factor& memory_decay,
                                    Index key_dim) {
  if (token.covariance_log_decay.empty()) return key_factors<Dk, Scalar>(memory_decay, key_dim);
  Vector<Scalar, Dk> factors(key_dim);
  exponential(factors, token.covariance_log_decay);
  return factors;
}

/// For a derivative with respect to a log decay: nothing of what came before a decay of 0 has an
/// effect, and no rounding errors may stay. `decay` is one factor or Dk.
template <class Entries, class Decay>
void forget(Entries& along, const Decay& decay) {
  if constexpr (std::is_arithmetic_v<Decay>) {
    if (!(decay > Decay(0))) along.setZero();
  } else {
    for (Index i = 0; i < along.size(); ++i) {
      if (!(decay[i] > 0)) along[i] = 0;
    }
  }
}

/// Hands a derivative with respect to log decay factors, one a key channel, to the decay.
template <class Decay, class Scalar, class Options, class Entries, class OptionSums>
void log_decay_vjp(const Token<Scalar>& token, const Options& options, const Entries& dg,
                   TokenGradient<Scalar>& grad, OptionSums& doptions) {
  static_assert(
      Decay::width == DecayWidth::none || NamesItself<Decay>,
      "seqbayes: scan_vjp has no derivatives of this decay: it has no member log_decay_vjp, or no "
      "Self (decay/decay.hpp, DecayKind).");
  if constexpr (Decay::width == DecayWidth::one) {
    Decay::log_decay_vjp(token, options, Scalar(dg.sum()), grad, doptions);
  } else if constexpr (Decay::width != DecayWidth::none) {
    Decay::log_decay_vjp(token, options, dg, grad, doptions);
  }
}

}  // namespace detail
}  // namespace seqbayes
