/// @file
/// The four passes over a tile of tokens that gradient/memory_tile.hpp is about.
///
/// A pass says which way it goes and what its lanes are, which rows a group writes with (`writes`)
/// and the next one reads with (`probes`), and makes the group's updates from its reads (`solve`).
#pragma once

#include <seqbayes/gradient/memory_tile.hpp>

namespace seqbayes::detail {

/// Decay factors of a token.
enum class DecayWidth { none, one, channel };

/// Row t at data + t * width.
template <class Scalar>
struct TokenRows {
  Scalar* data;
  Index width;

  Scalar* operator[](std::size_t t) const { return data + Index(t) * width; }
};

/// What the passes share: a tile, and the lanes that a pass is over.
template <class Scalar>
struct PassInputs {
  const MemoryTile<Scalar>& memory;
  const TileInputs<Scalar>& in;
  BackwardTile<Scalar>& tile;
  Index key_dim, value_dim;
  Index first, width;  ///< Lanes.

  TokenRows<Scalar> keys(Buffer<Scalar>& rows) const { return {rows.data(), key_dim}; }
  TokenRows<const Scalar> keys(const Buffer<Scalar>& rows) const { return {rows.data(), key_dim}; }
  TokenRows<Scalar> values(Buffer<Scalar>& rows) const { return {rows.data(), value_dim}; }
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
auto lane_row(Scalar* rows, std::size_t t) {
  return lanes<Scalar, N>(rows + Index(t) * N);
}

/// Entries first to first + width - 1 of a row as N lanes, and back.
template <int N, class Scalar>
void load_lanes(const Scalar* row, Index first, Index width, Lanes<Scalar, N>& x) {
  if (width == N) {
    x = Eigen::Map<const Lanes<Scalar, N>>(row + first);
  } else {
    for (Index j = 0; j < N; ++j) x[j] = j < width ? row[first + j] : Scalar(0);
  }
}
template <int N, class Scalar>
void store_lanes(Scalar* row, Index first, Index width, const Lanes<Scalar, N>& x) {
  if (width == N) {
    Eigen::Map<Lanes<Scalar, N>> whole(row + first);
    whole = x;
  } else {
    for (Index j = 0; j < width; ++j) row[first + j] = x[j];
  }
}

/// The scales of group g, forward or backward.
template <class Pass, class Scalar>
const GroupScales<Scalar>& scales_of_group(const PassInputs<Scalar>& p, std::size_t g) {
  if constexpr (Pass::backward) {
    return p.tile.groups[g];
  } else {
    return p.memory.groups[g];
  }
}

/// Runs a pass over N lanes of a row-major matrix, group by group.
template <class Pass, DecayWidth decays, int N, class Scalar>
void run_pass(const PassInputs<Scalar>& p, Scalar* matrix) {
  constexpr bool by_column = decays == DecayWidth::channel && Pass::key_lanes;
  constexpr Scaling scaling = decays == DecayWidth::none ? Scaling::none
                              : by_column                ? Scaling::columns
                                                         : Scaling::rows;
  const Index rows = Pass::key_lanes ? p.value_dim : p.key_dim;
  const Index cols = Pass::key_lanes ? p.key_dim : p.value_dim;
  const std::size_t groups = p.memory.groups.size();
  Scalar *block = p.tile.block.data(), *update = p.tile.update.data(), *reads = p.tile.reads.data();

  const auto at = [groups](std::size_t i) { return Pass::backward ? groups - 1 - i : i; };
  const auto scales = [&](std::size_t g) -> Scales<Scalar> {
    if constexpr (by_column) return {nullptr, 0, p.tile.columns.data()};
    if constexpr (decays == DecayWidth::channel) return {p.keys(p.memory.row_scale)[g], 1};
    return {&scales_of_group<Pass>(p, g).block_scale, 0};
  };

  load_block<N>(block, matrix, rows, cols, p.first, p.width);
  const auto first_writes = Pass::writes(p, at(0));
  std::fill_n(update, Index(first_writes.size()) * N, Scalar(0));
  sweep<Scaling::none, N>(block, rows, first_writes, {update, N}, Pass::probes(p, at(0)),
                          {reads, N}, {});
  for (std::size_t i = 0; i < groups; ++i) {
    const std::size_t g = at(i);
    Pass::solve(p, g, reads, update);
    const auto probes = Pass::probes(p, i + 1 < groups ? at(i + 1) : g);
    const bool rescale = decays == DecayWidth::channel || scales_of_group<Pass>(p, g).rescale;
    if (decays != DecayWidth::none && rescale) {
      sweep<scaling, N>(block, rows, Pass::writes(p, g), {update, N}, probes, {reads, N},
                        scales(g));
    } else {
      sweep<Scaling::none, N>(block, rows, Pass::writes(p, g), {update, N}, probes, {reads, N}, {});
    }
  }
  if constexpr (Pass::keeps) {
    const Scalar scale = Pass::backward ? p.tile.final_scale : p.memory.final_scale;
    for (std::size_t i = 0; i < std::size_t(rows); ++i) lane_row<N>(block, i) *= scale;
    store_block<N>(block, matrix, rows, cols, p.first, p.width);
  }
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

  [[gnu::flatten]] static void solve(const PassInputs<Scalar>& p, std::size_t g,
                                     const Scalar* reads, Scalar* update) {
    const MemoryGroup<Scalar>& group = p.memory.groups[g];
    Lanes<Scalar, N> nu[G];
    for (std::size_t t = 0; t < G; ++t) {
      load_lanes<N>(p.in.value[g * G + t], p.first, p.width, nu[t]);
      nu[t] -= lane_row<N>(reads, t) * group.read_scale[t];
      for (std::size_t s = 0; s < t; ++s) nu[t] -= nu[s] * group.erase_on_gain[t][s];
      store_lanes<N>(p.values(p.tile.nu)[g * G + t], p.first, p.width, nu[t]);
    }
    for (std::size_t s = 0; s < G; ++s) lane_row<N>(update, s) = nu[s] * group.write_scale[s];
  }
};

/// dnu backward, on the derivative by the state. Lanes are value columns.
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

  [[gnu::flatten]] static void solve(const PassInputs<Scalar>& p, std::size_t g,
                                     const Scalar* reads, Scalar* update) {
    const MemoryGroup<Scalar>& forward = p.memory.groups[g];
    const BackwardGroup<Scalar>& group = p.tile.groups[g];
    Lanes<Scalar, N> dmean[G], dnu[G];
    for (std::size_t t = G; t-- > 0;) {
      const std::size_t token = g * G + t;
      load_lanes<N>(p.tile.dmean[token], p.first, p.width, dmean[t]);
      load_lanes<N>(p.values(p.tile.dnu)[token], p.first, p.width, dnu[t]);
      dnu[t] += lane_row<N>(reads, t) * group.read_scale[t];
      for (std::size_t s = t; s < G; ++s) {
        dnu[t] += dmean[s] * forward.query_on_gain[s][t];
        if (predicts && s > t) dnu[t] -= dnu[s] * forward.erase_on_gain[s][t];
      }
      store_lanes<N>(p.values(p.tile.dnu)[token], p.first, p.width, dnu[t]);
    }
    for (std::size_t s = 0; s < G; ++s) {
      lane_row<N>(update, s) = dmean[s] * group.write_scale[s];
      if constexpr (predicts) lane_row<N>(update, G + s) = dnu[s] * (-group.write_scale[s]);
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

  [[gnu::flatten]] static void solve(const PassInputs<Scalar>& p, std::size_t g,
                                     const Scalar* reads, Scalar* update) {
    const MemoryGroup<Scalar>& forward = p.memory.groups[g];
    const BackwardGroup<Scalar>& group = p.tile.groups[g];
    Lanes<Scalar, N> w[G], product;
    product.setOnes();
    for (std::size_t t = 0; t < G; ++t) {
      const std::size_t token = g * G + t;
      if constexpr (channel) {
        Lanes<Scalar, N> a;
        load_lanes<N>(p.keys(p.in.decay)[token], p.first, p.width, a);
        product *= a;
        for (std::size_t s = 0; s < t; ++s) w[s] *= a;
      }
      load_lanes<N>(p.tile.gain[token], p.first, p.width, w[t]);
      const auto read = [&](std::size_t j) -> Lanes<Scalar, N> {
        if constexpr (channel) return lane_row<N>(reads, j) * product;
        return lane_row<N>(reads, j) * forward.read_scale[t];
      };
      Lanes<Scalar, N> dq = read(t);
      for (std::size_t s = 0; s <= t; ++s) dq += w[s] * group.output_on_write[t][s];
      store_lanes<N>(p.keys(p.tile.dquery)[token], p.first, p.width, dq);
      if constexpr (predicts) {
        Lanes<Scalar, N> de = -read(G + t);
        for (std::size_t s = 0; s < t; ++s) de -= w[s] * group.innovation_on_write[t][s];
        store_lanes<N>(p.keys(p.tile.derase)[token], p.first, p.width, de);
      }
    }
    if constexpr (channel) lanes<Scalar, N>(p.tile.columns.data()) = product;
    for (std::size_t s = 0; s < G; ++s) lane_row<N>(update, s) = w[s] * forward.write_scale[s];
  }
};

/// dw backward, on the transposed derivative by the state. Lanes are key channels.
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

  [[gnu::flatten]] static void solve(const PassInputs<Scalar>& p, std::size_t g,
                                     const Scalar* reads, Scalar* update) {
    const BackwardGroup<Scalar>& group = p.tile.groups[g];
    Lanes<Scalar, N> q[G], e[G], product;
    product.setOnes();
    for (std::size_t t = G; t-- > 0;) {
      const std::size_t token = g * G + t;
      load_lanes<N>(p.tile.query[token], p.first, p.width, q[t]);
      if constexpr (predicts) load_lanes<N>(p.tile.erase[token], p.first, p.width, e[t]);
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
      store_lanes<N>(p.keys(p.tile.dgain)[token], p.first, p.width, dw);
      if constexpr (channel) {
        Lanes<Scalar, N> a;
        load_lanes<N>(p.keys(p.in.decay)[token], p.first, p.width, a);
        product *= a;
        for (std::size_t s = t; s < G; ++s) {
          q[s] *= a;
          if constexpr (predicts) e[s] *= a;
        }
      }
    }
    if constexpr (channel) lanes<Scalar, N>(p.tile.columns.data()) = product;
    for (std::size_t s = 0; s < G; ++s) {
      lane_row<N>(update, s) = q[s] * group.write_scale[s];
      if constexpr (predicts) lane_row<N>(update, G + s) = e[s] * (-group.write_scale[s]);
    }
  }
};

}  // namespace seqbayes::detail
