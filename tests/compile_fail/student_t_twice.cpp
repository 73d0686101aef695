// expect: StudentT takes a filter of the grid
#include <seqbayes/seqbayes.hpp>

using Robust = seqbayes::StudentT<seqbayes::BayesianLayer<float, 4, 3>>;

int main() { return int(sizeof(seqbayes::StudentT<Robust>)); }
