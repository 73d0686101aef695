/// @file
/// The fast form of `scan_vjp`: tile by tile of tokens, the memory pass backwards, then the gain
/// pass backwards.
#pragma once

#include <vector>

#include <seqbayes/gradient/full_tile.hpp>
#include <seqbayes/gradient/memory_tile.hpp>
#include <seqbayes/gradient/step.hpp>
#include <seqbayes/scan/tiled.hpp>

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
  using Base::in_;
  using Base::layer_;
  using Base::memory_;
  using Base::none;
  using Base::padded_;
  using Base::predicts;
  using Base::state_;
  using Base::x_;
  using typename Base::Decay;
  using typename Base::Model;
  using typename Base::Policy;
  using typename Base::Scalar;
  using State = typename L::State;
  using Covariance = decltype(State::covariance);
  using Keys = Eigen::Map<Vector<Scalar, Dk>>;
  using ConstKeys = Eigen::Map<const Vector<Scalar, Dk>>;
  using ConstValues = Eigen::Map<const Vector<Scalar, Dv>>;
  static constexpr int G = sweep_tokens;

 public:
  /// `state` is the initial one, and scratch.
  TiledVjp(const L& layer, State& state, const Sequence<Scalar>& x, const Cotangent<L>& cotangent,
           Workspace<Scalar>& workspace, Gradient<L>& gradient)
      : Base(layer, state, x, workspace), cotangent_(cotangent), gradient_(gradient) {}

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
    }
    gradient_.initial_state =
        StepVjp<L>::final_state(layer_, dstate_);  // symmetric to the last bit
  }

 private:
  void prepare_tile(Index first, Index count) {
    Base::reserve(count);
    for (Index i = 0; i < count; ++i) Base::load(first, i);
    for (Index i = count; i < padded_; ++i) Base::load_null(i);
    back_.nu.reserve(padded_ * dv_);
    back_.block.reserve(std::max(dk_, dv_) * sweep_lanes<Scalar>);
    back_.update.reserve(2 * G * sweep_lanes<Scalar>);
    back_.reads.reserve(2 * G * sweep_lanes<Scalar>);
  }

  void prepare_groups_of_tile() {
    if constexpr (channel) {
      prepare_channel_groups<predicts, Dk>(memory_, in_, dk_, in_.decay.data());
    } else {
      prepare_groups<predicts, Dk>(memory_, in_, dk_, none ? nullptr : in_.decay.data());
    }
  }

  PassInputs<Scalar> inputs(Index at, Index width) {
    return {memory_, in_, back_, dk_, dv_, at, width};
  }

  /// Sweeps one block of lanes of `matrix` (rows x cols) with a pass; writes it back if it is kept.
  template <Scaling scaling, bool backward, int N, class Pass>
  void sweep_block(const Pass& pass, Scalar* matrix, Index rows, Index cols, Scalar final_scale,
                   bool keep) {
    Scalar* block = back_.block.data();
    load_block<N>(block, matrix, rows, cols, pass.first, pass.width);
    sweep_groups<scaling, backward, N>(pass, block, rows, back_.update.data(), back_.reads.data(),
                                       memory_.groups.size());
    if (!keep) return;
    for (Index i = 0; i < rows; ++i) lanes<Scalar, N>(block + i * N) *= final_scale;
    store_block<N>(block, matrix, rows, cols, pass.first, pass.width);
  }

  /// Gains and innovations of a tile, and the state after it.
  void forward(Index first, Index count) {
    prepare_tile(first, count);
    Base::gains(first, count, {});
    std::copy_n(in_.gain.data(), count * dk_, gradient_.key.data() + first * dk_);
    std::copy_n(in_.innovation_variance.data(), count, innovation_variance_.data() + first);
    if constexpr (predicts) {
      prepare_groups_of_tile();
      constexpr Scaling scaling = none ? Scaling::none : Scaling::rows;
      for_each_block<Scalar, Dv>(
          dv_, [&]<int N>(std::integral_constant<int, N>, Index at, Index width) {
            sweep_block<scaling, false, N>(InnovationPass<channel, N, Scalar>{inputs(at, width)},
                                           state_.mean.data(), dk_, dv_, memory_.final_scale, true);
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
    prepare_tile(first, count);
    prepare_backward_tile(first, count);
    Vector<Scalar, Dk> along = Vector<Scalar, Dk>::Zero(dk_);  // rowsum(S * dS)
    if constexpr (!none) along = state_.mean.cwiseProduct(dstate_.mean).rowwise().sum();

    constexpr Scaling by_row = none ? Scaling::none : Scaling::rows;
    constexpr Scaling by_lane = none ? Scaling::none : channel ? Scaling::columns : Scaling::rows;
    for_each_block<Scalar, Dv>(
        dv_, [&]<int N>(std::integral_constant<int, N>, Index at, Index width) {
          sweep_block<by_row, true, N>(
              InnovationVjpPass<predicts, channel, N, Scalar>{inputs(at, width)},
              dstate_.mean.data(), dk_, dv_, back_.final_scale, true);
        });
    prepare_products<predicts, Dv>(back_, dv_);
    transposed_ = before.mean.transpose();
    for_each_block<Scalar, Dk>(dk_, [&]<int N>(std::integral_constant<int, N>, Index at,
                                               Index width) {
      sweep_block<by_lane, false, N>(ReadVjpPass<predicts, channel, N, Scalar>{inputs(at, width)},
                                     transposed_.data(), dv_, dk_, Scalar(1), false);
      sweep_block<by_lane, true, N>(GainVjpPass<predicts, channel, N, Scalar>{inputs(at, width)},
                                    dmemory_transposed_.data(), dv_, dk_, back_.final_scale, true);
    });
    gradient_.key.middleRows(first, count).setZero();
    gradient_.value.middleRows(first, count).setZero();
    collect(first, count, along);
    gains_vjp(before, first, count);
  }

  /// Everything that the passes read.
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
    std::fill_n(back_.evidence.reserve(padded_), padded_, Scalar(0));
    if constexpr (L::has_variance) {
      for (Index i = 0; i < count; ++i) {
        const Scalar s = innovation_variance_[first + i];
        if (s > Scalar(0)) back_.evidence.data()[i] = -cotangent_.log_evidence / s;
      }
    }
    back_.dnu.reserve(padded_ * dv_);
    back_.dquery.reserve(padded_ * dk_);
    back_.derase.reserve(padded_ * dk_);
    back_.dgain.reserve(padded_ * dk_);
    back_.columns.reserve(sweep_lanes<Scalar>);
    prepare_groups_of_tile();
    prepare_backward(back_, channel || none ? nullptr : in_.decay.data());
  }

  /// The covariances before each token of a tile.
  std::vector<Covariance> covariances(const State& before, Index first, Index count) {
    std::vector<Covariance> all(static_cast<std::size_t>(count), before.covariance);
    if constexpr (!std::is_same_v<Covariance, Empty>) {
      Covariance covariance = before.covariance;
      Vector<Scalar, Dk> decay(dk_), gain(dk_);
      for (Index i = 0; i < count; ++i) {
        all[static_cast<std::size_t>(i)] = covariance;
        covariance_decay(first, i, decay);
        Policy::template gain<Dk>(layer_.options(), x_.token(first + i), decay, covariance, gain);
      }
    }
    return all;
  }

  void covariance_decay(Index first, Index i, Vector<Scalar, Dk>& decay) {
    if constexpr (Policy::propagates) {
      CovarianceDecay<L, !channel>{x_, dk_, none ? nullptr : in_.decay.data(), first}(first + i,
                                                                                      decay.data());
    }
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
        if constexpr (predicts)
          along.array() += ConstKeys(back_.erase[at], dk_).array() * de.array();
        forget(along, i);
        grad.log_decay.add(along);
      }
    }
  }

  /// Derivatives by s_t that the evidence has.
  void evidence_by_variance(Index first, Index count) {
    const Scalar width = Scalar(static_cast<double>(dv_));
    Scalar* ds = dinnovation_variance_.reserve(count);
    for (Index i = 0; i < count; ++i) {
      const Scalar evidence = back_.evidence.data()[i];  // -d log_evidence / s
      ds[i] = Scalar(0);
      if (evidence == Scalar(0)) continue;
      const Scalar norm2 = ConstValues(back_.nu.data() + i * dv_, dv_).squaredNorm();
      ds[i] = evidence * Scalar(0.5) * (width - norm2 / innovation_variance_[first + i]);
    }
  }

  /// The gain pass backwards.
  void gains_vjp(const State& before, Index first, Index count) {
    evidence_by_variance(first, count);
    if constexpr (std::is_same_v<Policy, FullCovariance>) {
      const MatrixView<Scalar> own = x_.covariance_log_decay.rows(first, count);
      if (!Base::grows(own) && !forgets(own) && !lifted(first, count)) {
        const bool one_factor = own.cols() == 1 || (own.empty() && !channel);
        const bool variances = !cotangent_.variance.empty();
        if (one_factor) {
          variances ? full_gains_vjp<true, true>(before, first, count)
                    : full_gains_vjp<false, true>(before, first, count);
        } else {
          variances ? full_gains_vjp<true, false>(before, first, count)
                    : full_gains_vjp<false, false>(before, first, count);
        }
        return;
      }
    }
    gains_vjp_by_token(before, first, count);
  }

  /// Whether a covariance's own decay keeps less than e^-4 of it. Derivatives by it are as small,
  /// and the passes have absolute errors; single tokens keep the digits.
  static bool forgets(const MatrixView<Scalar>& log_decay) {
    for (Index i = 0; i < log_decay.rows() && log_decay.cols() > 0; ++i) {
      if (log_decay.row(i).vector().minCoeff() < Scalar(-2)) return true;
    }
    return false;
  }

  /// Whether a gain is 0 for a key that isn't: the covariance may have been lifted there.
  bool lifted(Index first, Index count) const {
    for (Index i = 0; i < count; ++i) {
      const ConstKeys gain(back_.gain[static_cast<std::size_t>(i)], dk_);
      if (gain.isZero(0) && !x_.key.row(first + i).template vector<Dk>().isZero(0)) return true;
    }
    return false;
  }

  template <bool variances, bool uniform>
  void full_gains_vjp(const State& before, Index first, Index count) {
    const GainsVjpInputs<Scalar> in{x_,
                                    first,
                                    count,
                                    gains_.data(),
                                    innovation_variance_.data() + first,
                                    back_.dgain.data(),
                                    dinnovation_variance_.data(),
                                    variances ? cotangent_.variance.data() + first : nullptr};
    const CovarianceDecay<L, !channel> decay{x_, dk_, none ? nullptr : in_.decay.data(), first};
    FullGainsVjp<Scalar, Dk, variances, uniform>(full_back_, in, dk_)
        .run(before.covariance, state_.covariance, dstate_.covariance, decay, gradient_);
  }

  /// One token of the policy; all of it inlined, but where it takes products of matrices anyway.
  void gain_vjp(const Token<Scalar>& token, const Vector<Scalar, Dk>& decay,
                const Covariance& covariance, GainCotangent<Scalar, Dk>& d,
                TokenGradient<Scalar>& grad) {
    if constexpr (std::is_same_v<Covariance, FullCovariance::State<Scalar, Dk>>) {
      GainVjp<Policy>::template step<Dk>(layer_.options(), token, decay, covariance, d,
                                         dstate_.covariance, grad);
    } else {
      small_gain_vjp(token, decay, covariance, d, grad);
    }
  }
  [[gnu::flatten]] void small_gain_vjp(const Token<Scalar>& token, const Vector<Scalar, Dk>& decay,
                                       const Covariance& covariance, GainCotangent<Scalar, Dk>& d,
                                       TokenGradient<Scalar>& grad) {
    GainVjp<Policy>::template step<Dk>(layer_.options(), token, decay, covariance, d,
                                       dstate_.covariance, grad);
  }

  void gains_vjp_by_token(const State& before, Index first, Index count) {
    const auto covariance = covariances(before, first, count);
    Vector<Scalar, Dk> decay(dk_);
    GainCotangent<Scalar, Dk> d;
    d.dprior_variance = &gradient_.prior_variance;
    for (Index i = count; i-- > 0;) {
      const Index t = first + i;
      const Token<Scalar> token = x_.token(t);
      TokenGradient<Scalar> grad = token_gradient<Scalar>(gradient_, t);
      d.gain = ConstKeys(back_.dgain.data() + i * dk_, dk_);
      d.innovation_variance = dinnovation_variance_.data()[i];
      if (!cotangent_.variance.empty()) d.variance = cotangent_.variance[t];
      covariance_decay(first, i, decay);
      gain_vjp(token, decay, covariance[static_cast<std::size_t>(i)], d, grad);
      if constexpr (Policy::propagates) {
        (token.covariance_log_decay.empty() ? grad.log_decay : grad.covariance_log_decay)
            .add(d.dlog_decay);
      }
    }
  }

  /// Nothing of what came before a decay of 0 has an effect: no rounding errors of `along` either.
  void forget(Vector<Scalar, Dk>& along, Index i) {
    if constexpr (channel) {
      along = (Base::row(in_.decay, i).array() > Scalar(0)).select(along, Scalar(0));
    } else {
      if (!(in_.decay.data()[i] > Scalar(0))) along.setZero();
    }
  }

  const Cotangent<L>& cotangent_;
  Gradient<L>& gradient_;
  State dstate_{};
  Matrix<Scalar> dmemory_transposed_, transposed_;
  Vector<Scalar> innovation_variance_;
  Buffer<Scalar> dinnovation_variance_;
  FullVjpTile<Scalar> full_back_;
  BackwardTile<Scalar> back_;
  std::vector<Scalar> gains_;
  Buffer<Scalar> own_erase_;
};

}  // namespace seqbayes::detail
