/// @file
/// Scratch that repeated scans share, so that they don't allocate.
#pragma once

#include <utility>
#include <vector>

#include <seqbayes/covariance/full_tile.hpp>
#include <seqbayes/kernel/memory_tile.hpp>
#include <seqbayes/sequence/sequence.hpp>

namespace seqbayes {

/// Scratch memory for one scan at a time. Grows to what the largest scan needs and keeps it; may be
/// shared by layers of any kind and width, not by threads. Holds no results between calls. What is
/// in it is the library's own.
template <class Scalar>
struct Workspace {
  detail::TileInputs<Scalar> inputs;
  detail::MemoryTile<Scalar> memory;
  detail::FullTile<Scalar> covariance;
  Fields<Matrix<Scalar>> writes;  ///< Of several writes a token: their fields, and what they yield.
  detail::Buffer<Scalar> means_of_writes, variances_of_writes, evidences_of_writes;
  /// What the layers yield that another is made of, for each level of such layers; the outermost
  /// level's is the last. A scan takes one and gives it back.
  std::vector<detail::Buffer<Scalar>> of_parts;

  detail::Buffer<Scalar> take_parts() {
    if (of_parts.empty()) return {};
    detail::Buffer<Scalar> last = std::move(of_parts.back());
    of_parts.pop_back();
    return last;
  }

  /// The scratch of a policy's group form: the one that is kept here, or, of a type that isn't,
  /// the caller's own.
  detail::FullTile<Scalar>& of_groups(detail::FullTile<Scalar>&) { return covariance; }
  template <class Scratch>
  Scratch& of_groups(Scratch& own) {
    return own;
  }
};

}  // namespace seqbayes
