// Gradients of the layers whose memory is driven by a latent input.
#include "equals_forward_mode.hpp"

namespace gradient::latent_test {
namespace {

TEMPLATE_LIST_TEST_CASE("latent input: gradients equal forward mode", "", LatentMeans<double>) {
  gradients_equal_forward_mode<TestType>();
}

}  // namespace
}  // namespace gradient::latent_test
