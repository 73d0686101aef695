// Decoders of every layer, of the scalar itself.
#include "law.hpp"

namespace laws {
namespace {

using Float = Join<Corners<float>, DeltaFamily<float>,
                   std::tuple<seqbayes::MesaNet<float>, seqbayes::KalmanLinearAttention<float>>>;
TEMPLATE_LIST_TEST_CASE("A decoder says what steps say, in float", "", Float) {
  decoder_obeys_its_law<TestType>();
}

using Double = std::tuple<seqbayes::GatedDeltaNet<double>,
                          seqbayes::BayesianLayer<float, 24, 40, seqbayes::ChannelDecay>>;
TEMPLATE_LIST_TEST_CASE("A decoder says what steps say, in double and of static widths", "",
                        Double) {
  decoder_obeys_its_law<TestType>();
}

}  // namespace
}  // namespace laws
