// Widths that the type knows run through the same body and give the same numbers.
#include <laws/execution.hpp>

namespace laws::static_double_test {

using Layers = Corners<double, 5, 4>;

TEMPLATE_LIST_TEST_CASE("double: static widths equal the reference", "[execution]", Layers) {
  forms_equal_the_reference_at_any_width<TestType>();
}

}  // namespace laws::static_double_test
