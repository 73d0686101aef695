/// @file
/// Which layers run in tiles, and where a scan puts its results.
#pragma once

#include <seqbayes/scan/layer.hpp>
#include <seqbayes/sequence/compensated_sum.hpp>

namespace seqbayes::detail {

/// Whether a layer can run in tiles: one of the library's, of a native type, whose model makes one
/// write.
template <class L>
concept TiledLayer = std::is_floating_point_v<typename L::Scalar> && requires {
  typename L::Model;
  typename L::Policy;
} &&(L::Model::write != Write::replace);

/// Tokens a tile when the library chooses: long enough that loading and storing the state costs
/// little, short enough that a tile's inputs stay in the second cache.
inline constexpr Index default_tile = 128;

/// Where a scan puts its results: T x Dv means without gaps, and, if not null, T variances, the log
/// evidence, T innovation variances and norms.
template <class Scalar>
struct Results {
  Scalar* mean = nullptr;
  Scalar* variance = nullptr;
  CompensatedSum<Scalar>* log_evidence = nullptr;
  Scalar* innovation_variance = nullptr;
  Scalar* innovation_norm2 = nullptr;
};

}  // namespace seqbayes::detail
