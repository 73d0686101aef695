// Widths that the type knows run through the same body and give the same numbers.
#include <laws/execution.hpp>

namespace laws::static_float_test {

using Large = std::tuple<seqbayes::Ssd<float, 64, 64>, seqbayes::KimiDeltaAttention<float, 33, 70>,
                         seqbayes::BayesianLayer<float, 64, 64>,
                         seqbayes::BayesianLayer<float, 33, 70, seqbayes::ChannelDecay>>;
using Layers = Join<Grid<float, 16, 16>, Large>;

TEMPLATE_LIST_TEST_CASE("float: static widths equal the reference", "[execution]", Layers) {
  forms_equal_the_reference_at_any_width<TestType>();
}

}  // namespace laws::static_float_test
