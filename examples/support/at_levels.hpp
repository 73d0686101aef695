// A filter with noise levels of its own, so that filters that believe in different drifts may stand
// side by side in a mixture, which gives the same tokens to all of them.
#pragma once

#include <seqbayes/seqbayes.hpp>

namespace study {

using seqbayes::dynamics::NoiseLevels;

/// Reads the noises of a token as factors of its levels: r_t = r token.observation_noise, omega_t =
/// omega token.process_noise, one entry each; a reset writes with what belongs to r_t and its prior
/// variance.
template <seqbayes::FilterLayer L>
class AtLevels {
 public:
  using Scalar = typename L::Scalar;
  using State = typename L::State;

  AtLevels(L layer, const NoiseLevels<Scalar>& levels)
      : layer_(std::move(layer)), levels_(levels) {}

  [[nodiscard]] seqbayes::Index key_dim() const { return layer_.key_dim(); }
  [[nodiscard]] seqbayes::Index value_dim() const { return layer_.value_dim(); }
  [[nodiscard]] State initial_state() const { return layer_.initial_state(); }
  void check_state(const State& state) const { layer_.check_state(state); }
  [[nodiscard]] seqbayes::InputWidths inputs() const {
    seqbayes::InputWidths inputs = layer_.inputs();
    inputs.process_noise = inputs.observation_noise = 1;
    inputs.write_strength = 0;
    return inputs;
  }

  auto step(State& state, const seqbayes::Token<Scalar>& token) const {
    const Scalar r = levels_.observation_noise * token.observation_noise[0];
    const Scalar omega = levels_.process_noise * token.process_noise[0];
    const Scalar prior = levels_.prior_variance;
    const Scalar strength = prior / (r + prior * token.key.vector().squaredNorm());
    seqbayes::Token<Scalar> own = token;
    own.observation_noise = {&r, 1};
    own.process_noise = {&omega, 1};
    own.write_strength = {&strength, 1};
    return layer_.step(state, own);
  }

 private:
  L layer_;
  NoiseLevels<Scalar> levels_;
};

}  // namespace study
