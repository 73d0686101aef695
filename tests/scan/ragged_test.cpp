// Packed sequences of different lengths yield what each of them does alone, bit by bit.
#include <stdexcept>

#include <laws/layers.hpp>
#include <laws/run.hpp>

namespace ragged_test {
namespace {

using seqbayes::Index;
using seqbayes::Matrix;
using seqbayes::Sequence;

const std::vector<Index> offsets = {0, 3, 3, 134, 135, 135};

/// Three heads of one packed stream each; the second and third share their keys.
template <class Layer>
struct Packed {
  using Scalar = typename Layer::Scalar;
  std::vector<Layer> heads;
  std::vector<laws::Stream<Scalar>> streams;
  std::vector<Sequence<Scalar>> inputs;
  std::vector<typename Layer::State> states;

  Packed() {
    for (std::uint64_t h = 0; h < 3; ++h) {
      heads.push_back(laws::make<Layer>(laws::Setup<double>{9, 21, 1 / double(h + 1)}));
      streams.push_back(
          laws::draw_stream(heads[h].inputs(), offsets.back(), 70 + h).template as<Scalar>());
    }
    for (const auto& stream : streams) inputs.push_back(stream.view());
    inputs[2].key = inputs[1].key;
    for (std::size_t i = 0; i < 3 * (offsets.size() - 1); ++i) {
      states.push_back(laws::some_state(heads[i % 3], i));
    }
  }
};

using Layers = std::tuple<seqbayes::BayesianLayer<float>, seqbayes::GatedLinearAttention<double>>;

TEMPLATE_LIST_TEST_CASE("Packed sequences are single ones", "[ragged]", Layers) {
  using Scalar = typename TestType::Scalar;
  const Packed<TestType> packed;
  auto states = packed.states;
  std::vector<Matrix<Scalar>> means(3);
  seqbayes::scan_mean(seqbayes::Threads{2}, packed.heads, states, packed.inputs, offsets, means);

  auto want_states = packed.states;
  for (std::size_t i = 0; i + 1 < offsets.size(); ++i) {
    const Index first = offsets[i], count = offsets[i + 1] - first;
    for (std::size_t h = 0; h < 3; ++h) {
      INFO("sequence " << i << ", head " << h);
      auto& state = want_states[3 * i + h];
      const Matrix<Scalar> want =
          seqbayes::scan_mean(packed.heads[h], state, packed.inputs[h].tokens(first, count));
      REQUIRE(means[h].rows() == offsets.back());
      CHECK(means[h].middleRows(first, count) == want);
      CHECK(states[3 * i + h] == state);
    }
  }
}

TEST_CASE("Items of a ragged batch go sequence by sequence, head by head", "[ragged]") {
  const Packed<seqbayes::BayesianLayer<float>> packed;
  const auto items = seqbayes::unpack(packed.inputs, offsets);
  REQUIRE(items.size() == 15);
  CHECK(items[0].length() == 3);
  CHECK(items[7].key.data() == packed.inputs[1].key.row(3).data());
  CHECK(items[7].length() == 131);
  CHECK(items[14].length() == 0);
  CHECK(seqbayes::unpack(std::vector<Sequence<float>>(), offsets).empty());
}

TEST_CASE("Offsets that don't rise from 0 to the tokens are refused", "[ragged]") {
  Packed<seqbayes::BayesianLayer<float>> packed;
  const auto states = packed.states;
  std::vector<Matrix<float>> means(3);
  const auto scan = [&](const std::vector<Index>& bounds) {
    seqbayes::scan_mean(seqbayes::Threads{1}, packed.heads, packed.states, packed.inputs, bounds,
                        means);
  };
  for (const std::vector<Index>& bounds : {std::vector<Index>{},
                                           {1, 3, 3, 134, 135, 135},
                                           {0, 3, 2, 134, 135, 135},
                                           {0, 3, 3, 134, 135, 136},
                                           {0, 3, 3, 134, 134, 134},
                                           {0, 3, 135},
                                           {-1, 0, 3, 134, 135, 135}}) {
    CHECK_THROWS_AS(scan(bounds), std::invalid_argument);
    CHECK(packed.states == states);
  }
  packed.inputs[2] = packed.inputs[2].tokens(0, 134);
  CHECK_THROWS_AS(scan(offsets), std::invalid_argument);
}

TEST_CASE("Means in memory that is read are refused before it moves", "[ragged]") {
  Packed<seqbayes::BayesianLayer<float>> packed;
  const auto states = packed.states;
  std::vector<Matrix<float>> means(3);
  means[1].setOnes(offsets.back() + 1, 21);
  packed.inputs[1].value = {means[1].data(), offsets.back(), 21};
  CHECK_THROWS_AS(seqbayes::scan_mean(seqbayes::Threads{1}, packed.heads, packed.states,
                                      packed.inputs, offsets, means),
                  std::invalid_argument);
  CHECK(means[1].rows() == offsets.back() + 1);
  CHECK(packed.states == states);
}

}  // namespace
}  // namespace ragged_test
