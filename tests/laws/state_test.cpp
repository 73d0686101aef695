// What a scan depends on: the state and the fields that the layer reads, nothing else; and states
// are plain values.
#include <laws/composed.hpp>
#include <laws/information.hpp>
#include <laws/layers.hpp>

namespace laws::state_test {
namespace {

using Layers = Join<Corners<float>, DeltaFamily<float>, InformationLayers<float>>;
using AlsoComposed = Join<Layers, std::tuple<Composed<float>>>;

const Setup<double> setup{6, 5};
constexpr Index length = 37;

template <class Layer>
Stream<float> stream_for(const Layer& layer, Index tokens = length, std::uint64_t seed = 91) {
  return draw_stream(layer.inputs(), tokens, seed).template as<float>();
}

const std::vector<Execution>& forms() {
  static const std::vector<Execution> all = {Execution::sequential(), Execution(),
                                             Execution::chunked(5)};
  return all;
}

TEMPLATE_LIST_TEST_CASE("No tokens, no change", "", AlsoComposed) {
  const auto layer = make<TestType>(setup);
  INFO(describe(layer));
  const auto x = stream_for(layer, 0);
  for (const Execution how : forms()) {
    const auto start = some_state(layer);
    auto state = start;
    const auto got = run(layer, state, x.view(), how);
    CHECK(state == start);
    CHECK(got.mean.rows() == 0);
    CHECK(got.mean.cols() == setup.value_dim);
    CHECK(got.variance.rows() == 0);
    CHECK(got.evidence == 0);
  }
}

TEMPLATE_LIST_TEST_CASE("One token is a step", "", Layers) {
  const auto layer = make<TestType>(setup);
  INFO(describe(layer));
  const auto [x, start, want, bounds] = trial(layer, setup, draw_stream(layer.inputs(), 1, 93));
  auto state = start;
  const Run<Real> step = run_steps(layer, state, x.view());
  state = start;
  check_equal(run(layer, state, x.view(), Execution::sequential()), step);
  for (const Execution how : forms()) {
    state = start;
    check_close(run(layer, state, x.view(), how), want, bounds);
  }
}

TEMPLATE_LIST_TEST_CASE("States are values", "", AlsoComposed) {
  const auto layer = make<TestType>(setup);
  INFO(describe(layer));
  const auto x = stream_for(layer);
  auto original = some_state(layer);
  auto branch = original;
  CHECK(branch == original);
  const auto first = run(layer, branch, x.view());
  CHECK(!(branch == original));
  const auto kept = original;
  const auto second = run(layer, original, x.view());
  CHECK(original == branch);
  check_equal(second, first);
  CHECK(kept == some_state(layer));
  const auto initial = layer.initial_state();
  CHECK(initial == layer.initial_state());
  CHECK(!(initial == kept));
}

TEMPLATE_LIST_TEST_CASE("Null tokens leave the state as it is", "", Layers) {
  const auto layer = make<TestType>(setup);
  INFO(describe(layer));
  auto x = stream_for(layer);
  auto& f = x.fields;
  for (auto* field : {&f.key, &f.value, &f.log_decay, &f.write_strength, &f.process_noise,
                      &f.covariance_log_decay, &f.erase_key, &f.erase_write, &f.value_precision,
                      &f.precondition_log_decay, &f.precondition_strength}) {
    field->setZero();
  }
  for (const Execution how : forms()) {
    const auto start = some_state(layer);
    auto state = start;
    run(layer, state, x.view(), how);
    // Kalman Linear Attention decays by an option of its own.
    CHECK((state == start) != (std::is_same_v<TestType, seqbayes::KalmanLinearAttention<float>>));
  }
}

/// Two heads side by side in each matrix, with a margin of what must not be read.
struct TwoHeads {
  seqbayes::Fields<Matrix<float>> wide;
  seqbayes::Fields<Index> width;

  TwoHeads(const Stream<float>& left, const Stream<float>& right) {
    seqbayes::for_each_field(
        [](auto, auto, auto& all, Index& entries, const auto& a, const auto& b) {
          entries = a.cols();
          if (entries == 0) return;
          all.setConstant(a.rows(), 2 * entries + 3, std::numeric_limits<float>::quiet_NaN());
          all.middleCols(1, entries) = a;
          all.middleCols(entries + 2, entries) = b;
        },
        wide, width, left.fields, right.fields);
  }
  [[nodiscard]] seqbayes::Sequence<float> head(Index h) const {
    seqbayes::Sequence<float> x;
    seqbayes::for_each_field(
        [h](auto, auto, const auto& all, Index entries, auto& view) {
          if (entries > 0) view = all.middleCols(1 + h * (entries + 1), entries);
        },
        wide, width, x);
    return x;
  }
};

TEMPLATE_LIST_TEST_CASE("Heads in one matrix don't touch each other, in any order", "",
                        AlsoComposed) {
  const auto layer = make<TestType>(setup);
  INFO(describe(layer));
  const Stream<float> x[] = {stream_for(layer, length, 95), stream_for(layer, length, 97)};
  const TwoHeads heads(x[0], x[1]);
  for (const Execution how : forms()) {
    typename TestType::State alone[] = {some_state(layer, 1), some_state(layer, 2)};
    const Run<Real> want[] = {run(layer, alone[0], x[0].view(), how),
                              run(layer, alone[1], x[1].view(), how)};
    for (const Index first : {0, 1}) {
      typename TestType::State states[] = {some_state(layer, 1), some_state(layer, 2)};
      for (const Index h : {first, 1 - first}) {
        check_equal(run(layer, states[h], heads.head(h), how), want[h]);
      }
      CHECK(states[0] == alone[0]);
      CHECK(states[1] == alone[1]);
    }
  }
}

TEMPLATE_LIST_TEST_CASE("Heads may take turns", "", AlsoComposed) {
  const auto layer = make<TestType>(setup);
  INFO(describe(layer));
  const Stream<float> x[] = {stream_for(layer, length, 95), stream_for(layer, length, 97)};
  typename TestType::State alone[] = {some_state(layer, 1), some_state(layer, 2)};
  typename TestType::State turns[] = {some_state(layer, 1), some_state(layer, 2)};
  run_steps(layer, alone[0], x[0].view());
  run_steps(layer, alone[1], x[1].view());
  for (Index t = 0; t < length; ++t) {
    layer.step(turns[1], x[1].view().token(t));
    layer.step(turns[0], x[0].view().token(t));
  }
  CHECK(turns[0] == alone[0]);
  CHECK(turns[1] == alone[1]);
}

TEMPLATE_LIST_TEST_CASE("Fields that a layer doesn't read change nothing", "", AlsoComposed) {
  const auto layer = make<TestType>(setup);
  INFO(describe(layer));
  const auto plain = stream_for(layer);
  auto crowded = plain;
  seqbayes::for_each_field(
      [&](auto, auto, auto& field, const seqbayes::InputWidth& input) {
        if (input.width > 0) return;
        field.setConstant(length + 3, 2, std::numeric_limits<float>::quiet_NaN());
      },
      crowded.fields, layer.inputs());
  for (const Execution how : forms()) {
    auto state = some_state(layer);
    auto other = state;
    check_equal(run(layer, other, crowded.view(), how), run(layer, state, plain.view(), how));
  }
}

}  // namespace
}  // namespace laws::state_test
