/// @file
/// The full-covariance gain pass over a tile of tokens.
///
/// Tokens are taken in groups of G = `sweep_tokens`. With P_0 before a group and decay products A_t
/// (from its start through t), the predicted covariance at token t of the group is
///
///     \hat P_t = A_t P_0 A_t + Delta_t - sum_{s<t} c_s c_s',    c_s decayed to time t,
///
/// where Delta (diagonal) holds the process noise, and what writes kept back (resolution.hpp),
/// since P_0 last took it up, and c_s = \hat P_s k_s / sqrt(s_s) is the update of token s. So P_0
/// is only read as P_0 A_t k_t (and P_0 A_t q_t for variances): one sweep updates it with a group's
/// c_s and reads for the next group. P is exactly symmetric, its columns are the sweep's lanes. A
/// decay that is the same for all channels is kept as one factor, P_0 = factor * block, as in the
/// memory pass.
#pragma once

#include <cmath>

#include <seqbayes/covariance/full.hpp>
#include <seqbayes/covariance/full_blocks.hpp>
#include <seqbayes/covariance/resolution.hpp>

namespace seqbayes::detail {

template <class Scalar>
struct FullTile {
  FullBuffers<Scalar> blocks;  ///< P; rows c_s, lanes -c_s, probes A_t k_t, then A_t q_t.
  DiagonalBuffers<Scalar> diagonal;
  Buffer<Scalar> decays;    ///< a_t of a group's tokens, Dk each.
  Buffer<Scalar> products;  ///< A_t of a group's tokens, Dk each.
  bool resolved = true;     ///< Whether all tokens of the last tile were (resolution.hpp).
};

/// How a tile went: whether all of its tokens were resolved (resolution.hpp). A token that leaves
/// little of P but its rounding exhausts it: only single tokens see what is left.
enum class Outcome { resolved, partly_resolved, exhausted };

/// Gains, innovation variances and (if asked) retrieval variances of consecutive tokens. `uniform`:
/// the decay is the same for all channels of every token.
template <class Scalar, int Dk, bool variances, bool uniform>
class FullGains {
  static constexpr int G = sweep_tokens;
  static constexpr std::size_t R = variances ? 2 * G : G;
  using Blocks = FullBlocks<Scalar, Dk, uniform>;
  using Row = typename Blocks::Row;
  using ConstRow = typename Blocks::ConstRow;
  /// A decay: one number if uniform.
  using Factor = std::conditional_t<uniform, Scalar, ConstRow>;

 public:
  FullGains(FullTile<Scalar>& tile, Index key_dim)
      : tile_(tile),
        dk_(key_dim),
        blocks_(tile.blocks, key_dim, G, R),
        diagonal_(tile.diagonal, key_dim) {
    tile.decays.reserve(G * dk_);
    tile.products.reserve(G * dk_);
  }

  /// Runs tokens `first` to `first + count - 1` of `x` from and to `covariance` (Dk x Dk).
  /// `decay_of(t, row)` writes the Dk decay factors of a token. `gain` gets Dk entries a token,
  /// `variance` may be null. Stops at a token that exhausts P, and leaves `covariance` as it was.
  template <class Stored, class DecayOf>
  Outcome run(Stored& covariance, const Sequence<Scalar>& x, Index first, Index count,
              const DecayOf& decay_of, Scalar* gain, Scalar* innovation_variance,
              Scalar* variance) {
    bool resolved = true;
    blocks_.load(covariance.data());
    diagonal_.start(covariance);
    prepare(x, first, count, 0, decay_of);
    blocks_.template sweep<G, R>(false);
    for (Index t = 0; t < count; t += G) {
      for (int j = 0; j < G; ++j) {
        if (t + j < count) {
          const auto seen = solve(x, first, t, j, gain, innovation_variance, variance);
          if (seen.exhausted) return Outcome::exhausted;
          resolved &= seen.resolved;
        } else {
          update(j).setZero();
        }
      }
      if constexpr (!uniform) diagonal_.resolve(product_row(G - 1));
      const bool scaled = blocks_.decay(product(G - 1));
      if (scaled) diagonal_.round();
      load_updates();
      prepare(x, first, count, t + G, decay_of);
      blocks_.template sweep<G, R>(scaled);
      diagonal_.settle(blocks_, R);
    }
    if (diagonal_.keeps(blocks_.scale())) {
      blocks_.forget_scale();
    } else if (blocks_.scale() != Scalar(1)) {
      diagonal_.round();
    }
    blocks_.store(covariance.data());
    sized<Dk, Dk>(covariance).diagonal().array() += diagonal_.delta();
    return resolved ? Outcome::resolved : Outcome::partly_resolved;
  }

 private:
  Row decay_row(int j) { return Row(tile_.decays.data() + j * dk_, dk_); }
  Row product_row(int j) { return Row(tile_.products.data() + j * dk_, dk_); }
  Row probe(int j) { return blocks_.probe(j); }
  Row update(int s) { return blocks_.row(s); }
  ConstRow read(int j) const { return blocks_.read(j); }

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
  [[gnu::flatten]] Observation<Scalar> solve(const Sequence<Scalar>& x, Index first, Index t, int j,
                                             Scalar* gains, Scalar* innovation_variance,
                                             Scalar* variance) {
    const ConstRow k(x.key.row(first + t + j).data(), dk_);
    Row z(gains + (t + j) * dk_, dk_);
    const auto a = decay(j);
    diagonal_.predict(a, x.process_noise.row(first + t + j));

    z = (product(j) * blocks_.scale()) * read(j) + diagonal_.delta() * k;
    for (int s = 0; s < j; ++s) {
      update(s) *= a;
      z -= update(s) * (update(s) * k).sum();
    }
    const Observation<Scalar> seen =
        observe(z, k, diagonal_.variances(), x.observation_noise.row(first + t + j)[0]);
    innovation_variance[t + j] = seen.variance;
    if (seen.resolved) {
      update(j) = z * (Scalar(1) / std::sqrt(seen.variance));
    } else {
      update(j).setZero();
    }
    diagonal_.keep_back(update(j), seen);
    z *= Scalar(1) / seen.variance;
    if constexpr (variances) {
      const ConstRow q(x.query.row(first + t + j).data(), dk_);
      Scalar v = blocks_.scale() * (probe(G + j) * read(G + j)).sum() +
                 (diagonal_.delta() * q.square()).sum();
      for (int s = 0; s <= j; ++s) {
        const Scalar c = (update(s) * q).sum();
        v -= c * c;
      }
      variance[t + j] = v;
    }
    return seen;
  }

  /// Brings the group's updates to the frame of the blocks.
  void load_updates() {
    const Scalar inverse = Scalar(1) / std::sqrt(blocks_.scale());
    for (int s = 0; s < G; ++s) {
      diagonal_.write(update(s));
      if (blocks_.scale() != Scalar(1)) update(s) *= inverse;
      blocks_.lane(s) = -update(s);
    }
  }

  FullTile<Scalar>& tile_;
  Index dk_;
  Blocks blocks_;
  TileDiagonal<Scalar, Dk> diagonal_;
  Scalar decay_[G]{}, product_[G]{};
};

}  // namespace seqbayes::detail
