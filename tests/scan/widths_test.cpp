// The fast form against the sequential one where its tiles, groups and vectors don't come out even:
// a tile is 128 tokens, a group 4, a vector 2 to 16 entries.
#include <laws/layers.hpp>
#include <laws/run.hpp>

namespace laws {
namespace {

constexpr Index widths[] = {1, 2, 15, 16, 17, 31, 33, 64, 65};
constexpr Index lengths[] = {1, 2, 3, 5, 127, 128, 129, 257};

using BayesianChannel = seqbayes::BayesianLayer<double, any, any, seqbayes::ChannelDecay>;

/// The bounds of a run of `length` tokens, whose numbers are no larger than those of all.
Bounds bounds_of(const Reference<Real>& all, Index length, double unit) {
  Reference<Real> part;
  part.scale = all.scale;
  part.run.mean.resize(length, 0);
  part.run.memory.resize(all.run.memory.rows(), 0);
  return rounding_bounds(part, unit);
}

template <class Layer>
void check_lengths(const Setup<double>& setup, const Stream<double>& stream,
                   const Reference<Real>& want) {
  using Scalar = typename Layer::Scalar;
  const auto layer = make<Layer>(setup);
  const auto tokens = stream.as<Scalar>();
  for (const Index length : lengths) {
    INFO(describe(layer) << ", " << length << " tokens");
    const auto x = tokens.view().tokens(0, length);
    auto state = some_state(layer), sequential_state = state;
    const Run<Real> got = run(layer, state, x);
    check_close(got, run(layer, sequential_state, x, Execution::sequential()),
                bounds_of(want, length, rounding_unit<Scalar>()));
  }
}

template <class Layer>
void check_widths() {
  for (const Index key_dim : widths) {
    for (const Index value_dim : widths) {
      const Setup<double> setup{key_dim, value_dim};
      const auto layer = make<Layer>(setup);
      const auto stream = draw_stream(layer.inputs(), 257, 31);
      const auto want = reference_for(layer, setup, some_state(layer), stream);
      check_lengths<Rebind<Layer, float>>(setup, stream, want);
      check_lengths<Layer>(setup, stream, want);
    }
  }
}

TEST_CASE("Tiles equal tokens at odd widths and lengths: DeltaNet") {
  check_widths<seqbayes::DeltaNet<double>>();
}
TEST_CASE("Tiles equal tokens at odd widths and lengths: GatedDeltaNet") {
  check_widths<seqbayes::GatedDeltaNet<double>>();
}
TEST_CASE("Tiles equal tokens at odd widths and lengths: KDA") {
  check_widths<seqbayes::KimiDeltaAttention<double>>();
}
TEST_CASE("Tiles equal tokens at odd widths and lengths: GLA") {
  check_widths<seqbayes::GatedLinearAttention<double>>();
}
TEST_CASE("Tiles equal tokens at odd widths and lengths: BayesianLayer") {
  check_widths<seqbayes::BayesianLayer<double>>();
}
TEST_CASE("Tiles equal tokens at odd widths and lengths: BayesianLayer, ChannelDecay") {
  check_widths<BayesianChannel>();
}
TEST_CASE("Tiles equal tokens at odd widths and lengths: Comba") {
  check_widths<seqbayes::Comba<double>>();
}
TEST_CASE("Tiles equal tokens at odd widths and lengths: GatedDeltaNet2") {
  check_widths<seqbayes::GatedDeltaNet2<double>>();
}

/// One scan of 20 000 tokens in float against double. What a layer forgets, its errors are
/// forgotten with, so they are some units of the largest entry however long it ran; the evidence
/// sums T of them, as much up as down.
template <class Layer>
void check_long() {
  constexpr Index length = 20'000;
  constexpr double unit = std::numeric_limits<float>::epsilon();
  const Setup<double> setup{17, 5};
  const auto layer = make<Layer>(setup);
  auto stream = draw_slow_stream(layer.inputs(), length, 33);
  // A shorter copy of the key, as Comba has it; other erase keys let the memory grow.
  if (stream.fields.erase_key.size() > 0) stream.fields.erase_key = 0.75 * stream.fields.key;
  const auto narrow = stream.template as<float>();

  auto wide_state = layer.initial_state();
  const auto float_layer = make<Rebind<Layer, float>>(setup);
  auto state = float_layer.initial_state();
  const Run<Real> want = run(layer, wide_state, stream.view(), Execution::sequential());
  const Run<Real> got = run(float_layer, state, narrow.view());
  CHECK(relative_difference(got.mean, want.mean) <= 16 * unit);
  CHECK(relative_difference(got.memory, want.memory) <= 16 * unit);
  CHECK(relative_difference(got.variance, want.variance) <= 16 * unit);
  CHECK(relative_difference(got.covariance, want.covariance) <= 16 * unit);
  CHECK(std::abs(double(got.evidence - want.evidence)) <=
        unit * std::sqrt(double(length)) * std::abs(double(want.evidence)));
}

TEST_CASE("20 000 tokens in one scan: float stays where double is") {
  check_long<seqbayes::GatedDeltaNet<double>>();
  check_long<seqbayes::Comba<double>>();
  check_long<seqbayes::GatedDeltaNet2<double>>();
  check_long<BayesianChannel>();
}

}  // namespace
}  // namespace laws
