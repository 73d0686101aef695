// expect: no design model
#include <seqbayes/seqbayes.hpp>

using namespace seqbayes;

Layer<float, 4, 3, ScalarDecay, AssociativeRegression, FullCovariance> layer;

int main() {}
