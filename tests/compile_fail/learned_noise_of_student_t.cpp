// expect: LearnedNoise takes a filter of the grid
#include <seqbayes/seqbayes.hpp>

// The weight of an outlier needs a scale of the noise that is known: StudentT<LearnedNoise<...>>.
using Robust = seqbayes::StudentT<seqbayes::BayesianLayer<float, 4, 3>>;

int main() { return int(sizeof(seqbayes::LearnedNoise<Robust>)); }
