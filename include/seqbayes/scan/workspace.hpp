/// @file
/// Scratch that repeated scans share, so that they don't allocate.
#pragma once

#include <Eigen/Core>

#include <seqbayes/sequence/view.hpp>

namespace seqbayes {

/// Scratch memory for one scan at a time. Grows to what the largest scan needs and keeps it; may be
/// shared by layers of any kind and width, not by threads. Holds no results between calls.
template <class Scalar>
class Workspace {
 public:
  Workspace() = default;

  /// Makes room for `count` scalars in buffer `slot`, aligned for vectors. Contents are
  /// unspecified.
  template <int slot>
  Scalar* buffer(Index count) {
    static_assert(slot >= 0 && slot < slots);
    auto& memory = buffers_[slot];
    if (memory.size() < count) memory.resize(count);
    return memory.data();
  }

 private:
  static constexpr int slots = 12;
  Eigen::Array<Scalar, Eigen::Dynamic, 1> buffers_[slots];
};

}  // namespace seqbayes
