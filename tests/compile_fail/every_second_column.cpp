// expect: a token's row has to be contiguous
#include <seqbayes/sequence/sequence.hpp>

int main() {
  const float memory[16] = {};
  using Strides = Eigen::Stride<Eigen::Dynamic, 2>;
  const Eigen::Map<const seqbayes::Matrix<float>, 0, Strides> query(memory, 2, 4, Strides(8, 2));
  seqbayes::Sequence<float> x;
  x.query = query;
}
