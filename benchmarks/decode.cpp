// Decoding: one token of many heads in turn, beside passes over the same states in the same rounds.
#include <cmath>
#include <cstdio>

#include "details.hpp"

namespace seqbayes::benchmarks {
namespace {

constexpr Index pending = 8;  ///< Tokens between folds, and of one round.

/// x' 1: reads memory, once.
template <class Scalar>
[[gnu::noinline]] Scalar read_only(const Scalar* data, Index size) {
  return Eigen::Map<const Eigen::Array<Scalar, Eigen::Dynamic, 1>>(data, size).sum();
}

/// The heads of a layer, decoded in each way.
template <class L>
class Decoding {
 public:
  Decoding(Index dim, Index heads)
      : layer_(typename L::Options{.key_dim = dim, .value_dim = dim}),
        stream_(heads * pending),
        x_(stream_.sequence(layer_.inputs())),
        states_(std::size_t(heads), layer_.initial_state()) {
    for (auto& state : states_) state.mean.setConstant(0.1f);
    const DecoderOptions options{.pending = pending};
    decoders_.reserve(states_.size());
    small_.reserve(states_.size());
    for (const auto& state : states_) decoders_.emplace_back(layer_, state, options);
    for (const auto& state : states_) small_.emplace_back(layer_, state, options);
  }

  void steps() {
    for (Index t = 0; t < pending; ++t) {
      for (Index h = 0; h < heads(); ++h) {
        auto y = layer_.step_mean(states_[std::size_t(h)], x_.token(t * heads() + h));
        benchmark::DoNotOptimize(y);
      }
    }
  }
  void decode() { decode(decoders_); }
  void decode_small() { decode(small_); }
  /// All tokens of a round in one call a head, as a draft is verified.
  void spans() {
    for (Index h = 0; h < heads(); ++h) {
      decoders_[std::size_t(h)].span(x_.tokens(h * pending, pending), mean_);
    }
    benchmark::ClobberMemory();
  }
  void read() {
    for (Index t = 0; t < pending; ++t) {
      for (const auto& state : states_) {
        benchmark::DoNotOptimize(read_only(state.mean.data(), state.mean.size()));
      }
    }
  }
  void read_and_write() {
    for (Index t = 0; t < pending; ++t) {
      for (auto& state : states_) {
        benchmarks::read_and_write(state.mean.data(), state.mean.size());
      }
    }
  }

 private:
  template <class Decoders>
  void decode(Decoders& decoders) {
    for (Index t = 0; t < pending; ++t) {
      seqbayes::decode(Threads{1}, decoders, x_.tokens(t * heads(), heads()), mean_);
    }
    benchmark::ClobberMemory();
  }
  [[nodiscard]] Index heads() const { return static_cast<Index>(states_.size()); }

  L layer_;
  Stream<float> stream_;
  Sequence<float> x_;
  std::vector<typename L::State> states_;
  std::vector<Decoder<L>> decoders_;
  std::vector<Decoder<L, Eigen::bfloat16>> small_;
  Matrix<float> mean_;
};

template <int dim>
void print_decoding(Index heads, int rounds) {
  Decoding<GatedDeltaNet<float, dim, dim>> delta(dim, heads);
  Decoding<BayesianLayer<float, dim, dim>> bayes(dim, heads);
  const Timings timings(
      {[&] { delta.read(); }, [&] { delta.read_and_write(); }, [&] { delta.steps(); },
       [&] { delta.decode(); }, [&] { delta.decode_small(); }, [&] { bayes.steps(); },
       [&] { bayes.decode(); }, [&] { bayes.decode_small(); }, [&] { delta.spans(); },
       [&] { bayes.spans(); }},
      rounds);
  const auto us = [&](std::size_t task) {
    return 1e6 * timings.of(task) / double(heads * pending);
  };
  std::printf("| %d x %d, %d heads |", dim, dim, int(heads));
  for (std::size_t task = 0; task < 10; ++task) std::printf(" %.2f |", us(task));
  const auto ratio = [&](auto f, auto... tasks) {
    std::printf(" %.2f |", timings.median_of(f, tasks...));
  };
  ratio([](double read, double write, double decode) { return decode / (read + write / pending); },
        0, 1, 3);
  ratio([](double decode, double small) { return small / decode; }, 3, 4);
  ratio([](double decode, double full) { return full / decode; }, 3, 6);
  std::printf("\n");
}

/// The root mean square error of a decoder's means over 10^5 tokens, relative to them, against the
/// same decoder in float.
template <class Storage, class L>
double storage_error(const L& layer, const Sequence<float>& x, Index tokens_between_folds) {
  const DecoderOptions options{.pending = tokens_between_folds};
  Decoder<L> exact(layer, layer.initial_state(), options);
  Decoder<L, Storage> stored(layer, layer.initial_state(), options);
  double error = 0, size = 0;
  for (Index t = 0; t < 100'000; ++t) {
    const auto token = x.token(t % x.length());
    const auto want = exact.step(token).mean;
    error += double((stored.step(token).mean - want).squaredNorm());
    size += double(want.squaredNorm());
  }
  return std::sqrt(error / size);
}

template <class Storage, class L>
void print_storage(const char* name, float strength) {
  constexpr Index length = 9973;  // tokens come again with other tokens pending
  const L layer;
  Stream<float> stream(length);
  Sequence<float> x = stream.sequence(layer.inputs());
  for (const double decay : {0.9, 0.99, 0.999, 1.0}) {
    x.log_decay = constant(float(std::log(decay)), length);
    if (!x.write_strength.empty()) x.write_strength = constant(strength, length);
    if (!x.process_noise.empty()) x.process_noise = constant(1e-3f, length);
    std::printf("| %s | %g |", name, decay);
    for (const Index folds : {1, 8, 32}) {
      std::printf(" %.1e |", storage_error<Storage>(layer, x, folds));
    }
    std::printf("\n");
  }
}

}  // namespace

void print_storage() {
  std::printf("\n| relative error of means | decay | pending 1 | 8 | 32 |\n|%s\n",
              "---|---|---|---|---|");
  using Delta = GatedDeltaNet<float, 64, 64>;
  using Bayes = BayesianLayer<float, 64, 64>;
  print_storage<Eigen::bfloat16, Delta>("bfloat16, writes of strength 0.5", 0.5f);
  print_storage<Eigen::bfloat16, Delta>("bfloat16, writes of strength 0.01", 0.01f);
  print_storage<Eigen::bfloat16, Bayes>("bfloat16, BayesianLayer", 0);
  print_storage<Eigen::half, Delta>("half, writes of strength 0.5", 0.5f);
  print_storage<Eigen::half, Delta>("half, writes of strength 0.01", 0.01f);
  print_storage<Eigen::half, Bayes>("half, BayesianLayer", 0);
}

void print_decoders() {
  std::printf(
      "\n| us a token and head, pending %d | read the state | read and write it | GatedDeltaNet: "
      "step | Decoder | in bfloat16 | BayesianLayer: step | Decoder | in bfloat16 | GatedDeltaNet: "
      "span of %d | BayesianLayer: span | GatedDeltaNet / (read + write / %d) | bfloat16 / float | "
      "BayesianLayer / GatedDeltaNet |\n",
      int(pending), int(pending), int(pending));
  std::printf("|%s\n", "---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
  print_decoding<64>(16, 201);
  print_decoding<64>(512, 21);
  print_decoding<128>(1024, 11);
}

}  // namespace seqbayes::benchmarks
