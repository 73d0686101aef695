// Gradients in float.
#include "equals_forward_mode.hpp"

namespace gradient::float_test {
namespace {

using InFloat = std::tuple<seqbayes::KimiDeltaAttention<float>, seqbayes::BayesianLayer<float>>;

TEMPLATE_LIST_TEST_CASE("float: gradients equal forward mode", "", InFloat) {
  // As in double, but for an error of 6e-8 an operation, and what a full covariance keeps back, two
  // more a write; measured: 2.7e-5 on the hardest stream, with a process noise of 1e3.
  gradients_equal_forward_mode<TestType>(4e-5);
}

}  // namespace
}  // namespace gradient::float_test
