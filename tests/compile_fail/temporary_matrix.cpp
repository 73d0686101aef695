// expect: the view would outlive this temporary; give it a name first
#include <seqbayes/sequence/sequence.hpp>

seqbayes::Matrix<float> load() { return seqbayes::Matrix<float>::Zero(2, 4); }

int main() {
  seqbayes::Sequence<float> x;
  x.query = load();
}
