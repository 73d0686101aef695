// A step with static widths never allocates: neither by operator new nor by Eigen, which calls
// malloc and, asked to, asserts that it may.
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

TEST_CASE("The counter sees operator new and Eigen's malloc") {
  CHECK(count([] { ::operator delete(::operator new(1)); }) >= 1);
  CHECK(count([] { Eigen::VectorXf::Zero(3).eval(); }) >= 1);
  CHECK(count([] { Eigen::Vector3f::Zero().eval(); }) == 0);
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

template <class S, int Dk, int Dv>
using Information = std::tuple<seqbayes::MesaNet<S, Dk, Dv>>;

using Small = Join<Grid<float, 8, 4>, DeltaFamily<float, 8, 4>, Information<float, 8, 4>,
                   Grid<double, 8, 4>, DeltaFamily<double, 8, 4>, Information<double, 8, 4>>;
using Odd = Corners<float, 33, 70>;
// A state of more than 64 KiB lies on the heap, where `initial_state` put it.
using Large = Join<Corners<float, 128, 128>, Corners<double, 128, 128>>;
using Layers = Join<Small, Odd, Large>;

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

}  // namespace
}  // namespace laws
