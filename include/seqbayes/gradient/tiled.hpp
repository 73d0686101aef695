/// @file
/// The fast form of `scan_vjp`: tile by tile of tokens, the memory pass backwards, then the gain
/// pass backwards.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cstddef>
#include <type_traits>
#include <vector>

#include <seqbayes/gradient/memory_passes.hpp>
#include <seqbayes/gradient/tile_gains_vjp.hpp>
#include <seqbayes/scan/tile_gains.hpp>
#include <seqbayes/scan/tile_loader.hpp>

namespace seqbayes::detail {

/// What it keeps from call to call.
template <class L>
struct TiledVjpScratch {
  using Scalar = typename L::Scalar;
  Workspace<Scalar> scan;
  BackwardTile<Scalar> tile;
  TileGainsVjpScratch<L> gains;
  Matrix<Scalar> dmemory_transposed, transposed;
  Vector<Scalar> innovation_variance;  ///< T entries.
  std::vector<Scalar> gains_of_tile;
  std::vector<bool> in_groups;  ///< For each tile, whether its gain pass goes back in groups.
  Buffer<Scalar> own_erase;
};

/// Whether scan_vjp goes back in tiles: where scan runs in tiles, but for layers made of others.
template <class L>
inline constexpr bool goes_back_tiled = runs_tiled<L>;

/// Nothing for layers that don't go back in tiles.
template <class L>
struct TiledVjpScratchOf : std::type_identity<NoScratch> {};
template <class L>
requires goes_back_tiled<L>
struct TiledVjpScratchOf<L> : std::type_identity<TiledVjpScratch<L>> {
};

/// One layer over one sequence. Going forward, the gains are kept in `gradient.key` and the
/// innovations in `gradient.value`, which have their shapes, until their tile's turn comes. So no
/// derivative may be added to rows of tiles whose turn has not.
template <class L>
class TiledVjp {
  using Scalar = typename L::Scalar;
  using Model = typename L::Model;
  using State = typename L::State;
  using Loader = TileLoader<L>;
  static constexpr int Dk = L::key_width;
  static constexpr int Dv = L::value_width;
  static constexpr DecayWidth decays = Loader::decays;
  static constexpr bool none = decays == DecayWidth::none;
  static constexpr bool channel = Loader::channel;
  static constexpr bool predicts = Loader::predicts;
  using ConstKeys = Eigen::Map<const Vector<Scalar, Dk>>;
  using ConstValues = Eigen::Map<const Vector<Scalar, Dv>>;

 public:
  /// `checkpoints` gets the states before each tile.
  TiledVjp(const L& layer, const State& initial_state, const Sequence<Scalar>& x,
           const Cotangent<L>& cotangent, TiledVjpScratch<L>& scratch,
           std::vector<State>& checkpoints, Gradient<L>& gradient)
      : layer_(layer),
        state_(initial_state),
        x_(x),
        cotangent_(cotangent),
        scratch_(scratch),
        checkpoints_(checkpoints),
        gradient_(gradient),
        in_(scratch.scan.inputs),
        memory_(scratch.scan.memory),
        back_(scratch.tile),
        tile_(layer, x, scratch.scan),
        gains_(layer, scratch.scan),
        dk_(layer.key_dim()),
        dv_(layer.value_dim()),
        doptions_(gradient.options),
        gains_vjp_(layer, gradient, doptions_, scratch.gains) {}

  /// Tiles of 1 to max(1, T) tokens.
  void run(Index tile) {
    const Index length = x_.length();
    const auto tiles = static_cast<std::size_t>((length + tile - 1) / tile);
    scratch_.innovation_variance.resize(length);
    scratch_.in_groups.resize(tiles);
    if (checkpoints_.size() < tiles) checkpoints_.resize(tiles, state_);
    for (std::size_t i = 0; i < tiles; ++i) {
      checkpoints_[i] = state_;
      const Index first = Index(i) * tile;
      scratch_.in_groups[i] = forward(first, std::min(tile, length - first));
    }
    dstate_ = StepVjp<L>::final_state(layer_, cotangent_.state);
    scratch_.dmemory_transposed = dstate_.mean.transpose();
    for (std::size_t i = tiles; i-- > 0;) {
      const Index first = Index(i) * tile;
      backward(checkpoints_[i], first, std::min(tile, length - first), scratch_.in_groups[i]);
      state_ = checkpoints_[i];
    }
    StepVjp<L>::symmetrise(dstate_);  // to the last bit
    finish(layer_, dstate_, doptions_, gradient_);
  }

 private:
  void load(Index first, Index count) {
    tile_.load(first, count);
    back_.nu.reserve(tile_.padded() * dv_);
    back_.lanes.reserve(std::max(dk_, dv_));
  }

  PassInputs<Scalar> lanes_at(Index first, Index count) {
    return {memory_, in_, back_, back_.lanes, dk_, dv_, first, count};
  }

  /// Gains and innovations of a tile, and the state after it. Whether the gain pass goes back in
  /// groups.
  bool forward(Index first, Index count) {
    load(first, count);
    const GroupOutcome outcome =
        gains_.run(tile_.gain_tokens(first, count), state_.covariance,
                   {in_.gain.data(), in_.innovation_variance.data(), nullptr});
    std::copy_n(in_.gain.data(), count * dk_, gradient_.key.data() + first * dk_);
    std::copy_n(in_.innovation_variance.data(), count, scratch_.innovation_variance.data() + first);
    if constexpr (predicts) {
      tile_.prepare_memory();
      for_each_block<Scalar, Dv>(dv_, [&](auto N, Index at, Index used) {
        run_pass<InnovationPass<N, Scalar>, decays, N>(lanes_at(at, used), state_.mean.data());
      });
      std::copy_n(back_.nu.data(), count * dv_, gradient_.value.data() + first * dv_);
    } else {
      add_writes(first, count);
    }
    return outcome == GroupOutcome::both_ways;
  }

  /// S <- A_T S + sum_s A_Ts w_s y_s' over a tile: one product.
  void add_writes(Index first, Index count) {
    Eigen::Map<Matrix<Scalar>> w(in_.gain.data(), count, dk_);
    Eigen::Map<Matrix<Scalar>> y(gradient_.value.data() + first * dv_, count, dv_);
    Vector<Scalar, Dk> product = Vector<Scalar, Dk>::Ones(dk_);
    for (Index i = count; i-- > 0;) {
      y.row(i) = ConstValues(in_.value[static_cast<std::size_t>(i)], dv_).transpose();
      if constexpr (none) continue;
      w.row(i).array() *= product.transpose().array();
      if constexpr (channel) {
        product.array() *= tile_.row(in_.decay, i).array();
      } else {
        product *= in_.decay.data()[i];
      }
    }
    if constexpr (!none) state_.mean.array().colwise() *= product.array();
    state_.mean.noalias() += w.transpose() * y;
  }

  /// `before`: the state at the tile's start; `state_` is that at its end.
  void backward(const State& before, Index first, Index count, bool in_groups) {
    load(first, count);
    prepare_backward_tile(first, count);
    Vector<Scalar, Dk> along = Vector<Scalar, Dk>::Zero(dk_);  // rowsum(S * dS)
    if constexpr (!none) along = state_.mean.cwiseProduct(dstate_.mean).rowwise().sum();
    memory_vjp(before);
    gradient_.key.middleRows(first, count).setZero();
    gradient_.value.middleRows(first, count).setZero();
    collect(first, count, along);
    gains_vjp_.run(
        tile_.gain_tokens(first, count),
        {scratch_.gains_of_tile.data(), scratch_.innovation_variance.data() + first,
         back_.dgain.data(), back_.dlog_variance.data(),
         cotangent_.variance.empty() ? nullptr : cotangent_.variance.data() + first, nullptr},
        before.covariance, state_.covariance, dstate_.covariance, in_groups);
  }

  /// The passes of the memory, and through them `dstate_.mean` to the tile's start.
  void memory_vjp(const State& before) {
    for_each_block<Scalar, Dv>(dv_, [&](auto N, Index at, Index used) {
      run_pass<InnovationVjpPass<predicts, N, Scalar>, decays, N>(lanes_at(at, used),
                                                                  dstate_.mean.data());
    });
    prepare_products<predicts, Dv>(back_, dv_);
    scratch_.transposed = before.mean.transpose();
    for_each_block<Scalar, Dk>(dk_, [&](auto N, Index at, Index used) {
      const PassInputs<Scalar> inputs = lanes_at(at, used);
      run_pass<ReadVjpPass<predicts, channel, N, Scalar>, decays, N>(inputs,
                                                                     scratch_.transposed.data());
      run_pass<GainVjpPass<predicts, channel, N, Scalar>, decays, N>(
          inputs, scratch_.dmemory_transposed.data());
    });
  }

  /// Everything else that the passes read.
  void prepare_backward_tile(Index first, Index count) {
    const auto padded = static_cast<std::size_t>(tile_.padded());
    std::copy_n(gradient_.key.data() + first * dk_, count * dk_, in_.gain.data());
    scratch_.gains_of_tile.assign(gradient_.key.data() + first * dk_,
                                  gradient_.key.data() + (first + count) * dk_);
    std::copy_n(gradient_.value.data() + first * dv_, count * dv_, back_.nu.data());
    std::fill_n(back_.nu.data() + count * dv_, (tile_.padded() - count) * dv_, Scalar(0));
    std::fill_n(back_.zeros.reserve(std::max(dk_, dv_)), std::max(dk_, dv_), Scalar(0));
    scratch_.own_erase.reserve(count * dk_);
    back_.groups.resize(memory_.groups.size());
    back_.query.assign(padded, back_.zeros.data());
    back_.erase = back_.gain = back_.dmean = back_.query;
    for (Index i = 0; i < count; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const Token<Scalar> token = x_.token(first + i);
      back_.query[at] = token.query.data();
      back_.gain[at] = scratch_.gains_of_tile.data() + i * dk_;
      if constexpr (predicts) {
        back_.erase[at] = tile_.template placed<Dk, false>(
            Model::template prediction_key<Dk>(token, layer_.options()), scratch_.own_erase, i);
      }
      if (!cotangent_.mean.empty()) back_.dmean[at] = cotangent_.mean.row(first + i).data();
    }
    evidence_vjp(first, count);
    back_.dquery.reserve(tile_.padded() * dk_);
    back_.derase.reserve(tile_.padded() * dk_);
    back_.dgain.reserve(tile_.padded() * dk_);
    tile_.prepare_memory();
    prepare_backward(back_, channel || none ? nullptr : in_.decay.data());
  }

  /// From derivatives with respect to what the passes read and write to those of the fields, token
  /// by token backwards. With h = rowsum(S * dS) at token t, including its read,
  ///
  ///     dg_t = h_t - w_t * dw_t + e_t * de_t,   h_{t-1} = dg_t + q_{t-1} * dq_{t-1}
  ///
  /// from h at the tile's end, `along`.
  [[gnu::flatten]] void collect(Index first, Index count, Vector<Scalar, Dk>& along) {
    gradient_.query.middleRows(first, count) =
        Eigen::Map<const Matrix<Scalar>>(back_.dquery.data(), count, dk_);
    for (Index i = count; i-- > 0;) {
      const auto at = static_cast<std::size_t>(i);
      const Token<Scalar> token = x_.token(first + i);
      TokenGradient<Scalar> grad = token_gradient<Scalar>(gradient_, first + i);
      const ConstKeys dq(back_.dquery.data() + i * dk_, dk_),
          de(back_.derase.data() + i * dk_, dk_);
      Model::target_vjp(token, layer_.options(), ConstValues(back_.dnu.data() + i * dv_, dv_), grad,
                        doptions_);
      if constexpr (predicts) {
        Model::prediction_key_vjp(token, layer_.options(), de, grad, doptions_);
      }
      if constexpr (!none) {
        along.array() += token.query.template vector<Dk>().array() * dq.array() -
                         ConstKeys(back_.gain[at], dk_).array() *
                             ConstKeys(back_.dgain.data() + i * dk_, dk_).array();
        if constexpr (predicts) {
          along.array() += ConstKeys(back_.erase[at], dk_).array() * de.array();
        }
        if constexpr (channel) {
          forget(along, tile_.row(in_.decay, i));
        } else {
          forget(along, in_.decay.data()[i]);
        }
        log_decay_vjp<typename L::Decay>(token, layer_.options(), along, grad, doptions_);
      }
    }
  }

  /// Derivatives of the evidence with respect to nu_t and ln s_t.
  [[gnu::flatten]] void evidence_vjp(Index first, Index count) {
    std::fill_n(back_.dnu.reserve(tile_.padded() * dv_), tile_.padded() * dv_, Scalar(0));
    std::fill_n(back_.dlog_variance.reserve(count), count, Scalar(0));
    const Scalar evidence = cotangent_.log_evidence;
    if (!L::has_variance || evidence == Scalar(0)) return;
    const Scalar width = Scalar(static_cast<double>(dv_));
    for (Index i = 0; i < count; ++i) {
      const Scalar s = scratch_.innovation_variance[first + i];
      if (!(s > Scalar(0))) continue;
      const ConstValues nu(back_.nu.data() + i * dv_, dv_);
      Eigen::Map<Vector<Scalar, Dv>>(back_.dnu.data() + i * dv_, dv_) = nu * -evidence / s;
      back_.dlog_variance.data()[i] = -evidence * (width - nu.squaredNorm() / s) / Scalar(2);
    }
  }

  const L& layer_;
  State state_;
  const Sequence<Scalar>& x_;
  const Cotangent<L>& cotangent_;
  TiledVjpScratch<L>& scratch_;
  std::vector<State>& checkpoints_;
  Gradient<L>& gradient_;
  TileInputs<Scalar>& in_;
  MemoryTile<Scalar>& memory_;
  BackwardTile<Scalar>& back_;
  Loader tile_;
  TileGains<L, false> gains_;
  Index dk_, dv_;
  State dstate_{};
  LayerOptionSums<Scalar, OptionGradient<L>> doptions_;
  TileGainsVjp<L> gains_vjp_;
};

}  // namespace seqbayes::detail
