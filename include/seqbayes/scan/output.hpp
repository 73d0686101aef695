/// @file
/// What layers return: the mean alone, or with the retrieval variance and the log evidence.
#pragma once

#include <cmath>
#include <numbers>

#include <seqbayes/sequence/sequence.hpp>

namespace seqbayes {

/// One token's output of a layer that keeps no variance.
template <class Scalar, int Dv>
struct StepMean {
  Vector<Scalar, Dv> mean;  ///< o = S' q, after the write of this token.
};

/// One token's output of a filter.
template <class Scalar, int Dv>
struct StepOutput {
  Vector<Scalar, Dv> mean;       ///< o = S' q, after the write of this token.
  Scalar variance;               ///< q' P q per value channel; a noisy value has r more.
  Scalar log_evidence;           ///< log N(innovation; 0, s I).
  Scalar innovation_variance{};  ///< s > 0, in V^2; 0 where the token observes nothing.
  Scalar innovation_norm2{};     ///< |nu|^2 over all value channels, in V^2; nu = y - \bar S' k.
};

/// A sequence's output of a layer that keeps no variance.
template <class Scalar>
struct MeanOutput {
  Matrix<Scalar> mean;  ///< T x Dv.
};

/// A sequence's output of a filter.
template <class Scalar>
struct Output {
  Matrix<Scalar> mean;      ///< T x Dv.
  Vector<Scalar> variance;  ///< T entries: q' P q, per value channel.
  Scalar log_evidence{};    ///< log p(values), summed over tokens and value channels.
  /// T entries each, as in `StepOutput`; empty if the layer's `step` doesn't return them.
  Vector<Scalar> innovation_variance{}, innovation_norm2{};
};

namespace detail {

template <class Scalar>
Scalar log_two_pi() {
  using std::acos;
  using std::log;
  if constexpr (std::is_floating_point_v<Scalar>) {
    return std::log(2 * std::numbers::pi_v<Scalar>);
  } else {
    return log(Scalar(Scalar(4) * acos(Scalar(0))));
  }
}

/// ln s_t of a policy, from the s_t > 0 that its gain pass returned.
template <class Policy, class Scalar, class Options>
Scalar log_innovation_variance(const Options& options, const Token<Scalar>& token,
                               const Scalar& s) {
  using std::log;
  if constexpr (requires { Policy::log_innovation_variance(options, token, s); }) {
    return Policy::log_innovation_variance(options, token, s);
  } else {
    return log(s);
  }
}

/// log N(nu; 0, s I_n) of a token, from |nu|^2. s = 0 stands for a token that observes nothing and
/// adds nothing.
template <class Policy, class Scalar, class Options>
Scalar log_density(const Options& options, const Token<Scalar>& token, const Scalar& norm2,
                   const Scalar& s, Index n) {
  if (!(s > Scalar(0))) return Scalar(0);
  const Scalar width = Scalar(static_cast<double>(n));
  const Scalar log_s = log_innovation_variance<Policy>(options, token, s);
  return Scalar(-0.5) * (norm2 / s + width * (log_s + log_two_pi<Scalar>()));
}

}  // namespace detail
}  // namespace seqbayes
