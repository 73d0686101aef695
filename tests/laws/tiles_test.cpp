// Tiles lose no digits that steps keep, and overflow where steps do: against long double, their
// error is at most ten times that of steps, on streams that are hard on what a tile keeps apart:
// process noise, a common decay, what a group has written.
#include <laws/layers.hpp>
#include <laws/run.hpp>

namespace laws::tiles_test {
namespace {

constexpr double unit = std::numeric_limits<float>::epsilon();

/// Largest errors, relative to the largest entry of each part.
struct Errors {
  double mean = 0, variance = 0, memory = 0, covariance = 0;
};

Errors errors(const Run<Real>& got, const Run<Real>& exact) {
  return {relative_difference(got.mean, exact.mean),
          relative_difference(got.variance, exact.variance),
          relative_difference(got.memory, exact.memory),
          relative_difference(got.covariance, exact.covariance)};
}

/// Sums in another order round off some units: 16 are allowed where steps happen to have none.
void check_part(const char* part, double tiles, double steps) {
  INFO(part << ": " << tiles << " in tiles, " << steps << " by step");
  CHECK(tiles <= 10 * steps + 16 * unit);
}

template <class Layer>
void check_tiles(std::string_view name, const Stream<double>& stream, Execution how) {
  const Setup<double> setup{stream.fields.key.cols(), stream.fields.value.cols()};
  const auto narrow = make<Layer>(setup);
  const auto wide = make<Rebind<Layer, Real>>(setup);
  const auto x = stream.as<float>();
  const auto x_wide = stream.as<Real>();
  auto state = narrow.initial_state();
  auto exact_state = wide.initial_state();
  const Run<Real> exact = run(wide, exact_state, x_wide.view(), Execution::sequential());
  const Errors steps = errors(run(narrow, state, x.view(), Execution::sequential()), exact);
  state = narrow.initial_state();
  const Errors tiles = errors(run(narrow, state, x.view(), how), exact);
  INFO(describe(narrow) << ", " << name << ", chunk " << how.chunk());
  check_part("mean", tiles.mean, steps.mean);
  check_part("variance", tiles.variance, steps.variance);
  check_part("memory", tiles.memory, steps.memory);
  check_part("covariance", tiles.covariance, steps.covariance);
}

template <class Layer>
void check_hard_streams() {
  const auto inputs = make<Layer>(Setup<double>{8, 4}).inputs();
  for (const Hardship& hard : hardships()) {
    check_tiles<Layer>(hard.name, draw_hard_stream(hard, 31, inputs, 300, 33), {});
  }
  // The memory may be anything now: at once, and at each token of a long tile.
  for (const double noise : {1e4, 1e6}) {
    auto x = draw_slow_stream(inputs, 128, 35);
    if (x.fields.process_noise.size() == 0) break;
    x.fields.process_noise.setZero();
    x.fields.process_noise.row(1).setConstant(noise);
    x.fields.observation_noise.setOnes();
    check_tiles<Layer>("process noise once", x, {});
  }
  auto x = draw_slow_stream(inputs, 10'000, 37);
  if (x.fields.process_noise.size() > 0) {
    x.fields.process_noise.setOnes();
    x.fields.observation_noise.setConstant(0.01f);
    check_tiles<Layer>("process noise always", x, Execution::chunked(10'000));
  }
  // What is written lasts only as long as the decay lets it.
  auto large = draw_slow_stream(inputs, 300, 39);
  large.fields.value *= std::ldexp(1.0, 110);
  if (large.fields.log_decay.size() > 0) large.fields.log_decay.setConstant(-0.125);
  check_tiles<Layer>("values near the largest float", large, {});
}

using Bayesian = seqbayes::BayesianLayer<float>;
using ByChannel = seqbayes::BayesianLayer<float, any, any, seqbayes::ChannelDecay>;
using Layers = std::tuple<seqbayes::Ssd<float>, seqbayes::GatedLinearAttention<float>,
                          seqbayes::GatedDeltaNet<float>, seqbayes::KimiDeltaAttention<float>,
                          seqbayes::DiagonalKalmanDeltaNet<float>, Bayesian, ByChannel,
                          seqbayes::BayesianLayer<float, any, any, seqbayes::NoDecay>>;

TEMPLATE_LIST_TEST_CASE("Tiles lose no digits that steps keep", "", Layers) {
  check_hard_streams<TestType>();
}

}  // namespace
}  // namespace laws::tiles_test
