// One sequence over the ranks that mpirun starts: what one process yields, for any pieces; and what
// becomes of errors. With the argument `killed` the last rank dies before its first scan.
#include <csignal>
#include <cstdio>
#include <string>

#include <seqbayes/adapters/mpi.hpp>

#include <laws/case.hpp>
#include <laws/layers.hpp>

namespace {

using namespace laws;

int rank = 0, ranks = 1, failures = 0;

void check(bool right, const std::string& what) {
  if (right) return;
  std::fprintf(stderr, "rank %d of %d: %s\n", rank, ranks, what.c_str());
  ++failures;
}

/// Relative to what is wanted, or to one.
template <class Got, class Want>
bool close(const Got& got, const Want& want, double bound) {
  return got.size() == want.size() &&
         (got.size() == 0 || double((got - want).norm()) <= bound * (1 + double(want.norm())));
}

/// Where each rank's piece starts, evenly, or all with one rank, the others empty.
std::vector<std::vector<Index>> partitions(Index length) {
  std::vector<std::vector<Index>> all(3);
  for (int i = 0; i <= ranks; ++i) {
    all[0].push_back(length * i / ranks);
    all[1].push_back(i == 0 ? 0 : length);
    all[2].push_back(i < ranks ? 0 : length);
  }
  return all;
}

template <class Layer>
void same_as_one_process(const Hardship& hard) {
  using Scalar = typename Layer::Scalar;
  const Index length = 40;
  const auto layer = make<Layer>(Setup<double>{5, 3});
  const auto stream = draw_hard_stream(hard, 31, layer.inputs(), length, 32).template as<Scalar>();
  const auto x = stream.view();
  const auto start = some_state(layer);
  // 40 tokens, some of whose rounding errors are a thousand times what the innovation's are.
  const double bound = 1e5 * rounding_unit<Scalar>();

  seqbayes::Cotangent<Layer> cotangent;
  const Matrix<Scalar> dmean = stream.fields.value;
  const seqbayes::Vector<Scalar> dvariance = stream.fields.query.col(0);
  cotangent.mean = dmean;
  cotangent.state = start;
  if constexpr (Layer::has_variance) {
    cotangent.variance = dvariance;
    cotangent.log_evidence = Scalar(0.5);
  }
  auto wanted = start;
  const auto want = seqbayes::scan(layer, wanted, x);
  for (const auto& cuts : partitions(length)) {
    const std::string of = describe(layer) + ", " + std::string(hard.name) + ": ";
    const Index first = cuts[std::size_t(rank)], count = cuts[std::size_t(rank) + 1] - first;
    auto state = start;
    const auto got = seqbayes::mpi::scan(MPI_COMM_WORLD, layer, state, x.tokens(first, count));
    check(close(got.mean, want.mean.middleRows(first, count), bound), of + "mean");
    check(close(state.mean, wanted.mean, bound), of + "memory");
    if constexpr (Layer::has_variance) {
      check(close(got.variance, want.variance.segment(first, count), bound), of + "variance");
      check(std::abs(got.log_evidence - want.log_evidence) <=
                Scalar(bound) * (1 + std::abs(want.log_evidence)),
            of + "evidence");
    }
    if constexpr (seqbayes::ComposableLayer<Layer>) {
      if (!seqbayes::detail::splits_in_time<Layer>(x)) continue;
      const auto gradient = seqbayes::scan_vjp(layer, start, x, cotangent);
      auto part = cotangent;
      part.mean = cotangent.mean.rows(first, count);
      if (!part.variance.empty()) part.variance = {cotangent.variance.data() + first, count};
      const auto own =
          seqbayes::mpi::scan_vjp(MPI_COMM_WORLD, layer, start, x.tokens(first, count), part);
      seqbayes::for_each_field(
          [&](const char* name, auto, const auto& mine, const auto& whole) {
            if (whole.size() == 0) return;
            check(close(mine, whole.middleRows(first, count), bound), of + "d" + name);
          },
          own, gradient);
      check(close(own.initial_state.mean, gradient.initial_state.mean, bound),
            of + "dinitial_state");
      check(std::abs(own.prior_variance - gradient.prior_variance) <=
                Scalar(bound) * (1 + std::abs(gradient.prior_variance)),
            of + "dprior_variance");
    }
  }
}

template <class... Layers>
void all_same_as_one_process(std::type_identity<std::tuple<Layers...>>) {
  for (const std::size_t hard : {0, 4, 7, 14}) {
    (same_as_one_process<Layers>(hardships()[hard]), ...);
  }
}

/// What the last rank finds wrong is said on all of them.
void errors_reach_all() {
  using Layer = seqbayes::GatedDeltaNet<double>;
  const auto layer = make<Layer>(Setup<double>{5, 3});
  auto stream = draw_stream(layer.inputs(), 9, 1);
  if (rank == ranks - 1) stream.fields.value(4, 0) = infinity;
  const auto start = some_state(layer);
  auto state = start;
  std::string said;
  try {
    seqbayes::mpi::scan(MPI_COMM_WORLD, layer, state, stream.view());
  } catch (const std::invalid_argument& error) {
    said = error.what();
  }
  check(said.starts_with("rank " + std::to_string(ranks - 1) + ": seqbayes: value"),
        "expected the last rank's error, got '" + said + "'");
  check(state == start, "the state is not as it was");
}

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  if (argc > 1 && std::string(argv[1]) == "killed" && rank == ranks - 1) std::raise(SIGKILL);
  errors_reach_all();
  using Layers = std::tuple<seqbayes::GatedLinearAttention<double>, seqbayes::GatedDeltaNet<float>,
                            seqbayes::BayesianLayer<double>, seqbayes::BayesianLayer<float>,
                            seqbayes::DiagonalKalmanDeltaNet<double>>;
  all_same_as_one_process(std::type_identity<Layers>());
  MPI_Allreduce(MPI_IN_PLACE, &failures, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
  MPI_Finalize();
  return failures == 0 ? 0 : 1;
}
