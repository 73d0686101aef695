/// @file
/// The full-covariance gain pass over a tile of tokens.
///
/// Tokens are taken in groups of G = `sweep_tokens`. With P_0 before a group and decay products A_t
/// (from its start through t), the predicted covariance at token t of the group is
///
///     \hat P_t = A_t P_0 A_t + Delta_t + sum_{s<t} sign_s c_s c_s',    c_s decayed to time t,
///
/// where Delta (diagonal) holds the process noise since the tile's start, so that it never touches
/// P, and c_s = \hat P_s k_s / sqrt(s_s) with sign -1 is the update of token s (+1 for a lift, see
/// full.hpp). So P_0 is only read as P_0 A_t k_t (and P_0 A_t q_t for variances): one sweep updates
/// it with a group's c_s and reads for the next group. P is exactly symmetric, its columns are the
/// sweep's lanes. A decay that is the same for all channels is kept as one factor, P_0 = factor *
/// block, as in the memory pass.
#pragma once

#include <cmath>

#include <seqbayes/covariance/full.hpp>
#include <seqbayes/memory/tile.hpp>

namespace seqbayes::detail {

template <class Scalar>
struct FullTile {
  Buffer<Scalar> blocks;          ///< P, block by block of `sweep_lanes` columns.
  Buffer<Scalar> noise;           ///< Delta, Dk.
  Buffer<Scalar> decays;          ///< a_t of a group's tokens, Dk each.
  Buffer<Scalar> products;        ///< A_t of a group's tokens, Dk each.
  Buffer<Scalar> probes;          ///< A_t k_t of a group's tokens, then A_t q_t; Dk each.
  Buffer<Scalar> scales;          ///< A_G of the group to update with; padded.
  Buffer<Scalar> updates;         ///< c_s of a group's tokens; padded rows.
  Buffer<Scalar> signed_updates;  ///< sign_s c_s; padded rows.
  Buffer<Scalar> reads;           ///< P_0 times the probes; padded rows.
};

/// Gains, innovation variances and (if asked) retrieval variances of consecutive tokens. `uniform`:
/// the decay is the same for all channels of every token.
template <class Scalar, int Dk, bool variances, bool uniform>
class FullGains {
  static constexpr int G = sweep_tokens;
  static constexpr int N = sweep_lanes<Scalar>;
  static constexpr std::size_t R = variances ? 2 * G : G;
  using Row = Eigen::Map<Eigen::Array<Scalar, Dk, 1>>;
  using ConstRow = Eigen::Map<const Eigen::Array<Scalar, Dk, 1>>;
  /// A decay: one number if uniform.
  using Factor = std::conditional_t<uniform, Scalar, ConstRow>;

 public:
  FullGains(FullTile<Scalar>& tile, Index key_dim)
      : tile_(tile), dk_(key_dim), padded_((key_dim + N - 1) / N * N) {
    tile.blocks.reserve(dk_ * padded_);
    Row(tile.noise.reserve(dk_), dk_).setZero();
    tile.decays.reserve(G * dk_);
    tile.products.reserve(G * dk_);
    tile.probes.reserve(2 * G * dk_);
    std::fill_n(tile.scales.reserve(padded_), padded_, Scalar(1));
    std::fill_n(tile.updates.reserve(G * padded_), G * padded_, Scalar(0));
    std::fill_n(tile.signed_updates.reserve(G * padded_), G * padded_, Scalar(0));
    tile.reads.reserve(2 * G * padded_);
  }

  /// Runs tokens `first` to `first + count - 1` of `x` from and to `covariance` (Dk x Dk).
  /// `decay_of(t, row)` writes the Dk decay factors of a token. `gain` gets Dk entries a token,
  /// `variance` may be null.
  template <class Stored, class DecayOf>
  void run(Stored& covariance, const Sequence<Scalar>& x, Index first, Index count,
           const DecayOf& decay_of, Scalar* gain, Scalar* innovation_variance, Scalar* variance) {
    for (Index b = 0; b < padded_; b += N) {
      load_block<N>(block(b), covariance.data(), dk_, dk_, b, std::min<Index>(N, dk_ - b));
    }
    scale_ = Scalar(1);
    for (int s = 0; s < G; ++s) update(s).setZero();
    prepare(x, first, count, 0, decay_of);
    sweep_all(false);
    for (Index t = 0; t < count; t += G) {
      for (int j = 0; j < G; ++j) {
        if (t + j < count) {
          solve(x, first, t, j, gain, innovation_variance, variance);
        } else {
          update(j).setZero();
        }
      }
      const bool scaled = scale_updates();
      prepare(x, first, count, t + G, decay_of);
      sweep_all(scaled);
    }
    for (Index b = 0; b < padded_; b += N) {
      Scalar* columns = block(b);
      for (Index i = 0; i < dk_; ++i) lanes<Scalar, N>(columns + i * N) *= scale_;
      store_block<N>(columns, covariance.data(), dk_, dk_, b, std::min<Index>(N, dk_ - b));
    }
    sized<Dk, Dk>(covariance).diagonal().array() += noise();
    noise().setZero();
  }

 private:
  Scalar* block(Index first_column) { return tile_.blocks.data() + first_column * dk_; }
  Row noise() { return Row(tile_.noise.data(), dk_); }
  Row decay_row(int j) { return Row(tile_.decays.data() + j * dk_, dk_); }
  Row product_row(int j) { return Row(tile_.products.data() + j * dk_, dk_); }
  Row probe(int j) { return Row(tile_.probes.data() + j * dk_, dk_); }
  Row update(int s) { return Row(tile_.updates.data() + s * padded_, dk_); }
  ConstRow read(int j) { return ConstRow(tile_.reads.data() + j * padded_, dk_); }

  Factor decay(int j) const {
    if constexpr (uniform) {
      return decay_[j];
    } else {
      return Factor(tile_.decays.data() + j * dk_, dk_);
    }
  }
  Factor product(int j) const {
    if constexpr (uniform) {
      return product_[j];
    } else {
      return Factor(tile_.products.data() + j * dk_, dk_);
    }
  }

  /// Decays and probes of the group at `t`; tokens past `count` are null.
  template <class DecayOf>
  [[gnu::flatten]] void prepare(const Sequence<Scalar>& x, Index first, Index count, Index t,
                                const DecayOf& decay_of) {
    for (int j = 0; j < G; ++j) {
      const bool real = t + j < count;
      if constexpr (uniform) {
        decay_[j] = real ? decay_of.uniform(first + t + j) : Scalar(1);
        product_[j] = j > 0 ? product_[j - 1] * decay_[j] : decay_[j];
      } else {
        if (real) {
          decay_of(first + t + j, tile_.decays.data() + j * dk_);
        } else {
          decay_row(j).setOnes();
        }
        product_row(j) = decay_row(j);
        if (j > 0) product_row(j) *= product_row(j - 1);
      }
      if (real) {
        probe(j) = product(j) * ConstRow(x.key.row(first + t + j).data(), dk_);
        if (variances) probe(G + j) = product(j) * ConstRow(x.query.row(first + t + j).data(), dk_);
      } else {
        probe(j).setZero();
        if (variances) probe(G + j).setZero();
      }
    }
  }

  /// Gain and update of token t + j, the group's j-th, from the reads and the group's earlier
  /// updates.
  [[gnu::flatten]] void solve(const Sequence<Scalar>& x, Index first, Index t, int j, Scalar* gains,
                              Scalar* innovation_variance, Scalar* variance) {
    const ConstRow k(x.key.row(first + t + j).data(), dk_);
    Row z(gains + (t + j) * dk_, dk_);
    const auto a = decay(j);
    noise() *= a * a;
    add_field<Dk>(noise().matrix(), x.process_noise.row(first + t + j));

    z = (product(j) * scale_) * read(j) + noise() * k;
    for (int s = 0; s < j; ++s) {
      update(s) *= a;
      z += update(s) * (sign_[s] * (update(s) * k).sum());
    }
    const Scalar r = x.observation_noise.row(first + t + j)[0];
    const Scalar along = (k * z).sum();
    Scalar& innovation = innovation_variance[t + j];
    if (along < Scalar(0)) {
      sign_[j] = Scalar(1);
      update(j) = k * (std::sqrt(-along) / k.square().sum());
      z.setZero();
      innovation = r;
    } else {
      sign_[j] = Scalar(-1);
      innovation = r + along;
      update(j) = z * (Scalar(1) / std::sqrt(innovation));
      z *= Scalar(1) / innovation;
    }
    if constexpr (variances) {
      const ConstRow q(x.query.row(first + t + j).data(), dk_);
      Scalar v = scale_ * (probe(G + j) * read(G + j)).sum() + (noise() * q.square()).sum();
      for (int s = 0; s <= j; ++s) {
        const Scalar c = (update(s) * q).sum();
        v += sign_[s] * c * c;
      }
      variance[t + j] = v;
    }
  }

  /// Brings the group's updates to the frame of the block; says whether the sweep has to scale the
  /// block.
  bool scale_updates() {
    if constexpr (!uniform) {
      Row(tile_.scales.data(), dk_) = product(G - 1);
      return true;
    } else {
      scale_ *= product_[G - 1] * product_[G - 1];
      constexpr Scalar least = least_lazy_decay<Scalar>;
      if (scale_ < least || scale_ > 1 / least) {  // a covariance may grow, too
        block_scale_ = scale_;
        scale_ = Scalar(1);
        return true;
      }
      const Scalar inverse = Scalar(1) / std::sqrt(scale_);
      if (scale_ != Scalar(1)) {
        for (int s = 0; s < G; ++s) update(s) *= inverse;
      }
      return false;
    }
  }

  /// Updates P_0 with the group just solved and reads it for the group just prepared.
  void sweep_all(bool scaled) {
    for (int s = 0; s < G; ++s) {
      Row(tile_.signed_updates.data() + s * padded_, dk_) = update(s) * sign_[s];
    }
    if (scaled) {
      sweep_blocks<uniform ? Scaling::rows : Scaling::rows_and_columns>();
    } else {
      sweep_blocks<Scaling::none>();
    }
  }

  template <Scaling scaling>
  void sweep_blocks() {
    std::array<const Scalar*, G> w;
    for (int s = 0; s < G; ++s) w[static_cast<std::size_t>(s)] = update(s).data();
    std::array<const Scalar*, R> e;
    for (std::size_t j = 0; j < R; ++j) e[j] = probe(static_cast<int>(j)).data();
    for (Index b = 0; b < padded_; b += N) {
      Scales<Scalar> scales{&block_scale_, 0, nullptr};
      if constexpr (!uniform) scales = {tile_.scales.data(), 1, tile_.scales.data() + b};
      sweep<scaling, N>(block(b), dk_, w, {tile_.signed_updates.data() + b, padded_}, e,
                        {tile_.reads.data() + b, padded_}, scales);
    }
  }

  FullTile<Scalar>& tile_;
  Index dk_;
  Index padded_;
  Scalar scale_{};  ///< P = scale_ * block.
  Scalar block_scale_{};
  Scalar decay_[G]{}, product_[G]{}, sign_[G]{};
};

}  // namespace seqbayes::detail
