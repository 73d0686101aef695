// Gradients of the filters at the ends of float.
#include "extremes.hpp"

namespace gradient::extremes_test {
namespace {

using Filters =
    std::tuple<seqbayes::GatedDeltaNet<float>, seqbayes::KimiDeltaAttention<float, 3, 2>,
               seqbayes::IsotropicKalmanDeltaNet<float>,
               seqbayes::DiagonalKalmanDeltaNet<float, 3, 2>>;

TEMPLATE_LIST_TEST_CASE("float, filters: gradients at the ends of the range", "", Filters) {
  check_extremes<TestType>();
}

}  // namespace
}  // namespace gradient::extremes_test
