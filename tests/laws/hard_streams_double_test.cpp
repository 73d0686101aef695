#include <laws/hard_streams.hpp>
#include <laws/information.hpp>

namespace laws::hard_streams_double_test {

using Layers = Join<Grid<double>, DeltaFamily<double>, InformationLayers<double>>;

TEMPLATE_LIST_TEST_CASE("double: hard streams equal the reference", "[hard]", Layers) {
  hard_streams_equal_the_reference<TestType>();
}

}  // namespace laws::hard_streams_double_test
