/// @file
/// What layers return: the mean alone, or with the retrieval variance and the log evidence.
#pragma once

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

}  // namespace seqbayes
