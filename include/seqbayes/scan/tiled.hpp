/// @file
/// The fast execution form: tile by tile of tokens, first the gain pass, then the memory pass.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cstddef>

#include <seqbayes/scan/tile_gains.hpp>
#include <seqbayes/scan/tile_loader.hpp>

namespace seqbayes::detail {

/// One layer over one sequence.
///
/// A decay that is the same for all channels is kept as a factor of the state, by which all that is
/// written is divided. Numbers near the largest may overflow by that; such a tile is run again,
/// token by token.
template <class L, bool probabilistic>
class TiledScan {
  using Scalar = typename L::Scalar;
  using Model = typename L::Model;
  using Policy = typename L::Policy;
  using Loader = TileLoader<L>;
  static constexpr int Dk = L::key_width;
  static constexpr int Dv = L::value_width;

 public:
  TiledScan(const L& layer, typename L::State& state, const Sequence<Scalar>& x,
            Workspace<Scalar>& workspace)
      : layer_(layer),
        state_(state),
        x_(x),
        in_(workspace.inputs),
        memory_(workspace.memory),
        tile_(layer, x, workspace),
        gains_(layer, workspace),
        dk_(layer.key_dim()),
        dv_(layer.value_dim()) {}

  void run(Index tile, const Results<Scalar>& out) {
    for (Index first = 0; first < x_.length(); first += tile) {
      const Index count = std::min(tile, x_.length() - first);
      tile_.load(first, count);
      gains_.run(tile_.gain_tokens(first, count), state_.covariance,
                 {in_.gain.data(), in_.innovation_variance.data(),
                  probabilistic ? out.variance + first : nullptr});
      write_and_read(first, count, out);
    }
  }

 private:
  void write_and_read(Index first, Index count, const Results<Scalar>& out) {
    if constexpr (Loader::decays != DecayWidth::one) {
      in_tile(first, count, out);
    } else {
      Scalar* before = in_.saved.reserve(state_.mean.size());
      std::copy_n(state_.mean.data(), state_.mean.size(), before);
      in_tile(first, count, out);
      if (!all_finite(state_.mean.data(), state_.mean.size()) ||
          !all_finite(out.mean + first * dv_, count * dv_)) {
        std::copy_n(before, state_.mean.size(), state_.mean.data());
        by_token(first, count, out);
      }
    }
    if constexpr (probabilistic) {
      for (Index i = 0; i < count; ++i) {
        const Scalar evidence = log_density<Policy>(layer_.options(), x_.token(first + i),
                                                    in_.innovation_norm2.data()[i],
                                                    in_.innovation_variance.data()[i], dv_);
        *out.log_evidence += evidence;
        if (out.token_evidence) out.token_evidence[first + i] = evidence;
      }
      if (!out.innovation_variance) return;
      std::copy_n(in_.innovation_variance.data(), count, out.innovation_variance + first);
      std::copy_n(in_.innovation_norm2.data(), count, out.innovation_norm2 + first);
    }
  }

  void by_token(Index first, Index count, const Results<Scalar>& out) {
    auto memory = sized<Dk, Dv>(state_.mean);
    Vector<Scalar, Dv> mean(dv_);
    for (Index i = 0; i < count; ++i) {
      in_.innovation_norm2.data()[i] =
          detail::write_and_read<Model>(memory, layer_.options(), in_.decay.data()[i],
                                        tile_.row(in_.gain, i), x_.token(first + i), mean);
      std::copy_n(mean.data(), dv_, out.mean + (first + i) * dv_);
    }
  }

  void in_tile(Index first, Index count, const Results<Scalar>& out) {
    tile_.prepare_memory();
    const Index padded = tile_.padded(), padded_dv = tile_.padded_dv();
    Scalar* norm2 = probabilistic ? in_.innovation_norm2.data() : nullptr;
    if (norm2) std::fill_n(norm2, padded, Scalar(0));
    in_.output.resize(static_cast<std::size_t>(padded));
    in_.own_output.reserve(padded * padded_dv);
    for (Index i = 0; i < padded; ++i) {
      in_.output[static_cast<std::size_t>(i)] = i < count && padded_dv == dv_
                                                    ? out.mean + (first + i) * dv_
                                                    : in_.own_output.data() + i * padded_dv;
    }
    constexpr Scaling scaling = Loader::decays == DecayWidth::none ? Scaling::none : Scaling::rows;
    memory_.lanes.reserve(dk_);
    for_each_block<Scalar, Dv>(dv_, [&](auto N, Index at, Index width) {
      run_groups<OutputPass<Loader::predicts, N, Scalar>, scaling, Loader::channel, N>(
          OutputInputs<Scalar>{memory_, in_, memory_.lanes, dk_, dv_, at, width, norm2},
          state_.mean.data());
    });
    if (padded_dv != dv_) {
      for (Index i = 0; i < count; ++i) {
        std::copy_n(in_.output[static_cast<std::size_t>(i)], dv_, out.mean + (first + i) * dv_);
      }
    }
  }

  const L& layer_;
  typename L::State& state_;
  const Sequence<Scalar>& x_;
  TileInputs<Scalar>& in_;
  MemoryTile<Scalar>& memory_;
  Loader tile_;
  TileGains<L, probabilistic> gains_;
  Index dk_, dv_;
};

/// Runs a layer in tiles of as many tokens; 0 leaves it to the library.
template <bool probabilistic, class L>
void run_tiles(const L& layer, typename L::State& state, const Sequence<typename L::Scalar>& x,
               Index tile, Workspace<typename L::Scalar>& workspace,
               const Results<typename L::Scalar>& out) {
  TiledScan<L, probabilistic>(layer, state, x, workspace).run(tile == 0 ? default_tile : tile, out);
}

/// Several writes a token: a sequence of single writes, of which the last of each token is read.
template <bool probabilistic, class Base, int Writes>
void run_tiles(const SeveralWrites<Base, Writes>& layer, typename Base::State& state,
               const Sequence<typename Base::Scalar>& x, Index tile,
               Workspace<typename Base::Scalar>& workspace,
               const Results<typename Base::Scalar>& out) {
  using Scalar = typename Base::Scalar;
  const Index dv = layer.value_dim();
  const Index tokens = tile == 0 ? std::max<Index>(1, default_tile / Writes) : tile;
  Scalar* mean = workspace.means_of_writes.reserve(tokens * Writes * dv);
  Scalar* variance =
      probabilistic ? workspace.variances_of_writes.reserve(tokens * Writes) : nullptr;
  Scalar* evidence =
      out.token_evidence ? workspace.evidences_of_writes.reserve(tokens * Writes) : nullptr;
  for (Index first = 0; first < x.length(); first += tokens) {
    const Index count = std::min(tokens, x.length() - first);
    const Sequence<Scalar> part = x.tokens(first, count);
    const Sequence<Scalar> writes = expand_writes(layer, part, workspace.writes);
    TiledScan<Base, probabilistic>(layer.base(), state, writes, workspace)
        .run(count * Writes, {mean, variance, out.log_evidence, nullptr, nullptr, evidence});
    for (Index t = 0; t < count; ++t) {
      const Index last = t * Writes + Writes - 1;
      std::copy_n(mean + last * dv, dv, out.mean + (first + t) * dv);
      if constexpr (probabilistic) out.variance[first + t] = variance[last];
      if (evidence) {
        out.token_evidence[first + t] =
            Eigen::Map<const Vector<Scalar, Writes>>(evidence + t * Writes).sum();
      }
    }
  }
}

}  // namespace seqbayes::detail
