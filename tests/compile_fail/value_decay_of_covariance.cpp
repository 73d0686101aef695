// expect: a decay by value channel goes with policies that propagate no
#include <seqbayes/seqbayes.hpp>

using namespace seqbayes;

struct ByValue : ChannelDecay {
  static constexpr DecayWidth width = DecayWidth::value_channel;
};

Layer<float, 4, 3, AssociativeRegression, ByValue, FullCovariance> layer;

int main() {}
