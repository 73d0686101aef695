// Succeeds if one write of a key with a tiny observation noise is read back, and the headers are of
// the version that the package has (PACKAGE_VERSION).
#include <cmath>
#include <string>

#include <seqbayes/seqbayes.hpp>

int main() {
#ifdef PACKAGE_VERSION
  const auto dot = [](int number) { return "." + std::to_string(number); };
  if (std::to_string(SEQBAYES_VERSION_MAJOR) + dot(SEQBAYES_VERSION_MINOR) +
          dot(SEQBAYES_VERSION_PATCH) !=
      PACKAGE_VERSION) {
    return 2;
  }
#endif
  using Row = Eigen::Matrix<double, 1, Eigen::Dynamic, Eigen::RowMajor>;
  const Row key = (Row(2) << 1.0, 0.0).finished();
  const Row value = (Row(2) << 3.0, -2.0).finished();
  const Row zero = Row::Zero(1);
  const Row noise = Row::Constant(1, 1e-9);

  const seqbayes::BayesianLayer<double, 2, 2> layer;
  auto state = layer.initial_state();
  seqbayes::Sequence<double> x;
  x.query = key;
  x.key = key;
  x.value = value;
  x.log_decay = zero;
  x.process_noise = zero;
  x.observation_noise = noise;
  const auto out = seqbayes::scan(layer, state, x);
  return std::abs(out.mean(0, 0) - 3.0) < 1e-6 && std::abs(out.mean(0, 1) + 2.0) < 1e-6 ? 0 : 1;
}
