// Gradients of the latent-input layers that carry their covariance.
#include "equals_forward_mode.hpp"

namespace gradient::latent_filters_test {
namespace {

TEMPLATE_LIST_TEST_CASE("latent filters: gradients equal forward mode", "", LatentFilters<double>) {
  gradients_equal_forward_mode<TestType>();
}

}  // namespace
}  // namespace gradient::latent_filters_test
