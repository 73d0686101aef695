// expect: the matrix's scalar type differs from the sequence's
#include <seqbayes/sequence/sequence.hpp>

int main() {
  const seqbayes::Matrix<double> query(2, 4);
  seqbayes::Sequence<float> x;
  x.query = query;
}
