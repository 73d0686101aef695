// expect: no known conversion for argument 2|no known conversion from .* to .* for 2nd argument
#include <seqbayes/seqbayes.hpp>

int main() {
  const seqbayes::Ssd<float, 4, 3> layer;
  auto state = seqbayes::Ssd<float, 4, 5>().initial_state();  // another width
  seqbayes::scan(layer, state, seqbayes::Sequence<float>{});
}
