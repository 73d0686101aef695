// Gradients in float.
#include "equals_forward_mode.hpp"

namespace gradient {
namespace {

using InFloat = std::tuple<seqbayes::KimiDeltaAttention<float>, seqbayes::BayesianLayer<float>>;

TEMPLATE_LIST_TEST_CASE("float: gradients equal forward mode", "", InFloat) {
  // As in double, but for an error of 6e-8 an operation; measured: 1e-5 on the hardest stream.
  gradients_equal_forward_mode<TestType>(2e-5);
}

}  // namespace
}  // namespace gradient
