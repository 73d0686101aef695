// expect: the vector's scalar type differs from the layer's
#include <seqbayes/sequence/sequence.hpp>

int main() {
  const Eigen::Vector4d query(1, 2, 3, 4);
  seqbayes::Token<float> token;
  token.query = query;
}
