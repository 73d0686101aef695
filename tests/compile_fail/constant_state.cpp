// expect: discards qualifiers|would lose const qualifier
#include <seqbayes/seqbayes.hpp>

int main() {
  const seqbayes::Ssd<float, 4, 3> layer;
  const auto state = layer.initial_state();  // scan advances it
  seqbayes::scan(layer, state, seqbayes::Sequence<float>{});
}
