// expect: a token's row has to be contiguous. store the matrix row-major
#include <seqbayes/sequence/sequence.hpp>

int main() {
  const Eigen::MatrixXf query(2, 4);  // Eigen's default is column-major
  seqbayes::Sequence<float> x;
  x.query = query;
}
