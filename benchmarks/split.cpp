// One sequence over several threads, beside what as many threads make of as many sequences.
#include <algorithm>
#include <cstdio>
#include <map>
#include <thread>
#include <vector>

#include "details.hpp"

namespace seqbayes::benchmarks {
namespace {

constexpr Index length = Index(1) << 16;

template <class L>
class Splitting {
 public:
  explicit Splitting(Index dim)
      : layer_(typename L::Options{.key_dim = dim, .value_dim = dim}),
        stream_(length),
        x_(stream_.sequence(layer_.inputs())),
        mean_(Matrix<float>::Ones(length, dim)) {}

  [[nodiscard]] Split split(int threads) const { return split_for(layer_, x_, threads); }
  void scan(int threads) {
    auto state = layer_.initial_state();
    seqbayes::scan(Threads{threads}, split(threads), layer_, state, x_, output_);
    benchmark::ClobberMemory();
  }
  void scan_vjp(int threads) {
    const auto gradient =
        seqbayes::scan_vjp(Threads{threads}, layer_, layer_.initial_state(), x_, {.mean = mean_});
    benchmark::DoNotOptimize(gradient.value.data());
  }
  /// The same tokens as sequences of their own.
  void scan_heads(int threads) {
    const auto count = static_cast<std::size_t>(threads);
    const std::vector<L> layers(count, layer_);
    std::vector<typename L::State> states(count, layer_.initial_state());
    std::vector<Sequence<float>> parts;
    const Index tokens = length / threads;
    for (Index i = 0; i < threads; ++i) parts.push_back(x_.tokens(i * tokens, tokens));
    std::vector<OutputOf<L>>& outputs = outputs_[threads];
    outputs.resize(count);
    seqbayes::scan(Threads{threads}, layers, states, parts, outputs);
    benchmark::ClobberMemory();
  }

 private:
  L layer_;
  Stream<float> stream_;
  Sequence<float> x_;
  Matrix<float> mean_;
  OutputOf<L> output_;
  std::map<int, std::vector<OutputOf<L>>> outputs_;
};

template <class L>
void print_rows(const char* name, Index dim) {
  Splitting<L> splitting(dim);
  const int most = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  std::vector<Task> tasks;
  std::vector<int> counts;
  for (int n = 1; n <= most; n *= 2) {
    counts.push_back(n);
    tasks.emplace_back([&splitting, n] { splitting.scan(n); });
    tasks.emplace_back([&splitting, n] { splitting.scan_heads(n); });
    tasks.emplace_back([&splitting, n] { splitting.scan_vjp(n); });
  }
  const Timings timings(tasks, 11, wall_seconds);
  const auto gain = [&](std::size_t one, std::size_t many) {
    return timings.median_of([](double a, double b) { return a / b; }, one, many);
  };
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const Split split = splitting.split(counts[i]);
    std::printf("| %s, %d x %d | %d | %d | %d | %.1f | %.2f | %.2f | %.2f |\n", name, int(dim),
                int(dim), counts[i], split.columns, split.pieces, 1e3 * timings.of(3 * i),
                gain(0, 3 * i), gain(1, 3 * i + 1), gain(2, 3 * i + 2));
  }
  std::fflush(stdout);
}

}  // namespace

void print_splits() {
  std::printf(
      "One sequence of %d tokens, float. Gains over one thread, medians; the ceiling is that of\n"
      "as many sequences, each of its part of the tokens.\n\n"
      "| | threads | columns | pieces | ms | scan | ceiling | scan_vjp |\n"
      "|---|---|---|---|---|---|---|---|\n",
      int(length));
  for (const Index dim : {64, 128}) {
    print_rows<GatedDeltaNet<float>>("Gated DeltaNet", dim);
    print_rows<BayesianLayer<float>>("Bayesian Layer", dim);
  }
}

}  // namespace seqbayes::benchmarks
