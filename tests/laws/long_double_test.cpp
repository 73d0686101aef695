// Every layer of the grid in long double.
#include <laws/scalars.hpp>

namespace laws::long_double_test {

TEMPLATE_LIST_TEST_CASE("long double: every layer equals the reference", "", Grid<long double>) {
  scalar_agrees_with_the_reference<TestType>();
}

}  // namespace laws::long_double_test
