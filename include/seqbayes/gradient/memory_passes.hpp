/// @file
/// The four passes over a tile of tokens that gradient/memory_tile.hpp is about, as
/// kernel/group_pass.hpp runs them.
#pragma once

#include <cstddef>

#include <seqbayes/decay/decay.hpp>
#include <seqbayes/gradient/memory_tile.hpp>

namespace seqbayes::detail {

/// What the passes share: a tile, and the lanes that a pass is over.
template <class Scalar>
struct PassInputs {
  const MemoryTile<Scalar>& memory;
  const TileInputs<Scalar>& in;
  BackwardTile<Scalar>& tile;
  LaneBuffers<Scalar>& buffers;
  Index key_dim, value_dim;
  Index first, width;  ///< Lanes.

  [[nodiscard]] std::size_t groups() const { return memory.groups.size(); }
  template <class Pass>
  const GroupScales<Scalar>& scales(std::size_t g) const {
    if constexpr (Pass::backward) {
      return tile.groups[g];
    } else {
      return memory.groups[g];
    }
  }
  const Scalar* row_scale(std::size_t g) const { return keys(memory.row_scale)[g]; }
  template <class Pass>
  Scalar final_scale() const {
    return Pass::backward ? tile.final_scale : memory.final_scale;
  }

  TokenRows<Scalar> keys(Buffer<Scalar>& rows) const { return {rows.data(), key_dim}; }
  TokenRows<const Scalar> keys(const Buffer<Scalar>& rows) const { return {rows.data(), key_dim}; }
  TokenRows<Scalar> values(Buffer<Scalar>& rows) const { return {rows.data(), value_dim}; }
};

/// Runs a pass over N lanes of a row-major matrix.
template <class Pass, DecayWidth decays, int N, class Scalar>
void run_pass(const PassInputs<Scalar>& p, Scalar* matrix) {
  constexpr bool channel = decays == DecayWidth::key_channel;
  constexpr Scaling scaling = decays == DecayWidth::none   ? Scaling::none
                              : channel && Pass::key_lanes ? Scaling::columns
                                                           : Scaling::rows;
  run_groups<Pass, scaling, channel, N>(p, matrix);
}

/// nu forward. Lanes are value columns; models that don't predict need no such pass.
template <int N, class Scalar>
struct InnovationPass {
  static constexpr bool backward = false, key_lanes = false, keeps = true;
  static constexpr std::size_t G = sweep_tokens;

  static auto writes(const PassInputs<Scalar>& p, std::size_t g) {
    return rows_of_group<Scalar>(g, p.keys(p.in.gain));
  }
  static auto probes(const PassInputs<Scalar>& p, std::size_t g) {
    return rows_of_group<Scalar>(g, p.in.erase);
  }

  [[gnu::flatten]] static void solve(const PassInputs<Scalar>& p, std::size_t g, std::size_t,
                                     const Scalar* reads, Scalar* update) {
    const MemoryGroup<Scalar>& group = p.memory.groups[g];
    Lanes<Scalar, N> nu[G];
    for (std::size_t t = 0; t < G; ++t) {
      nu[t] = load_lanes<N>(p.in.value[g * G + t] + p.first, p.width);
      nu[t] -= lane_row<N>(reads, t) * group.read_scale[t];
      for (std::size_t s = 0; s < t; ++s) nu[t] -= nu[s] * group.erase_on_gain[t][s];
      store_lanes(nu[t], p.values(p.tile.nu)[g * G + t] + p.first, p.width);
    }
    for (std::size_t s = 0; s < G; ++s) set_lane_row<N>(update, s, nu[s] * group.write_scale[s]);
  }
};

/// dnu backward, on the derivative with respect to the state. Lanes are value columns.
template <bool predicts, int N, class Scalar>
struct InnovationVjpPass {
  static constexpr bool backward = true, key_lanes = false, keeps = true;
  static constexpr std::size_t G = sweep_tokens;

  static auto writes(const PassInputs<Scalar>& p, std::size_t g) {
    return rows_of_group<predicts, Scalar>(g, p.in.query, p.in.erase);
  }
  static auto probes(const PassInputs<Scalar>& p, std::size_t g) {
    return rows_of_group<Scalar>(g, p.keys(p.in.gain));
  }

  [[gnu::flatten]] static void solve(const PassInputs<Scalar>& p, std::size_t g, std::size_t,
                                     const Scalar* reads, Scalar* update) {
    const MemoryGroup<Scalar>& forward = p.memory.groups[g];
    const BackwardGroup<Scalar>& group = p.tile.groups[g];
    Lanes<Scalar, N> dmean[G], dnu[G];
    for (std::size_t t = G; t-- > 0;) {
      const std::size_t token = g * G + t;
      dmean[t] = load_lanes<N>(p.tile.dmean[token] + p.first, p.width);
      dnu[t] = load_lanes<N>(p.values(p.tile.dnu)[token] + p.first, p.width);
      dnu[t] += lane_row<N>(reads, t) * group.read_scale[t];
      for (std::size_t s = t; s < G; ++s) {
        dnu[t] += dmean[s] * forward.query_on_gain[s][t];
        if (predicts && s > t) dnu[t] -= dnu[s] * forward.erase_on_gain[s][t];
      }
      store_lanes(dnu[t], p.values(p.tile.dnu)[token] + p.first, p.width);
    }
    for (std::size_t s = 0; s < G; ++s) {
      set_lane_row<N>(update, s, dmean[s] * group.write_scale[s]);
      if constexpr (predicts) set_lane_row<N>(update, G + s, dnu[s] * (-group.write_scale[s]));
    }
  }
};

/// dq and de forward, on the transposed state, which is left as it is. Lanes are key channels.
template <bool predicts, bool channel, int N, class Scalar>
struct ReadVjpPass {
  static constexpr bool backward = false, key_lanes = true, keeps = false;
  static constexpr std::size_t G = sweep_tokens;

  static auto writes(const PassInputs<Scalar>& p, std::size_t g) {
    return rows_of_group<Scalar>(g, p.values(p.tile.nu));
  }
  static auto probes(const PassInputs<Scalar>& p, std::size_t g) {
    return rows_of_group<predicts, Scalar>(g, p.tile.dmean, p.values(p.tile.dnu));
  }

  [[gnu::flatten]] static void solve(const PassInputs<Scalar>& p, std::size_t g, std::size_t,
                                     const Scalar* reads, Scalar* update) {
    const MemoryGroup<Scalar>& forward = p.memory.groups[g];
    const BackwardGroup<Scalar>& group = p.tile.groups[g];
    Lanes<Scalar, N> w[G], product = Lanes<Scalar, N>::all(Scalar(1));
    for (std::size_t t = 0; t < G; ++t) {
      const std::size_t token = g * G + t;
      if constexpr (channel) {
        const auto a = load_lanes<N>(p.keys(p.in.decay)[token] + p.first, p.width);
        product *= a;
        for (std::size_t s = 0; s < t; ++s) w[s] *= a;
      }
      w[t] = load_lanes<N>(p.tile.gain[token] + p.first, p.width);
      const auto read = [&](std::size_t j) -> Lanes<Scalar, N> {
        if constexpr (channel) return lane_row<N>(reads, j) * product;
        return lane_row<N>(reads, j) * forward.read_scale[t];
      };
      Lanes<Scalar, N> dq = read(t);
      for (std::size_t s = 0; s <= t; ++s) dq += w[s] * group.output_on_write[t][s];
      store_lanes(dq, p.keys(p.tile.dquery)[token] + p.first, p.width);
      if constexpr (predicts) {
        Lanes<Scalar, N> de = -read(G + t);
        for (std::size_t s = 0; s < t; ++s) de -= w[s] * group.innovation_on_write[t][s];
        store_lanes(de, p.keys(p.tile.derase)[token] + p.first, p.width);
      }
    }
    if constexpr (channel) product.store(p.buffers.columns.data());
    for (std::size_t s = 0; s < G; ++s) set_lane_row<N>(update, s, w[s] * forward.write_scale[s]);
  }
};

/// dw backward, on the transposed derivative with respect to the state. Lanes are key channels.
template <bool predicts, bool channel, int N, class Scalar>
struct GainVjpPass {
  static constexpr bool backward = true, key_lanes = true, keeps = true;
  static constexpr std::size_t G = sweep_tokens;

  static auto writes(const PassInputs<Scalar>& p, std::size_t g) {
    return rows_of_group<predicts, Scalar>(g, p.tile.dmean, p.values(p.tile.dnu));
  }
  static auto probes(const PassInputs<Scalar>& p, std::size_t g) {
    return rows_of_group<Scalar>(g, p.values(p.tile.nu));
  }

  [[gnu::flatten]] static void solve(const PassInputs<Scalar>& p, std::size_t g, std::size_t,
                                     const Scalar* reads, Scalar* update) {
    const BackwardGroup<Scalar>& group = p.tile.groups[g];
    Lanes<Scalar, N> q[G], e[G], product = Lanes<Scalar, N>::all(Scalar(1));
    for (std::size_t t = G; t-- > 0;) {
      const std::size_t token = g * G + t;
      q[t] = load_lanes<N>(p.tile.query[token] + p.first, p.width);
      if constexpr (predicts) e[t] = load_lanes<N>(p.tile.erase[token] + p.first, p.width);
      Lanes<Scalar, N> dw = lane_row<N>(reads, t);
      if constexpr (channel) {
        dw *= product;
      } else {
        dw *= group.read_scale[t];
      }
      for (std::size_t s = t; s < G; ++s) {
        dw += q[s] * group.output_on_write[s][t];
        if (predicts && s > t) dw -= e[s] * group.innovation_on_write[s][t];
      }
      store_lanes(dw, p.keys(p.tile.dgain)[token] + p.first, p.width);
      if constexpr (channel) {
        const auto a = load_lanes<N>(p.keys(p.in.decay)[token] + p.first, p.width);
        product *= a;
        for (std::size_t s = t; s < G; ++s) {
          q[s] *= a;
          if constexpr (predicts) e[s] *= a;
        }
      }
    }
    if constexpr (channel) product.store(p.buffers.columns.data());
    for (std::size_t s = 0; s < G; ++s) {
      set_lane_row<N>(update, s, q[s] * group.write_scale[s]);
      if constexpr (predicts) set_lane_row<N>(update, G + s, e[s] * (-group.write_scale[s]));
    }
  }
};

}  // namespace seqbayes::detail
