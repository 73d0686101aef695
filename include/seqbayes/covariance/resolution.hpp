/// @file
/// What a covariance resolves in floating point: the rule that a step, a tile and their derivatives
/// share (docs/mathematics.md, "What floats resolve").
///
/// Each write and each decay rounds the entries of P, by up to half a rounding unit of sqrt(P_ii
/// P_jj). These errors stay in P. Where a direction is known by now, they may leave its variance
/// negative, and a negative variance grows with every write that looks at it. The measure is
/// a = k' \hat P k / k' Diag(\hat P) k: about 1 for a key like any other, small where P knows more
/// along k than along its channels.
///
/// 1. *Where it matters, rounding only adds variance:* where a < 1/8, or s > 16 r and so little is
///    left. The write leaves in P_ii up to 2 epsilon P_ii of what it takes, a decay adds
///    (1 + sqrt(Dk) / 2) epsilon P_ii. This outgrows the errors: those of writes are random; a
///    decay may make the same ones at every token, a matrix of norm 0.3 * 2 sqrt(Dk) units. A decay
///    that takes less than twice that counts as 1.
/// 2. *What can't be resolved isn't claimed.* a has an error of some epsilon. Below 16 epsilon the
///    memory is known along k to working precision: the token is then written as if \hat P were
///    16 epsilon Diag(\hat P), and P stays as it is; so, too, where (\hat P k)_i^2 > s P_ii, which
///    no covariance has. Observation noise below that counts as that much.
///
/// All is relative to the variances P_ii, so the unit of a key's channel has no effect.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <type_traits>

#include <seqbayes/covariance/policy.hpp>
#include <seqbayes/kernel/columns.hpp>
#include <seqbayes/kernel/memory_tile.hpp>

namespace seqbayes::detail {

/// What a write may leave in a variance, relative to it.
template <class Scalar>
Scalar write_rounding() {
  return Scalar(2) * Scalar(Eigen::NumTraits<Scalar>::epsilon());
}
/// What a decay leaves there.
template <class Scalar>
Scalar decay_rounding(Index key_dim) {
  return Scalar(1 + std::sqrt(static_cast<double>(key_dim)) / 2) *
         Scalar(Eigen::NumTraits<Scalar>::epsilon());
}
/// The least k' \hat P k that counts, relative to k' Diag(\hat P) k.
template <class Scalar>
Scalar least_resolved() {
  return Scalar(16) * Scalar(Eigen::NumTraits<Scalar>::epsilon());
}

/// One token's observation of the memory along its key.
template <class Scalar>
struct Observation {
  Scalar variance;  ///< s.
  bool resolved;    ///< Whether the write changes P.
  bool delicate;    ///< Whether rounding adds variance.
  /// Whether what is left along the key is near the rounding of what was there.
  bool exhausted = false;
};

/// Of `along` = k' \hat P k, `uncorrelated` = k' Diag(\hat P) k and observation noise r.
template <class Scalar>
Observation<Scalar> observation(const Scalar& along, const Scalar& uncorrelated, const Scalar& r) {
  const Scalar floor = least_resolved<Scalar>() * uncorrelated;
  const Scalar noise = r < floor ? floor : r;
  const bool resolved = along >= floor;
  const Scalar s = noise + (resolved ? along : floor);
  return {s, resolved, !(along * Scalar(8) >= uncorrelated) || s > Scalar(16) * noise,
          s * least_resolved<Scalar>() * Scalar(64) > noise};
}

/// Observes key `k` with noise variance `r`, where `z` holds \hat P k and `variances` the diagonal
/// of \hat P. Leaves in `z` what counts as \hat P k: the gain is z / s. A token whose s is no
/// normal number observes nothing.
template <class Z, class K, class Variances, class Scalar>
Observation<Scalar> observe(const Scalar& along, const Scalar& uncorrelated, Z& z, const K& k,
                            const Variances& variances, const Scalar& r) {
  Observation<Scalar> seen = observation(along, uncorrelated, r);
  const Scalar most(Eigen::NumTraits<Scalar>::highest());
  if (!(seen.variance >= Scalar(4) / most && seen.variance <= most)) {
    z.setZero();
    return {r, false, false};
  }
  if (seen.delicate && seen.resolved) {
    const Scalar inverse = Scalar(1) / seen.variance;
    for_each_columns<Scalar>(z.size(), [&]<int N>(Index first) {
      const auto zs = part<N>(z, first);
      const auto left = part<N>(variances, first) - zs * (zs * inverse);
      if (!(left.minimum() >= Scalar(0))) seen.resolved = false;
    });
  }
  if (!seen.resolved) {
    for (Index i = 0; i < z.size(); ++i) z[i] = variances[i] * k[i] * least_resolved<Scalar>();
    seen = observation(Scalar(0), uncorrelated, r);
  }
  return seen;
}
template <class Z, class K, class Variances, class Scalar>
Observation<Scalar> observe(Z& z, const K& k, const Variances& variances, const Scalar& r) {
  return observe(dot(k, z), weighted_norm2(variances, k), z, k, variances, r);
}

/// Adds to `to` what a delicate write that takes c_i^2 from each variance leaves there.
template <class C, class Variances, class To>
void keep_back(const C& c, const Variances& variances, To&& to) {
  using Scalar = typename C::Scalar;
  for (Index i = 0; i < c.size(); ++i) {
    const Scalar taken = c[i] * c[i], most = variances[i] * write_rounding<Scalar>();
    to[i] += taken < most ? taken : most;
  }
}

/// A decay that takes less than twice what its rounding adds counts as 1 (of a delicate token).
/// Returns whether any other is left, so that P is rounded.
template <class Factors>
bool resolve_decay(Factors&& decay) {
  using Scalar = typename std::remove_cvref_t<Factors>::Scalar;
  const Scalar least = Scalar(2) * decay_rounding<Scalar>(decay.size());
  bool rounds = false;
  for (Index i = 0; i < decay.size(); ++i) {
    const Scalar lost = Scalar(1) - decay[i] * decay[i];
    if (lost == Scalar(0)) continue;
    if (lost <= least && -lost <= least) {
      decay[i] = Scalar(1);
    } else {
      rounds = true;
    }
  }
  return rounds;
}

template <class Scalar>
struct DiagonalBuffers {
  Buffer<Scalar> variances, delta;  ///< Dk each.
};

/// The diagonal of \hat P as the tokens of a tile go by: Delta, the part of it that isn't in the
/// tile's matrix (process noise and what was kept back), and the variances, up to a rounding of
/// what they were when last read off.
template <class Scalar, int Dk>
class TileDiagonal {
 public:
  using Row = Eigen::Map<Eigen::Array<Scalar, Dk, 1>>;

  TileDiagonal(DiagonalBuffers<Scalar>& buffers, Index key_dim)
      : variances_(buffers.variances.reserve(key_dim), key_dim),
        delta_(buffers.delta.reserve(key_dim), key_dim) {}

  /// Of a matrix P, with nothing beside it.
  template <class Stored>
  void start(const Stored& covariance) {
    variances_ = covariance.diagonal().array();
    delta_.setZero();
    delicate_ = rounds_ = false;
  }
  const Row& variances() const { return variances_; }
  const Row& delta() const { return delta_; }

  template <int N>
  struct Predicted {
    Lanes<Scalar, N> delta, variances;
  };
  /// \hat P = D P D + Omega: what becomes of channels first .. first + N - 1. `decay` is one factor
  /// or N.
  template <int N, class Decay>
  EIGEN_STRONG_INLINE Predicted<N> predict(const Decay& decay, const RowView<Scalar>& process_noise,
                                           Index first) {
    using Entries = Lanes<Scalar, N>;
    const auto noise = process_noise.size() == 1 ? Entries::all(process_noise[0])
                                                 : Entries::load(process_noise.data() + first);
    const auto factor = decay * decay;
    const Predicted<N> now{part<N>(delta_, first) * factor + noise,
                           part<N>(variances_, first) * factor + noise};
    now.delta.store(delta_.data() + first);
    now.variances.store(variances_.data() + first);
    return now;
  }
  template <class C>
  void keep_back(const C& c, const Observation<Scalar>& seen) {
    if (!seen.delicate) return;
    detail::keep_back(c, variances_, delta_);
    delicate_ = rounds_ = true;
  }
  /// A write of the group that ends. Not before: within a group, all errors are those of the matrix
  /// before it.
  template <int N>
  EIGEN_STRONG_INLINE void write(const Lanes<Scalar, N>& c, Index first) {
    (part<N>(variances_, first) - c * c).store(variances_.data() + first);
  }
  /// The decays of a group, before the matrix takes them up.
  template <class Factors>
  void resolve(Factors&& decay) {
    if (delicate_) resolve_decay(decay);
  }
  /// At the end of the tile: whether what its decays, all the same, have left of P counts as all.
  [[nodiscard]] bool keeps(const Scalar& rest) const {
    const Scalar least = Scalar(2) * decay_rounding<Scalar>(delta_.size());
    return rounds_ && rest >= Scalar(1) - least && rest <= Scalar(1) + least;
  }
  /// All entries of the matrix were rounded once more.
  void round() {
    if (rounds_) delta_ += variances_ * decay_rounding<Scalar>(delta_.size());
  }

  /// After a group: where little may be left of a variance but rounding, or Delta is far more than
  /// all there is, or `always`, the matrix takes up Delta, since their sum would lose digits that a
  /// step keeps, and variances are read off. `probes` have been read from `blocks`.
  template <class Blocks>
  void settle(Blocks& blocks, Index probes, bool always = false) {
    if (!always && !delicate_ && !is_far_beside()) return;
    blocks.add_diagonal(delta_, probes);
    delta_.setZero();
    blocks.diagonal(variances_);
    delicate_ = false;
  }
  /// Whether P is: none of its entries is larger than all of its diagonal.
  template <class Blocks>
  [[nodiscard]] bool is_finite(const Blocks& blocks) {
    blocks.diagonal(variances_);
    variances_ += delta_;
    return all_finite(variances_.data(), variances_.size());
  }

 private:
  /// Whether Delta is far more than all there is, of any channel.
  [[nodiscard]] bool is_far_beside() const {
    Scalar least(0);
    for_each_columns<Scalar>(delta_.size(), [&]<int N>(Index at) {
      const auto room = part<N>(variances_, at) * Scalar(8) - part<N>(delta_, at);
      least = std::min(least, room.minimum());
    });
    return least < Scalar(0);
  }

  Row variances_, delta_;
  bool delicate_ = false;  ///< Whether any token of the group was.
  bool rounds_ = false;    ///< Whether any token of the tile was.
};

}  // namespace seqbayes::detail
