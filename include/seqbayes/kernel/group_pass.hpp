/// @file
/// The one driver of all passes of the memory over a tile, in groups of G = `sweep_tokens`: a sweep
/// updates a block of the matrix with a group and reads for the next.
///
/// A pass says which way it goes and what its lanes are, which rows a group writes with (`writes`)
/// and the next one reads with (`probes`), and makes the group's updates from its reads (`solve`).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>

#include <seqbayes/kernel/buffer.hpp>

namespace seqbayes::detail {

/// Row t at data + t * width.
template <class Scalar>
struct TokenRows {
  Scalar* data;
  Index width;

  Scalar* operator[](std::size_t t) const { return data + Index(t) * width; }
};

/// A block of the matrix, a group's updates and reads, and a factor a lane.
template <class Scalar>
struct LaneBuffers {
  Buffer<Scalar> block, update, reads, columns;

  /// For blocks of up to `rows` rows, in any pass.
  void reserve(Index rows) {
    constexpr Index N = sweep_lanes<Scalar>;
    block.reserve(rows * N);
    update.reserve(2 * sweep_tokens * N);
    reads.reserve(2 * sweep_tokens * N);
    columns.reserve(N);
  }
};

/// How the memory of a group lies in the block.
template <class Scalar>
struct GroupScales {
  static constexpr int G = sweep_tokens;
  Scalar read_scale[G];   ///< S = read_scale * block at token t, but for the group's own writes.
  Scalar write_scale[G];  ///< Of what token s writes, in the update of the block.
  Scalar block_scale;     ///< Of the block itself where `rescale` is set.
  bool rescale;

  /// At the group's end, the block takes up the factor `lazy` if that has become small.
  void take_up(Scalar& lazy) {
    block_scale = lazy;
    rescale = lazy < least_lazy_decay<Scalar>;
    if (rescale) lazy = Scalar(1);
  }
};

/// Rows of the tokens of group g; of the second kind, too, if the model predicts.
template <bool predicts, class Scalar, class First, class Second>
auto rows_of_group(std::size_t g, const First& first, const Second& second) {
  constexpr std::size_t G = sweep_tokens;
  std::array<const Scalar*, predicts ? 2 * G : G> rows;
  for (std::size_t t = 0; t < G; ++t) {
    rows[t] = first[g * G + t];
    if constexpr (predicts) rows[G + t] = second[g * G + t];
  }
  return rows;
}
template <class Scalar, class Rows>
auto rows_of_group(std::size_t g, const Rows& rows) {
  return rows_of_group<false, Scalar>(g, rows, rows);
}

/// Row t of updates or reads.
template <int N, class Scalar>
EIGEN_STRONG_INLINE Lanes<Scalar, N> lane_row(const Scalar* rows, std::size_t t) {
  return Lanes<Scalar, N>::load(rows + Index(t) * N);
}
template <int N, class Scalar>
EIGEN_STRONG_INLINE void set_lane_row(Scalar* rows, std::size_t t, const Lanes<Scalar, N>& x) {
  x.store(rows + Index(t) * N);
}

/// Runs a pass over N lanes of a row-major matrix, group by group. `scaling` is how the block is
/// scaled where that is due: after every group if `each_group`, else where a lazy factor has become
/// small. `p` is what the pass reads: `buffers`, `key_dim`, `value_dim`, the lanes `first` to
/// `first + width - 1`, and `groups()`, `scales<Pass>(g)`, `row_scale(g)` and
/// `final_scale<Pass>()`.
template <class Pass, Scaling scaling, bool each_group, int N, class Inputs, class Scalar>
void run_groups(const Inputs& p, Scalar* matrix) {
  const Index rows = Pass::key_lanes ? p.value_dim : p.key_dim;
  const Index cols = Pass::key_lanes ? p.key_dim : p.value_dim;
  const std::size_t groups = p.groups();
  Scalar *block = p.buffers.block.data(), *update = p.buffers.update.data();
  Scalar* reads = p.buffers.reads.data();

  const auto at = [groups](std::size_t i) { return Pass::backward ? groups - 1 - i : i; };
  const auto scales = [&](std::size_t g) -> Scales<Scalar> {
    if constexpr (scaling == Scaling::columns) return {nullptr, 0, p.buffers.columns.data()};
    if constexpr (each_group) return {p.row_scale(g), 1};
    return {&p.template scales<Pass>(g).block_scale, 0};
  };

  load_block<N>(block, matrix, rows, cols, p.first, p.width);
  const auto first_writes = Pass::writes(p, at(0));
  std::fill_n(update, Index(first_writes.size()) * N, Scalar(0));
  sweep<Scaling::none, N>(block, rows, first_writes, {update, N}, Pass::probes(p, at(0)),
                          {reads, N}, {});
  for (std::size_t i = 0; i < groups; ++i) {
    const std::size_t g = at(i), next = i + 1 < groups ? at(i + 1) : g;
    Pass::solve(p, g, next, reads, update);
    const auto probes = Pass::probes(p, next);
    if (scaling != Scaling::none && (each_group || p.template scales<Pass>(g).rescale)) {
      sweep<scaling, N>(block, rows, Pass::writes(p, g), {update, N}, probes, {reads, N},
                        scales(g));
    } else {
      sweep<Scaling::none, N>(block, rows, Pass::writes(p, g), {update, N}, probes, {reads, N}, {});
    }
  }
  if constexpr (Pass::keeps) {
    const Scalar scale = p.template final_scale<Pass>();
    for (std::size_t i = 0; i < std::size_t(rows); ++i) {
      set_lane_row<N>(block, i, lane_row<N>(block, i) * scale);
    }
    store_block<N>(block, matrix, rows, cols, p.first, p.width);
  }
}

}  // namespace seqbayes::detail
