/// @file
/// Scratch of the passes over a tile of tokens.
#pragma once

#include <Eigen/Core>

#include <seqbayes/kernel/sweep.hpp>

namespace seqbayes::detail {

/// Aligned scratch that grows and is kept.
template <class Scalar>
class Buffer {
 public:
  Scalar* reserve(Index count) {
    if (storage_.size() < count) storage_.resize(count);
    return storage_.data();
  }
  Scalar* data() { return storage_.data(); }
  const Scalar* data() const { return storage_.data(); }

 private:
  Eigen::Array<Scalar, Eigen::Dynamic, 1> storage_;
};

/// The tokens of a tile, filled up to whole groups with null tokens that write, read and decay
/// nothing.
constexpr Index whole_groups(Index tokens) { return round_up(tokens, sweep_tokens); }

/// Tokens a tile when the library chooses: long enough that loading and storing the state costs
/// little, short enough that a tile's inputs stay in the second cache.
inline constexpr Index default_tile = 128;

/// A decay that is one factor is kept lazily, as a factor of the state, by whose inverse all that
/// is written is multiplied; below this it is applied to the state, so that the inverse stays below
/// 1e6.
template <class Scalar>
inline constexpr Scalar least_lazy_decay = Scalar(1e-6);

}  // namespace seqbayes::detail
