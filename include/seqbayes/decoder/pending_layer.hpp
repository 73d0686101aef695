/// @file
/// A layer of the grid with the writes of the last tokens kept beside its memory.
///
/// Token t decays the memory by D_t (rows) or V_t (columns) and adds one write, or two that
/// replace:
///
///     S_t = D_t S_{t-1} V_t + sum_u a_tu b_tu'
///
/// S_0 is stored; D, V, a and b of the pending tokens are kept as they came, so the last token can
/// be taken back by forgetting it. A read S_t' x goes back over them with x_t = x,
///
///     c_su = a_su' x_s,  x_{s-1} = D_s x_s,        then  S_0' x_0  in one pass that stores
///     nothing,
///
/// for the prediction and the query at once, and forwards again, o <- V_s o + sum_u c_su b_su. Only
/// decays are multiplied, none is divided by.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

#include <seqbayes/covariance/pending.hpp>
#include <seqbayes/decay/decay.hpp>
#include <seqbayes/kernel/pending_rows.hpp>
#include <seqbayes/layers/layer.hpp>

namespace seqbayes::detail {

template <class L, class Storage>
class PendingLayer {
  using Scalar = typename L::Scalar;
  using State = typename L::State;
  using Model = typename L::Model;
  using Decay = typename L::Decay;
  using Policy = typename L::Policy;
  static constexpr int Dk = L::key_width;
  static constexpr int Dv = L::value_width;
  static constexpr DecayWidth decays = Decay::width;
  static constexpr bool by_channels =
      decays == DecayWidth::key_channel || decays == DecayWidth::value_channel;
  static constexpr Index U = Model::write == Write::replace ? 2 : 1;    ///< Writes a token.
  static constexpr std::size_t R = Model::write == Write::add ? 1 : 2;  ///< Reads: q, and e.
  /// Reads of \bar S; where a token replaces, e reads S_{t-1}.
  static constexpr Index decayed = Model::write == Write::replace ? 1 : Index(R);

 public:
  PendingLayer(const L& layer, const State& state, Index capacity)
      : layer_(layer),
        capacity_(capacity),
        dk_(layer.key_dim()),
        dv_(layer.value_dim()),
        memory_(dk_, dv_),
        covariance_(layer.options(), capacity),
        keys_(capacity * U, dk_),
        values_(capacity * U, dv_),
        decays_(by_channels ? capacity : 1, !by_channels ? capacity : width_of_decay()),
        scratch_(dk_, dv_, capacity * U) {
    load(state);
  }

  [[nodiscard]] const L& layer() const { return layer_; }
  [[nodiscard]] Index pending() const { return count_; }
  /// What `step` reads first of its matrices.
  [[nodiscard]] const void* data() const {
    return covariance_.data() ? covariance_.data() : memory_.data();
  }
  /// Asks for what is pending, and for the place of what comes.
  void prefetch_pending() const {
    const Index writes = std::min(count_ + 1, capacity_) * U;
    prefetch(keys_.data(), writes * keys_.width() * Index(sizeof(Scalar)));
    prefetch(values_.data(), writes * values_.width() * Index(sizeof(Scalar)));
    prefetch(decays_.data(by_channels ? count_ % capacity_ : 0),
             decays_.width() * Index(sizeof(Scalar)));
    covariance_.prefetch_pending();
  }
  /// May be lent to another decoder of the same widths, if it is large enough.
  PendingScratch<Scalar>& scratch_for(PendingLayer& other) {
    return scratch_.writes >= other.scratch_.writes ? scratch_ : other.scratch_;
  }

  /// Nothing pending.
  void load(const State& state) {
    for (Index i = 0; i < dk_; ++i) {
      for (Index j = 0; j < dv_; ++j) memory_.set(i, j, state.mean(i, j));
    }
    covariance_.load(state.covariance);
    count_ = 0;
  }

  [[nodiscard]] State state() const {
    State state{{}, covariance_.state()};
    state.mean.resize(dk_, dv_);
    for (Index i = 0; i < dk_; ++i) {
      for (Index j = 0; j < dv_; ++j) state.mean(i, j) = memory_(i, j);
    }
    auto mean = sized<Dk, Dv>(state.mean);
    for (Index s = 0; s < count_; ++s) {
      if constexpr (decays == DecayWidth::one) {
        mean *= factor(s);
      } else if constexpr (decays == DecayWidth::key_channel) {
        mean.array().colwise() *= decays_.template row<Dk>(s).array();
      } else if constexpr (decays == DecayWidth::value_channel) {
        mean.array().rowwise() *= decays_.template row<Dv>(s).transpose().array();
      }
      for (Index u = s * U; u < (s + 1) * U; ++u) {
        mean += keys_.template row<Dk>(u).lazyProduct(values_.template row<Dv>(u).transpose());
      }
    }
    return state;
  }

  void step(const Token<Scalar>& token, Scalar* mean) { step(token, mean, scratch_, nullptr); }
  /// One token; memory at `next` is read after it.
  void step(const Token<Scalar>& token, Scalar* mean, PendingScratch<Scalar>& scratch,
            const void* next) {
    if (count_ == capacity_) fold();
    begin(token, 0, scratch);
    read_memory<1>(scratch, next);
    end(token, 0, mean, scratch);
  }
  /// Tokens that there is room for, bit by bit as by steps: a few of them read the memory at once,
  /// since no probe depends on what is read.
  void span(const Sequence<Scalar>& x, Scalar* mean) {
    for (Index t = 0; t < x.length(); t += tokens_at_once) {
      const Index tokens = std::min(tokens_at_once, x.length() - t);
      for (Index j = 0; j < tokens; ++j) begin(x.token(t + j), j, scratch_);
      if (tokens == 1) read_memory<1>(scratch_, nullptr);
      if (tokens == 2) read_memory<2>(scratch_, nullptr);
      if (tokens > 2) read_memory<tokens_at_once>(scratch_, nullptr);
      for (Index j = 0; j < tokens; ++j) end(x.token(t + j), j, mean + (t + j) * dv_, scratch_);
    }
  }

  void rollback(Index tokens) {
    count_ -= tokens;
    covariance_.rollback(tokens, scratch_);
  }

  /// The memory takes up all pending writes, in one pass.
  void fold() {
    auto keys = scratch_.keys.whole(0), values = scratch_.reads.whole(0);
    keys.setOnes();
    values.setOnes();
    for (Index s = count_; s-- > 0;) {
      for (Index u = s * U; u < (s + 1) * U; ++u) {
        keys_.whole(u) *= keys;
        if constexpr (decays == DecayWidth::value_channel) values_.whole(u) *= values;
      }
      if constexpr (decays == DecayWidth::one) keys *= factor(s);
      if constexpr (decays == DecayWidth::key_channel) keys *= decays_.whole(s);
      if constexpr (decays == DecayWidth::value_channel) values *= decays_.whole(s);
    }
    if (count_ > 0) {
      memory_.update(keys.data(), decays == DecayWidth::value_channel ? values.data() : nullptr,
                     keys_.data(), values_.data(), count_ * U, nullptr);
    }
    covariance_.fold(scratch_);
    count_ = 0;
  }

 private:
  /// Decay, gain and keys of the j-th token from now, and its probes on their way back.
  void begin(const Token<Scalar>& token, Index j, PendingScratch<Scalar>& scratch) {
    assert(token.query.size() == dk_ && token.key.size() == dk_ && token.value.size() == dv_);
    const auto& options = layer_.options();
    const Index at = count_ + j;
    auto gain = keys_.template row<Dk>(at * U + U - 1);
    take_decay(token, at);
    covariance_.gain(options, token, covariance_factors(token, at, scratch), gain, scratch,
                     memory_.data());
    if constexpr (Model::write == Write::replace) {
      keys_.template row<Dk>(at * U) = Model::template write_key<Dk>(token, options);
    }
    scratch.probes.template row<Dk>(j * Index(R)) = token.query.template vector<Dk>();
    if constexpr (R == 2) {
      scratch.probes.template row<Dk>(j * 2 + 1) =
          Model::template prediction_key<Dk>(token, options);
    }
    walk_back_from(at, j, scratch);
  }

  /// reads_r = S_0' x_r of the probes of so many tokens.
  template <Index tokens>
  void read_memory(PendingScratch<Scalar>& scratch, const void* next) {
    constexpr std::size_t reads = std::size_t(tokens) * R;
    std::array<const Scalar*, reads> x;
    for (std::size_t r = 0; r < reads; ++r) x[r] = scratch.probes.data(Index(r));
    memory_.template read<reads>(x, rows_from<reads>(scratch.reads, 0), next);
  }

  /// Mean and writes of the token that comes, the j-th of those that `read_memory` was for.
  void end(const Token<Scalar>& token, Index j, Scalar* mean, PendingScratch<Scalar>& scratch) {
    const auto& options = layer_.options();
    add_pending(j, scratch);
    const auto read = [&](Index r) { return scratch.reads.template row<Dv>(j * Index(R) + r); };
    auto value = values_.template row<Dv>(count_ * U + U - 1);
    value = Model::template target<Dv>(token, options);
    if constexpr (Model::write == Write::correct) value -= read(1);
    if constexpr (Model::write == Write::replace) values_.template row<Dv>(count_ * U) = read(1);
    auto out = read(0);
    const auto q = token.query.template vector<Dk>();
    for (Index u = count_ * U; u < (count_ + 1) * U; ++u) {
      out += values_.template row<Dv>(u) * q.dot(keys_.template row<Dk>(u));
    }
    Eigen::Map<Vector<Scalar, Dv>>(mean, dv_) = out;  // last: it may lie where the query does
    ++count_;
  }

  void take_decay(const Token<Scalar>& token, Index at) {
    using std::exp;
    const auto& options = layer_.options();
    if constexpr (decays == DecayWidth::one) {
      decays_.data()[at] = Scalar(exp(Decay::log_decay(token, options)));
    } else if constexpr (decays == DecayWidth::key_channel) {
      exponential(decays_.template row<Dk>(at), Decay::log_decay(token, options));
    } else if constexpr (decays == DecayWidth::value_channel) {
      exponential(decays_.template row<Dv>(at), Decay::log_decay(token, options));
    }
  }

  /// Dk factors of the covariance; of a policy that doesn't propagate it, any.
  auto covariance_factors(const Token<Scalar>& token, Index at, PendingScratch<Scalar>& scratch) {
    auto factors = scratch.keys.template row<Dk>(0);
    if constexpr (Policy::propagates) {
      if (!token.covariance_log_decay.empty()) {
        exponential(factors, token.covariance_log_decay);
      } else if constexpr (decays == DecayWidth::none) {
        factors.setOnes();
      } else if constexpr (decays == DecayWidth::one) {
        factors.setConstant(factor(at));
      } else {
        factors = decays_.template row<Dk>(at);
      }
    }
    return factors;
  }

  [[nodiscard]] Index width_of_decay() const {
    return decays == DecayWidth::value_channel ? dv_ : dk_;
  }
  /// D_s where it is one factor.
  const Scalar& factor(Index s) const { return decays_.data()[s]; }

  template <std::size_t count>
  static auto rows_from(PaddedRows<Scalar>& rows, Index first) {
    std::array<Scalar*, count> data;
    for (std::size_t r = 0; r < count; ++r) data[r] = rows.data(first + Index(r));
    return data;
  }
  /// c_su of the j-th token.
  static Scalar* products(PendingScratch<Scalar>& scratch, Index j) {
    return scratch.products.data() + j * Index(R) * scratch.writes;
  }

  /// The probes x of token `at`, the j-th from now, become x_0.
  void walk_back_from(Index at, Index j, PendingScratch<Scalar>& scratch) {
    const auto probe = [&](Index r) { return scratch.probes.whole(j * Index(R) + r); };
    constexpr bool by_key = decays == DecayWidth::key_channel;
    if constexpr (by_key) {
      for (Index r = 0; r < decayed; ++r) probe(r) *= decays_.whole(at);
    }
    Scalar* product = products(scratch, j);
    walk_back<R>(
        PendingRows<Scalar>{keys_.data(), by_key ? decays_.data() : nullptr, at, U, keys_.width()},
        rows_from<R>(scratch.probes, j * Index(R)), scratch.sums.data(), product);
    if constexpr (decays == DecayWidth::one) {
      for (Index r = 0; r < Index(R); ++r) {
        Scalar scale = r < decayed ? factor(at) : Scalar(1);
        for (Index s = at; s-- > 0;) {
          for (Index u = s * U; u < (s + 1) * U; ++u) product[u * Index(R) + r] *= scale;
          scale *= factor(s);
        }
        scratch.probes.template row<Dk>(j * Index(R) + r) *= scale;
      }
    }
  }

  /// reads_r += what is pending: \bar S' x_r of the token that comes (S_{t-1}' e where it
  /// replaces).
  void add_pending(Index j, PendingScratch<Scalar>& scratch) {
    const auto reads = rows_from<R>(scratch.reads, j * Index(R));
    const Scalar* product = products(scratch, j);
    if constexpr (decays == DecayWidth::value_channel) {
      const auto read = [&](Index r) { return scratch.reads.whole(j * Index(R) + r); };
      for (Index s = 0; s < count_; ++s) {
        for (Index r = 0; r < Index(R); ++r) read(r) *= decays_.whole(s);
        add_rows<R>(values_.data(s * U), U, values_.width(), product + s * U * Index(R), reads);
      }
      for (Index r = 0; r < decayed; ++r) read(r) *= decays_.whole(count_);
    } else {
      add_rows<R>(values_.data(), count_ * U, values_.width(), product, reads);
    }
  }

  L layer_;
  Index capacity_, dk_, dv_, count_ = 0;
  StoredMatrix<Scalar, Storage> memory_;  ///< S_0.
  PendingCovariance<Policy, Scalar, Dk, Storage> covariance_;
  PaddedRows<Scalar> keys_, values_;  ///< a and b of the pending writes.
  PaddedRows<Scalar> decays_;         ///< D or V of the pending tokens; one factor each: in a row.
  PendingScratch<Scalar> scratch_;
};

}  // namespace seqbayes::detail
