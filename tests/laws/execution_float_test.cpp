#include <laws/execution.hpp>
#include <laws/information.hpp>

namespace laws::execution_float_test {

using Layers = Join<Grid<float>, DeltaFamily<float>, InformationLayers<float>>;

TEMPLATE_LIST_TEST_CASE("float: every form equals the reference", "[execution]", Layers) {
  forms_equal_the_reference<TestType>();
}

TEMPLATE_LIST_TEST_CASE("float: every form at any width", "[execution]", Layers) {
  forms_equal_the_reference_at_any_width<TestType>();
}

TEMPLATE_LIST_TEST_CASE("float: a sequence may be cut anywhere", "[execution]", Layers) {
  sequences_may_be_cut_anywhere<TestType>();
}

}  // namespace laws::execution_float_test
