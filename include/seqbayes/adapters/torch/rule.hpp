/// @file
/// The layers that a `Mixer` can run.
#pragma once

#include <type_traits>

#include <seqbayes/adapters/torch/scan.hpp>

namespace seqbayes::libtorch {

/// Which layer a `Mixer` runs.
enum class Rule {
  linear_attention,  ///< No decay, nothing is corrected.
  ssd,               ///< Mamba-2: scalar decay, the value times its time step.
  delta_net,         ///< No decay, write strength beta.
  gated_delta_net,   ///< Scalar decay, write strength beta.
  diagonal_kalman,   ///< Scalar decay; a variance for each key channel sets the gain.
  bayesian,          ///< Scalar decay; the full covariance sets the gain.
  student_t,         ///< The same, and noise is Student's t, of 4 degrees of freedom.
};

/// How a filter's covariance forgets, by a share rho of a token (0: never, 1: all of it).
enum class Forgetting {
  dial,  ///< P <- (1 - rho) P + rho I beside a memory that decays as it likes.
  tied,  ///< One decay for memory and covariance, and the noise that keeps P at I: the design
         ///< model.
};

namespace detail {

/// Runs the rule with prior variance 1: [B, T, H, Dv]. DeltaNet and linear attention are Gated
/// DeltaNet and SSD with log decay 0, which the caller fills in.
template <class Scalar>
Tensor run_rule(Rule rule, State& memory, const Inputs& x) {
  const auto layer = [&]<class L>(std::type_identity<L>) {
    return L({.key_dim = x.query.size(-1), .value_dim = x.value.size(-1)});
  };
  const auto run = [&](auto of) { return scan_mean(layer(of), memory, x); };
  using DiagonalKalman =
      Layer<Scalar, -1, -1, AssociativeRegression, ScalarDecay, DiagonalCovariance>;
  switch (rule) {
    case Rule::linear_attention:
    case Rule::ssd: return run(std::type_identity<Ssd<Scalar>>());
    case Rule::delta_net:
    case Rule::gated_delta_net: return run(std::type_identity<GatedDeltaNet<Scalar>>());
    case Rule::diagonal_kalman: return run(std::type_identity<DiagonalKalman>());
    case Rule::bayesian: return run(std::type_identity<BayesianLayer<Scalar>>());
    case Rule::student_t: {
      using Robust = StudentT<BayesianLayer<Scalar>>;
      const Robust robust({.filter = layer(std::type_identity<BayesianLayer<Scalar>>())});
      return scan_mean(robust, memory, x);
    }
  }
  fail("there is no such rule");
}

}  // namespace detail
}  // namespace seqbayes::libtorch
