// expect: the layers of a mixture have one scalar type
#include <seqbayes/seqbayes.hpp>

using Mixture = seqbayes::EvidenceMixture<seqbayes::BayesianLayer<float, 4, 3>,
                                          seqbayes::BayesianLayer<double, 4, 3>>;

int main() { return int(sizeof(Mixture)); }
