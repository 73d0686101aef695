#include <laws/execution.hpp>

namespace laws::execution_double_test {

using Layers = Corners<double>;  // float runs all layers

TEMPLATE_LIST_TEST_CASE("double: every form equals the reference", "[execution]", Layers) {
  forms_equal_the_reference<TestType>();
}

TEMPLATE_LIST_TEST_CASE("double: every form at any width", "[execution]", Layers) {
  forms_equal_the_reference_at_any_width<TestType>();
}

TEMPLATE_LIST_TEST_CASE("double: a sequence may be cut anywhere", "[execution]", Layers) {
  sequences_may_be_cut_anywhere<TestType>();
}

}  // namespace laws::execution_double_test
