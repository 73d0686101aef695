// Streams with known noise levels, for the tests of what is made of them.
#pragma once

#include <support/catch.hpp>

#include <random>

#include <seqbayes/inference/sample.hpp>

namespace dynamics_test {

using namespace seqbayes;
using namespace seqbayes::dynamics;
using Mat = Matrix<double>;
using Vec = Vector<double>;
using Levels = NoiseLevels<double>;

/// Rows of unit norm in all directions.
inline Mat unit_keys(Index rows, Index dim, std::mt19937& engine) {
  std::normal_distribution<double> normal;
  Mat key = Mat::NullaryExpr(rows, dim, [&] { return normal(engine); });
  key.rowwise().normalize();
  return key;
}

/// 300 keys; a mild decay, observation noise that varies.
struct DecayingStream {
  Mat key, values = {};
  Vec log_decay = Vec::Constant(300, std::log(0.99));
  Vec profile = Vec::LinSpaced(300, 0.5, 2);

  [[nodiscard]] Sequence<double> view() const {
    Sequence<double> x;
    x.key = key;
    x.log_decay = log_decay;
    x.observation_noise = profile;
    x.value = values;
    return x;
  }
};

}  // namespace dynamics_test
