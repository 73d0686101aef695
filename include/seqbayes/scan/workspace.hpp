/// @file
/// Scratch that repeated scans share, so that they don't allocate.
#pragma once

#include <vector>

#include <seqbayes/covariance/full_tile.hpp>
#include <seqbayes/memory/tile.hpp>

namespace seqbayes {

/// Scratch memory for one scan at a time. Grows to what the largest scan needs and keeps it; may be
/// shared by layers of any kind and width, not by threads. Holds no results between calls.
template <class Scalar>
struct Workspace {
  detail::TileInputs<Scalar> inputs;
  detail::MemoryTile<Scalar> memory;
  detail::FullTile<Scalar> covariance;
};

}  // namespace seqbayes
