/// @file
/// The full covariance with tokens pending, for decoders.
///
/// With P_0 as last folded, D_t the decays, c_t = \hat P_t k_t / sqrt(s_t) and d_t the variances
/// but for what pending writes take of them (Omega and what is kept back included, resolution.hpp),
///
///     \hat P_t k = D_t O_{t-1} D_t k + d_t * k,    O_t x = D_t O_{t-1} (D_t x) - c_t (c_t' x),
///
/// with O_0 the off-diagonal part of P_0, which is read once and stays as it is. As in a tile,
/// errors are relative to d, of which writes take nothing. Where that isn't enough, because little
/// of it is left along a key, P is formed in a spare matrix and the tokens up to the next fold step
/// in it: their keys and noises are kept, so that it can be formed once more when some are taken
/// back.
#pragma once

#include <cmath>
#include <cstddef>
#include <type_traits>
#include <vector>

#include <seqbayes/covariance/resolution.hpp>
#include <seqbayes/kernel/columns.hpp>
#include <seqbayes/kernel/pending_rows.hpp>
#include <seqbayes/sequence/token_records.hpp>

namespace seqbayes::detail {

/// One token, P <- P_t (Dk x Dk), and its gain. `decay` holds its factors, those that count on
/// return; `variances` and `z` are scratch.
template <int Dk, class Scalar, class P, class Entries, class Gain>
Scalar full_gain(const Token<Scalar>& token, P& p, Entries& decay, Entries& variances, Entries& z,
                 Gain& gain) {
  using std::sqrt;
  const auto k = token.key.template vector<Dk>();
  variances = decay.cwiseAbs2().cwiseProduct(p.diagonal());
  add_field<Dk>(variances, token.process_noise);
  gain = decay.cwiseProduct(k);
  read(p, gain, z);  // z = \hat P k
  z = z.cwiseProduct(decay);
  add_scaled_field<Dk>(z, token.process_noise, k);

  const auto seen = observe(z, k, variances, token.observation_noise[0]);
  const Scalar s = seen.variance;
  gain = z / s;
  if (seen.resolved) {
    z /= Scalar(sqrt(s));
  } else {
    z.setZero();
  }
  bool rounds = false;
  if (seen.delicate) {
    rounds = resolve_decay(decay);
    variances = decay.cwiseAbs2().cwiseProduct(p.diagonal());
    add_field<Dk>(variances, token.process_noise);
  }
  decay_and_add_outer(p, decay, z, Scalar(-1));
  p.diagonal() = variances - z.cwiseAbs2();
  if (seen.delicate) keep_back(z, variances, p.diagonal());
  if (rounds) p.diagonal() += variances * decay_rounding<Scalar>(k.size());
  return s;
}

template <class Scalar, int Dk, class Storage>
class PendingFull {
  using State = StateMatrix<Scalar, Dk, Dk>;
  using Scratch = PendingScratch<Scalar>;
  static constexpr Index none = -1;

 public:
  template <class Options>
  PendingFull(const Options& options, Index capacity)
      : dk_(options.key_dim),
        off_diagonal_(dk_, dk_),
        spare_(State::Zero(dk_, dk_)),
        variances_(capacity + 1, dk_),
        decays_(capacity, dk_),
        updates_(capacity, dk_),
        negatives_(capacity, dk_),
        rounds_(std::size_t(capacity)),
        tokens_(widths(dk_), capacity) {}

  [[nodiscard]] const void* data() const { return off_diagonal_.data(); }
  void prefetch_pending() const {
    const Index bytes = count_ * updates_.width() * Index(sizeof(Scalar));
    prefetch(variances_.data(count_), updates_.width() * Index(sizeof(Scalar)));
    prefetch(decays_.data(), bytes);
    prefetch(updates_.data(), bytes);
  }

  void load(const State& state) {
    store(state);
    count_ = 0;
    first_in_spare_ = none;
  }
  [[nodiscard]] State state() const {
    if (first_in_spare_ != none) return spare_;
    State state(dk_, dk_);
    form(state, count_);
    return state;
  }

  template <class Options, class Decay, class Gain>
  void gain(const Options&, const Token<Scalar>& token, const Decay& decay, Gain& gain,
            Scratch& scratch, const void* next) {
    decays_.template row<Dk>(count_) = decay;
    if (first_in_spare_ == none && !write(token, gain, scratch, next)) {
      form(spare_, count_);
      first_in_spare_ = count_;
    }
    if (first_in_spare_ != none) {
      tokens_.store(count_, token);
      step_in_spare(count_, token, gain, scratch);
    }
    ++count_;
  }

  void rollback(Index tokens, Scratch& scratch) {
    if (tokens == 0) return;
    count_ -= tokens;
    if (count_ <= first_in_spare_) first_in_spare_ = none;
    if (first_in_spare_ == none) return;
    form(spare_, first_in_spare_);
    auto gain = scratch.keys.template row<Dk>(3);
    for (Index s = first_in_spare_; s < count_; ++s) step_in_spare(s, tokens_[s], gain, scratch);
  }

  void fold(Scratch& scratch) {
    if (first_in_spare_ != none) {
      store(spare_);
    } else if (count_ > 0) {
      fold_updates(scratch);
    }
    count_ = 0;
    first_in_spare_ = none;
  }

 private:
  static InputWidths widths(Index key_dim) {
    InputWidths widths;
    widths.key = widths.process_noise = key_dim;
    widths.observation_noise = 1;
    return widths;
  }

  /// Gain and update of a token, or false, with nothing changed, where only P itself keeps the
  /// digits.
  template <class Gain>
  bool write(const Token<Scalar>& token, Gain& gain, Scratch& scratch, const void* next) {
    using std::sqrt;
    const auto k = token.key.template vector<Dk>();
    const Scalar& r = token.observation_noise[0];
    auto decay = decays_.template row<Dk>(count_);
    auto z = scratch.keys.template row<Dk>(1);
    auto d = variances_.template row<Dk>(count_ + 1);
    predict_variances(token, count_);
    read_off_diagonal(k, scratch, next);
    z += d.cwiseProduct(k);

    const Scalar uncorrelated = weighted_norm2(d, k);
    const auto seen = observe(dot(k, z), uncorrelated, z, k, d, r);
    const Scalar& s = seen.variance;
    const Scalar least = least_resolved<Scalar>() * Scalar(64) * uncorrelated;
    if (seen.exhausted || !seen.resolved || !(s >= least)) return false;
    gain = z / s;
    auto c = updates_.template row<Dk>(count_);
    c = z / Scalar(sqrt(s));
    rounds_[std::size_t(count_)] = seen.delicate && resolve_decay(decay);
    if (seen.delicate) {
      predict_variances(token, count_);
      keep_back(c, d, d);
    }
    return true;
  }

  /// d_t before the write.
  void predict_variances(const Token<Scalar>& token, Index t) {
    auto d = variances_.template row<Dk>(t + 1);
    d = decays_.template row<Dk>(t).cwiseAbs2().cwiseProduct(variances_.template row<Dk>(t));
    add_field<Dk>(d, token.process_noise);
  }

  /// Row 1 of the scratch = D_t O_{t-1} D_t k.
  template <class K>
  void read_off_diagonal(const K& k, Scratch& scratch, const void* next) {
    scratch.keys.template row<Dk>(0) = k;
    auto x = scratch.keys.whole(0), z = scratch.keys.whole(1);
    x *= decays_.whole(count_);
    Scalar* along = scratch.along.data();  // c_t' x
    walk_back<1>(PendingRows<Scalar>{updates_.data(), decays_.data(), count_, 1, updates_.width()},
                 {x.data()}, scratch.sums.data(), along);
    off_diagonal_.template read<1>({x.data()}, {z.data()}, next);
    for (Index s = 0; s < count_; ++s) {
      z = z * decays_.whole(s) - updates_.whole(s) * along[s];
    }
    z *= decays_.whole(count_);
  }

  template <class Gain>
  void step_in_spare(Index t, const Token<Scalar>& token, Gain& gain, Scratch& scratch) {
    auto p = sized<Dk, Dk>(spare_);
    auto decay = scratch.keys.template row<Dk>(0), variances = scratch.keys.template row<Dk>(1),
         z = scratch.keys.template row<Dk>(2);
    decay = decays_.template row<Dk>(t);
    full_gain<Dk>(token, p, decay, variances, z, gain);
  }

  /// P after `count` pending tokens, none of which is in the spare.
  void form(State& state, Index count) const {
    auto p = sized<Dk, Dk>(state);
    for (Index i = 0; i < dk_; ++i) {
      for (Index j = 0; j < dk_; ++j) p(i, j) = off_diagonal_(i, j);
    }
    for (Index s = 0; s < count; ++s) {
      decay_and_add_outer(p, decays_.template row<Dk>(s), updates_.template row<Dk>(s), Scalar(-1));
    }
    p.diagonal() += variances_.template row<Dk>(count);
  }

  void store(const State& state) {
    auto d = variances_.template row<Dk>(0);
    d = state.diagonal();
    for (Index i = 0; i < dk_; ++i) {
      for (Index j = 0; j < dk_; ++j) {
        off_diagonal_.set(i, j, i == j ? Scalar(0) : state(i, j));
        if (i != j) d[i] += std::abs(off_diagonal_(i, j) - state(i, j));
      }
    }
  }

  /// P_0 <- P after the pending tokens, none of which is in the spare. Diagonally dominant errors
  /// leave it positive semidefinite: a variance gets what rounding makes of its row.
  void fold_updates(Scratch& scratch) {
    auto product = scratch.keys.whole(0), errors = scratch.keys.whole(1),
         taken = scratch.keys.whole(2);
    product.setOnes();
    errors.setZero();
    taken.setZero();
    bool rounds = false;
    for (Index s = count_; s-- > 0;) {
      updates_.whole(s) *= product;
      negatives_.whole(s) = -updates_.whole(s);
      taken += updates_.whole(s).square();
      product *= decays_.whole(s);
      rounds |= bool(rounds_[std::size_t(s)]);
    }
    constexpr bool exact = std::is_same_v<Storage, Scalar>;
    off_diagonal_.update(product.data(), product.data(), updates_.data(), negatives_.data(), count_,
                         exact ? nullptr : errors.data());
    auto d = variances_.template row<Dk>(0);
    d = variances_.template row<Dk>(count_);
    if (rounds) d += d * decay_rounding<Scalar>(dk_);
    for (Index i = 0; i < dk_; ++i) {
      if (!exact) d[i] += errors[i] - std::abs(off_diagonal_(i, i) + taken[i]);
      d[i] -= taken[i];
      off_diagonal_.set(i, i, Scalar(0));
    }
    product.setZero();  // padding
    errors.setZero();
    taken.setZero();
  }

  Index dk_, count_ = 0;
  Index first_in_spare_ = none;  ///< Token after which the spare holds P; `none`: it isn't in use.
  StoredMatrix<Scalar, Storage> off_diagonal_;  ///< O_0.
  State spare_;
  PaddedRows<Scalar> variances_;         ///< d_0, d_1, ...
  PaddedRows<Scalar> decays_, updates_;  ///< D_t and c_t of the pending tokens.
  PaddedRows<Scalar> negatives_;         ///< -c_t, when folded.
  std::vector<char> rounds_;             ///< Whether rounding adds variance for a token.
  TokenRecords<Scalar> tokens_;          ///< Those in the spare.
};

}  // namespace seqbayes::detail
