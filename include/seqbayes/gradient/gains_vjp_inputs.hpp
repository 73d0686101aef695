/// @file
/// What the gain pass of a tile reads when it goes backwards.
#pragma once

#include <seqbayes/sequence/sequence.hpp>

namespace seqbayes::detail {

/// Derivatives that come into the gain pass, and what it left, for the tokens of a tile.
template <class Scalar>
struct GainsVjpInputs {
  const Sequence<Scalar>& x;
  Index first, count;
  const Scalar* gain;                      ///< kappa, Dk a token.
  const Scalar* innovation_variance;       ///< s.
  const Scalar* dgain;                     ///< Dk a token.
  const Scalar* dlog_innovation_variance;  ///< By ln s: the evidence's part.
  const Scalar* dvariance;                 ///< Null: none.
  bool resolved;                           ///< Whether all tokens were (covariance/resolution.hpp).
};

}  // namespace seqbayes::detail
