// Every layer of the grid in long double.
#include <laws/scalars.hpp>

namespace laws {

TEMPLATE_LIST_TEST_CASE("long double: every layer equals the reference", "", Grid<long double>) {
  scalar_agrees_with_the_reference<TestType>();
}

}  // namespace laws
