// expect: no member named '?variance'?|has no member named 'variance'
#include <seqbayes/seqbayes.hpp>

int main() {
  const seqbayes::Ssd<float, 4, 3> layer;
  auto state = layer.initial_state();
  const auto out = seqbayes::scan(layer, state, seqbayes::Sequence<float>{});
  return int(out.variance[0]);
}
