// expect: a token makes at least one write
#include <seqbayes/seqbayes.hpp>

seqbayes::GatedDeltaProduct<float, 0, 4, 3> layer;

int main() {}
