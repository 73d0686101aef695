/// @file
/// The gain pass of a tile of tokens backwards: in groups where the covariance is full, else token
/// by token.
#pragma once

#include <vector>

#include <seqbayes/gradient/full_tile.hpp>
#include <seqbayes/gradient/step.hpp>
#include <seqbayes/scan/tiled.hpp>

namespace seqbayes::detail {

/// The gain pass of one layer over one sequence, tile by tile from the last.
template <TiledLayer L>
class TiledGainsVjp {
  using Scalar = typename L::Scalar;
  using Policy = typename L::Policy;
  using Covariance = decltype(L::State::covariance);
  static constexpr int Dk = L::key_width;
  using Keys = Vector<Scalar, Dk>;
  using Inputs = GainsVjpInputs<Scalar>;

 public:
  TiledGainsVjp(const L& layer, Gradient<L>& gradient, LayerOptionSums<Scalar>& doptions)
      : layer_(layer), gradient_(gradient), doptions_(doptions), dk_(layer.key_dim()) {}

  /// `dcovariance` is by the covariance `after` the tile and becomes that by the one `before`.
  template <class DecayOf>
  void run(const Inputs& in, const DecayOf& decay_of, const Covariance& before,
           const Covariance& after, Covariance& dcovariance) {
    if constexpr (std::is_same_v<Policy, FullCovariance>) {
      const MatrixView<Scalar> own = in.x.covariance_log_decay.rows(in.first, in.count);
      if (!grows(own) && !forgets(own) && in.resolved) {
        const auto by_group = [&](auto variances, auto uniform) {
          FullGainsVjp<Scalar, Dk, variances.value, uniform.value>(tile_, in, dk_)
              .run(before, after, dcovariance, decay_of, gradient_);
        };
        constexpr std::true_type yes;
        constexpr std::false_type no;
        if (decay_of.is_uniform()) {
          in.dvariance ? by_group(yes, yes) : by_group(no, yes);
        } else {
          in.dvariance ? by_group(yes, no) : by_group(no, no);
        }
        return;
      }
    }
    by_token(in, decay_of, before, dcovariance);
  }

 private:
  /// Whether a covariance's own decay keeps less than e^-4 of it. Derivatives by it are as small,
  /// and the passes have absolute errors; single tokens keep the digits.
  static bool forgets(const MatrixView<Scalar>& log_decay) {
    for (Index i = 0; i < log_decay.rows() && log_decay.cols() > 0; ++i) {
      if (log_decay.row(i).vector().minCoeff() < Scalar(-2)) return true;
    }
    return false;
  }

  template <class DecayOf>
  void by_token(const Inputs& in, const DecayOf& decay_of, const Covariance& before,
                Covariance& dcovariance) {
    const auto covariance = covariances(in, decay_of, before);
    Keys decay = Keys::Ones(dk_);
    GainCotangent<Scalar, Dk> d;
    d.doptions = &doptions_;
    for (Index i = in.count; i-- > 0;) {
      const Index t = in.first + i;
      const Token<Scalar> token = in.x.token(t);
      TokenGradient<Scalar> grad = token_gradient<Scalar>(gradient_, t);
      d.gain = Eigen::Map<const Keys>(in.dgain + i * dk_, dk_);
      d.log_innovation_variance = in.dlog_innovation_variance[i];
      if (in.dvariance) d.variance = in.dvariance[i];
      if constexpr (Policy::propagates) decay_of(t, decay.data());
      step(token, decay, covariance[static_cast<std::size_t>(i)], d, dcovariance, grad);
      if constexpr (Policy::propagates) {
        (token.covariance_log_decay.empty() ? grad.log_decay : grad.covariance_log_decay)
            .add(d.dlog_decay);
      }
    }
  }

  /// The covariances before each token of a tile.
  template <class DecayOf>
  std::vector<Covariance> covariances(const Inputs& in, const DecayOf& decay_of,
                                      const Covariance& before) {
    std::vector<Covariance> all(static_cast<std::size_t>(in.count), before);
    if constexpr (!std::is_same_v<Covariance, Empty>) {
      Covariance covariance = before;
      Keys decay(dk_), gain(dk_);
      for (Index i = 0; i < in.count; ++i) {
        all[static_cast<std::size_t>(i)] = covariance;
        if constexpr (Policy::propagates) decay_of(in.first + i, decay.data());
        Policy::template gain<Dk>(layer_.options(), in.x.token(in.first + i), decay, covariance,
                                  gain);
      }
    }
    return all;
  }

  /// One token of the policy; all of it inlined, but where it takes products of matrices anyway.
  void step(const Token<Scalar>& token, const Keys& decay, const Covariance& covariance,
            GainCotangent<Scalar, Dk>& d, Covariance& dcovariance, TokenGradient<Scalar>& grad) {
    if constexpr (std::is_same_v<Covariance, FullCovariance::State<Scalar, Dk>>) {
      GainVjp<Policy>::template step<Dk>(layer_.options(), token, decay, covariance, d, dcovariance,
                                         grad);
    } else {
      small_step(token, decay, covariance, d, dcovariance, grad);
    }
  }
  [[gnu::flatten]] void small_step(const Token<Scalar>& token, const Keys& decay,
                                   const Covariance& covariance, GainCotangent<Scalar, Dk>& d,
                                   Covariance& dcovariance, TokenGradient<Scalar>& grad) {
    GainVjp<Policy>::template step<Dk>(layer_.options(), token, decay, covariance, d, dcovariance,
                                       grad);
  }

  const L& layer_;
  Gradient<L>& gradient_;
  LayerOptionSums<Scalar>& doptions_;
  Index dk_;
  FullVjpTile<Scalar> tile_;
};

}  // namespace seqbayes::detail
