/// @file
/// The fast execution form: tile by tile of tokens, first the gain pass, then the memory pass.
#pragma once

#include <seqbayes/scan/layer.hpp>
#include <seqbayes/scan/workspace.hpp>

namespace seqbayes::detail {

/// Whether a layer can run in tiles: one of the library's, of a native type, whose model makes one
/// write.
template <class L>
concept TiledLayer = std::is_floating_point_v<typename L::Scalar> && requires {
  typename L::Model;
  typename L::Policy;
} &&(L::Model::write != Write::replace);

/// Where a scan puts its results. `variance` and `log_evidence` may be null.
template <class Scalar>
struct Results {
  OutputRows<Scalar> mean;
  Scalar* variance = nullptr;
  Scalar* log_evidence = nullptr;
};

/// Covariance decay factors of token t: the covariance's own field, or the memory's decay.
template <class L, bool uniform_memory>
struct CovarianceDecay {
  using Scalar = typename L::Scalar;
  static constexpr int Dk = L::key_width;

  const Sequence<Scalar>& x;
  Index key_dim;
  const Scalar* memory_decay;  ///< Of token `first` on; null: none.
  Index first;

  /// The one factor of all channels.
  Scalar uniform(Index t) const {
    if (!x.covariance_log_decay.empty()) return std::exp(x.covariance_log_decay.row(t)[0]);
    if constexpr (uniform_memory) return memory_decay ? memory_decay[t - first] : Scalar(1);
    return Scalar(1);
  }

  void operator()(Index t, Scalar* row) const {
    Eigen::Map<Vector<Scalar, Dk>> factors(row, key_dim);
    if (x.covariance_log_decay.cols() > 1 || (!x.covariance_log_decay.empty() && key_dim == 1)) {
      exponential(factors, x.covariance_log_decay.row(t));
    } else if (x.covariance_log_decay.empty() && !uniform_memory) {
      factors = Eigen::Map<const Vector<Scalar, Dk>>(memory_decay + (t - first) * key_dim, key_dim);
    } else {
      factors.setConstant(uniform(t));
    }
  }
};

/// One layer over one sequence.
template <TiledLayer L, bool probabilistic>
class TiledScan {
  using Scalar = typename L::Scalar;
  using Model = typename L::Model;
  using Policy = typename L::Policy;
  using Decay = typename L::Decay;
  static constexpr int Dk = L::key_width;
  static constexpr int Dv = L::value_width;
  static constexpr bool channel = std::is_same_v<Decay, ChannelDecay>;
  static constexpr bool none = std::is_same_v<Decay, NoDecay>;
  static constexpr bool predicts = Model::write == Write::correct;

 public:
  TiledScan(const L& layer, typename L::State& state, const Sequence<Scalar>& x,
            Workspace<Scalar>& workspace)
      : layer_(layer),
        state_(state),
        x_(x),
        in_(workspace.inputs),
        memory_(workspace.memory),
        full_(workspace.covariance),
        dk_(layer.key_dim()),
        dv_(layer.value_dim()) {}

  void run(Index tile, const Results<Scalar>& out) {
    for (Index first = 0; first < x_.length(); first += tile) {
      const Index count = std::min(tile, x_.length() - first);
      reserve(count);
      load(first, count, out);
      gains(first, count, out);
      write_and_read(first, count, out);
    }
  }

 private:
  void reserve(Index count) {
    padded_ = whole_groups(count, std::max(memory_group, covariance_group));
    in_.decay.reserve(padded_ * (channel ? dk_ : 1));
    in_.covariance_decay.reserve(dk_);
    in_.gain.reserve(padded_ * dk_);
    in_.erase.reserve(padded_ * dk_);
    in_.query.reserve(padded_ * dk_);
    in_.innovation_variance.reserve(padded_);
    in_.innovation_norm2.reserve(padded_);
    memory_.groups.resize(static_cast<std::size_t>(padded_ / memory_group));
    if (channel) memory_.row_scale.reserve(padded_ / memory_group * dk_);
  }

  template <class Row = Vector<Scalar, Dk>>
  Eigen::Map<Row> row(Buffer<Scalar>& buffer, Index i) {
    return Eigen::Map<Row>(buffer.data() + i * dk_, dk_);
  }

  /// Decay factors, erase keys, queries and (into the output) what is written; null tokens at the
  /// end.
  [[gnu::flatten]] void load(Index first, Index count, const Results<Scalar>& out) {
    for (Index i = 0; i < count; ++i) {
      const Token<Scalar> token = x_.token(first + i);
      if constexpr (channel) {
        exponential(row(in_.decay, i), token.log_decay);
      } else if constexpr (!none) {
        in_.decay.data()[i] = decay_factor<Decay, Dk>(token, layer_.options());
      }
      if constexpr (predicts) row(in_.erase, i) = Model::template erase<Dk>(token);
      row(in_.query, i) = token.query.template vector<Dk>();
      Eigen::Map<Vector<Scalar, Dv>>(out.mean.data + (first + i) * out.mean.stride, dv_) =
          Model::template written<Dv>(token);
    }
    for (Index i = count; i < padded_; ++i) {
      if constexpr (channel) {
        row(in_.decay, i).setOnes();
      } else {
        in_.decay.data()[i] = Scalar(1);
      }
      row(in_.gain, i).setZero();
      row(in_.erase, i).setZero();
      row(in_.query, i).setZero();
    }
  }

  void gains(Index first, Index count, const Results<Scalar>& out) {
    const CovarianceDecay<L, !channel> decay{x_, dk_, none ? nullptr : in_.decay.data(), first};
    if constexpr (std::is_same_v<Policy, FullCovariance>) {
      const Index own = x_.covariance_log_decay.cols();
      if (own == 1 || (own == 0 && !channel)) {
        full_gains<true>(first, count, decay, out);
      } else {
        full_gains<false>(first, count, decay, out);
      }
    } else {
      for (Index i = 0; i < count; ++i) gain_of_token(first, i, decay, out);
    }
  }

  template <class DecayOf>
  [[gnu::flatten]] void gain_of_token(Index first, Index i, const DecayOf& decay,
                                      const Results<Scalar>& out) {
    const Token<Scalar> token = x_.token(first + i);
    auto gain = row(in_.gain, i);
    auto covariance_decay = row(in_.covariance_decay, 0);
    if constexpr (Policy::propagates) decay(first + i, covariance_decay.data());
    in_.innovation_variance.data()[i] = Policy::template gain<Dk>(
        layer_.options(), token, covariance_decay, state_.covariance, gain);
    if constexpr (probabilistic) {
      out.variance[first + i] =
          Policy::template variance<Dk>(layer_.options(), token, state_.covariance);
    }
  }

  template <bool uniform, class DecayOf>
  void full_gains(Index first, Index count, const DecayOf& decay, const Results<Scalar>& out) {
    FullGains<Scalar, Dk, probabilistic, uniform>(full_, dk_)
        .run(state_.covariance, x_, first, count, decay, in_.gain.data(),
             in_.innovation_variance.data(), probabilistic ? out.variance + first : nullptr);
  }

  void write_and_read(Index first, Index count, const Results<Scalar>& out) {
    const Index tokens = whole_groups(count, memory_group);
    memory_.channel_scales = channel;
    if constexpr (channel) {
      prepare_channel_groups<Dk>(memory_, in_, tokens, dk_, in_.decay.data());
    } else {
      prepare_groups<Dk>(memory_, in_, tokens, dk_, none ? nullptr : in_.decay.data());
    }
    Scalar* norm2 = probabilistic ? in_.innovation_norm2.data() : nullptr;
    if (norm2) std::fill_n(norm2, tokens, Scalar(0));
    const OutputRows<Scalar> rows{out.mean.data + first * out.mean.stride, out.mean.stride, count};
    constexpr Scaling scaling = none ? Scaling::none : Scaling::rows;
    for_each_block<Scalar, Dv>(dv_, [&]<int N>(Index column, Index width) {
      run_columns<predicts, scaling, N>(memory_, in_, tokens, dk_, state_.mean.data(), dv_, rows,
                                        column, width, norm2);
    });
    if constexpr (probabilistic) {
      for (Index i = 0; i < count; ++i) {
        *out.log_evidence += log_density<Scalar>(norm2[i], in_.innovation_variance.data()[i], dv_);
      }
    }
  }

  const L& layer_;
  typename L::State& state_;
  const Sequence<Scalar>& x_;
  TileInputs<Scalar>& in_;
  MemoryTile<Scalar>& memory_;
  FullTile<Scalar>& full_;
  Index dk_, dv_;
  Index padded_ = 0;
};

}  // namespace seqbayes::detail
