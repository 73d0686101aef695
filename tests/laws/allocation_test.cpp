// A step with static widths never allocates.
#include <laws/allocations.hpp>
#include <laws/layers.hpp>
#include <laws/run.hpp>

namespace laws {
namespace {

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
