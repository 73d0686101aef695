/// @file
/// A matrix that is read often and written seldom, in the scalar or in 16 bits: what a decoder
/// keeps its state in.
///
/// Rows and columns are padded with zeros to whole registers, so its two passes have no remainders:
///
///     reads_r = M' x_r                           (stores nothing)
///     M <- Diag(rows) M Diag(columns) + sum_u a_u b_u'
///
/// Both go through it in the order of memory, four rows at a time, and ask for what lies 2 KB
/// ahead: a state comes from far away as fast as a plain sum over it would. All arithmetic is the
/// scalar's; numbers are converted as they are loaded and stored (rounded to nearest, ties to
/// even).
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cstddef>
#include <type_traits>

#include <seqbayes/kernel/buffer.hpp>

#if defined(__F16C__)
#include <immintrin.h>
#endif

namespace seqbayes::detail {

/// Rows that a pass takes at once.
inline constexpr int stored_rows = 4;

/// The padded width of `count` rows or columns.
template <class Scalar>
constexpr Index padded_width(Index count) {
  return round_up(count, std::max<Index>(stored_rows, sweep_lanes<Scalar>));
}

/// Asks for `bytes` from `address` on, which may be any: a hint never fails.
inline void prefetch(const void* address, Index bytes) {
#if defined(__GNUC__)
  const auto* data = static_cast<const char*>(address);
  for (Index at = 0; at < bytes; at += 64) __builtin_prefetch(data + at);
#endif
}

/// Whether a register of `From` becomes one of `To` without detours.
template <class From, class To>
inline constexpr bool converts =
    bool(Eigen::internal::type_casting_traits<From, To>::VectorizedCast) && vector_width<From> ==
                                                                                vector_width<To>;

/// Whether Packet8f does, which Eigen 3.4 has g++ do entry by entry.
template <class Storage, class Scalar>
inline constexpr bool converts_by_f16c =
#if defined(__F16C__)
    std::is_same_v<Storage, Eigen::half>&& std::is_same_v<Scalar, float>&& vector_width<Scalar> ==
    8;
#else
    false;
#endif

template <class Scalar, class Storage>
EIGEN_STRONG_INLINE Packet<Scalar> load_packet(const Storage* data) {
  using namespace Eigen::internal;
  if constexpr (std::is_same_v<Storage, Scalar>) {
    return pload<Packet<Scalar>>(data);
  } else if constexpr (converts_by_f16c<Storage, Scalar>) {
#if defined(__F16C__)
    return _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(data)));
#endif
  } else if constexpr (converts<Storage, Scalar>) {
    return pcast<Packet<Storage>, Packet<Scalar>>(pload<Packet<Storage>>(data));
  } else {
    alignas(Packet<Scalar>) Scalar entries[vector_width<Scalar>];
    for (int i = 0; i < vector_width<Scalar>; ++i) entries[i] = static_cast<Scalar>(data[i]);
    return pload<Packet<Scalar>>(entries);
  }
}

template <class Scalar, class Storage>
EIGEN_STRONG_INLINE void store_packet(Storage* data, const Packet<Scalar>& packet) {
  using namespace Eigen::internal;
  if constexpr (std::is_same_v<Storage, Scalar>) {
    pstore(data, packet);
  } else if constexpr (converts_by_f16c<Storage, Scalar>) {
#if defined(__F16C__)
    _mm_store_si128(reinterpret_cast<__m128i*>(data), _mm256_cvtps_ph(packet, 0));
#endif
  } else if constexpr (converts<Scalar, Storage>) {
    pstore(data, pcast<Packet<Scalar>, Packet<Storage>>(packet));
  } else {
    alignas(Packet<Scalar>) Scalar entries[vector_width<Scalar>];
    pstore(entries, packet);
    for (int i = 0; i < vector_width<Scalar>; ++i) data[i] = static_cast<Storage>(entries[i]);
  }
}

/// Rows as wide as those of a `StoredMatrix`, zeros at first and in their padding for ever.
template <class Scalar>
class PaddedRows {
 public:
  PaddedRows(Index count, Index width) : width_(width), padded_(padded_width<Scalar>(width)) {
    std::fill_n(entries_.reserve(count * padded_), count * padded_, Scalar(0));
  }

  [[nodiscard]] Index width() const { return padded_; }
  Scalar* data(Index i = 0) { return entries_.data() + i * padded_; }
  const Scalar* data(Index i = 0) const { return entries_.data() + i * padded_; }
  template <int Width>
  auto row(Index i) {
    return Eigen::Map<Vector<Scalar, Width>>(data(i), width_);
  }
  template <int Width>
  auto row(Index i) const {
    return Eigen::Map<const Vector<Scalar, Width>>(data(i), width_);
  }
  /// With the padding: whole registers.
  auto whole(Index i) {
    return Eigen::Map<Eigen::Array<Scalar, Eigen::Dynamic, 1>, Eigen::AlignedMax>(data(i), padded_);
  }

 private:
  Buffer<Scalar> entries_;
  Index width_, padded_;
};

template <class Scalar, class Storage>
class StoredMatrix {
  using Entries = Packet<Scalar>;
  static constexpr int N = vector_width<Scalar>;
  static constexpr int V = sweep_lanes<Scalar> / N;  ///< Registers of a row that a pass takes.
  static constexpr Index ahead = 2048;               ///< Bytes.
  static constexpr Index piece = stored_rows * V * N * Index(sizeof(Storage));

 public:
  StoredMatrix(Index rows, Index columns)
      : rows_(padded_width<Scalar>(rows)), columns_(padded_width<Scalar>(columns)) {
    std::fill_n(entries_.reserve(rows_ * columns_), rows_ * columns_, Storage(0));
  }

  [[nodiscard]] const Storage* data() const { return entries_.data(); }
  Scalar operator()(Index i, Index j) const {
    return static_cast<Scalar>(entries_.data()[i * columns_ + j]);
  }
  void set(Index i, Index j, const Scalar& entry) {
    entries_.data()[i * columns_ + j] = static_cast<Storage>(entry);
  }

  /// out_r = M' x_r, all padded. `next` is what is read after this matrix.
  template <std::size_t R>
  [[gnu::noinline]] void read(const std::array<const Scalar*, R>& x,
                              const std::array<Scalar*, R>& out, const void* next) const {
    using namespace Eigen::internal;
    const Index rows = rows_, columns = columns_;
    const std::array<Scalar*, R> sum = out;
    for (Scalar* sums : sum) std::fill_n(sums, columns, Scalar(0));
    for (Index i = 0; i < rows; i += stored_rows) {
      const Storage* row = entries_.data() + i * columns;
      const char* later = after(row, next);
      Entries factors[R][stored_rows];
      for (std::size_t r = 0; r < R; ++r) {
        for (int l = 0; l < stored_rows; ++l) factors[r][l] = pset1<Entries>(x[r][i + l]);
      }
      for (Index j = 0; j < columns; j += V * N, later += piece) {
        prefetch(later, piece);
        Entries sums[R][V];
        for (std::size_t r = 0; r < R; ++r) {
          for (int v = 0; v < V; ++v) sums[r][v] = pload<Entries>(sum[r] + j + v * N);
        }
        for (int l = 0; l < stored_rows; ++l) {
          for (int v = 0; v < V; ++v) {
            Entries entries = load_packet<Scalar>(row + l * columns + j + v * N);
            EIGEN_OPTIMIZATION_BARRIER(entries);  // else g++ loads it once more for each read
            for (std::size_t r = 0; r < R; ++r) {
              sums[r][v] = pmadd(entries, factors[r][l], sums[r][v]);
            }
          }
        }
        for (std::size_t r = 0; r < R; ++r) {
          for (int v = 0; v < V; ++v) pstore(sum[r] + j + v * N, sums[r][v]);
        }
      }
    }
  }

  /// M <- Diag(row_scales) M Diag(column_scales) + sum_u a_u b_u' for `count` padded rows a_u, b_u,
  /// one after the other. `column_scales` and `errors` may be null; the latter gets, added to each
  /// column's entry, the absolute rounding errors of what is stored. Symmetric matrices stay so,
  /// exactly, where scales are the same and b_u = -a_u.
  [[gnu::noinline]] void update(const Scalar* row_scales, const Scalar* column_scales,
                                const Scalar* a, const Scalar* b, Index count, Scalar* errors) {
    using namespace Eigen::internal;
    const Index rows = rows_, columns = columns_;
    for (Index i = 0; i < rows; i += stored_rows) {
      Storage* row = entries_.data() + i * columns;
      const char* later = after(row, nullptr);
      for (Index j = 0; j < columns; j += V * N, later += piece) {
        prefetch(later, piece);
        Entries sums[stored_rows][V];
        for (int l = 0; l < stored_rows; ++l) {
          for (int v = 0; v < V; ++v) {
            Entries scale = pset1<Entries>(row_scales[i + l]);
            if (column_scales) scale = pmul(scale, pload<Entries>(column_scales + j + v * N));
            sums[l][v] = pmul(load_packet<Scalar>(row + l * columns + j + v * N), scale);
          }
        }
        add(sums, a + i, b + j, count);
        for (int l = 0; l < stored_rows; ++l) {
          for (int v = 0; v < V; ++v) {
            Storage* entries = row + l * columns + j + v * N;
            store_packet<Scalar>(entries, sums[l][v]);
            if (!errors) continue;
            Scalar* error = errors + j + v * N;
            const Entries rounded = psub(load_packet<Scalar>(entries), sums[l][v]);
            pstore(error, padd(pload<Entries>(error), pabs(rounded)));
          }
        }
      }
    }
  }

 private:
  /// sums += sum_u a_u b_u', of a few rows and columns.
  EIGEN_STRONG_INLINE void add(Entries (&sums)[stored_rows][V], const Scalar* a, const Scalar* b,
                               Index count) const {
    using namespace Eigen::internal;
    for (Index u = 0; u < count; ++u, a += rows_, b += columns_) {
      Entries lanes[V];
      for (int v = 0; v < V; ++v) {
        lanes[v] = pload<Entries>(b + v * N);
        EIGEN_OPTIMIZATION_BARRIER(lanes[v]);  // else g++ loads it once more for each row
      }
      for (int l = 0; l < stored_rows; ++l) {
        const Entries factor = pset1<Entries>(a[l]);
        for (int v = 0; v < V; ++v) sums[l][v] = pmadd(lanes[v], factor, sums[l][v]);
      }
    }
  }

  /// Where memory is read `ahead` bytes after `row`: in this matrix or, if not null, from `next`
  /// on.
  const char* after(const Storage* row, const void* next) const {
    const auto* begin = reinterpret_cast<const char*>(entries_.data());
    const Index at = (row - entries_.data()) * Index(sizeof(Storage)) + ahead;
    const Index size = rows_ * columns_ * Index(sizeof(Storage));
    return at < size || !next ? begin + at : static_cast<const char*>(next) + (at - size);
  }

  Buffer<Storage> entries_;
  Index rows_, columns_;
};

}  // namespace seqbayes::detail
