#include <laws/hard_streams.hpp>
#include <laws/information.hpp>

namespace laws {

using Layers = Join<Grid<float>, DeltaFamily<float>, InformationLayers<float>>;

TEMPLATE_LIST_TEST_CASE("float: hard streams equal the reference", "[hard]", Layers) {
  hard_streams_equal_the_reference<TestType>();
}

}  // namespace laws
