/// @file
/// The gain pass of a tile of tokens.
#pragma once

#include <Eigen/Core>

#include <seqbayes/scan/runs_tiled.hpp>
#include <seqbayes/scan/workspace.hpp>

namespace seqbayes::detail {

/// In groups where the policy has such a form and it keeps all digits, else token by token.
/// `variances`: whether retrieval variances are asked for.
template <class L, bool variances>
class TileGains {
  using Scalar = typename L::Scalar;
  using Policy = typename L::Policy;
  static constexpr int Dk = L::key_width;

 public:
  TileGains(const L& layer, Workspace<Scalar>& workspace)
      : layer_(layer),
        decay_(workspace.inputs.covariance_decay),
        scratch_(workspace.of_groups(own_scratch_)) {}
  TileGains(const TileGains&) = delete;  // scratch_ may be its own
  TileGains& operator=(const TileGains&) = delete;

  /// Advances a covariance over `tokens`; `failed` if they were taken one by one.
  template <class Covariance>
  GroupOutcome run(const GainTokens<Scalar>& tokens, Covariance& covariance,
                   const GainResults<Scalar>& out) {
    if constexpr (GroupPolicy<Policy, Scalar>) {
      const GroupOutcome outcome = Policy::template gains<Dk, variances>(layer_.options(), tokens,
                                                                         covariance, out, scratch_);
      if (outcome != GroupOutcome::failed) return outcome;
    }
    decay_.reserve(tokens.key_dim);
    for (Index i = 0; i < tokens.count; ++i) one(tokens, i, covariance, out);
    return GroupOutcome::failed;
  }

 private:
  template <class Covariance>
  [[gnu::flatten]] void one(const GainTokens<Scalar>& tokens, Index i, Covariance& covariance,
                            const GainResults<Scalar>& out) {
    const Token<Scalar> token = tokens.x.token(tokens.first + i);
    Eigen::Map<Vector<Scalar, Dk>> gain(out.gain + i * tokens.key_dim, tokens.key_dim);
    const Eigen::Map<Vector<Scalar, Dk>> decay(decay_.data(), tokens.key_dim);
    if constexpr (Policy::propagates) tokens.template decay<Dk>(i, decay_.data());
    out.innovation_variance[i] =
        Policy::template gain<Dk>(layer_.options(), token, decay, covariance, gain);
    if constexpr (variances) {
      out.variance[i] = Policy::template variance<Dk>(layer_.options(), token, covariance);
    }
  }

  const L& layer_;
  Buffer<Scalar>& decay_;  ///< Of one token.
  typename GroupScratchOf<Policy, Scalar>::type own_scratch_;
  typename GroupScratchOf<Policy, Scalar>::type& scratch_;
};

}  // namespace seqbayes::detail
