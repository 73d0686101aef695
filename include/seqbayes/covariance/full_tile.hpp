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

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <type_traits>

#include <seqbayes/covariance/group.hpp>
#include <seqbayes/covariance/resolution.hpp>
#include <seqbayes/kernel/blocks.hpp>
#include <seqbayes/kernel/columns.hpp>

namespace seqbayes::detail {

template <class Scalar>
struct FullTile {
  FullBuffers<Scalar> blocks;  ///< P; rows c_s, lanes -c_s, probes A_t k_t, then A_t q_t.
  DiagonalBuffers<Scalar> diagonal;
  Buffer<Scalar> decays;    ///< a_t of a group's tokens, Dk each.
  Buffer<Scalar> products;  ///< A_t of a group's tokens, Dk each.
};

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

  /// Runs all tokens, or leaves `covariance` (Dk x Dk) as it was: fails where P overflows, and at a
  /// token that leaves little of P but its rounding, since only single tokens see what is left.
  /// Goes forwards only if not all tokens were resolved (resolution.hpp).
  template <class Stored>
  GroupOutcome run(Stored& covariance, const GainTokens<Scalar>& x,
                   const GainResults<Scalar>& out) {
    bool resolved = true;
    blocks_.load(covariance.data());
    diagonal_.start(covariance);
    prepare(x, 0);
    blocks_.template sweep<G, R>(false);
    for (Index t = 0; t < x.count; t += G) {
      for (int j = 0; j < G; ++j) {
        if (t + j < x.count) {
          const auto seen = solve(x, t + j, j, out);
          if (seen.exhausted) return GroupOutcome::failed;
          resolved &= seen.resolved;
        } else {
          update(j).setZero();
        }
      }
      if constexpr (!uniform) diagonal_.resolve(product_row(G - 1));
      const bool scaled = blocks_.decay(product(G - 1));
      if (scaled) diagonal_.round();
      load_updates();
      prepare(x, t + G);
      blocks_.template sweep<G, R>(scaled);
      diagonal_.settle(blocks_, R, (t + G) % default_tile == 0);
    }
    if (diagonal_.keeps(blocks_.scale())) {
      blocks_.forget_scale();
    } else if (blocks_.scale() != Scalar(1)) {
      diagonal_.round();
    }
    if (!diagonal_.is_finite(blocks_)) return GroupOutcome::failed;
    blocks_.store(covariance.data());
    sized<Dk, Dk>(covariance).diagonal().array() += diagonal_.delta();
    return resolved ? GroupOutcome::both_ways : GroupOutcome::forwards;
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

  /// Decays and probes of the group at `t`; tokens past the last are null.
  [[gnu::flatten]] void prepare(const GainTokens<Scalar>& x, Index t) {
    for (int j = 0; j < G; ++j) {
      const bool real = t + j < x.count;
      if constexpr (uniform) {
        decay_[j] = real ? x.uniform_decay(t + j) : Scalar(1);
        product_[j] = j > 0 ? product_[j - 1] * decay_[j] : decay_[j];
      } else {
        if (real) {
          x.template decay<Dk>(t + j, tile_.decays.data() + j * dk_);
        } else {
          decay_row(j).setOnes();
        }
        product_row(j) = decay_row(j);
        if (j > 0) product_row(j) *= product_row(j - 1);
      }
      if (real) {
        probe(j) = product(j) * key(x, t + j);
        if (variances) probe(G + j) = product(j) * query(x, t + j);
      } else {
        probe(j).setZero();
        if (variances) probe(G + j).setZero();
      }
    }
  }

  ConstRow key(const GainTokens<Scalar>& x, Index i) const {
    return ConstRow(x.x.key.row(x.first + i).data(), dk_);
  }
  ConstRow query(const GainTokens<Scalar>& x, Index i) const {
    return ConstRow(x.x.query.row(x.first + i).data(), dk_);
  }

  /// Gain and update of token i, the group's j-th, from the reads and the group's earlier updates.
  [[gnu::flatten]] Observation<Scalar> solve(const GainTokens<Scalar>& x, Index i, int j,
                                             const GainResults<Scalar>& out) {
    const ConstRow k = key(x, i);
    const ConstRow p = read(j);
    Row z(out.gain + i * dk_, dk_), c = update(j);
    const auto a = decay(j);
    const auto reading = product(j);
    const Scalar scale = blocks_.scale();
    const RowView<Scalar> noise = x.x.process_noise.row(x.first + i);
    Scalar written[G]{};  // c_s' k
    for (int s = 0; s < j; ++s) {
      Row cs = update(s);
      for_each_columns<Scalar>(dk_, [&]<int N>(Index at) {
        const auto decayed = part<N>(cs, at) * part<N>(a, at);
        decayed.store(cs.data() + at);
        written[s] += (decayed * part<N>(k, at)).sum();
      });
    }
    Scalar along(0), uncorrelated(0);
    for_each_columns<Scalar>(dk_, [&]<int N>(Index at) {
      const auto keys = part<N>(k, at);
      const auto predicted = diagonal_.template predict<N>(part<N>(a, at), noise, at);
      auto sum = part<N>(p, at) * (part<N>(reading, at) * scale) + predicted.delta * keys;
      for (int s = 0; s < j; ++s) sum -= part<N>(update(s), at) * written[s];
      sum.store(z.data() + at);
      along += (keys * sum).sum();
      uncorrelated += (predicted.variances * (keys * keys)).sum();
    });
    const Observation<Scalar> seen = observe(along, uncorrelated, z, k, diagonal_.variances(),
                                             x.x.observation_noise.row(x.first + i)[0]);
    out.innovation_variance[i] = seen.variance;
    const Scalar of_update = seen.resolved ? 1 / std::sqrt(seen.variance) : Scalar(0);
    // A token that observes nothing has z = 0, and may have a noise without an inverse.
    const bool normal = seen.variance >= std::numeric_limits<Scalar>::min();
    const Scalar of_gain = normal ? 1 / seen.variance : Scalar(0);
    for_each_columns<Scalar>(dk_, [&]<int N>(Index at) {
      const auto zs = part<N>(z, at);
      (zs * of_update).store(c.data() + at);
      (zs * of_gain).store(z.data() + at);
    });
    diagonal_.keep_back(c, seen);
    if constexpr (variances) {
      const ConstRow q = query(x, i);
      Scalar v =
          blocks_.scale() * dot(probe(G + j), read(G + j)) + weighted_norm2(diagonal_.delta(), q);
      for (int s = 0; s <= j; ++s) {
        const Scalar known = dot(update(s), q);
        v -= known * known;
      }
      out.variance[i] = v;
    }
    return seen;
  }

  /// Brings the group's updates to the frame of the blocks.
  void load_updates() {
    const Scalar inverse = Scalar(1) / std::sqrt(blocks_.scale());
    for (int s = 0; s < G; ++s) {
      Row c = update(s), lane = blocks_.lane(s);
      for_each_columns<Scalar>(dk_, [&]<int N>(Index at) {
        auto cs = part<N>(c, at);
        diagonal_.write(cs, at);
        cs *= inverse;
        cs.store(c.data() + at);
        (-cs).store(lane.data() + at);
      });
    }
  }

  FullTile<Scalar>& tile_;
  Index dk_;
  Blocks blocks_;
  TileDiagonal<Scalar, Dk> diagonal_;
  Scalar decay_[G]{}, product_[G]{};
};

/// Whether a covariance's own decay grows so fast that a group, which starts from the covariance
/// before it, would lose digits that single tokens keep: by more than e^(1/2) a token.
template <class Scalar>
bool grows(const MatrixView<Scalar>& log_decay) {
  for (Index i = 0; i < log_decay.rows() && log_decay.cols() > 0; ++i) {
    if (log_decay.row(i).vector().maxCoeff() > Scalar(0.25)) return true;
  }
  return false;
}

}  // namespace seqbayes::detail
