// Gradients of the layers outside the grid at the ends of float.
#include "extremes.hpp"

#include <laws/information.hpp>

namespace gradient::extremes_outside_test {
namespace {

using Others = Join<InformationLayers<float>,
                    std::tuple<seqbayes::PreconditionedGatedDeltaNet<float>,
                               seqbayes::GatedDeltaProduct<float, 2>, seqbayes::Comba<float>>>;

TEMPLATE_LIST_TEST_CASE("float, layers outside the grid: gradients at the ends of the range", "",
                        Others) {
  check_extremes<TestType>();
}

}  // namespace
}  // namespace gradient::extremes_outside_test
