// expect: SequenceLayer|constraints not satisfied
#include <seqbayes/seqbayes.hpp>

struct AlmostALayer {
  using Scalar = float;
  struct State {};
  State initial_state() const { return {}; }
};

int main() {
  const AlmostALayer layer;
  AlmostALayer::State state;
  seqbayes::scan(layer, state, seqbayes::Sequence<float>{});
}
