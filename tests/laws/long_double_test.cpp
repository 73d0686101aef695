// A layer of each row and column of the grid in long double.
#include <laws/scalars.hpp>

namespace laws::long_double_test {

TEMPLATE_LIST_TEST_CASE("long double: layers equal the reference", "", Corners<long double>) {
  scalar_agrees_with_the_reference<TestType>();
}

}  // namespace laws::long_double_test
