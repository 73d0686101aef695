// A batch is its items one by one: the same numbers, bit by bit, whichever executor runs them.
#include <span>
#include <stdexcept>

#include <laws/layers.hpp>
#include <laws/run.hpp>

namespace {

using laws::Stream;
using seqbayes::Execution;
using seqbayes::Index;
using seqbayes::Matrix;
using seqbayes::MeanOutput;
using seqbayes::Output;
using seqbayes::Threads;

constexpr std::size_t sequences = 3;
constexpr std::size_t heads_of_each = 4;
constexpr std::size_t items = sequences * heads_of_each;

/// One thread, last item first.
struct Reverse {
  template <class Task>
  void operator()(Index tasks, Task&& task) const {
    for (Index i = tasks; i-- > 0;) task(i);
  }
};

/// Heads that differ in their options, and items that differ in length.
template <class Layer>
struct Batch {
  using Scalar = typename Layer::Scalar;
  std::vector<Layer> heads;
  std::vector<typename Layer::State> states;
  std::vector<Stream<Scalar>> streams;

  Batch() {
    for (std::size_t h = 0; h < heads_of_each; ++h) {
      const double part = 1.0 / double(h + 1);
      heads.push_back(laws::make<Layer>(laws::Setup<double>{
          .key_dim = 9, .value_dim = 21, .prior_variance = part, .log_decay = -part}));
    }
    const Index lengths[sequences] = {5, 131, 64};
    for (std::size_t i = 0; i < items; ++i) {
      const Layer& head = heads[i % heads_of_each];
      states.push_back(laws::some_state(head, i));
      streams.push_back(laws::draw_stream(head.inputs(), lengths[i / heads_of_each], 100 + i)
                            .template as<Scalar>());
    }
  }
  [[nodiscard]] std::vector<seqbayes::Sequence<Scalar>> inputs() const {
    std::vector<seqbayes::Sequence<Scalar>> views;
    for (const auto& stream : streams) views.push_back(stream.view());
    return views;
  }
};

template <class Scalar>
bool same(const Matrix<Scalar>& a, const Matrix<Scalar>& b) {
  return a.rows() == b.rows() && a.cols() == b.cols() && a == b;
}
template <class Scalar>
bool same(const MeanOutput<Scalar>& a, const MeanOutput<Scalar>& b) {
  return same(a.mean, b.mean);
}
template <class Scalar>
bool same(const Output<Scalar>& a, const Output<Scalar>& b) {
  return same(a.mean, b.mean) && a.variance.size() == b.variance.size() &&
         a.variance == b.variance && a.log_evidence == b.log_evidence;
}

/// The item alone, by the entrance that yields `Out`.
template <class Out, class Layer, class Sequence>
Out alone(const Layer& layer, typename Layer::State& state, const Sequence& x, Execution how) {
  if constexpr (std::is_same_v<Out, seqbayes::OutputOf<Layer>>) {
    return seqbayes::scan(layer, state, x, how);
  } else if constexpr (std::is_same_v<Out, Matrix<typename Layer::Scalar>>) {
    return seqbayes::scan_mean(layer, state, x, how);
  } else {
    return {seqbayes::scan_mean(layer, state, x, how)};
  }
}

template <class Out, class Layer>
void check_batch(const Batch<Layer>& batch, Execution how) {
  const auto inputs = batch.inputs();
  auto want_states = batch.states;
  std::vector<Out> want;
  for (std::size_t i = 0; i < items; ++i) {
    want.push_back(alone<Out>(batch.heads[i % heads_of_each], want_states[i], inputs[i], how));
  }
  const auto check = [&](const auto& executor, auto&... workspaces) {
    auto states = batch.states;
    std::vector<Out> outputs(items);
    seqbayes::scan(executor, batch.heads, states, inputs, outputs, workspaces..., how);
    for (std::size_t i = 0; i < items; ++i) {
      INFO("item " << i);
      CHECK(same(outputs[i], want[i]));
      CHECK(states[i] == want_states[i]);
    }
  };
  for (const int threads : {1, 2, 3, 7, 64}) {
    INFO(threads << " threads");
    check(Threads{threads});
  }
  check(Reverse());
  seqbayes::Workspaces<typename Layer::Scalar> kept;
  check(Threads{3}, kept);
  check(Reverse(), kept);
}

using Filters = std::tuple<seqbayes::BayesianLayer<float>, seqbayes::GatedDeltaNet<double>,
                           seqbayes::GatedDeltaProduct<float, 2>>;
using Means = std::tuple<seqbayes::Retention<float>, seqbayes::Rwkv7<double>>;

TEMPLATE_LIST_TEST_CASE("A batch of filters is its items one by one", "", Filters) {
  const Batch<TestType> batch;
  using Scalar = typename TestType::Scalar;
  for (const Execution how : {Execution(), Execution::sequential(), Execution::chunked(5)}) {
    check_batch<Output<Scalar>>(batch, how);
    check_batch<MeanOutput<Scalar>>(batch, how);
    check_batch<Matrix<Scalar>>(batch, how);
  }
}

TEMPLATE_LIST_TEST_CASE("A batch of layers without variance is its items one by one", "", Means) {
  const Batch<TestType> batch;
  using Scalar = typename TestType::Scalar;
  for (const Execution how : {Execution(), Execution::sequential()}) {
    check_batch<MeanOutput<Scalar>>(batch, how);
    check_batch<Matrix<Scalar>>(batch, how);
  }
}

TEST_CASE("A batch takes any random access ranges and keeps outputs of the right size in place") {
  using Layer = seqbayes::KimiDeltaAttention<float>;
  const Batch<Layer> batch;
  const auto inputs = batch.inputs();
  auto states = batch.states;
  std::vector<Matrix<float>> outputs(items);
  seqbayes::scan(Threads{2}, batch.heads, states, inputs, outputs);
  const auto want = outputs;
  std::vector<const float*> places;
  for (const auto& out : outputs) places.push_back(out.data());

  states = batch.states;
  seqbayes::scan(Threads{2}, std::span(batch.heads), std::span(states), std::span(inputs),
                 std::span(outputs));
  for (std::size_t i = 0; i < items; ++i) {
    CHECK(same(outputs[i], want[i]));
    CHECK(outputs[i].data() == places[i]);
  }
}

/// The batch throws, and neither states nor outputs have changed.
template <class Batch, class Inputs, class States>
void check_refused(const Batch& batch, const Inputs& inputs, const States& start) {
  for (const int threads : {1, 3}) {
    auto states = start;
    std::vector<Output<float>> outputs(items, {Matrix<float>::Ones(2, 2), {}, 7});
    CHECK_THROWS_AS(seqbayes::scan(Threads{threads}, batch.heads, states, inputs, outputs),
                    std::invalid_argument);
    for (std::size_t i = 0; i < items; ++i) {
      CHECK(states[i] == start[i]);
      CHECK(same(outputs[i], {Matrix<float>::Ones(2, 2), {}, 7}));
    }
  }
}

TEST_CASE("Bad input in one item leaves all states as they were") {
  using Layer = seqbayes::BayesianLayer<float>;
  const Batch<Layer> batch;
  for (const std::size_t bad : {std::size_t(0), std::size_t(6), items - 1}) {
    INFO("item " << bad);
    SECTION("not a number") {
      auto broken = batch;
      broken.streams[bad].fields.value(4, 20) = std::numeric_limits<float>::quiet_NaN();
      check_refused(broken, broken.inputs(), batch.states);
    }
    SECTION("outside the domain") {
      auto broken = batch;
      broken.streams[bad].fields.observation_noise(4, 0) = 0;
      check_refused(broken, broken.inputs(), batch.states);
    }
    SECTION("a missing field") {
      auto inputs = batch.inputs();
      inputs[bad].log_decay = {};
      check_refused(batch, inputs, batch.states);
    }
    SECTION("a field of another length") {
      auto inputs = batch.inputs();
      inputs[bad].key = inputs[bad].key.rows(0, 3);
      check_refused(batch, inputs, batch.states);
    }
    SECTION("a state of another width") {
      auto states = batch.states;
      states[bad].mean.setZero(9, 20);
      check_refused(batch, batch.inputs(), states);
    }
  }
}

TEST_CASE("A batch of wrong sizes is refused") {
  using Layer = seqbayes::BayesianLayer<float>;
  const Batch<Layer> batch;
  const auto refused = [&](std::size_t heads, std::size_t states, std::size_t inputs,
                           std::size_t outputs) {
    auto some_heads = batch.heads;
    some_heads.resize(heads, batch.heads[0]);
    auto some_states = batch.states;
    some_states.resize(states, batch.states[0]);
    const auto before = some_states;
    auto some_inputs = batch.inputs();
    some_inputs.resize(inputs);
    std::vector<Output<float>> some_outputs(outputs);
    CHECK_THROWS_AS(seqbayes::scan(Threads{2}, some_heads, some_states, some_inputs, some_outputs),
                    std::invalid_argument);
    CHECK(some_states == before);
  };
  refused(heads_of_each, items - 1, items, items);
  refused(heads_of_each, items + 1, items, items);
  refused(heads_of_each, items, items - 1, items);
  refused(heads_of_each, items, items, items - 1);
  refused(heads_of_each, items, items, items + 1);
  refused(heads_of_each, 0, items, items);
  refused(heads_of_each, items, items, 0);
  refused(5, items, items, items);          // no whole number of items a head
  refused(items + 1, items, items, items);  // more heads than items
  refused(0, items, items, items);
}

TEST_CASE("A batch without items does nothing") {
  using Layer = seqbayes::BayesianLayer<float>;
  const Batch<Layer> batch;
  std::vector<Layer::State> states;
  const std::vector<seqbayes::Sequence<float>> inputs;
  std::vector<Output<float>> outputs;
  Index calls = 0;
  const auto executor = [&calls](Index tasks, auto&& task) {
    for (Index i = 0; i < tasks; ++i, ++calls) task(i);
  };
  CHECK_NOTHROW(seqbayes::scan(executor, batch.heads, states, inputs, outputs));
  CHECK_NOTHROW(seqbayes::scan(executor, std::vector<Layer>(), states, inputs, outputs));
  CHECK_NOTHROW(seqbayes::scan(Threads{3}, batch.heads, states, inputs, outputs));
  CHECK(calls == 0);
}

TEST_CASE("Items without tokens leave their state and yield empty outputs") {
  using Layer = seqbayes::BayesianLayer<float>;
  const Batch<Layer> batch;
  auto inputs = batch.inputs();
  for (auto& x : inputs) x = x.tokens(0, 0);
  auto states = batch.states;
  std::vector<Output<float>> outputs(items, {Matrix<float>::Ones(2, 2), {}, 7});
  seqbayes::scan(Threads{3}, batch.heads, states, inputs, outputs);
  CHECK(states == batch.states);
  for (const auto& out : outputs) {
    CHECK(out.mean.rows() == 0);
    CHECK(out.variance.size() == 0);
    CHECK(out.log_evidence == 0);
  }
}

/// A user's own layer: a running sum of values, which can't bear some of them.
struct Picky {
  using Scalar = double;
  struct State {
    double sum = 0;
  };
  struct Step {
    seqbayes::Vector<double, 1> mean;
  };
  [[nodiscard]] Index key_dim() const { return 1; }
  [[nodiscard]] Index value_dim() const { return 1; }
  [[nodiscard]] seqbayes::InputWidths inputs() const {
    seqbayes::InputWidths inputs;
    inputs.query = inputs.value = 1;
    return inputs;
  }
  [[nodiscard]] State initial_state() const { return {}; }
  Step step(State& state, const seqbayes::Token<double>& token) const {
    if (token.value[0] < 0) throw std::runtime_error(std::to_string(int(token.value[0])));
    state.sum += token.value[0];
    return {seqbayes::Vector<double, 1>(state.sum)};
  }
};

TEST_CASE("The error of the first item whose layer throws comes through, and the others are done") {
  Matrix<double> good = Matrix<double>::Ones(5, 1);
  Matrix<double> bad = good, worse = good;
  bad(3, 0) = -1;
  worse(0, 0) = -2;
  std::vector<seqbayes::Sequence<double>> inputs(6);
  const Matrix<double>* values[] = {&good, &good, &bad, &good, &worse, &good};
  for (std::size_t i = 0; i < 6; ++i) inputs[i].query = inputs[i].value = *values[i];

  const auto check = [&](const auto& executor) {
    std::vector<Picky::State> states(6);
    std::vector<Matrix<double>> outputs(6);
    CHECK_THROWS_WITH(seqbayes::scan(executor, std::vector<Picky>(2), states, inputs, outputs),
                      "-1");
    for (const std::size_t i : std::vector<std::size_t>{0, 1, 3, 5}) {
      CHECK(states[i].sum == 5);
      CHECK(outputs[i](4, 0) == 5);
    }
  };
  for (const int threads : {1, 2, 7}) check(Threads{threads});
  check(Reverse());
}

}  // namespace
