// A scan that is repeated with its output and workspace doesn't allocate.
#include <laws/allocations.hpp>
#include <laws/layers.hpp>
#include <laws/run.hpp>

namespace laws {
namespace {

TEST_CASE("The counter sees operator new, a growing workspace and a new output") {
  CHECK(count([] { ::operator delete(::operator new(1)); }) >= 1);
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

using Static = Join<Corners<float, 8, 4>, DeltaFamily<float, 8, 4>,
                    std::tuple<seqbayes::MesaNet<float, 8, 4>>>;

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

}  // namespace
}  // namespace laws
