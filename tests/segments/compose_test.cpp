// Runs of tokens as segments: cut and put together in any way, they do what the tokens do.
#include <seqbayes/segments/summarise.hpp>

#include <laws/derivatives.hpp>
#include <laws/run.hpp>

namespace laws::segments_compose_test {

using seqbayes::Segment;

template <class S>
using Composable =
    Join<LatentMeans<S>, ResetLayers<S>, BayesianLayers<S>,
         std::tuple<LatentFilter<S, any, any, seqbayes::ScalarDecay>, seqbayes::Comba<S>,
                    seqbayes::GatedDeltaNet2<S>, seqbayes::GatedDeltaProduct<S, 2>,
                    seqbayes::Dplr<S>, seqbayes::Rwkv7<S>>>;

/// Segments of `x` between cuts.
template <class Layer>
std::vector<Segment<Layer>> cut(const Layer& layer,
                                const seqbayes::Sequence<typename Layer::Scalar>& x,
                                const std::vector<Index>& cuts) {
  std::vector<Segment<Layer>> parts;
  for (std::size_t i = 1; i < cuts.size(); ++i) {
    parts.push_back(summarise(layer, x.tokens(cuts[i - 1], cuts[i] - cuts[i - 1])));
  }
  return parts;
}

/// What each way of putting five segments together makes of a state.
template <class Layer>
std::vector<typename Layer::State> composed(const Layer& layer,
                                            const std::vector<Segment<Layer>>& p,
                                            const typename Layer::State& start) {
  std::vector<typename Layer::State> states(4, start);
  for (const auto& part : p) advance(layer, part, states[0]);
  const auto left = combine(combine(combine(combine(p[0], p[1]), p[2]), p[3]), p[4]);
  const auto right = combine(p[0], combine(p[1], combine(p[2], combine(p[3], p[4]))));
  const auto mixed = combine(combine(p[0], combine(p[1], p[2])), combine(p[3], p[4]));
  advance(layer, left, states[1]);
  advance(layer, right, states[2]);
  advance(layer, mixed, states[3]);
  return states;
}

template <class Layer>
void segments_do_what_tokens_do(Index length, const std::vector<Index>& cuts) {
  using Scalar = typename Layer::Scalar;
  Setup<double> setup{5, 3, 1.25};
  setup.input_variance = 0.5;
  const auto layer = make<Layer>(setup);
  for (const Hardship& hard : hardships()) {
    INFO(describe(layer) << ", " << hard.name);
    const auto stream = draw_hard_stream(hard, 31, layer.inputs(), length, 32);
    const auto [x, start, want, bounds] = trial(layer, setup, stream, compared_unit<Scalar>());
    if (!seqbayes::detail::composes<Layer>(x.view())) {
      CHECK_THROWS_WITH(summarise(layer, x.view()), Catch::Contains("covariance_log_decay"));
      continue;
    }
    for (const auto& state : composed(layer, cut(layer, x.view(), cuts), start)) {
      Run<Real> got = want;
      Case<Layer>::note_state(got, state);
      check_close(got, want, bounds);
    }
  }
}

TEMPLATE_LIST_TEST_CASE("segments: in any brackets they do what their tokens do", "[segments]",
                        Composable<double>) {
  segments_do_what_tokens_do<TestType>(29, {0, 1, 9, 9, 20, 29});
}

TEMPLATE_LIST_TEST_CASE("segments: longer than a tile, in float", "[segments]", Corners<float>) {
  if constexpr (seqbayes::ComposableLayer<TestType>) {
    segments_do_what_tokens_do<TestType>(300, {0, 2, 140, 270, 300, 300});
  } else {
    CHECK_FALSE(requires(TestType layer) { summarise(layer, {}); });
  }
}

TEMPLATE_TEST_CASE("segments: of any scalar", "[segments]", seqbayes::BayesianLayer<long double>,
                   seqbayes::BayesianLayer<Digits50>, seqbayes::GatedDeltaNet<Digits50>) {
  segments_do_what_tokens_do<TestType>(20, {0, 4, 9, 9, 15, 20});
}

TEST_CASE("segments: that of no tokens changes nothing", "[segments]") {
  using Layer = seqbayes::BayesianLayer<double>;
  const auto layer = make<Layer>(Setup<double>{4, 3});
  const auto stream = draw_stream(layer.inputs(), 12, 5);
  const auto none = summarise(layer, stream.view().tokens(0, 0));
  const auto some = summarise(layer, stream.view());
  const auto start = some_state(layer);
  auto state = start;
  advance(layer, none, state);
  CHECK(state.mean == start.mean);
  CHECK((state.covariance - start.covariance).norm() < 1e-15);  // its root is taken, and squared
  for (const auto& both : {combine(none, some), combine(some, none)}) {
    CHECK((both.transition - some.transition).norm() < 1e-15);
    CHECK((both.offset - some.offset).norm() < 1e-15);
    CHECK((both.covariance - some.covariance).norm() < 1e-15);
    // Of a root what it stands for: J = R'R and eta = R'y.
    const auto &r = both.observation_rows, &want = some.observation_rows;
    CHECK((r.transpose() * r - want.transpose() * want).norm() < 1e-14);
    CHECK((r.transpose() * both.observation_values - want.transpose() * some.observation_values)
              .norm() < 1e-14);
  }
}

// What is left of the start passes the subnormal numbers, on which some processors are slow, while
// segments of many lengths end.
TEMPLATE_TEST_CASE("segments: nothing in long ones is subnormal", "[segments]",
                   seqbayes::LinearAttention<float>, seqbayes::GatedDeltaNet<float>,
                   seqbayes::KimiDeltaAttention<float>, seqbayes::BayesianLayer<float>) {
  const auto layer = make<TestType>(Setup<double>{4, 3});
  auto stream = draw_stream(layer.inputs(), 2000, 10);
  if (stream.fields.log_decay.size() > 0) stream.fields.log_decay.setConstant(-0.07);
  const auto x = stream.template as<float>();
  for (Index length = 700; length <= 2000; length += 40) {
    const auto segment = summarise(layer, x.view().tokens(0, length));
    const auto subnormal = [](const auto& matrix) {
      Index count = 0;
      for (const float entry : matrix.reshaped()) count += std::fpclassify(entry) == FP_SUBNORMAL;
      return count;
    };
    INFO(describe(layer) << ", " << length << " tokens");
    CHECK(subnormal(segment.transition) == 0);
    if constexpr (Segment<TestType>::is_filter) CHECK(subnormal(segment.observation_rows) == 0);
  }
}

TEST_CASE("segments: states of other widths are refused", "[segments]") {
  using Layer = seqbayes::GatedDeltaNet<double>;
  const auto layer = make<Layer>(Setup<double>{4, 3});
  const auto part = summarise(layer, draw_stream(layer.inputs(), 5, 5).view());
  auto state = make<Layer>(Setup<double>{4, 2}).initial_state();
  CHECK_THROWS_WITH(advance(layer, part, state), Catch::Contains("state.mean is 4 x 2"));
}

// No key has an entry in channel 3, so nothing is learnt of it. The decays of memory and covariance
// are the same, or one of them forgets all within a segment and the other little.
TEST_CASE("segments: long ones in float", "[segments]") {
  using Layer = seqbayes::BayesianLayer<float>;
  using Double = seqbayes::BayesianLayer<double>;
  const Index length = 20000;
  const auto layer = make<Layer>(Setup<double>{16, 4});
  const auto exact = make<Double>(Setup<double>{16, 4});
  auto stream = draw_slow_stream(layer.inputs(), length, 9);
  stream.fields.key.col(3).setZero();
  auto& own = stream.fields.covariance_log_decay;
  for (const double noise : {1e-2, 1.0}) {
    for (const auto& [memory_decay, own_decay] :
         {std::pair(-0.005, 0.0), {0.0, -0.01}, {-0.05, -0.01}}) {
      own.resize(0, 0);
      INFO("noise " << noise << ", log decays " << memory_decay << ", " << own_decay);
      stream.fields.observation_noise.setConstant(float(noise));
      stream.fields.log_decay.setConstant(float(memory_decay));
      if (own_decay < 0) own.setConstant(length, 1, float(own_decay));
      const auto x = stream.as<float>();
      auto wanted = exact.initial_state();
      scan_mean(exact, wanted, stream.view());
      auto state = layer.initial_state();
      for (Index i = 0; i < 2; ++i) {
        const auto half = [&](Index at) { return summarise(layer, x.view().tokens(at, 5000)); };
        advance(layer, combine(half(i * 10000), half(i * 10000 + 5000)), state);
      }
      // A float's unit a token that the memory remembers (some 100), and the noise's condition.
      const double bound = 6e-8 * 100 * (1 + 1 / noise);
      CHECK((state.mean.cast<double>() - wanted.mean).norm() < bound * wanted.mean.norm());
      CHECK((state.covariance.cast<double>() - wanted.covariance).norm() <
            bound * wanted.covariance.norm());
    }
  }
}

}  // namespace laws::segments_compose_test
