/// @file
/// The fast execution form: tile by tile of tokens, first the gain pass, then the memory pass.
#pragma once

#include <seqbayes/scan/covariance_decay.hpp>
#include <seqbayes/scan/tiled_layer.hpp>
#include <seqbayes/scan/workspace.hpp>

namespace seqbayes::detail {

/// Whether all of `count` numbers are finite.
template <class Scalar>
bool all_finite(const Scalar* data, Index count) {
  return all_in_domain(Eigen::Map<const Eigen::Array<Scalar, Eigen::Dynamic, 1>>(data, count),
                       Domain::finite);
}

/// One layer over one sequence.
///
/// A decay that is the same for all channels is kept as a factor of the state, by which all that is
/// written is divided. Numbers near the largest may overflow by that; such a tile is run again,
/// token by token.
template <TiledLayer L, bool probabilistic>
class TiledScan {
 protected:
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
        dv_(layer.value_dim()),
        padded_dv_(round_up(dv_, vector_width<Scalar>)) {}

  void run(Index tile, const Results<Scalar>& out) {
    for (Index first = 0; first < x_.length(); first += tile) {
      const Index count = std::min(tile, x_.length() - first);
      load_tile(first, count);
      gains(first, count, out);
      write_and_read(first, count, out);
    }
  }

 protected:
  /// Whether a row of the model's can be read where the caller has it: not if it owns its entries,
  /// which then are gone with it.
  template <class Row>
  static constexpr bool in_place = has_direct_access<Row> && !is_owner<Row>;

  /// Everything that both passes read.
  void load_tile(Index first, Index count) {
    reserve(count);
    for (Index i = 0; i < count; ++i) load(first, i);
    for (Index i = count; i < padded_; ++i) load_null(i);
  }

  void reserve(Index count) {
    padded_ = whole_groups(count);
    const auto padded = static_cast<std::size_t>(padded_);
    in_.erase.resize(padded);
    in_.query.resize(padded);
    in_.value.resize(padded);
    memory_.groups.resize(padded / sweep_tokens);
    in_.decay.reserve(padded_ * (channel ? dk_ : 1));
    in_.covariance_decay.reserve(dk_);
    in_.gain.reserve(padded_ * dk_);
    in_.own_erase.reserve(padded_ * dk_);
    in_.own_query.reserve(padded_ * dk_);
    in_.own_value.reserve(padded_ * padded_dv_);
    in_.innovation_variance.reserve(padded_);
    in_.innovation_norm2.reserve(padded_);
    if (channel) memory_.row_scale.reserve(padded_ / sweep_tokens * dk_);
    const Index width = std::max(dk_, padded_dv_);
    std::fill_n(in_.zeros.reserve(width), width, Scalar(0));
  }

  Eigen::Map<Vector<Scalar, Dk>> row(Buffer<Scalar>& buffer, Index i) {
    return Eigen::Map<Vector<Scalar, Dk>>(buffer.data() + i * dk_, dk_);
  }

  /// Where token i's row of the model's lies: in place, or in a row of `own`.
  template <int Width, bool copy, class Row>
  const Scalar* placed(const Row& row, Buffer<Scalar>& own, Index i) {
    if constexpr (in_place<Row> && !copy) {
      return row.data();
    } else {
      Scalar* data = own.data() + i * row.size();
      Eigen::Map<Vector<Scalar, Width>>(data, row.size()) = row;
      return data;
    }
  }

  /// What token i writes, as wide as the sweeps take it.
  template <class Row>
  const Scalar* padded_value(const Row& row, Index i) {
    if (padded_dv_ == dv_) return placed<Dv, false>(row, in_.own_value, i);
    Eigen::Map<Vector<Scalar>> padded(in_.own_value.data() + i * padded_dv_, padded_dv_);
    padded.setZero();
    padded.head(dv_) = row;
    return padded.data();
  }

  /// Decay factors, erase key, query and what is written of token i.
  [[gnu::flatten]] void load(Index first, Index i) {
    constexpr Index ahead = 8;  // tokens whose rows are on their way from memory
    if (first + i + ahead < x_.length()) {
      for (Index j = 0; j < dk_; j += cache_line<Scalar>) {
        Eigen::internal::prefetch(x_.query.row(first + i + ahead).data() + j);
        Eigen::internal::prefetch(x_.key.row(first + i + ahead).data() + j);
      }
    }
    const Token<Scalar> token = x_.token(first + i);
    const auto at = static_cast<std::size_t>(i);
    if constexpr (channel) {
      exponential(row(in_.decay, i), token.log_decay);
    } else if constexpr (!none) {
      in_.decay.data()[i] = decay_factor<Decay, Dk>(token, layer_.options());
    }
    if constexpr (predicts) {
      in_.erase[at] = placed<Dk, channel>(Model::template erase<Dk>(token), in_.own_erase, i);
    }
    in_.query[at] = placed<Dk, channel>(token.query.template vector<Dk>(), in_.own_query, i);
    in_.value[at] = padded_value(Model::template written<Dv>(token), i);
  }

  void load_null(Index i) {
    const auto at = static_cast<std::size_t>(i);
    if constexpr (channel) {
      row(in_.decay, i).setOnes();
      row(in_.own_erase, i).setZero();
      row(in_.own_query, i).setZero();
    } else {
      in_.decay.data()[i] = Scalar(1);
    }
    row(in_.gain, i).setZero();
    in_.erase[at] = channel ? in_.own_erase.data() + i * dk_ : in_.zeros.data();
    in_.query[at] = channel ? in_.own_query.data() + i * dk_ : in_.zeros.data();
    in_.value[at] = in_.zeros.data();
  }

  CovarianceDecay<L, !channel> covariance_decays(Index first) const {
    return {x_, dk_, none ? nullptr : in_.decay.data(), first};
  }

  void gains(Index first, Index count, const Results<Scalar>& out) {
    const auto decay = covariance_decays(first);
    if constexpr (std::is_same_v<Policy, FullCovariance>) {
      if (!grows(x_.covariance_log_decay.rows(first, count))) {
        const Scalar* before = saved(state_.covariance);
        if (decay.is_uniform() ? full_gains<true>(first, count, decay, out)
                               : full_gains<false>(first, count, decay, out)) {
          return;
        }
        std::copy_n(before, state_.covariance.size(), state_.covariance.data());
        full_.resolved = false;
      }
    }
    for (Index i = 0; i < count; ++i) gain_of_token(first, i, decay, out);
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

  /// Whether tokens could be taken in groups, with finite results. However long the tile, Delta is
  /// that of `default_tile` tokens at most.
  template <bool uniform, class DecayOf>
  bool full_gains(Index first, Index count, const DecayOf& decay, const Results<Scalar>& out) {
    FullGains<Scalar, Dk, probabilistic, uniform> pass(full_, dk_);
    full_.resolved = true;
    for (Index i = 0; i < count; i += default_tile) {
      const Outcome outcome =
          pass.run(state_.covariance, x_, first + i, std::min(default_tile, count - i), decay,
                   in_.gain.data() + i * dk_, in_.innovation_variance.data() + i,
                   probabilistic ? out.variance + first + i : nullptr);
      if (outcome == Outcome::exhausted) return false;
      full_.resolved &= outcome == Outcome::resolved;
    }
    // No entry of a covariance is larger than all of its diagonal.
    return all_in_domain(state_.covariance.diagonal(), Domain::finite);
  }

  void prepare_memory() {
    if constexpr (channel) {
      prepare_channel_groups<predicts, Dk>(memory_, in_, dk_, in_.decay.data());
    } else {
      prepare_groups<predicts, Dk>(memory_, in_, dk_, none ? nullptr : in_.decay.data());
    }
  }

  /// A copy of a part of the state.
  template <class Stored>
  const Scalar* saved(const Stored& part) {
    Scalar* copy = in_.saved.reserve(part.size());
    std::copy_n(part.data(), part.size(), copy);
    return copy;
  }

  void write_and_read(Index first, Index count, const Results<Scalar>& out) {
    if constexpr (none || channel) {
      in_tile(first, count, out);
    } else {
      const Scalar* before = saved(state_.mean);
      in_tile(first, count, out);
      if (!all_finite(state_.mean.data(), state_.mean.size()) ||
          !all_finite(out.mean + first * dv_, count * dv_)) {
        std::copy_n(before, state_.mean.size(), state_.mean.data());
        by_token(first, count, out);
      }
    }
    if constexpr (probabilistic) {
      for (Index i = 0; i < count; ++i) {
        *out.log_evidence += log_density<Policy>(layer_.options(), x_.token(first + i),
                                                 in_.innovation_norm2.data()[i],
                                                 in_.innovation_variance.data()[i], dv_);
      }
      std::copy_n(in_.innovation_variance.data(), count, out.innovation_variance + first);
      std::copy_n(in_.innovation_norm2.data(), count, out.innovation_norm2 + first);
    }
  }

  void by_token(Index first, Index count, const Results<Scalar>& out) {
    auto memory = sized<Dk, Dv>(state_.mean);
    Vector<Scalar, Dv> mean(dv_);
    for (Index i = 0; i < count; ++i) {
      in_.innovation_norm2.data()[i] = detail::write_and_read<Model>(
          memory, in_.decay.data()[i], row(in_.gain, i), x_.token(first + i), mean);
      std::copy_n(mean.data(), dv_, out.mean + (first + i) * dv_);
    }
  }

  void in_tile(Index first, Index count, const Results<Scalar>& out) {
    prepare_memory();
    Scalar* norm2 = probabilistic ? in_.innovation_norm2.data() : nullptr;
    if (norm2) std::fill_n(norm2, padded_, Scalar(0));
    in_.output.resize(static_cast<std::size_t>(padded_));
    in_.own_output.reserve(padded_ * padded_dv_);
    for (Index i = 0; i < padded_; ++i) {
      in_.output[static_cast<std::size_t>(i)] = i < count && padded_dv_ == dv_
                                                    ? out.mean + (first + i) * dv_
                                                    : in_.own_output.data() + i * padded_dv_;
    }
    constexpr Scaling scaling = none ? Scaling::none : Scaling::rows;
    for_each_block<Scalar, Dv>(dv_,
                               [&]<int N>(std::integral_constant<int, N>, Index at, Index width) {
                                 run_columns<predicts, scaling, channel, N>(
                                     memory_, in_, dk_, state_.mean.data(), dv_, at, width, norm2);
                               });
    if (padded_dv_ != dv_) {
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
  FullTile<Scalar>& full_;
  Index dk_, dv_;
  Index padded_dv_;  ///< Dv, filled up to whole vectors.
  Index padded_ = 0;
};

}  // namespace seqbayes::detail
