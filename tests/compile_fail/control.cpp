// expect success
#include <seqbayes/seqbayes.hpp>

int main() {
  const seqbayes::BayesianLayer<float, 4, 3> layer({.prior_variance = 1.0f});
  auto state = layer.initial_state();
  seqbayes::scan(layer, state, seqbayes::Sequence<float>{});
}
