/// @file
/// Loads a tile of tokens for its passes: decays, rows where they lie or in buffers.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstddef>

#include <seqbayes/covariance/group.hpp>
#include <seqbayes/scan/runs_tiled.hpp>
#include <seqbayes/scan/workspace.hpp>

namespace seqbayes::detail {

/// The inputs of a tile of tokens, as its passes read them.
template <class L>
class TileLoader {
 public:
  using Scalar = typename L::Scalar;
  using Model = typename L::Model;
  static constexpr int Dk = L::key_width;
  static constexpr int Dv = L::value_width;
  static constexpr DecayWidth decays = L::Decay::width;
  static constexpr bool channel = decays == DecayWidth::key_channel;
  static constexpr bool predicts = Model::write == Write::correct;

  TileLoader(const L& layer, const Sequence<Scalar>& x, Workspace<Scalar>& workspace)
      : layer_(layer),
        x_(x),
        in_(workspace.inputs),
        memory_(workspace.memory),
        dk_(layer.key_dim()),
        dv_(layer.value_dim()),
        padded_dv_(round_up(dv_, vector_width<Scalar>)) {}

  /// Everything that both passes read of tokens `first` to `first + count - 1`.
  void load(Index first, Index count) {
    reserve(count);
    for (Index i = 0; i < count; ++i) load_token(first, i);
    for (Index i = count; i < padded_; ++i) load_null(i);
  }

  /// The scalar decays of the tile; null where there are none.
  [[nodiscard]] const Scalar* decay() const {
    return decays == DecayWidth::none ? nullptr : in_.decay.data();
  }

  /// Tokens of the tile, as the gain pass sees them.
  GainTokens<Scalar> gain_tokens(Index first, Index count) const {
    return {x_, first, count, dk_, decay(), channel ? dk_ : Index(decay() != nullptr)};
  }

  /// The coefficients of the memory pass, from the tile's gains.
  void prepare_memory() {
    if constexpr (channel) {
      prepare_channel_groups<predicts, Dk>(memory_, in_, dk_, decay());
    } else {
      prepare_groups<predicts, Dk>(memory_, in_, dk_, decay());
    }
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

  [[nodiscard]] Index padded() const { return padded_; }        ///< Tokens in whole groups.
  [[nodiscard]] Index padded_dv() const { return padded_dv_; }  ///< Dv, in whole vectors.

 private:
  /// Whether a row of the model's can be read where the caller has it: not if it owns its entries,
  /// which then are gone with it.
  template <class Row>
  static constexpr bool in_place = has_direct_access<Row> && !is_owner<Row>;

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
  [[gnu::flatten]] void load_token(Index first, Index i) {
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
      exponential(row(in_.decay, i), L::Decay::log_decay(token, layer_.options()));
    } else if constexpr (decays == DecayWidth::one) {
      in_.decay.data()[i] = std::exp(L::Decay::log_decay(token, layer_.options()));
    }
    if constexpr (predicts) {
      in_.erase[at] = placed<Dk, channel>(
          Model::template prediction_key<Dk>(token, layer_.options()), in_.own_erase, i);
    }
    in_.query[at] = placed<Dk, channel>(token.query.template vector<Dk>(), in_.own_query, i);
    in_.value[at] = padded_value(Model::template target<Dv>(token, layer_.options()), i);
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

  const L& layer_;
  const Sequence<Scalar>& x_;
  TileInputs<Scalar>& in_;
  MemoryTile<Scalar>& memory_;
  Index dk_, dv_;
  Index padded_dv_;
  Index padded_ = 0;
};

}  // namespace seqbayes::detail
