// expect: no member named '?rows'?|has no member named 'rows'
#include <seqbayes/seqbayes.hpp>

int main() {
  const seqbayes::GatedDeltaNet<float, 4, 3> layer;
  return int(layer.initial_state().covariance.rows());  // it is reset before every write
}
