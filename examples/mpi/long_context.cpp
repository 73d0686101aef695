// One stream of millions of tokens over the ranks that mpirun starts. What the first thousand
// tokens say of some keys is asked for at the end; no later key goes there but by a little.
#include <fmt/format.h>

#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include <seqbayes/adapters/mpi.hpp>
#include <seqbayes/layers/grid.hpp>

#include "../support/program.hpp"

namespace {

using seqbayes::Index;
using Matrix = seqbayes::Matrix<float>;

constexpr const char* description =
    "Scans one long stream of noisy associations, of which each rank draws and holds its own\n"
    "piece, with a Gated DeltaNet and a Bayesian Layer, and says how long that took, how probable\n"
    "the stream is, and how far what is read of the earliest keys is off at the end.\n"
    "Run it by mpirun -n RANKS.";

struct Settings {
  Index tokens = 1000000, dim = 64, early = 1000;
  double noise = 0.5, leak = 0.1;
  int repeats = 3;
};

/// The stream is the same however many ranks draw it: each thousand tokens have a generator.
class Stream {
 public:
  Stream(const Settings& settings, Index first, Index count)
      : settings_(settings),
        key(count, settings.dim),
        value(count, settings.dim),
        law(settings.dim, settings.dim) {
    std::mt19937 random(0);
    fill(law, random);
    law /= float(std::sqrt(double(settings.dim)));
    constexpr Index block = 1000;
    for (Index at = first / block * block; at < first + count; at += block) {
      draw(at, block, first);
    }
  }

 private:
  static void fill(Matrix& m, std::mt19937& random) {
    std::normal_distribution<float> normal;
    for (Index i = 0; i < m.size(); ++i) m.data()[i] = normal(random);
  }
  /// Tokens at .. at + block - 1, as far as they belong here.
  void draw(Index at, Index block, Index first) {
    std::mt19937 random(static_cast<std::uint32_t>(at) + 1);
    Matrix k(block, settings_.dim), v(block, settings_.dim);
    fill(k, random);
    fill(v, random);
    const Index quarter = settings_.dim / 4;
    for (Index i = 0; i < block; ++i) {
      if (at + i < settings_.early) {
        k.row(i).tail(settings_.dim - quarter).setZero();
      } else {
        k.row(i).head(quarter) *= float(settings_.leak);
      }
      k.row(i).normalize();
    }
    v = k * law + float(settings_.noise) * v;
    const Index from = std::max(at, first), to = std::min(at + block, first + key.rows());
    if (from >= to) return;
    key.middleRows(from - first, to - from) = k.middleRows(from - at, to - from);
    value.middleRows(from - first, to - from) = v.middleRows(from - at, to - from);
  }

  const Settings& settings_;

 public:
  Matrix key, value, law;
};

/// Error of what is read of the earliest keys, relative to the law's.
template <class State>
double early_error(const State& state, const Matrix& law) {
  const Index quarter = law.rows() / 4;
  return double((state.mean - law).topRows(quarter).norm() / law.topRows(quarter).norm());
}

template <class Layer>
void report(const char* name, const Settings& settings, const Stream& stream,
            const seqbayes::Sequence<float>& x, int rank) {
  const Layer layer({.key_dim = settings.dim, .value_dim = settings.dim});
  double best = 1e300, evidence = 0;
  auto state = layer.initial_state();
  for (int i = 0; i < settings.repeats; ++i) {
    state = layer.initial_state();
    MPI_Barrier(MPI_COMM_WORLD);
    const double start = MPI_Wtime();
    evidence = double(seqbayes::mpi::scan(MPI_COMM_WORLD, layer, state, x).log_evidence);
    best = std::min(best, MPI_Wtime() - start);
  }
  if (rank > 0) return;
  using Segment = seqbayes::Segment<Layer>;
  const double numbers = (Segment::is_filter ? 5.0 : 2.0) * double(settings.dim * settings.dim);
  fmt::print("{:<16}{:>10.3f}{:>14.3f}{:>14.4f}{:>12.3f}{:>14.0f}\n", name, best,
             double(settings.tokens) / best / 1e6, evidence / double(settings.tokens),
             early_error(state, stream.law), numbers * sizeof(float) / 1024);
}

void run(const Settings& settings) {
  int rank = 0, ranks = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  // The first rank, which needs no summary, takes half as much again as the others (docs/scale.md).
  const auto start = [&](int i) {
    return i == 0 ? 0 : settings.tokens * (2 * i + 1) / (2 * ranks + 1);
  };
  const Index first = start(rank), last = start(rank + 1);
  const Stream stream(settings, first, last - first);
  seqbayes::Sequence<float> x;
  x.query = x.key = stream.key;
  x.value = stream.value;
  const Index length = last - first;
  x.log_decay = seqbayes::constant(0.0F, length);
  x.process_noise = seqbayes::constant(0.0F, length);
  x.observation_noise = seqbayes::constant(float(settings.noise * settings.noise), length);
  // The best constant gain of such noise with |k| = 1: sigma_0^2 / (r + sigma_0^2).
  x.write_strength = seqbayes::constant(float(1 / (1 + settings.noise * settings.noise)), length);
  if (rank == 0) {
    fmt::print("{} tokens of {} x {} over {} ranks\n{:<16}{:>10}{:>14}{:>14}{:>12}{:>14}\n",
               settings.tokens, settings.dim, settings.dim, ranks, "", "seconds", "10^6 tokens/s",
               "nats/token", "early error", "summary, KiB");
  }
  report<seqbayes::GatedDeltaNet<float>>("Gated DeltaNet", settings, stream, x, rank);
  report<seqbayes::BayesianLayer<float>>("Bayesian Layer", settings, stream, x, rank);
}

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  Settings settings;
  CLI::App app(description);
  program::add_option(app, "--tokens", settings.tokens, "Of the stream", CLI::PositiveNumber);
  program::add_option(app, "--dim", settings.dim, "Of keys and values", CLI::PositiveNumber);
  program::add_option(app, "--noise", settings.noise, "Of values", CLI::PositiveNumber);
  program::add_option(app, "--leak", settings.leak, "Of later keys", CLI::NonNegativeNumber);
  program::add_option(app, "--repeats", settings.repeats, "The best counts", CLI::PositiveNumber);
  const int status = program::run(app, "long_context", argc, argv, [&] { run(settings); });
  if (status != 0) MPI_Abort(MPI_COMM_WORLD, status);
  MPI_Finalize();
  return status;
}
