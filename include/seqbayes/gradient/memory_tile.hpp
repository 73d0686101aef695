/// @file
/// The memory pass over a tile of tokens, forwards and backwards, in groups of G = `sweep_tokens`
/// (memory/tile.hpp has the notation; X is the derivative by the state after the group).
///
///     dnu_t = X' A_Gt w_t + sum_{s>=t} (w_t' A_st q_s) do_s - sum_{s>t} (w_t' A_st e_s) dnu_s
///     dw_t  = A_Gt X nu_t + sum_{s>=t} A_st q_s (nu_t' do_s) - sum_{s>t} A_st e_s (nu_t' dnu_s)
///     dq_t  = A_t S_0 do_t + sum_{s<=t} A_ts w_s (nu_s' do_t)
///     de_t  = -A_t S_0 dnu_t - sum_{s<t} A_ts w_s (nu_s' dnu_t)
///     X    <- A_G X + sum_s A_s (q_s do_s' - e_s dnu_s')
///
/// So one tile takes four passes: nu forward, dnu backward, each with value columns as lanes; then,
/// with all of nu and dnu known, dq and de forward and dw backward, with key channels as lanes, on
/// the transposed matrices. Coefficients are shared: w_t' A_st q_s is what the forward pass uses.
#pragma once

#include <seqbayes/memory/tile.hpp>

namespace seqbayes::detail {

/// Coefficients of one group for the way back.
template <class Scalar>
struct BackwardGroup {
  static constexpr int G = sweep_tokens;
  Scalar read_scale[G];   ///< X = read_scale * block at token t, but for the group's own terms.
  Scalar write_scale[G];  ///< Of do_s and dnu_s in the update of the block.
  Scalar block_scale;
  bool rescale;
  Scalar since[G][G];                ///< [t][s]: A_ts where it is one factor, s <= t.
  Scalar output_on_write[G][G];      ///< [t][s]: A_ts (nu_s' do_t), s <= t.
  Scalar innovation_on_write[G][G];  ///< [t][s]: A_ts (nu_s' dnu_t), s < t.
};

template <class Scalar>
struct BackwardTile {
  std::vector<BackwardGroup<Scalar>> groups;
  std::vector<const Scalar*> query, erase, gain;  ///< As they are, without decays.
  std::vector<const Scalar*> dmean;               ///< do_t.
  Buffer<Scalar> evidence;                        ///< dnu_t gets evidence_t nu_t.
  Buffer<Scalar> nu, dnu;                         ///< Dv wide.
  Buffer<Scalar> dquery, derase, dgain;           ///< Dk wide.
  Buffer<Scalar> zeros;
  Buffer<Scalar> block, update, reads, columns;
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
    group.block_scale = lazy;
    group.rescale = lazy < least_lazy_decay<Scalar>;
    if (group.rescale) lazy = Scalar(1);
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

/// Sweeps over a block of N lanes, group by group: `pass.writes(g)` and `pass.probes(g)` are the
/// rows of updates and reads, `pass.solve(g, reads, update)` makes the updates of a group from its
/// reads. From the last group to the first if `backward`.
template <Scaling scaling, bool backward, int N, class Scalar, class Pass>
void sweep_groups(const Pass& pass, Scalar* block, Index rows, Scalar* update, Scalar* reads,
                  std::size_t groups) {
  const auto at = [groups](std::size_t i) { return backward ? groups - 1 - i : i; };
  const auto first_writes = pass.writes(at(0));
  std::fill_n(update, Index(first_writes.size()) * N, Scalar(0));
  sweep<Scaling::none, N>(block, rows, first_writes, {update, N}, pass.probes(at(0)), {reads, N},
                          {});
  for (std::size_t i = 0; i < groups; ++i) {
    const std::size_t g = at(i);
    pass.solve(g, reads, update);
    const auto probes = pass.probes(i + 1 < groups ? at(i + 1) : g);
    if (scaling != Scaling::none && pass.rescale(g)) {
      sweep<scaling, N>(block, rows, pass.writes(g), {update, N}, probes, {reads, N},
                        pass.scales(g));
    } else {
      sweep<Scaling::none, N>(block, rows, pass.writes(g), {update, N}, probes, {reads, N}, {});
    }
  }
}

/// What the four passes share: a tile, and the lanes that a pass is over.
template <class Scalar>
struct PassInputs {
  const MemoryTile<Scalar>& memory;
  const TileInputs<Scalar>& in;
  BackwardTile<Scalar>& tile;
  Index key_dim, value_dim;
  Index first, width;  ///< Lanes.

  /// Rows of G tokens of group g, from the pointers of a tile.
  void point(const std::vector<const Scalar*>& rows, std::size_t g, const Scalar** to) const {
    std::copy_n(rows.begin() + Index(g) * sweep_tokens, sweep_tokens, to);
  }
  /// The same in a buffer, `dim` wide.
  void point(const Buffer<Scalar>& rows, Index dim, std::size_t g, const Scalar** to) const {
    for (int t = 0; t < sweep_tokens; ++t)
      to[t] = rows.data() + (Index(g) * sweep_tokens + t) * dim;
  }
};

/// nu forward. Lanes are value columns; models that don't predict need no such pass.
template <bool channel, int N, class Scalar>
struct InnovationPass : PassInputs<Scalar> {
  static constexpr std::size_t G = sweep_tokens;

  auto writes(std::size_t g) const {
    std::array<const Scalar*, G> w;
    this->point(this->in.gain, this->key_dim, g, w.data());
    return w;
  }
  auto probes(std::size_t g) const {
    std::array<const Scalar*, G> e;
    this->point(this->in.erase, g, e.data());
    return e;
  }
  bool rescale(std::size_t g) const { return this->memory.groups[g].rescale; }
  Scales<Scalar> scales(std::size_t g) const {
    if (!channel) return {&this->memory.groups[g].block_scale, 0};
    return {this->memory.row_scale.data() + Index(g) * this->key_dim, 1};
  }

  [[gnu::flatten]] void solve(std::size_t g, const Scalar* reads, Scalar* update) const {
    const MemoryGroup<Scalar>& group = this->memory.groups[g];
    Lanes<Scalar, N> nu[G];
    for (std::size_t t = 0; t < G; ++t) {
      const Scalar* value = this->in.value[g * G + t];
      if (!value) {
        nu[t].setZero();
        continue;
      }
      load_lanes<N>(value, this->first, this->width, nu[t]);
      nu[t] -= lanes<const Scalar, N>(reads + Index(t) * N) * group.read_scale[t];
      for (std::size_t s = 0; s < t; ++s) nu[t] -= nu[s] * group.erase_on_gain[t][s];
      store_lanes<N>(this->tile.nu.data() + Index(g * G + t) * this->value_dim, this->first,
                     this->width, nu[t]);
    }
    for (std::size_t s = 0; s < G; ++s) {
      lanes<Scalar, N>(update + Index(s) * N) = nu[s] * group.write_scale[s];
    }
  }
};

/// dnu backward, on the derivative by the state. Lanes are value columns.
template <bool predicts, bool channel, int N, class Scalar>
struct InnovationVjpPass : PassInputs<Scalar> {
  static constexpr std::size_t G = sweep_tokens;

  auto writes(std::size_t g) const {
    std::array<const Scalar*, predicts ? 2 * G : G> rows;
    this->point(this->in.query, g, rows.data());
    if constexpr (predicts) this->point(this->in.erase, g, rows.data() + G);
    return rows;
  }
  auto probes(std::size_t g) const {
    std::array<const Scalar*, G> w;
    this->point(this->in.gain, this->key_dim, g, w.data());
    return w;
  }
  bool rescale(std::size_t g) const { return channel || this->tile.groups[g].rescale; }
  Scales<Scalar> scales(std::size_t g) const {
    if (!channel) return {&this->tile.groups[g].block_scale, 0};
    return {this->memory.row_scale.data() + Index(g) * this->key_dim, 1};
  }

  [[gnu::flatten]] void solve(std::size_t g, const Scalar* reads, Scalar* update) const {
    const MemoryGroup<Scalar>& forward = this->memory.groups[g];
    const BackwardGroup<Scalar>& group = this->tile.groups[g];
    Lanes<Scalar, N> dmean[G], dnu[G];
    for (std::size_t t = G; t-- > 0;) {
      const Index token = Index(g * G + t);
      load_lanes<N>(this->tile.dmean[g * G + t], this->first, this->width, dmean[t]);
      load_lanes<N>(this->tile.nu.data() + token * this->value_dim, this->first, this->width,
                    dnu[t]);
      dnu[t] *= this->tile.evidence.data()[token];
      dnu[t] += lanes<const Scalar, N>(reads + Index(t) * N) * group.read_scale[t];
      for (std::size_t s = t; s < G; ++s) {
        dnu[t] += dmean[s] * forward.query_on_gain[s][t];
        if (predicts && s > t) dnu[t] -= dnu[s] * forward.erase_on_gain[s][t];
      }
      store_lanes<N>(this->tile.dnu.data() + token * this->value_dim, this->first, this->width,
                     dnu[t]);
    }
    for (std::size_t s = 0; s < G; ++s) {
      lanes<Scalar, N>(update + Index(s) * N) = dmean[s] * group.write_scale[s];
      if constexpr (predicts) {
        lanes<Scalar, N>(update + Index(G + s) * N) = dnu[s] * (-group.write_scale[s]);
      }
    }
  }
};

/// dq and de forward, on the transposed state. Lanes are key channels.
template <bool predicts, bool channel, int N, class Scalar>
struct ReadVjpPass : PassInputs<Scalar> {
  static constexpr std::size_t G = sweep_tokens;

  auto writes(std::size_t g) const {
    std::array<const Scalar*, G> nu;
    this->point(this->tile.nu, this->value_dim, g, nu.data());
    return nu;
  }
  auto probes(std::size_t g) const {
    std::array<const Scalar*, predicts ? 2 * G : G> rows;
    this->point(this->tile.dmean, g, rows.data());
    if constexpr (predicts) this->point(this->tile.dnu, this->value_dim, g, rows.data() + G);
    return rows;
  }
  bool rescale(std::size_t g) const { return channel || this->memory.groups[g].rescale; }
  Scales<Scalar> scales(std::size_t g) const {
    if (!channel) return {&this->memory.groups[g].block_scale, 0};
    return {nullptr, 0, this->tile.columns.data()};
  }

  [[gnu::flatten]] void solve(std::size_t g, const Scalar* reads, Scalar* update) const {
    const MemoryGroup<Scalar>& forward = this->memory.groups[g];
    const BackwardGroup<Scalar>& group = this->tile.groups[g];
    Lanes<Scalar, N> w[G], product;
    product.setOnes();
    for (std::size_t t = 0; t < G; ++t) {
      const Index row = Index(g * G + t) * this->key_dim;
      if constexpr (channel) {
        Lanes<Scalar, N> a;
        load_lanes<N>(this->in.decay.data() + row, this->first, this->width, a);
        product *= a;
        for (std::size_t s = 0; s < t; ++s) w[s] *= a;
      }
      load_lanes<N>(this->tile.gain[g * G + t], this->first, this->width, w[t]);
      const auto read = [&](std::size_t j) -> Lanes<Scalar, N> {
        if constexpr (channel) return lanes<const Scalar, N>(reads + Index(j) * N) * product;
        return lanes<const Scalar, N>(reads + Index(j) * N) * forward.read_scale[t];
      };
      Lanes<Scalar, N> dq = read(t);
      for (std::size_t s = 0; s <= t; ++s) dq += w[s] * group.output_on_write[t][s];
      store_lanes<N>(this->tile.dquery.data() + row, this->first, this->width, dq);
      if constexpr (predicts) {
        Lanes<Scalar, N> de = -read(G + t);
        for (std::size_t s = 0; s < t; ++s) de -= w[s] * group.innovation_on_write[t][s];
        store_lanes<N>(this->tile.derase.data() + row, this->first, this->width, de);
      }
    }
    if constexpr (channel) lanes<Scalar, N>(this->tile.columns.data()) = product;
    for (std::size_t s = 0; s < G; ++s) {
      lanes<Scalar, N>(update + Index(s) * N) = w[s] * forward.write_scale[s];
    }
  }
};

/// dw backward, on the transposed derivative by the state. Lanes are key channels.
template <bool predicts, bool channel, int N, class Scalar>
struct GainVjpPass : PassInputs<Scalar> {
  static constexpr std::size_t G = sweep_tokens;

  auto writes(std::size_t g) const {
    std::array<const Scalar*, predicts ? 2 * G : G> rows;
    this->point(this->tile.dmean, g, rows.data());
    if constexpr (predicts) this->point(this->tile.dnu, this->value_dim, g, rows.data() + G);
    return rows;
  }
  auto probes(std::size_t g) const {
    std::array<const Scalar*, G> nu;
    this->point(this->tile.nu, this->value_dim, g, nu.data());
    return nu;
  }
  bool rescale(std::size_t g) const { return channel || this->tile.groups[g].rescale; }
  Scales<Scalar> scales(std::size_t g) const {
    if (!channel) return {&this->tile.groups[g].block_scale, 0};
    return {nullptr, 0, this->tile.columns.data()};
  }

  [[gnu::flatten]] void solve(std::size_t g, const Scalar* reads, Scalar* update) const {
    const BackwardGroup<Scalar>& group = this->tile.groups[g];
    Lanes<Scalar, N> q[G], e[G], product;
    product.setOnes();
    for (std::size_t t = G; t-- > 0;) {
      const Index row = Index(g * G + t) * this->key_dim;
      load_lanes<N>(this->tile.query[g * G + t], this->first, this->width, q[t]);
      if constexpr (predicts) {
        load_lanes<N>(this->tile.erase[g * G + t], this->first, this->width, e[t]);
      }
      Lanes<Scalar, N> dw = lanes<const Scalar, N>(reads + Index(t) * N);
      if constexpr (channel) {
        dw *= product;
      } else {
        dw *= group.read_scale[t];
      }
      for (std::size_t s = t; s < G; ++s) {
        dw += q[s] * group.output_on_write[s][t];
        if (predicts && s > t) dw -= e[s] * group.innovation_on_write[s][t];
      }
      store_lanes<N>(this->tile.dgain.data() + row, this->first, this->width, dw);
      if constexpr (channel) {
        Lanes<Scalar, N> a;
        load_lanes<N>(this->in.decay.data() + row, this->first, this->width, a);
        product *= a;
        for (std::size_t s = t; s < G; ++s) {
          q[s] *= a;
          if constexpr (predicts) e[s] *= a;
        }
      }
    }
    if constexpr (channel) lanes<Scalar, N>(this->tile.columns.data()) = product;
    for (std::size_t s = 0; s < G; ++s) {
      lanes<Scalar, N>(update + Index(s) * N) = q[s] * group.write_scale[s];
      if constexpr (predicts) {
        lanes<Scalar, N>(update + Index(G + s) * N) = e[s] * (-group.write_scale[s]);
      }
    }
  }
};

}  // namespace seqbayes::detail
