// Token by token: how the variance falls while a key is repeated, and a state that is copied to try
// out another future.
#include <cstdio>

#include <seqbayes/seqbayes.hpp>

using Layer = seqbayes::BayesianLayer<float, 4, 1>;  // static widths: `step` allocates nothing

int main() {
  const Layer layer({.prior_variance = 1.0f});
  Layer::State state = layer.initial_state();

  const float key[4] = {1, 0, 0, 0};
  float value = 1;
  const float log_decay = 0, process_noise = 0, observation_noise = 0.5f;
  seqbayes::Token<float> token;  // views: set up once, refill what they look at
  token.query = token.key = {key, 4};
  token.value = {&value, 1};
  token.log_decay = {&log_decay, 1};
  token.process_noise = {&process_noise, 1};
  token.observation_noise = {&observation_noise, 1};

  // Before the value is seen it is predicted with variance s = k'Pk + r; then k'Pk gets smaller:
  // after n writes it is 1 / (1 + n / r).
  for (int n = 1; n <= 4; ++n) {
    const auto y = layer.step(state, token);
    std::printf("write %d: value predicted with variance %.3f; then mean %.3f, variance %.3f\n", n,
                double(y.innovation_variance), double(y.mean[0]), double(y.variance));
  }

  // A state is plain values: a copy is a branch, the original is where to resume.
  Layer::State branch = state;
  value = 9;
  const auto surprised = layer.step(branch, token);
  value = 1;
  const auto resumed = layer.step(state, token);
  std::printf("a branch that sees 9: mean %.3f, variance %.3f, log evidence %.1f\n",
              double(surprised.mean[0]), double(surprised.variance),
              double(surprised.log_evidence));
  std::printf("resumed, sees 1: mean %.3f, variance %.3f, log evidence %.1f\n",
              double(resumed.mean[0]), double(resumed.variance), double(resumed.log_evidence));
}
