/// @file
/// The memory pass over a tile of tokens, given their gains (filters.md sections 2 and 3).
///
/// Tokens are taken in groups of G. With the memory S_0 before a group, decay products A_t (from
/// the group's start through t) and A_{ts} (after s through t), token t of the group reads
///
///     nu_t = y_t - S_0' A_t e_t - sum_{s<t}  (w_s' A_ts e_t) nu_s          (innovation)
///     o_t  =       S_0' A_t q_t + sum_{s<=t} (w_s' A_ts q_t) nu_s          (output)
///
/// and the group leaves S_0 <- A_G S_0 + sum_s A_{Gs} w_s nu_s'. One sweep updates with a group and
/// reads for the next, so the memory is loaded and stored once a group: 6 Dk Dv flops a token and
/// little else. Only products of decays <= 1 occur; a scalar decay is kept as one factor c with S =
/// c * block, applied to the block before c gets small. Value columns never interact: a block of
/// them at a time stays in cache.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <vector>

#include <seqbayes/memory/model.hpp>
#include <seqbayes/memory/sweep.hpp>

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

 private:
  Eigen::Array<Scalar, Eigen::Dynamic, 1> storage_;
};

/// Tokens that a memory sweep takes at once; a tile holds whole groups, filled up with null tokens.
inline constexpr int memory_group = 2;

constexpr Index whole_groups(Index tokens, Index group) {
  return (tokens + group - 1) / group * group;
}

/// What a tile's memory pass reads, a row a token: decay, gain w, erase key e, query q; Dk wide,
/// packed.
template <class Scalar>
struct TileInputs {
  Buffer<Scalar> decay;             ///< Factors of the memory: 1 or Dk a token.
  Buffer<Scalar> covariance_decay;  ///< Dk for one token.
  Buffer<Scalar> gain, erase, query;
  Buffer<Scalar> innovation_variance, innovation_norm2;
};

/// Coefficients of one group, shared by all value columns.
template <class Scalar>
struct MemoryGroup {
  static constexpr int G = memory_group;
  Scalar read_scale[G];  ///< S = read_scale * block at token t, but for the group's own writes.
  Scalar erase_on_gain[G][G];  ///< [t][s]: w_s' A_ts e_t, s < t.
  Scalar query_on_gain[G][G];  ///< [t][s]: w_s' A_ts q_t, s <= t.
  Scalar write_scale[G];       ///< Of nu_s in the update of the block.
  Scalar block_scale;          ///< Of the block itself where `rescale` is set.
  bool rescale;
};

template <class Scalar>
struct MemoryTile {
  std::vector<MemoryGroup<Scalar>> groups;
  Buffer<Scalar> row_scale;  ///< Channel decay: A_G of each group, Dk wide.
  Buffer<Scalar> block, update, reads;
  Scalar final_scale{};         ///< S = final_scale * block after the last group.
  bool channel_scales = false;  ///< Whether groups scale the block by `row_scale`.
};

/// Below this a scalar decay is applied to the block: its inverse scales innovations, harmlessly.
template <class Scalar>
inline constexpr Scalar least_lazy_decay = Scalar(1e-6);

/// The coefficients of all groups under a decay of one factor a token (`decay` null: none).
template <int Dk, class Scalar>
[[gnu::flatten]] void prepare_groups(MemoryTile<Scalar>& tile, TileInputs<Scalar>& in, Index tokens,
                                     Index key_dim, const Scalar* decay) {
  constexpr int G = memory_group;
  using Entries = Eigen::Map<const Vector<Scalar, Dk>>;
  Scalar lazy(1);
  for (Index first = 0; first < tokens; first += G) {
    MemoryGroup<Scalar>& group = tile.groups[static_cast<std::size_t>(first / G)];
    Scalar since[G];  // A_ts
    for (int t = 0; t < G; ++t) {
      const Scalar a = decay ? decay[first + t] : Scalar(1);
      lazy *= a;
      group.read_scale[t] = lazy;
      const Entries e(in.erase.data() + (first + t) * key_dim, key_dim);
      const Entries q(in.query.data() + (first + t) * key_dim, key_dim);
      since[t] = Scalar(1);
      for (int s = 0; s <= t; ++s) {
        if (s < t) since[s] *= a;
        const Entries w(in.gain.data() + (first + s) * key_dim, key_dim);
        if (s < t) group.erase_on_gain[t][s] = since[s] * w.dot(e);
        group.query_on_gain[t][s] = since[s] * w.dot(q);
      }
    }
    group.block_scale = lazy;
    group.rescale = lazy < least_lazy_decay<Scalar>;
    if (group.rescale) lazy = Scalar(1);
    for (int s = 0; s < G; ++s) group.write_scale[s] = since[s] / lazy;
  }
  tile.final_scale = lazy;
}

/// The same under one decay a channel, `decay` Dk wide: rows of w, e and q take their A in place.
template <int Dk, class Scalar>
[[gnu::flatten]] void prepare_channel_groups(MemoryTile<Scalar>& tile, TileInputs<Scalar>& in,
                                             Index tokens, Index key_dim, const Scalar* decay) {
  constexpr int G = memory_group;
  using Entries = Eigen::Map<Eigen::Array<Scalar, Dk, 1>>;
  using Factors = Eigen::Map<const Eigen::Array<Scalar, Dk, 1>>;
  for (Index first = 0; first < tokens; first += G) {
    MemoryGroup<Scalar>& group = tile.groups[static_cast<std::size_t>(first / G)];
    Entries all(tile.row_scale.data() + first / G * key_dim, key_dim);
    for (int t = 0; t < G; ++t) {
      const Factors a(decay + (first + t) * key_dim, key_dim);
      Entries e(in.erase.data() + (first + t) * key_dim, key_dim);
      Entries q(in.query.data() + (first + t) * key_dim, key_dim);
      for (int s = 0; s <= t; ++s) {
        Entries w(in.gain.data() + (first + s) * key_dim, key_dim);
        if (s < t) {
          w *= a;
          group.erase_on_gain[t][s] = (w * e).sum();
        }
        group.query_on_gain[t][s] = (w * q).sum();
      }
      if (t == 0) {
        all = a;
      } else {
        all *= a;
      }
      e *= all;
      q *= all;
      group.read_scale[t] = group.write_scale[t] = Scalar(1);
    }
    group.rescale = true;
  }
  tile.final_scale = Scalar(1);
}

/// Rows of the output, T x Dv; each holds its y until it gets its o.
template <class Scalar>
struct OutputRows {
  Scalar* data;
  Index stride;
  Index count;  ///< Rows; a null token has none.

  template <int N>
  void load(Index t, Index first, Index width, Lanes<Scalar, N>& y) const {
    if (t >= count) {
      y.setZero();
    } else {
      const Scalar* row = data + t * stride + first;
      if (width == N) {
        y = Eigen::Map<const Lanes<Scalar, N>>(row);
      } else {
        y.setZero();
        y.head(width) = Eigen::Map<const Eigen::Array<Scalar, Eigen::Dynamic, 1>>(row, width);
      }
    }
  }
  template <int N>
  void store(Index t, Index first, Index width, const Lanes<Scalar, N>& o) const {
    if (t >= count) return;
    Scalar* row = data + t * stride + first;
    if (width == N) {
      Eigen::Map<Lanes<Scalar, N>> whole(row);
      whole = o;
    } else {
      Eigen::Map<Eigen::Array<Scalar, Eigen::Dynamic, 1>>(row, width) = o.head(width);
    }
  }
};

/// Innovations and outputs of one group for value columns `first` to `first + width - 1`. `reads`
/// holds block' q_t, then (if the model predicts) block' e_t. Leaves the innovations, scaled for
/// the block.
template <bool predicts, int N, class Scalar>
[[gnu::flatten]] void solve_group(const MemoryGroup<Scalar>& group, const Scalar* reads,
                                  Scalar* update, const OutputRows<Scalar>& rows, Index t0,
                                  Index first, Index width, Scalar* norm2) {
  constexpr int G = memory_group;
  Lanes<Scalar, N> nu[G];
  for (int t = 0; t < G; ++t) {
    rows.load(t0 + t, first, width, nu[t]);
    if constexpr (predicts) {
      nu[t] -= lanes<const Scalar, N>(reads + (G + t) * N) * group.read_scale[t];
      for (int s = 0; s < t; ++s) nu[t] -= nu[s] * group.erase_on_gain[t][s];
    }
    if (norm2) norm2[t0 + t] += nu[t].square().sum();
    Lanes<Scalar, N> o = lanes<const Scalar, N>(reads + t * N) * group.read_scale[t];
    for (int s = 0; s <= t; ++s) o += nu[s] * group.query_on_gain[t][s];
    rows.store(t0 + t, first, width, o);
  }
  for (int s = 0; s < G; ++s) lanes<Scalar, N>(update + s * N) = nu[s] * group.write_scale[s];
}

/// Runs `tokens` (whole groups) over N value columns of `mean` (Dk x Dv, row-major).
template <bool predicts, Scaling scaling, int N, class Scalar>
void run_columns(MemoryTile<Scalar>& tile, TileInputs<Scalar>& in, Index tokens, Index key_dim,
                 Scalar* mean, Index mean_stride, const OutputRows<Scalar>& rows, Index first,
                 Index width, Scalar* norm2) {
  constexpr std::size_t G = memory_group;
  constexpr std::size_t R = predicts ? 2 * G : G;
  Scalar* block = tile.block.reserve(key_dim * N);
  Scalar* update = tile.update.reserve(static_cast<Index>(G) * N);
  Scalar* reads = tile.reads.reserve(static_cast<Index>(R) * N);
  load_block<N>(block, mean, key_dim, mean_stride, first, width);

  const auto write_rows = [&](Index t) {
    std::array<const Scalar*, G> w;
    for (std::size_t s = 0; s < G; ++s) w[s] = in.gain.data() + (t + Index(s)) * key_dim;
    return w;
  };
  const auto read_rows = [&](Index t) {
    std::array<const Scalar*, R> e;
    for (std::size_t s = 0; s < G; ++s) e[s] = in.query.data() + (t + Index(s)) * key_dim;
    for (std::size_t s = G; s < R; ++s) e[s] = in.erase.data() + (t + Index(s - G)) * key_dim;
    return e;
  };
  std::fill_n(update, G * N, Scalar(0));
  sweep<Scaling::none, N>(block, key_dim, write_rows(0), {update, N}, read_rows(0), {reads, N}, {});
  for (Index t = 0; t < tokens; t += Index(G)) {
    const MemoryGroup<Scalar>& group = tile.groups[static_cast<std::size_t>(t) / G];
    solve_group<predicts, N>(group, reads, update, rows, t, first, width, norm2);
    const auto next = read_rows(t + Index(G) < tokens ? t + Index(G) : t);
    if (scaling != Scaling::none && group.rescale) {
      const Scales<Scalar> scales =
          tile.channel_scales ? Scales<Scalar>{tile.row_scale.data() + t / Index(G) * key_dim, 1}
                              : Scales<Scalar>{&group.block_scale, 0};
      sweep<Scaling::rows, N>(block, key_dim, write_rows(t), {update, N}, next, {reads, N}, scales);
    } else {
      sweep<Scaling::none, N>(block, key_dim, write_rows(t), {update, N}, next, {reads, N}, {});
    }
  }
  for (Index i = 0; i < key_dim; ++i) lanes<Scalar, N>(block + i * N) *= tile.final_scale;
  store_block<N>(block, mean, key_dim, mean_stride, first, width);
}

/// Calls f.operator()<N>(first, count) for blocks of columns, N lanes each, until `width` is
/// covered.
template <class Scalar, int Width, class F>
void for_each_block(Index width, F&& f) {
  constexpr int unit = vector_width<Scalar>;
  constexpr int most = sweep_vectors;
  Index first = 0;
  const auto cover = [&]<int N>(std::integral_constant<int, N>, Index least) {
    if constexpr (Width == Eigen::Dynamic || Width > N / 2 || N == unit) {
      for (; width - first > least; first += N) {
        f.template operator()<N>(first, std::min<Index>(N, width - first));
      }
    }
  };
  if constexpr (most == 4) cover(std::integral_constant<int, 4 * unit>(), 2 * unit);
  cover(std::integral_constant<int, 2 * unit>(), unit);
  cover(std::integral_constant<int, unit>(), 0);
}

}  // namespace seqbayes::detail
