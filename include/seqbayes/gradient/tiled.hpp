/// @file
/// The fast form of `scan_vjp`: tile by tile of tokens, the memory pass backwards, then the gain
/// pass backwards.
#pragma once

#include <vector>

#include <seqbayes/gradient/memory_passes.hpp>
#include <seqbayes/gradient/tiled_gains.hpp>

namespace seqbayes::detail {

/// One layer over one sequence. Going forward, the gains are kept in `gradient.key` and the
/// innovations in `gradient.value`, which have their shapes, until their tile's turn comes.
template <TiledLayer L>
class TiledVjp : TiledScan<L, false> {
  using Base = TiledScan<L, false>;
  using Base::channel;
  using Base::Dk;
  using Base::dk_;
  using Base::Dv;
  using Base::dv_;
  using Base::full_;
  using Base::in_;
  using Base::layer_;
  using Base::memory_;
  using Base::none;
  using Base::padded_;
  using Base::predicts;
  using Base::state_;
  using Base::x_;
  using typename Base::Model;
  using typename Base::Scalar;
  using State = typename L::State;
  using ConstKeys = Eigen::Map<const Vector<Scalar, Dk>>;
  using ConstValues = Eigen::Map<const Vector<Scalar, Dv>>;
  static constexpr DecayWidth decays = none      ? DecayWidth::none
                                       : channel ? DecayWidth::channel
                                                 : DecayWidth::one;

 public:
  /// `state` is the initial one, and scratch.
  TiledVjp(const L& layer, State& state, const Sequence<Scalar>& x, const Cotangent<L>& cotangent,
           Workspace<Scalar>& workspace, Gradient<L>& gradient)
      : Base(layer, state, x, workspace),
        cotangent_(cotangent),
        gradient_(gradient),
        gains_vjp_(layer, gradient, doptions_) {}

  /// Tiles of 1 to max(1, T) tokens.
  void run(Index tile) {
    const Index length = x_.length();
    innovation_variance_.resize(length);
    std::vector<State> checkpoints;
    checkpoints.reserve(static_cast<std::size_t>((length + tile - 1) / tile));
    for (Index first = 0; first < length; first += tile) {
      checkpoints.push_back(state_);
      forward(first, std::min(tile, length - first));
    }
    dstate_ = StepVjp<L>::final_state(layer_, cotangent_.state);
    dmemory_transposed_ = dstate_.mean.transpose();
    for (; !checkpoints.empty(); checkpoints.pop_back()) {
      const Index first = (static_cast<Index>(checkpoints.size()) - 1) * tile;
      backward(checkpoints.back(), first, std::min(tile, length - first));
      state_ = std::move(checkpoints.back());
      resolved_.pop_back();
    }
    gradient_.initial_state =
        StepVjp<L>::final_state(layer_, dstate_);  // symmetric to the last bit
    store(doptions_, gradient_);
  }

 private:
  void load_tile(Index first, Index count) {
    Base::load_tile(first, count);
    constexpr Index updates = 2 * sweep_tokens * sweep_lanes<Scalar>;
    back_.nu.reserve(padded_ * dv_);
    back_.block.reserve(std::max(dk_, dv_) * sweep_lanes<Scalar>);
    back_.update.reserve(updates);
    back_.reads.reserve(updates);
  }

  PassInputs<Scalar> lanes_at(Index first, Index count) {
    return {memory_, in_, back_, dk_, dv_, first, count};
  }

  /// Gains and innovations of a tile, and the state after it.
  void forward(Index first, Index count) {
    load_tile(first, count);
    Base::gains(first, count, {});
    resolved_.push_back(full_.resolved);
    std::copy_n(in_.gain.data(), count * dk_, gradient_.key.data() + first * dk_);
    std::copy_n(in_.innovation_variance.data(), count, innovation_variance_.data() + first);
    if constexpr (predicts) {
      Base::prepare_memory();
      for_each_block<Scalar, Dv>(dv_, [&](auto N, Index at, Index used) {
        run_pass<InnovationPass<N, Scalar>, decays, N>(lanes_at(at, used), state_.mean.data());
      });
      std::copy_n(back_.nu.data(), count * dv_, gradient_.value.data() + first * dv_);
    } else {
      add_writes(first, count);
    }
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
        product.array() *= Base::row(in_.decay, i).array();
      } else {
        product *= in_.decay.data()[i];
      }
    }
    if constexpr (!none) state_.mean.array().colwise() *= product.array();
    state_.mean.noalias() += w.transpose() * y;
  }

  /// `before`: the state at the tile's start; `state_` is that at its end.
  void backward(const State& before, Index first, Index count) {
    load_tile(first, count);
    prepare_backward_tile(first, count);
    Vector<Scalar, Dk> along = Vector<Scalar, Dk>::Zero(dk_);  // rowsum(S * dS)
    if constexpr (!none) along = state_.mean.cwiseProduct(dstate_.mean).rowwise().sum();
    memory_vjp(before);
    gradient_.key.middleRows(first, count).setZero();
    gradient_.value.middleRows(first, count).setZero();
    collect(first, count, along);
    const GainsVjpInputs<Scalar> of_gains{
        x_,
        first,
        count,
        gains_.data(),
        innovation_variance_.data() + first,
        back_.dgain.data(),
        back_.dlog_variance.data(),
        cotangent_.variance.empty() ? nullptr : cotangent_.variance.data() + first,
        resolved_.back()};
    gains_vjp_.run(of_gains, Base::covariance_decays(first), before.covariance, state_.covariance,
                   dstate_.covariance);
  }

  /// The passes of the memory, and through them `dstate_.mean` to the tile's start.
  void memory_vjp(const State& before) {
    for_each_block<Scalar, Dv>(dv_, [&](auto N, Index at, Index used) {
      run_pass<InnovationVjpPass<predicts, N, Scalar>, decays, N>(lanes_at(at, used),
                                                                  dstate_.mean.data());
    });
    prepare_products<predicts, Dv>(back_, dv_);
    transposed_ = before.mean.transpose();
    for_each_block<Scalar, Dk>(dk_, [&](auto N, Index at, Index used) {
      const PassInputs<Scalar> inputs = lanes_at(at, used);
      run_pass<ReadVjpPass<predicts, channel, N, Scalar>, decays, N>(inputs, transposed_.data());
      run_pass<GainVjpPass<predicts, channel, N, Scalar>, decays, N>(inputs,
                                                                     dmemory_transposed_.data());
    });
  }

  /// Everything else that the passes read.
  void prepare_backward_tile(Index first, Index count) {
    const auto padded = static_cast<std::size_t>(padded_);
    std::copy_n(gradient_.key.data() + first * dk_, count * dk_, in_.gain.data());
    gains_.assign(gradient_.key.data() + first * dk_, gradient_.key.data() + (first + count) * dk_);
    std::copy_n(gradient_.value.data() + first * dv_, count * dv_, back_.nu.data());
    std::fill_n(back_.nu.data() + count * dv_, (padded_ - count) * dv_, Scalar(0));
    std::fill_n(back_.zeros.reserve(std::max(dk_, dv_)), std::max(dk_, dv_), Scalar(0));
    own_erase_.reserve(count * dk_);
    back_.groups.resize(memory_.groups.size());
    back_.query.assign(padded, back_.zeros.data());
    back_.erase = back_.gain = back_.dmean = back_.query;
    for (Index i = 0; i < count; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const Token<Scalar> token = x_.token(first + i);
      back_.query[at] = token.query.data();
      back_.gain[at] = gains_.data() + i * dk_;
      if constexpr (predicts) {
        back_.erase[at] =
            Base::template placed<Dk, false>(Model::template erase<Dk>(token), own_erase_, i);
      }
      if (!cotangent_.mean.empty()) back_.dmean[at] = cotangent_.mean.row(first + i).data();
    }
    evidence_vjp(first, count);
    back_.dquery.reserve(padded_ * dk_);
    back_.derase.reserve(padded_ * dk_);
    back_.dgain.reserve(padded_ * dk_);
    back_.columns.reserve(sweep_lanes<Scalar>);
    Base::prepare_memory();
    prepare_backward(back_, channel || none ? nullptr : in_.decay.data());
  }

  /// From derivatives by what the passes read and write to those of the fields, token by token
  /// backwards. With h = rowsum(S * dS) at token t, including its read,
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
      ModelVjp<Model>::written(token, ConstValues(back_.dnu.data() + i * dv_, dv_), grad);
      if constexpr (predicts) ModelVjp<Model>::erase(token, de, grad);
      if constexpr (!none) {
        along.array() += token.query.template vector<Dk>().array() * dq.array() -
                         ConstKeys(back_.gain[at], dk_).array() *
                             ConstKeys(back_.dgain.data() + i * dk_, dk_).array();
        if constexpr (predicts) {
          along.array() += ConstKeys(back_.erase[at], dk_).array() * de.array();
        }
        if constexpr (channel) {
          forget(along, Base::row(in_.decay, i));
        } else {
          forget(along, in_.decay.data()[i]);
        }
        grad.log_decay.add(along);
      }
    }
  }

  /// Derivatives of the evidence by nu_t and ln s_t.
  [[gnu::flatten]] void evidence_vjp(Index first, Index count) {
    std::fill_n(back_.dnu.reserve(padded_ * dv_), padded_ * dv_, Scalar(0));
    std::fill_n(back_.dlog_variance.reserve(count), count, Scalar(0));
    const Scalar evidence = cotangent_.log_evidence;
    if (!L::has_variance || evidence == Scalar(0)) return;
    const Scalar width = Scalar(static_cast<double>(dv_));
    for (Index i = 0; i < count; ++i) {
      const Scalar s = innovation_variance_[first + i];
      if (!(s > Scalar(0))) continue;
      const ConstValues nu(back_.nu.data() + i * dv_, dv_);
      Eigen::Map<Vector<Scalar, Dv>>(back_.dnu.data() + i * dv_, dv_) = nu * -evidence / s;
      back_.dlog_variance.data()[i] = -evidence * (width - nu.squaredNorm() / s) / Scalar(2);
    }
  }

  const Cotangent<L>& cotangent_;
  Gradient<L>& gradient_;
  State dstate_{};
  Matrix<Scalar> dmemory_transposed_, transposed_;
  Vector<Scalar> innovation_variance_;
  BackwardTile<Scalar> back_;
  std::vector<Scalar> gains_;
  std::vector<bool> resolved_;  ///< Whether all tokens of each tile were.
  Buffer<Scalar> own_erase_;
  LayerOptionSums<Scalar> doptions_;
  TiledGainsVjp<L> gains_vjp_;
};

}  // namespace seqbayes::detail
