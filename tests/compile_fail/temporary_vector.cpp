// expect: the view would outlive this temporary; give it a name first
#include <seqbayes/sequence/sequence.hpp>

int main() {
  seqbayes::Token<float> token;
  token.key = Eigen::Vector4f(1, 2, 3, 4);
}
