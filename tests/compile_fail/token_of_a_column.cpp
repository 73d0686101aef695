// expect: a token's field is a vector of contiguous entries
#include <seqbayes/sequence/sequence.hpp>

int main() {
  const seqbayes::Matrix<float> keys(4, 2);  // a key in each column
  seqbayes::Token<float> token;
  token.key = keys.col(0);
}
