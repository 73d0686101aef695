// expect: no known conversion for argument 3|no known conversion from .* to .* for 3rd argument
#include <seqbayes/seqbayes.hpp>

int main() {
  const seqbayes::Ssd<float, 4, 3> layer;
  auto state = layer.initial_state();
  seqbayes::scan(layer, state, seqbayes::Sequence<double>{});
}
