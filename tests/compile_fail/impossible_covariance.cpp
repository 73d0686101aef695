// expect: this design model has no such covariance. LatentInput takes NoCovariance or
// FullCovariance
#include <seqbayes/seqbayes.hpp>

using namespace seqbayes;

Layer<float, 4, 3, LatentInput, ScalarDecay, DiagonalCovariance> layer;

int main() {}
