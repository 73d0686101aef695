// expect: this expression has no memory to view; evaluate it into a matrix
#include <seqbayes/sequence/sequence.hpp>

int main() {
  const seqbayes::Matrix<float> query(2, 4);
  seqbayes::Sequence<float> x;
  x.query = query / 8.0f;
}
