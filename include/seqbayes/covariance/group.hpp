/// @file
/// What the gain pass of many tokens at once is given and yields: the optional group form of a
/// covariance policy.
#pragma once

#include <Eigen/Core>
#include <cmath>
#include <type_traits>

#include <seqbayes/covariance/policy.hpp>
#include <seqbayes/decay/decay.hpp>
#include <seqbayes/kernel/buffer.hpp>

namespace seqbayes {

/// Tokens `first` to `first + count - 1` of a sequence, as a gain pass sees them: with the
/// covariance's decay, which is the field `covariance_log_decay` or, where that is empty, the
/// memory's.
template <class Scalar>
struct GainTokens {
  const Sequence<Scalar>& x;
  Index first, count;
  Index key_dim;
  const Scalar* memory_decay;  ///< The memory's factors, `memory_width` a token.
  Index memory_width;          ///< 0, 1 or Dk.

  /// Whether all channels have the same factor at every token.
  [[nodiscard]] bool is_uniform() const {
    return (x.covariance_log_decay.empty() ? memory_width : x.covariance_log_decay.cols()) < 2;
  }

  /// That factor, of token first + i.
  [[nodiscard]] Scalar uniform_decay(Index i) const {
    if (!x.covariance_log_decay.empty()) {
      return std::exp(x.covariance_log_decay.row(first + i)[0]);
    }
    return memory_width == 0 ? Scalar(1) : memory_decay[i];
  }

  /// All Dk factors of token first + i.
  template <int Dk = Eigen::Dynamic>
  void decay(Index i, Scalar* row) const {
    Eigen::Map<Vector<Scalar, Dk>> factors(row, key_dim);
    if (is_uniform()) {
      factors.setConstant(uniform_decay(i));
    } else if (x.covariance_log_decay.empty()) {
      factors = Eigen::Map<const Vector<Scalar, Dk>>(memory_decay + i * key_dim, key_dim);
    } else {
      detail::exponential(factors, x.covariance_log_decay.row(first + i));
    }
  }
};

/// Where the results of consecutive tokens go.
template <class Scalar>
struct GainResults {
  Scalar* gain;                 ///< kappa, Dk a token.
  Scalar* innovation_variance;  ///< s.
  Scalar* variance;             ///< q' P q, if asked for.
};

/// How it went: not at all, since only single tokens keep the digits, and the state is as it was;
/// forwards, but derivatives have to be taken token by token; or for both ways.
enum class GroupOutcome { failed, forwards, both_ways };

/// Derivatives with respect to what the gain pass of consecutive tokens yielded, and what it
/// yielded.
template <class Scalar>
struct GainsCotangent {
  const Scalar* gain;                      ///< kappa, Dk a token.
  const Scalar* innovation_variance;       ///< s.
  const Scalar* dgain;                     ///< Dk a token.
  const Scalar* dlog_innovation_variance;  ///< With respect to ln s.
  const Scalar* dvariance;                 ///< Null: none.
  Scalar* dlog_decay;  ///< Result: with respect to the covariance's log decay, Dk a token.

  /// That of tokens from the `first` on.
  [[nodiscard]] GainsCotangent from(Index first, Index key_dim) const {
    const Index at = first * key_dim;
    return {gain + at,
            innovation_variance + first,
            dgain + at,
            dlog_innovation_variance + first,
            dvariance ? dvariance + first : nullptr,
            dlog_decay + at};
  }
};

/// A policy that takes many tokens at once (it names itself, `Self`).
///
/// - `GroupScratch<Scalar>`: memory that it uses for that, of a scan;
/// - `gains<Dk, variances>(options, tokens, state, results, scratch)` -> GroupOutcome: advances the
///   state over `tokens`, `GainTokens`, and writes `GainResults`, with q' P q if `variances`.
///
/// And if it is to have gradients in this form:
///
/// - `GroupVjpScratch<Scalar>`;
/// - `gains_vjp<Dk>(options, tokens, before, after, d, dstate, gradient, scratch)` -> bool:
/// `before`
///   and `after` are the states around `tokens`, `d` is `GainsCotangent`, `dstate` the derivative
///   with respect to `after` and, on return, to `before`; derivatives with respect to fields are
///   added to `gradient`, matrices of all tokens. False, with nothing touched: these tokens have to
///   be taken in smaller parts, at last one by one.
template <class P, class Scalar>
concept GroupPolicy =
    CovariancePolicy<P> && detail::NamesItself<P> && std::is_floating_point_v<Scalar> && requires {
  typename P::template GroupScratch<Scalar>;
};
template <class P, class Scalar>
concept DifferentiableGroupPolicy = GroupPolicy<P, Scalar> && requires {
  typename P::template GroupVjpScratch<Scalar>;
};

namespace detail {

struct NoScratch {};

/// The scratch of a policy's group form; nothing where it has none.
template <class Policy, class Scalar>
struct GroupScratchOf : std::type_identity<NoScratch> {};
template <class Policy, class Scalar>
requires GroupPolicy<Policy, Scalar>
struct GroupScratchOf<Policy, Scalar>
    : std::type_identity<typename Policy::template GroupScratch<Scalar>> {
};
template <class Policy, class Scalar>
struct GroupVjpScratchOf : std::type_identity<NoScratch> {};
template <class Policy, class Scalar>
requires DifferentiableGroupPolicy<Policy, Scalar>
struct GroupVjpScratchOf<Policy, Scalar>
    : std::type_identity<typename Policy::template GroupVjpScratch<Scalar>> {
};

}  // namespace detail
}  // namespace seqbayes
