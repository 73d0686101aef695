/// @file
/// The memory pass over a tile of tokens, forwards and backwards, in groups of G = `sweep_tokens`
/// (kernel/memory_tile.hpp has the notation; X is the derivative with respect to the state after
/// the group).
///
///     dnu_t = X' A_Gt w_t + sum_{s>=t} (w_t' A_st q_s) do_s - sum_{s>t} (w_t' A_st e_s) dnu_s
///     dw_t  = A_Gt X nu_t + sum_{s>=t} A_st q_s (nu_t' do_s) - sum_{s>t} A_st e_s (nu_t' dnu_s)
///     dq_t  = A_t S_0 do_t + sum_{s<=t} A_ts w_s (nu_s' do_t)
///     de_t  = -A_t S_0 dnu_t - sum_{s<t} A_ts w_s (nu_s' dnu_t)
///     X    <- A_G X + sum_s A_s (q_s do_s' - e_s dnu_s')
///
/// So one tile takes four passes: nu forward, dnu backward, each with value columns as lanes; then,
/// with all of nu and dnu known, dq and de forward and dw backward, with key channels as lanes, on
/// the transposed matrices (memory_passes.hpp). Coefficients are shared: w_t' A_st q_s is what the
/// forward pass uses.
#pragma once

#include <Eigen/Core>
#include <cstddef>
#include <vector>

#include <seqbayes/kernel/memory_tile.hpp>

namespace seqbayes::detail {

/// Coefficients of one group for the way back, where the block holds X.
template <class Scalar>
struct BackwardGroup : GroupScales<Scalar> {
  static constexpr int G = sweep_tokens;
  Scalar since[G][G];                ///< [t][s]: A_ts where it is one factor, s <= t.
  Scalar output_on_write[G][G];      ///< [t][s]: A_ts (nu_s' do_t), s <= t.
  Scalar innovation_on_write[G][G];  ///< [t][s]: A_ts (nu_s' dnu_t), s < t.
};

template <class Scalar>
struct BackwardTile {
  std::vector<BackwardGroup<Scalar>> groups;
  std::vector<const Scalar*> query, erase, gain;  ///< As they are, without decays.
  std::vector<const Scalar*> dmean;               ///< do_t.
  Buffer<Scalar> nu, dnu;                         ///< Dv wide; dnu holds the evidence's part first.
  Buffer<Scalar> dlog_variance;                   ///< To ln s_t: the evidence's part.
  Buffer<Scalar> dquery, derase, dgain;           ///< Dk wide.
  Buffer<Scalar> zeros;
  LaneBuffers<Scalar> lanes;
  Scalar final_scale{};  ///< X = final_scale * block before the first group.
};

/// Scales of all groups, from the last to the first; `decay` has one factor a token or is null
/// (none, or one a channel, where scaling lies with the rows).
template <class Scalar>
void prepare_backward(BackwardTile<Scalar>& tile, const Scalar* decay) {
  constexpr int G = sweep_tokens;
  Scalar lazy(1);
  for (std::size_t g = tile.groups.size(); g-- > 0;) {
    BackwardGroup<Scalar>& group = tile.groups[g];
    Scalar a[G], before(1);
    for (int t = 0; t < G; ++t) {
      a[t] = decay ? decay[g * G + std::size_t(t)] : Scalar(1);
      group.since[t][t] = Scalar(1);
      for (int s = 0; s < t; ++s) group.since[t][s] = group.since[t - 1][s] * a[t];
    }
    for (int t = G; t-- > 0;) {
      group.read_scale[t] = lazy;
      lazy *= a[t];
    }
    group.take_up(lazy);
    for (int s = 0; s < G; ++s) {
      before *= a[s];
      group.write_scale[s] = before / lazy;
    }
  }
  tile.final_scale = lazy;
}

/// Products of innovations with the derivatives of the group's later outputs and innovations.
template <bool predicts, int Dv, class Scalar>
[[gnu::flatten]] void prepare_products(BackwardTile<Scalar>& tile, Index value_dim) {
  constexpr int G = sweep_tokens;
  using Entries = Eigen::Map<const Vector<Scalar, Dv>>;
  for (std::size_t g = 0; g < tile.groups.size(); ++g) {
    BackwardGroup<Scalar>& group = tile.groups[g];
    const Scalar* nu = tile.nu.data() + Index(g) * G * value_dim;
    const Scalar* dnu = tile.dnu.data() + Index(g) * G * value_dim;
    for (int t = 0; t < G; ++t) {
      const Entries dmean(tile.dmean[g * G + std::size_t(t)], value_dim);
      for (int s = 0; s <= t; ++s) {
        const Entries written(nu + s * value_dim, value_dim);
        const Scalar& since = group.since[t][s];
        group.output_on_write[t][s] = since * written.dot(dmean);
        if (predicts && s < t) {
          group.innovation_on_write[t][s] =
              since * written.dot(Entries(dnu + t * value_dim, value_dim));
        }
      }
    }
  }
}

}  // namespace seqbayes::detail
