// Gradients of the relatives of the delta rule.
#include "equals_forward_mode.hpp"

namespace gradient::delta_family_test {
namespace {

TEMPLATE_LIST_TEST_CASE("delta family: gradients equal forward mode", "", DeltaFamily<double>) {
  gradients_equal_forward_mode<TestType>();
}

}  // namespace
}  // namespace gradient::delta_family_test
