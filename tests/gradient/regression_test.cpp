// Gradients of the layers whose memory is a regression matrix, but for full covariances.
#include "equals_forward_mode.hpp"

namespace gradient::regression_test {
namespace {

TEMPLATE_LIST_TEST_CASE("reset layers: gradients equal forward mode", "", ResetLayers<double>) {
  gradients_equal_forward_mode<TestType>();
}

TEMPLATE_LIST_TEST_CASE("Kalman delta nets: gradients equal forward mode", "",
                        KalmanDeltaNets<double>) {
  gradients_equal_forward_mode<TestType>();
}

}  // namespace
}  // namespace gradient::regression_test
