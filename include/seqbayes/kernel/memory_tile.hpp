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
#include <cstddef>
#include <type_traits>
#include <utility>
#include <vector>

#include <seqbayes/kernel/group_pass.hpp>

namespace seqbayes::detail {

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
  LaneBuffers<Scalar> lanes;
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

/// What the pass below reads: a tile, and the lanes that it is over.
template <class Scalar>
struct OutputInputs {
  const MemoryTile<Scalar>& memory;
  const TileInputs<Scalar>& in;
  LaneBuffers<Scalar>& buffers;
  Index key_dim, value_dim;
  Index first, width;  ///< Lanes.
  Scalar* norm2;       ///< |nu_t|^2 are added to it; null: not asked for.

  [[nodiscard]] std::size_t groups() const { return memory.groups.size(); }
  template <class Pass>
  const GroupScales<Scalar>& scales(std::size_t g) const {
    return memory.groups[g];
  }
  const Scalar* row_scale(std::size_t g) const {
    return memory.row_scale.data() + Index(g) * key_dim;
  }
  template <class Pass>
  Scalar final_scale() const {
    return memory.final_scale;
  }
};

/// nu and o forward. Lanes are value columns.
template <bool predicts, int N, class Scalar>
struct OutputPass {
  static constexpr bool backward = false, key_lanes = false, keeps = true;
  static constexpr std::size_t G = sweep_tokens;
  using Inputs = OutputInputs<Scalar>;

  static auto writes(const Inputs& p, std::size_t g) {
    return rows_of_group<Scalar>(g, TokenRows<const Scalar>{p.in.gain.data(), p.key_dim});
  }
  static auto probes(const Inputs& p, std::size_t g) {
    return rows_of_group<predicts, Scalar>(g, p.in.query, p.in.erase);
  }

  /// `reads` holds block' q_t, then (if the model predicts) block' e_t. Leaves the innovations,
  /// scaled for the block, in `update`.
  [[gnu::flatten]] static void solve(const Inputs& p, std::size_t g, std::size_t next,
                                     const Scalar* reads, Scalar* update) {
    const MemoryGroup<Scalar>& group = p.memory.groups[g];
    const std::size_t t0 = g * G;
    Lanes<Scalar, N> nu[G];
    const auto token = [&]<std::size_t t>(std::integral_constant<std::size_t, t>) {
      nu[t] = Lanes<Scalar, N>::load(p.in.value[t0 + t] + p.first);
      if constexpr (predicts) {
        nu[t] -= lane_row<N>(reads, G + t) * group.read_scale[t];
        for (std::size_t s = 0; s < t; ++s) nu[t] -= nu[s] * group.erase_on_gain[t][s];
      }
      if (p.norm2) p.norm2[t0 + t] += (nu[t] * nu[t]).sum();
      Lanes<Scalar, N> o = lane_row<N>(reads, t) * group.read_scale[t];
      for (std::size_t s = 0; s <= t; ++s) o += nu[s] * group.query_on_gain[t][s];
      o.store(p.in.output[t0 + t] + p.first);
      set_lane_row<N>(update, t, nu[t] * group.write_scale[t]);
    };
    [&]<std::size_t... t>(std::index_sequence<t...>) {
      (token(std::integral_constant<std::size_t, t>()), ...);
    }
    (std::make_index_sequence<G>());
    // The next group's values and outputs come from memory while the sweep runs. (In a function of
    // their own, g++ drops prefetches as having no effect.)
    for (std::size_t t = next * G; t < (next + 1) * G; ++t) {
      for (Index j = p.first; j < p.first + N; j += cache_line<Scalar>) {
        Eigen::internal::prefetch(p.in.value[t] + j);
        Eigen::internal::prefetch(p.in.output[t] + j);
      }
    }
  }
};

}  // namespace seqbayes::detail
