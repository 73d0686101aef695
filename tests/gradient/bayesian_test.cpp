// Gradients of the Bayesian Layer.
#include "equals_forward_mode.hpp"

namespace gradient::bayesian_test {
namespace {

TEMPLATE_LIST_TEST_CASE("Bayesian layers: gradients equal forward mode", "",
                        BayesianLayers<double>) {
  gradients_equal_forward_mode<TestType>();
}

}  // namespace
}  // namespace gradient::bayesian_test
