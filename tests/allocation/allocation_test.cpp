// A step with static widths never allocates; a scan that is repeated with its output and workspace
// doesn't either. A program of its own: it replaces operator new and Eigen's assertions.
#include "allocations.hpp"

#include <laws/composed.hpp>
#include <laws/run.hpp>

namespace laws {
namespace {

TEST_CASE("The counter sees operator new and Eigen's malloc") {
  CHECK(count([] { ::operator delete(::operator new(1)); }) >= 1);
  CHECK(count([] { Eigen::VectorXf::Zero(3).eval(); }) >= 1);
  CHECK(count([] { Eigen::Vector3f::Zero().eval(); }) == 0);
}

TEST_CASE("The counter sees a growing workspace and a new output") {
  const seqbayes::GatedDeltaNet<float, 8, 4> layer;
  const auto stream = draw_stream(layer.inputs(), 131, 71).as<float>();
  auto state = layer.initial_state();
  seqbayes::Workspace<float> workspace;
  Matrix<float> mean;
  CHECK(count([&] { seqbayes::scan_mean(layer, state, stream.view(), mean, workspace); }) >= 5);
  CHECK(count([&] { seqbayes::scan_mean(layer, state, stream.view(), mean, workspace); }) == 0);
  mean.resize(0, 0);
  CHECK(count([&] { seqbayes::scan_mean(layer, state, stream.view(), mean, workspace); }) >= 1);
  // A shorter sequence fits.
  const auto x = stream.view().tokens(0, 3);
  mean.resize(3, 4);
  CHECK(count([&] { seqbayes::scan_mean(layer, state, x, mean, workspace); }) == 0);
}

/// Of the second to fourth scan and scan_mean, by one form of execution.
template <class Layer>
long allocations_of_scans(const Layer& layer, Execution how) {
  using Scalar = typename Layer::Scalar;
  const auto stream = draw_stream(layer.inputs(), 131, 71).template as<Scalar>();
  const auto x = stream.view();
  auto state = layer.initial_state();
  seqbayes::Workspace<Scalar> workspace;
  Matrix<Scalar> mean;
  const auto mean_alone = [&] { seqbayes::scan_mean(layer, state, x, mean, workspace, how); };
  mean_alone();
  long counted = 0;
  for (int i = 0; i < 3; ++i) counted += count(mean_alone);
  seqbayes::OutputOf<Layer> out;
  const auto all = [&] { seqbayes::scan(layer, state, x, out, workspace, how); };
  all();
  for (int i = 0; i < 3; ++i) counted += count(all);
  return counted;
}

template <class Layer>
void check_scans(const Layer& layer) {
  for (const Execution how : {Execution(), Execution::sequential(), Execution::chunked(5)}) {
    INFO("chunk " << how.chunk());
    CHECK(allocations_of_scans(layer, how) == 0);
  }
}

// One of each way to scan: tiles of a reset and of a filter, two writes a token, token by token.
using Static =
    std::tuple<seqbayes::KimiDeltaAttention<float, 8, 4>, seqbayes::BayesianLayer<float, 8, 4>,
               seqbayes::GatedDeltaProduct<float, 2, 8, 4>, seqbayes::MesaNet<float, 8, 4>>;

TEMPLATE_LIST_TEST_CASE("Repeated scans with static widths don't allocate", "", Static) {
  check_scans(TestType());
}

// The layers that run in tiles; the others run token by token, and a step of dynamic widths
// allocates.
using Dynamic =
    Join<Corners<float>, std::tuple<seqbayes::Comba<float>, seqbayes::GatedDeltaNet2<float>,
                                    seqbayes::PreconditionedGatedDeltaNet<float>>>;

TEMPLATE_LIST_TEST_CASE("Repeated scans with dynamic widths don't allocate", "", Dynamic) {
  CHECK(allocations_of_scans(TestType({.key_dim = 33, .value_dim = 70}), Execution()) == 0);
}

TEST_CASE("Repeated batches with their outputs and workspaces don't allocate") {
  const seqbayes::BayesianLayer<float> layer({.key_dim = 33, .value_dim = 70});
  const std::vector heads(2, layer);
  const auto stream = draw_stream(layer.inputs(), 131, 71).as<float>();
  const std::vector<seqbayes::Sequence<float>> inputs(4, stream.view());
  std::vector states(4, layer.initial_state());
  std::vector<Matrix<float>> outputs(4);
  seqbayes::Workspaces<float> workspaces;
  const auto run = [&] {
    seqbayes::scan(seqbayes::Threads{1}, heads, states, inputs, outputs, workspaces);
  };
  CHECK(count(run) >= 5);
  CHECK(count(run) == 0);
}

template <class Layer>
long allocations_of_steps(const Layer& layer) {
  const auto stream = draw_stream(layer.inputs(), 5, 71).template as<typename Layer::Scalar>();
  const auto x = stream.view();
  auto state = layer.initial_state();
  typename Layer::Scalar sum(0);
  const long counted = count([&] {
    for (Index t = 0; t < x.length(); ++t) {
      sum += layer.step(state, x.token(t)).mean.sum();
      if constexpr (requires { layer.step_mean(state, x.token(t)); }) {
        sum += layer.step_mean(state, x.token(t)).mean.sum();
      }
    }
  });
  CHECK(sum == sum);  // used
  return counted;
}

TEST_CASE("Neither scans nor steps of a layer made of others allocate") {
  const auto layer = make<Composed<float, 8, 4>>(Setup<double>{8, 4});
  check_scans(layer);
  CHECK(allocations_of_steps(layer) == 0);
}

template <class S, int Dk, int Dv>
using Information = std::tuple<seqbayes::MesaNet<S, Dk, Dv>>;

using Small = Join<Grid<float, 8, 4>, DeltaFamily<float, 8, 4>, Information<float, 8, 4>>;
// Odd widths; a state of more than 64 KiB lies on the heap, where `initial_state` put it.
using Others =
    std::tuple<seqbayes::KimiDeltaAttention<float, 33, 70>, seqbayes::BayesianLayer<float, 33, 70>,
               seqbayes::BayesianLayer<double, 128, 128>>;
using Layers = Join<Small, Others>;

TEMPLATE_LIST_TEST_CASE("A step with static widths doesn't allocate", "", Layers) {
  CHECK(allocations_of_steps(TestType()) == 0);
}

TEST_CASE("A step of Kalman Linear Attention with static widths doesn't allocate") {
  using Layer = seqbayes::KalmanLinearAttention<float, 8, 4>;
  Layer::Options options;
  options.decay.setConstant(0.9f);
  options.process_noise.setConstant(0.1f);
  CHECK(allocations_of_steps(Layer(options)) == 0);
}

/// Steps into the caller's memory, short spans, rollbacks and folds, after construction.
template <class Layer>
long allocations_of_a_decoder(const Layer& layer) {
  auto stream = draw_stream(layer.inputs(), 40, 71).template as<typename Layer::Scalar>();
  for (Index t = 0; t < stream.fields.observation_noise.size(); t += 5) {
    stream.fields.observation_noise(t, 0) = 1e-6f;  // where a covariance needs its spare
  }
  const auto x = stream.view();
  seqbayes::Decoder<Layer> decoder(layer, layer.initial_state(), {.pending = 4});
  Matrix<typename Layer::Scalar> mean(3, layer.value_dim());
  return count([&] {
    for (Index t = 0; t < x.length(); ++t) {
      decoder.step(x.token(t), mean.data());
      if (t % 3 == 0) decoder.rollback(1);
      if (t % 7 == 0) decoder.span(x.tokens(0, 3), mean);
      if (t % 11 == 0) decoder.fold();
    }
  });
}

using Decoders = std::tuple<seqbayes::GatedDeltaNet<float>, seqbayes::KimiDeltaAttention<float>,
                            seqbayes::DiagonalKalmanDeltaNet<float>, seqbayes::BayesianLayer<float>,
                            seqbayes::Rwkv7<float>, seqbayes::BayesianLayer<float, 128, 128>>;
TEMPLATE_LIST_TEST_CASE("A decoder doesn't allocate after construction", "", Decoders) {
  if constexpr (TestType::key_width == Eigen::Dynamic) {
    CHECK(allocations_of_a_decoder(TestType({.key_dim = 33, .value_dim = 70})) == 0);
  } else {
    CHECK(allocations_of_a_decoder(TestType()) == 0);
  }
}

TEST_CASE("Neither do heads decoded in one call") {
  const seqbayes::GatedDeltaNet<float> layer({.key_dim = 33, .value_dim = 70});
  const auto stream = draw_stream(layer.inputs(), 6, 71).as<float>();
  std::vector<seqbayes::Decoder<seqbayes::GatedDeltaNet<float>>> heads(
      6, {layer, layer.initial_state(), {.pending = 2}});
  Matrix<float> mean(6, 70);
  const auto inline_task = [](Index tasks, auto&& task) {
    for (Index i = 0; i < tasks; ++i) task(i);
  };
  CHECK(count([&] {
          for (int t = 0; t < 5; ++t) seqbayes::decode(inline_task, heads, stream.view(), mean);
        }) == 0);
}

}  // namespace
}  // namespace laws
