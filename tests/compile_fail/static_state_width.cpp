// expect: YOU_MIXED_MATRICES_OF_DIFFERENT_SIZES
#include <seqbayes/seqbayes.hpp>

int main() {
  auto state = seqbayes::BayesianLayer<float, 4, 3>().initial_state();
  state.mean = Eigen::Matrix<float, 4, 5>::Zero();
}
