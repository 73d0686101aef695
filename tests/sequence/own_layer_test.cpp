// A layer of the user's own, that knows nothing of the library's, runs in its algorithms.
#include <cmath>

#include <seqbayes/seqbayes.hpp>

#include <support/catch.hpp>

using seqbayes::Execution;
using seqbayes::Index;
using seqbayes::Matrix;

namespace {

/// Exponential smoothing of the values: no keys, no matrix, no Eigen in the state.
struct Smoother {
  using Scalar = double;
  struct State {
    std::vector<double> mean;
    bool operator==(const State&) const = default;
  };
  struct Step {
    Eigen::VectorXd mean;
  };

  Index width = 0;

  Index key_dim() const { return width; }
  Index value_dim() const { return width; }
  seqbayes::InputWidths inputs() const {
    seqbayes::InputWidths inputs;
    inputs.query = inputs.value = width;
    inputs.write_strength = 1;
    return inputs;
  }
  State initial_state() const { return {std::vector<double>(std::size_t(width), 0.0)}; }
  Step step(State& state, const seqbayes::Token<double>& token) const {
    Step out{Eigen::VectorXd(width)};
    for (Index i = 0; i < width; ++i) {
      double& mean = state.mean[std::size_t(i)];
      mean += token.write_strength[0] * (token.value[i] - mean);
      out.mean[i] = mean * token.query[i];
    }
    return out;
  }
};

/// The same, as a filter of its own: variance and evidence, and a `mean` of fixed size.
struct ScalarFilter {
  using Scalar = float;
  struct State {
    float mean = 0;
    float variance = 1;
    bool operator==(const State&) const = default;
  };
  struct Step {
    seqbayes::Vector<float, 1> mean;
    float variance;
    float log_evidence;
  };

  Index key_dim() const { return 1; }
  Index value_dim() const { return 1; }
  seqbayes::InputWidths inputs() const {
    seqbayes::InputWidths inputs;
    inputs.query = inputs.value = inputs.observation_noise = 1;
    return inputs;
  }
  State initial_state() const { return {}; }
  Step step(State& state, const seqbayes::Token<float>& token) const {
    const float s = state.variance + token.observation_noise[0];
    const float innovation = token.value[0] - state.mean;
    state.mean += state.variance / s * innovation;
    state.variance *= token.observation_noise[0] / s;
    const float density =
        -0.5f * (innovation * innovation / s + std::log(s) + std::log(2 * 3.14159265f));
    return {seqbayes::Vector<float, 1>(state.mean), state.variance, density};
  }
};

static_assert(seqbayes::SequenceLayer<Smoother>);
static_assert(!seqbayes::ProbabilisticLayer<Smoother>);
static_assert(seqbayes::SequenceLayer<ScalarFilter>);
static_assert(seqbayes::ProbabilisticLayer<ScalarFilter>);
static_assert(!seqbayes::FilterLayer<ScalarFilter>);
static_assert(!seqbayes::SequenceLayer<int>);

const Matrix<double> ones = Matrix<double>::Ones(4, 2);
const Matrix<double> values = (Matrix<double>(4, 2) << 1, 2, 3, 4, 5, 6, 7, 8).finished();
const Eigen::Vector4d strengths(1, 0.5, 0.25, 0);

seqbayes::Sequence<double> sequence() {
  seqbayes::Sequence<double> x;
  x.query = ones;
  x.value = values;
  x.write_strength = strengths;
  return x;
}

TEST_CASE("A user's layer runs in scan and scan_mean, in every form") {
  const Smoother layer{2};
  Matrix<double> want(4, 2);
  want << 1, 2, 2, 3, 2.75, 3.75, 2.75, 3.75;  // exact in binary
  for (const Execution how : {Execution(), Execution::sequential(), Execution::chunked(3)}) {
    auto state = layer.initial_state();
    CHECK(seqbayes::scan(layer, state, sequence(), how).mean == want);
    CHECK(state.mean == std::vector<double>{2.75, 3.75});
    state = layer.initial_state();
    CHECK(seqbayes::scan_mean(layer, state, sequence(), how) == want);
    CHECK(state.mean == std::vector<double>{2.75, 3.75});
  }
}

TEST_CASE("A user's filter yields variance and evidence") {
  const ScalarFilter layer;
  const Matrix<float> query = Matrix<float>::Ones(3, 1), noise = Matrix<float>::Ones(3, 1);
  const Matrix<float> value = (Matrix<float>(3, 1) << 2, 5, -1).finished();
  seqbayes::Sequence<float> x;
  x.query = query;
  x.value = value;
  x.observation_noise = noise;
  auto state = layer.initial_state();
  const auto out = seqbayes::scan(layer, state, x);
  // Unit prior and noise: the mean of n values is their sum / (n + 1), its variance 1 / (n + 1).
  CHECK(out.mean(2, 0) == Approx(6.0 / 4).epsilon(1e-6));
  CHECK(out.variance[2] == Approx(1.0 / 4).epsilon(1e-6));
  CHECK(out.innovation_variance.size() == 0);  // its step does not return any
  CHECK(out.innovation_norm2.size() == 0);
  // Three values with covariance 1 + delta: determinant 4, v' C^-1 v = |v|^2 - (sum v)^2 / 4.
  const double quadratic = 30 - 36.0 / 4;
  CHECK(out.log_evidence ==
        Approx(-0.5 * (quadratic + std::log(4.0) + 3 * std::log(2 * 3.14159265))).epsilon(1e-6));
}

TEST_CASE("A user's layer has its inputs checked") {
  const Smoother layer{2};
  auto state = layer.initial_state();
  auto x = sequence();
  x.write_strength = {};
  CHECK_THROWS_WITH(seqbayes::scan(layer, state, x),
                    containing("seqbayes: write_strength is missing"));
  CHECK(state == layer.initial_state());
}

/// The concept is enough to write an algorithm that takes any layer.
template <seqbayes::SequenceLayer L>
double sum_of_outputs(const L& layer, const seqbayes::Sequence<typename L::Scalar>& x) {
  auto state = layer.initial_state();
  double sum = 0;
  for (Index t = 0; t < x.length(); ++t) sum += double(layer.step(state, x.token(t)).mean.sum());
  return sum;
}

TEST_CASE("Generic code takes a user's layer and the library's") {
  CHECK(sum_of_outputs(Smoother{2}, sequence()) == 21);
  auto x = sequence();
  x.key = ones;
  CHECK(sum_of_outputs(seqbayes::LinearAttention<double, 2, 2>(), x) == 2 * (3 + 10 + 21 + 36));
}

}  // namespace
