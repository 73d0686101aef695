// A scan that is repeated with its output and workspace doesn't allocate: neither by operator new
// nor by Eigen, which calls malloc and, asked to, asserts that it may.
#include <cstdlib>
#include <new>

namespace {
long allocations = 0;
}

#undef eigen_assert
#define EIGEN_RUNTIME_NO_MALLOC
#define eigen_assert(condition) (void)((condition) || ++allocations)

#include <laws/layers.hpp>
#include <laws/run.hpp>

// Not inlined: g++ would take one half of a pair for a mismatch of malloc and delete.
[[gnu::noinline]] void* operator new(std::size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(std::size_t size, std::align_val_t alignment) {
  ++allocations;
  const auto unit = static_cast<std::size_t>(alignment);
  if (void* memory = std::aligned_alloc(unit, (size + unit - 1) / unit * unit)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}

namespace laws {
namespace {

/// Allocations, and Eigen's assertions, in `work`.
template <class Work>
long count(const Work& work) {
  const long before = allocations;
  Eigen::internal::set_is_malloc_allowed(false);
  work();
  Eigen::internal::set_is_malloc_allowed(true);
  return allocations - before;
}

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
  typename TestType::Options options;
  options.key_dim = 33;
  options.value_dim = 70;
  CHECK(allocations_of_scans(TestType(options), Execution()) == 0);
}

}  // namespace
}  // namespace laws
