/// @file
/// The gain pass of a tile of tokens backwards: in groups where the policy has such a form and it
/// keeps all digits, else token by token.
#pragma once

#include <Eigen/Core>
#include <cstddef>
#include <type_traits>
#include <vector>

#include <seqbayes/gradient/step.hpp>
#include <seqbayes/scan/runs_tiled.hpp>

namespace seqbayes::detail {

/// What it keeps from call to call.
template <class L>
struct TileGainsVjpScratch {
  using Scalar = typename L::Scalar;
  std::vector<decltype(L::State::covariance)> before;  ///< The covariance before each token.
  Buffer<Scalar> dlog_decay;                           ///< Dk a token.
  typename GroupVjpScratchOf<typename L::Policy, Scalar>::type groups;
};

template <class L>
class TileGainsVjp {
  using Scalar = typename L::Scalar;
  using Policy = typename L::Policy;
  using Covariance = decltype(L::State::covariance);
  using OptionSums = LayerOptionSums<Scalar, OptionGradient<L>>;
  static constexpr int Dk = L::key_width;
  using Keys = Vector<Scalar, Dk>;

 public:
  TileGainsVjp(const L& layer, Gradient<L>& gradient, OptionSums& doptions,
               TileGainsVjpScratch<L>& scratch)
      : layer_(layer), gradient_(gradient), doptions_(doptions), scratch_(scratch) {}

  /// `dcovariance` is with respect to the covariance `after` the tile and becomes that to the one
  /// `before`. `in_groups`: whether the forward pass says that groups may be.
  void run(const GainTokens<Scalar>& tokens, GainsCotangent<Scalar> d, const Covariance& before,
           const Covariance& after, Covariance& dcovariance, bool in_groups) {
    d.dlog_decay = scratch_.dlog_decay.reserve(tokens.count * tokens.key_dim);
    if (!in_groups || !group(tokens, d, before, after, dcovariance)) {
      run_forward(tokens, before);
      backward(tokens, d, 0, tokens.count, after, dcovariance, in_groups);
    }
    if constexpr (Policy::propagates) add_log_decay(tokens, d);
  }

 private:
  /// Whether all tokens could be taken back at once; if not, nothing is done.
  bool group(const GainTokens<Scalar>& tokens, const GainsCotangent<Scalar>& d,
             const Covariance& before, const Covariance& after, Covariance& dcovariance) {
    if constexpr (DifferentiableGroupPolicy<Policy, Scalar>) {
      return Policy::template gains_vjp<Dk>(layer_.options(), tokens, before, after, d, dcovariance,
                                            gradient_, scratch_.groups);
    }
    return false;
  }

  /// Tokens `first` to `last - 1` of the tile, whose covariances `run_forward` has kept: in halves,
  /// so that few of them go one by one where few have to.
  void backward(const GainTokens<Scalar>& tokens, const GainsCotangent<Scalar>& d, Index first,
                Index last, const Covariance& after, Covariance& dcovariance, bool in_groups) {
    constexpr Index fewest = 8;
    if (!in_groups || last - first <= fewest) {
      for (Index i = last; i-- > first;) by_token(tokens, d, i, dcovariance);
      return;
    }
    const auto& before = scratch_.before;
    const GainTokens<Scalar> part{tokens.x,
                                  tokens.first + first,
                                  last - first,
                                  tokens.key_dim,
                                  tokens.memory_decay + first * tokens.memory_width,
                                  tokens.memory_width};
    const bool whole = first == 0 && last == tokens.count;  // has been tried
    if (!whole && group(part, d.from(first, tokens.key_dim), before[std::size_t(first)],
                        last == tokens.count ? after : before[std::size_t(last)], dcovariance)) {
      return;
    }
    const Index middle = (first + last) / 2;
    backward(tokens, d, middle, last, after, dcovariance, in_groups);
    backward(tokens, d, first, middle, after, dcovariance, in_groups);
  }

  void by_token(const GainTokens<Scalar>& tokens, const GainsCotangent<Scalar>& in, Index i,
                Covariance& dcovariance) {
    Keys decay = Keys::Ones(tokens.key_dim);
    GainCotangent<Scalar, Dk> d;
    TokenGradient<Scalar> grad = token_gradient<Scalar>(gradient_, tokens.first + i);
    d.gain = Eigen::Map<const Keys>(in.dgain + i * tokens.key_dim, tokens.key_dim);
    d.log_innovation_variance = in.dlog_innovation_variance[i];
    if (in.dvariance) d.variance = in.dvariance[i];
    if constexpr (Policy::propagates) tokens.template decay<Dk>(i, decay.data());
    step(tokens.x.token(tokens.first + i), decay, scratch_.before[static_cast<std::size_t>(i)], d,
         dcovariance, grad);
    if constexpr (Policy::propagates) {
      Eigen::Map<Keys>(in.dlog_decay + i * tokens.key_dim, tokens.key_dim) = d.dlog_decay;
    }
  }

  /// Keeps the covariance before each token.
  void run_forward(const GainTokens<Scalar>& tokens, const Covariance& before) {
    auto& all = scratch_.before;
    if (all.size() < static_cast<std::size_t>(tokens.count)) {
      all.resize(static_cast<std::size_t>(tokens.count), before);
    }
    if constexpr (std::is_empty_v<Covariance>) return;
    Covariance covariance = before;
    Keys decay(tokens.key_dim), gain(tokens.key_dim);
    for (Index i = 0; i < tokens.count; ++i) {
      all[static_cast<std::size_t>(i)] = covariance;
      if constexpr (Policy::propagates) tokens.template decay<Dk>(i, decay.data());
      Policy::template gain<Dk>(layer_.options(), tokens.x.token(tokens.first + i), decay,
                                covariance, gain);
    }
  }

  /// One token of the policy. All of it is inlined, but where products of matrices take the time:
  /// of policies that have a group form.
  void step(const Token<Scalar>& token, const Keys& decay, const Covariance& covariance,
            GainCotangent<Scalar, Dk>& d, Covariance& dcovariance, TokenGradient<Scalar>& grad) {
    if constexpr (GroupPolicy<Policy, Scalar>) {
      Policy::template gain_vjp<Dk>(layer_.options(), token, decay, covariance, d, dcovariance,
                                    grad, doptions_);
    } else {
      flat_step(token, decay, covariance, d, dcovariance, grad);
    }
  }
  [[gnu::flatten]] void flat_step(const Token<Scalar>& token, const Keys& decay,
                                  const Covariance& covariance, GainCotangent<Scalar, Dk>& d,
                                  Covariance& dcovariance, TokenGradient<Scalar>& grad) {
    Policy::template gain_vjp<Dk>(layer_.options(), token, decay, covariance, d, dcovariance, grad,
                                  doptions_);
  }

  /// Derivatives with respect to the covariance's decay go to its own field or to the memory's.
  void add_log_decay(const GainTokens<Scalar>& tokens, const GainsCotangent<Scalar>& d) {
    for (Index i = tokens.count; i-- > 0;) {
      const Token<Scalar> token = tokens.x.token(tokens.first + i);
      TokenGradient<Scalar> grad = token_gradient<Scalar>(gradient_, tokens.first + i);
      const Eigen::Map<const Keys> dg(d.dlog_decay + i * tokens.key_dim, tokens.key_dim);
      if (token.covariance_log_decay.empty()) {
        log_decay_vjp<typename L::Decay>(token, layer_.options(), dg, grad, doptions_);
      } else {
        grad.covariance_log_decay.add(dg);
      }
    }
  }

  const L& layer_;
  Gradient<L>& gradient_;
  OptionSums& doptions_;
  TileGainsVjpScratch<L>& scratch_;
};

}  // namespace seqbayes::detail
