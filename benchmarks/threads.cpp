// Heads spread over threads.
#include "details.hpp"

namespace seqbayes::benchmarks {
namespace {

using Layer = GatedDeltaNet<float>;

}  // namespace

struct Heads::Data {
  std::vector<Layer> layers;
  std::vector<Layer::State> initial, states;
  std::vector<Stream<float>> streams;
  std::vector<Sequence<float>> inputs;
  std::vector<Matrix<float>> outputs;
  Workspaces<float> workspaces;
};

Heads::Heads(Index dim, Index length) : data_(std::make_unique<Data>()) {
  constexpr std::size_t heads = 8;
  const Layer layer({.key_dim = dim, .value_dim = dim});
  data_->layers.assign(heads, layer);
  data_->initial.assign(heads, layer.initial_state());
  data_->streams.assign(heads, Stream<float>(length));
  for (auto& stream : data_->streams) data_->inputs.push_back(stream.sequence(layer.inputs()));
  data_->outputs.resize(heads);
}

Heads::~Heads() = default;

void Heads::scan_mean(int threads) {
  data_->states = data_->initial;
  scan(OpenMp{threads}, data_->layers, data_->states, data_->inputs, data_->outputs,
       data_->workspaces);
  benchmark::ClobberMemory();
}

Index Heads::tokens() const {
  return static_cast<Index>(data_->inputs.size()) * data_->inputs.front().length();
}

void register_threads() {
  for (const int dim : {64, 128}) {
    const auto time = [dim](benchmark::State& state) {
      Heads heads(dim, usual_length);
      const int threads = static_cast<int>(state.range(0));
      heads.scan_mean(threads);
      const double start = wall_seconds();
      for (auto _ : state) heads.scan_mean(threads);
      const double seconds = (wall_seconds() - start) / static_cast<double>(state.iterations());
      state.counters["ns_per_token"] = seconds * 1e9 / static_cast<double>(heads.tokens());
    };
    const std::string name = "threads/float/" + std::to_string(dim) + "/GatedDeltaNet";
    auto* threads = benchmark::RegisterBenchmark(name.c_str(), time);
    threads->UseRealTime()->Unit(benchmark::kMillisecond)->RangeMultiplier(2)->Range(1, 8);
  }
}

}  // namespace seqbayes::benchmarks
