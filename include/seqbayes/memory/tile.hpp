/// @file
/// The memory pass over a tile of tokens, given their gains.
///
/// Tokens are taken in groups of G = `sweep_tokens`. With the memory S_0 before a group, decay
/// products A_t (from the group's start through t) and A_{ts} (after s through t), token t of the
/// group reads
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
  const Scalar* data() const { return storage_.data(); }

 private:
  Eigen::Array<Scalar, Eigen::Dynamic, 1> storage_;
};

/// The tokens of a tile, filled up to whole groups with null tokens that write, read and decay
/// nothing.
constexpr Index whole_groups(Index tokens) { return round_up(tokens, sweep_tokens); }

/// What the memory pass reads of a tile, and where it writes. Rows are where they lie: in the
/// caller's memory or in a buffer.
template <class Scalar>
struct TileInputs {
  std::vector<const Scalar*> erase, query;  ///< e_t and q_t, Dk wide; a null token's are 0.
  std::vector<const Scalar*> value;         ///< y_t, whole vectors wide; a null token's is 0.
  std::vector<Scalar*> output;              ///< Where o_t goes, as wide.
  Buffer<Scalar> gain;                      ///< w_t, Dk wide.
  Buffer<Scalar> decay;                     ///< Factors of the memory: 1 or Dk a token.
  Buffer<Scalar> covariance_decay;          ///< Dk for one token.
  Buffer<Scalar> own_erase, own_query, own_value, own_output, zeros;
  Buffer<Scalar> innovation_variance, innovation_norm2;
  Buffer<Scalar> saved;  ///< A part of the state as it was before the tile.
};

/// Below this a scalar decay is applied to the block: its inverse scales innovations, harmlessly.
template <class Scalar>
inline constexpr Scalar least_lazy_decay = Scalar(1e-6);

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

/// Coefficients of one group, shared by all value columns.
template <class Scalar>
struct MemoryGroup : GroupScales<Scalar> {
  static constexpr int G = sweep_tokens;
  Scalar erase_on_gain[G][G];  ///< [t][s]: w_s' A_ts e_t, s < t.
  Scalar query_on_gain[G][G];  ///< [t][s]: w_s' A_ts q_t, s <= t.
};

template <class Scalar>
struct MemoryTile {
  std::vector<MemoryGroup<Scalar>> groups;
  Buffer<Scalar> row_scale;  ///< Channel decay: A_G of each group, Dk wide.
  Buffer<Scalar> block, update, reads;
  Scalar final_scale{};  ///< S = final_scale * block after the last group.
};

/// The coefficients of all groups under a decay of one factor a token (`decay` null: none).
template <bool predicts, int Dk, class Scalar>
[[gnu::flatten]] void prepare_groups(MemoryTile<Scalar>& tile, TileInputs<Scalar>& in,
                                     Index key_dim, const Scalar* decay) {
  constexpr int G = sweep_tokens;
  using Entries = Eigen::Map<const Vector<Scalar, Dk>>;
  Scalar lazy(1);
  std::size_t token = 0;
  for (MemoryGroup<Scalar>& group : tile.groups) {
    Scalar since[G];  // A_ts
    const Scalar* gains = in.gain.data() + Index(token) * key_dim;
    for (int t = 0; t < G; ++t, ++token) {
      const Scalar a = decay ? decay[token] : Scalar(1);
      lazy *= a;
      group.read_scale[t] = lazy;
      const Entries q(in.query[token], key_dim);
      since[t] = Scalar(1);
      for (int s = 0; s <= t; ++s) {
        const Entries w(gains + s * key_dim, key_dim);
        if (s < t) {
          since[s] *= a;
          if (predicts) {
            group.erase_on_gain[t][s] = since[s] * w.dot(Entries(in.erase[token], key_dim));
          }
        }
        group.query_on_gain[t][s] = since[s] * w.dot(q);
      }
    }
    group.take_up(lazy);
    for (int s = 0; s < G; ++s) group.write_scale[s] = since[s] / lazy;
  }
  tile.final_scale = lazy;
}

/// The same under one decay a channel, `decay` Dk wide: gains take A_Gs, e and q take A_t in the
/// buffers that hold them.
template <bool predicts, int Dk, class Scalar>
[[gnu::flatten]] void prepare_channel_groups(MemoryTile<Scalar>& tile, TileInputs<Scalar>& in,
                                             Index key_dim, const Scalar* decay) {
  constexpr int G = sweep_tokens;
  using Entries = Eigen::Map<Eigen::Array<Scalar, Dk, 1>>;
  const auto row = [key_dim](Scalar* data, Index i) {
    return Entries(data + i * key_dim, key_dim);
  };
  Index token = 0;
  for (std::size_t g = 0; g < tile.groups.size(); ++g) {
    MemoryGroup<Scalar>& group = tile.groups[g];
    Entries all = row(tile.row_scale.data(), Index(g));
    const Index first = token;
    for (int t = 0; t < G; ++t, ++token) {
      const Eigen::Map<const Eigen::Array<Scalar, Dk, 1>> a(decay + token * key_dim, key_dim);
      Entries q = row(in.own_query.data(), token);
      Entries e = row(predicts ? in.own_erase.data() : in.own_query.data(), token);
      for (int s = 0; s <= t; ++s) {
        Entries w = row(in.gain.data(), first + s);
        if (s < t) {
          w *= a;
          if (predicts) group.erase_on_gain[t][s] = (w * e).sum();
        }
        group.query_on_gain[t][s] = (w * q).sum();
      }
      if (t == 0) {
        all = a;
      } else {
        all *= a;
      }
      q *= all;
      if (predicts) e *= all;
      group.read_scale[t] = group.write_scale[t] = Scalar(1);
    }
    group.rescale = true;
  }
  tile.final_scale = Scalar(1);
}

/// Innovations and outputs of the group at token t0, for N value columns from `first` on. `reads`
/// holds block' q_t, then (if the model predicts) block' e_t. Leaves the innovations, scaled for
/// the block, in `update`.
template <bool predicts, int N, class Scalar>
[[gnu::flatten]] void solve_group(const MemoryGroup<Scalar>& group, const TileInputs<Scalar>& in,
                                  const Scalar* reads, Scalar* update, std::size_t t0, Index first,
                                  Scalar* norm2) {
  constexpr std::size_t G = sweep_tokens;
  Lanes<Scalar, N> nu[G];
  const auto solve = [&]<std::size_t t>(std::integral_constant<std::size_t, t>) {
    nu[t] = Eigen::Map<const Lanes<Scalar, N>>(in.value[t0 + t] + first);
    if constexpr (predicts) {
      nu[t] -= lanes<const Scalar, N>(reads + Index(G + t) * N) * group.read_scale[t];
      for (std::size_t s = 0; s < t; ++s) nu[t] -= nu[s] * group.erase_on_gain[t][s];
    }
    if (norm2) norm2[t0 + t] += nu[t].square().sum();
    Lanes<Scalar, N> o = lanes<const Scalar, N>(reads + Index(t) * N) * group.read_scale[t];
    for (std::size_t s = 0; s <= t; ++s) o += nu[s] * group.query_on_gain[t][s];
    Eigen::Map<Lanes<Scalar, N>>(in.output[t0 + t] + first) = o;
    lanes<Scalar, N>(update + Index(t) * N) = nu[t] * group.write_scale[t];
  };
  [&]<std::size_t... t>(std::index_sequence<t...>) {
    (solve(std::integral_constant<std::size_t, t>()), ...);
  }
  (std::make_index_sequence<G>());
}

/// Runs a tile over N lanes, value columns `first` to `first + width - 1` of `mean` (Dk x Dv,
/// row-major, `stride` from row to row) and padding.
template <bool predicts, Scaling scaling, bool channel, int N, class Scalar>
void run_columns(MemoryTile<Scalar>& tile, TileInputs<Scalar>& in, Index key_dim, Scalar* mean,
                 Index stride, Index first, Index width, Scalar* norm2) {
  constexpr std::size_t G = sweep_tokens;
  constexpr std::size_t R = predicts ? 2 * G : G;
  Scalar* block = tile.block.reserve(key_dim * N);
  Scalar* update = tile.update.reserve(Index(G) * N);
  Scalar* reads = tile.reads.reserve(Index(R) * N);
  load_block<N>(block, mean, key_dim, stride, first, width);

  const auto write_rows = [&](std::size_t g) {
    std::array<const Scalar*, G> w;
    for (std::size_t s = 0; s < G; ++s) w[s] = in.gain.data() + Index(g * G + s) * key_dim;
    return w;
  };
  const auto read_rows = [&](std::size_t g) {
    std::array<const Scalar*, R> e;
    for (std::size_t s = 0; s < G; ++s) {
      e[s] = in.query[g * G + s];
      if constexpr (predicts) e[G + s] = in.erase[g * G + s];
    }
    return e;
  };
  std::fill_n(update, Index(G) * N, Scalar(0));
  sweep<Scaling::none, N>(block, key_dim, write_rows(0), {update, N}, read_rows(0), {reads, N}, {});
  for (std::size_t g = 0; g < tile.groups.size(); ++g) {
    const MemoryGroup<Scalar>& group = tile.groups[g];
    solve_group<predicts, N>(group, in, reads, update, g * G, first, norm2);
    const std::size_t after = g + 1 < tile.groups.size() ? g + 1 : g;
    const auto next = read_rows(after);
    // The next group's values and outputs come from memory while the sweep runs. (In a function of
    // their own, g++ drops prefetches as having no effect.)
    for (std::size_t t = after * G; t < (after + 1) * G; ++t) {
      for (Index j = first; j < first + N; j += cache_line<Scalar>) {
        Eigen::internal::prefetch(in.value[t] + j);
        Eigen::internal::prefetch(in.output[t] + j);
      }
    }
    if (scaling != Scaling::none && group.rescale) {
      const Scales<Scalar> scales =
          channel ? Scales<Scalar>{tile.row_scale.data() + Index(g) * key_dim, 1}
                  : Scales<Scalar>{&group.block_scale, 0};
      sweep<scaling, N>(block, key_dim, write_rows(g), {update, N}, next, {reads, N}, scales);
    } else {
      sweep<Scaling::none, N>(block, key_dim, write_rows(g), {update, N}, next, {reads, N}, {});
    }
  }
  for (Index i = 0; i < key_dim; ++i) lanes<Scalar, N>(block + i * N) *= tile.final_scale;
  store_block<N>(block, mean, key_dim, stride, first, width);
}

}  // namespace seqbayes::detail
