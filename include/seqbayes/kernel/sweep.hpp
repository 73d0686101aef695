/// @file
/// The one inner kernel: a block of rows x N lanes is updated by U outer products and read R times
/// in a single pass over it.
///
///     block <- m block + sum_u w_u nu_u',      reads_r = block' e_r
///
/// Both passes are made of it. For memory, a lane is a value column; for the covariance, a column
/// of P. Each entry is loaded and stored once for U updates and R reads, 2 (U + R) flops, with
/// accumulators in registers.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cstddef>
#include <type_traits>
#include <utility>

#include <seqbayes/kernel/lanes.hpp>

namespace seqbayes::detail {

/// Entries of one cache line.
template <class Scalar>
inline constexpr Index cache_line = std::max<Index>(1, 64 / sizeof(Scalar));

/// Tokens that a sweep takes at once, and its lanes, two vectors. With U = 4 updates and R = 8
/// reads its accumulators and updates fill the 32 registers of AVX-512, with U = 2 and R = 4 the 16
/// of AVX.
inline constexpr int sweep_tokens = EIGEN_ARCH_DEFAULT_NUMBER_OF_REGISTERS >= 32 ? 4 : 2;
template <class Scalar>
inline constexpr int sweep_lanes = 2 * vector_width<Scalar>;

/// The least multiple of `unit` that is no less than `count`.
constexpr Index round_up(Index count, Index unit) { return (count + unit - 1) / unit * unit; }

/// How a sweep scales the block before it updates: not at all, each row by `rows[i * row_stride]`,
/// each lane by columns[j], or each row and lane by rows[i] columns[j].
enum class Scaling { none, rows, columns, rows_and_columns };

template <class Scalar>
struct Scales {
  const Scalar* rows = nullptr;
  Index row_stride = 0;
  const Scalar* columns = nullptr;
};

/// Rows of N lanes, at any stride.
template <class Scalar>
struct LaneRows {
  Scalar* data;
  Index stride;
};

/// One pass over `block` (rows x N, contiguous). `nu` has U rows, `reads` R.
template <Scaling scaling, int N, class Scalar, std::size_t U, std::size_t R>
[[gnu::flatten, gnu::noinline]] void sweep(Scalar* block, Index rows,
                                           const std::array<const Scalar*, U>& w,
                                           LaneRows<Scalar> nu,
                                           const std::array<const Scalar*, R>& e,
                                           LaneRows<Scalar> reads, const Scales<Scalar>& scales) {
  using Row = Lanes<Scalar, N>;
  [&]<std::size_t... u, std::size_t... r>(std::index_sequence<u...>, std::index_sequence<r...>) {
    const Row update[U] = {Row::load(nu.data + Index(u) * nu.stride)...};
    Row sums[R];
    ((sums[r] = Row::all(Scalar(0))), ...);
    [[maybe_unused]] Row columns;
    if constexpr (scaling == Scaling::columns) columns = Row::load(scales.columns);
    for (Index i = 0; i < rows; ++i) {
      Row row = Row::load(block + i * N);
      if constexpr (scaling == Scaling::rows) row *= scales.rows[i * scales.row_stride];
      if constexpr (scaling == Scaling::columns) row *= columns;
      if constexpr (scaling == Scaling::rows_and_columns) {
        row *= Row::load(scales.columns) * scales.rows[i];
      }
      (row.add_product(update[u], w[u][i]), ...);
      row.store(block + i * N);
      (sums[r].add_product(row, e[r][i]), ...);
    }
    (sums[r].store(reads.data + Index(r) * reads.stride), ...);
  }
  (std::make_index_sequence<U>(), std::make_index_sequence<R>());
}

/// Calls f(N, first, width) for blocks of N lanes that make up `count` lanes (`Known` if the
/// compiler knows it): whole sweeps, and one of a single vector where that holds what is left.
template <class Scalar, int Known, class F>
void for_each_block(Index count, const F& f) {
  constexpr int N = sweep_lanes<Scalar>;
  constexpr int unit = vector_width<Scalar>;
  for (Index first = 0; first < count; first += N) {
    if constexpr (Known == Eigen::Dynamic || (Known % N > 0 && Known % N <= unit)) {
      if (count - first <= unit) {
        f(std::integral_constant<int, unit>(), first, count - first);
        break;
      }
    }
    f(std::integral_constant<int, N>(), first, std::min<Index>(N, count - first));
  }
}

/// Copies columns `first` to `first + count - 1` of a row-major matrix into a block of N lanes,
/// padded with zeros, and back.
template <int N, class Scalar>
void load_block(Scalar* block, const Scalar* matrix, Index rows, Index stride, Index first,
                Index count) {
  for (Index i = 0; i < rows; ++i) {
    load_lanes<N>(matrix + i * stride + first, count).store(block + i * N);
  }
}

template <int N, class Scalar>
void store_block(const Scalar* block, Scalar* matrix, Index rows, Index stride, Index first,
                 Index count) {
  for (Index i = 0; i < rows; ++i) {
    store_lanes(Lanes<Scalar, N>::load(block + i * N), matrix + i * stride + first, count);
  }
}

}  // namespace seqbayes::detail
