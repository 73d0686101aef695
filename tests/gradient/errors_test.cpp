// Bad input of scan_vjp is refused by name; batches.
#include <support/catch.hpp>

#include <laws/information.hpp>
#include <laws/layers.hpp>

namespace gradient::errors_test {
namespace {

using namespace laws;
using seqbayes::Cotangent;
using Filter = seqbayes::GatedDeltaNet<double>;
using Plain = seqbayes::Ssd<double>;

template <class L>
std::string complaint_of(const L& layer, const seqbayes::Sequence<double>& x,
                         const Cotangent<L>& cotangent) {
  try {
    seqbayes::scan_vjp(layer, layer.initial_state(), x, cotangent);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "";
}

TEST_CASE("bad input of scan_vjp is named") {
  const Filter filter({.key_dim = 3, .value_dim = 2});
  const Plain plain({.key_dim = 3, .value_dim = 2});
  const auto stream = draw_stream(filter.inputs(), 5, 7);
  const auto x = stream.view();
  Matrix<double> mean = Matrix<double>::Ones(5, 2);
  const Matrix<double> wide = Matrix<double>::Ones(5, 3), shorter = Matrix<double>::Ones(4, 2);
  const seqbayes::Vector<double> variance = seqbayes::Vector<double>::Ones(5);
  Cotangent<Filter> c;
  c.mean = mean;
  c.variance = variance;
  CHECK(complaint_of(filter, x, c) == "");

  c.mean = wide;
  CHECK(complaint_of(filter, x, c) == "seqbayes: cotangent.mean is 5 x 3, expected 5 x 2");
  c.mean = shorter;
  CHECK(complaint_of(filter, x, c) == "seqbayes: cotangent.mean is 4 x 2, expected 5 x 2");
  mean(3, 1) = std::numeric_limits<double>::quiet_NaN();
  c.mean = mean;
  CHECK(complaint_of(filter, x, c) ==
        "seqbayes: cotangent.mean (5 x 2) has a bad entry in row 3: every entry must be finite");
  c.mean = {};
  c.variance = {variance.data(), 4};
  CHECK(complaint_of(filter, x, c) == "seqbayes: cotangent.variance is 4 x 1, expected 5 x 1");
  c.variance = {};
  c.log_evidence = infinity;
  CHECK(complaint_of(filter, x, c) == "seqbayes: cotangent.log_evidence must be finite");
  c.log_evidence = 0;
  c.state = Filter({.key_dim = 2, .value_dim = 2}).initial_state();
  CHECK(complaint_of(filter, x, c) ==
        "seqbayes: cotangent.state: state.mean is 2 x 2, expected 3 x 2");
  c.state.reset();
  auto missing = x;
  missing.write_strength = {};
  CHECK(complaint_of(filter, missing, c) ==
        "seqbayes: write_strength is missing: this layer reads it, 5 x 1");

  Cotangent<Plain> p;
  p.variance = variance;
  CHECK(complaint_of(plain, x, p) ==
        "seqbayes: cotangent.variance is given, but this layer has no variance");
  p.variance = {};
  p.log_evidence = 1;
  CHECK(complaint_of(plain, x, p) ==
        "seqbayes: cotangent.log_evidence is given, but this layer has no evidence");
}

const double& last_entry(const double& number) { return number; }
template <class Derived>
const double& last_entry(const Eigen::PlainObjectBase<Derived>& matrix) {
  return matrix.data()[matrix.size() - 1];
}

TEMPLATE_TEST_CASE("a cotangent of a state that is not finite is refused, part by part", "", Filter,
                   seqbayes::IsotropicKalmanDeltaNet<double>, seqbayes::BayesianLayer<double>,
                   seqbayes::MesaNet<double>, seqbayes::KalmanLinearAttention<double>) {
  const auto layer = make<TestType>(Setup<double>{3, 2});
  const auto stream = draw_stream(layer.inputs(), 5, 7);
  int parts = 0;
  layer.initial_state().for_each_part([&](auto, const auto&) { ++parts; });
  CHECK(parts >= 1);
  for (int wrong = 0; wrong < parts; ++wrong) {
    Cotangent<TestType> c;
    c.state = layer.initial_state();
    CHECK(complaint_of(layer, stream.view(), c) == "");
    std::string name;
    int part = 0;
    c.state->for_each_part([&](const std::string& of, const auto& entries) {
      if (part++ != wrong) return;
      name = of;
      const_cast<double&>(last_entry(entries)) = std::numeric_limits<double>::quiet_NaN();
    });
    CHECK(complaint_of(layer, stream.view(), c) ==
          "seqbayes: cotangent.state: " + name + " must be finite");
  }
}

/// A user's layer: its state is a vector, of which it refuses what it likes in its own words.
struct Average {
  using Scalar = double;
  using State = seqbayes::Vector<double>;
  [[nodiscard]] Index key_dim() const { return 2; }
  [[nodiscard]] Index value_dim() const { return 2; }
  [[nodiscard]] InputWidths inputs() const {
    InputWidths inputs;
    inputs.query = inputs.value = 2;
    return inputs;
  }
  [[nodiscard]] State initial_state() const { return State::Zero(2); }
  void check_state(const State& state) const {
    if (state.size() != 2) throw std::invalid_argument("two entries, please");
  }
  seqbayes::StepMean<double, Eigen::Dynamic> step(State& state,
                                                  const seqbayes::Token<double>& token) const {
    state = state / 2 + token.value.vector();
    return {state};
  }
};

}  // namespace
}  // namespace gradient::errors_test

template <>
struct seqbayes::StepVjp<gradient::errors_test::Average> {
  using Output = StepCotangent<double, Eigen::Dynamic>;
  static Vector<double> final_state(const gradient::errors_test::Average& layer,
                                    const std::optional<Vector<double>>& given) {
    return given ? *given : layer.initial_state();
  }
  static void step(const gradient::errors_test::Average&, const Vector<double>&,
                   const Token<double>&, const Output& out, Vector<double>& dstate,
                   TokenGradient<double>& grad,
                   LayerOptionSums<double, OptionGradient<gradient::errors_test::Average>>&) {
    dstate += out.mean;
    grad.value.add(dstate);
    dstate /= 2;
  }
};

namespace gradient::errors_test {
namespace {

TEST_CASE("a user's layer: what it refuses of a state, and entries that are not finite") {
  const Average layer;
  const auto stream = draw_stream(layer.inputs(), 5, 7);
  Cotangent<Average> c;
  c.state = seqbayes::Vector<double>::Ones(2);
  CHECK(complaint_of(layer, stream.view(), c) == "");
  CHECK(seqbayes::scan_vjp(layer, layer.initial_state(), stream.view(), c).value(3, 0) == 0.5);
  (*c.state)[1] = infinity;
  CHECK(complaint_of(layer, stream.view(), c) == "seqbayes: cotangent.state: state must be finite");
  c.state = seqbayes::Vector<double>::Ones(3);
  CHECK(complaint_of(layer, stream.view(), c) == "seqbayes: cotangent.state: two entries, please");
}

TEST_CASE("a gradient in the memory of its input or cotangent is refused") {
  const Filter layer({.key_dim = 3, .value_dim = 2});
  const auto stream = draw_stream(layer.inputs(), 5, 7);
  const Matrix<double> mean = Matrix<double>::Ones(5, 2);
  Cotangent<Filter> c;
  c.mean = mean;
  seqbayes::Gradient<Filter> gradient;
  const auto start = layer.initial_state();
  seqbayes::scan_vjp(layer, start, stream.view(), c, gradient);
  auto x = stream.view();
  x.key = gradient.query;
  CHECK_THROWS_WITH(seqbayes::scan_vjp(layer, start, x, c, gradient),
                    "seqbayes: gradient.query shares memory with key");
  c.mean = gradient.value;
  CHECK_THROWS_WITH(seqbayes::scan_vjp(layer, start, stream.view(), c, gradient),
                    "seqbayes: gradient.value shares memory with the cotangent");
}

TEST_CASE("chunks of any size, up to the largest number") {
  using Product = seqbayes::GatedDeltaProduct<double, 2>;
  const auto check = []<class L>(const L& layer) {
    const auto stream = draw_stream(layer.inputs(), 7, 7);
    const Matrix<double> mean = Matrix<double>::Ones(7, 2);
    Cotangent<L> c;
    c.mean = mean;
    const auto gradient = [&](Index chunk) {
      return seqbayes::scan_vjp(layer, some_state(layer), stream.view(), c,
                                Execution::chunked(chunk));
    };
    const auto want = gradient(7);
    for (const Index chunk : {Index(8), Index(1) << 62, std::numeric_limits<Index>::max()}) {
      CHECK(gradient(chunk).key == want.key);
      CHECK(gradient(chunk).initial_state == want.initial_state);
      auto state = some_state(layer), other = state;
      CHECK(seqbayes::scan_mean(layer, state, stream.view(), Execution::chunked(chunk)) ==
            seqbayes::scan_mean(layer, other, stream.view(), Execution::chunked(7)));
    }
  };
  check(Filter({.key_dim = 3, .value_dim = 2}));
  check(Product({.key_dim = 3, .value_dim = 2}));
  check(make<seqbayes::MesaNet<double>>(Setup<double>{3, 2}));
}

TEST_CASE("a gradient's memory is used again, and nothing of what it held") {
  const Filter layer({.key_dim = 3, .value_dim = 2});
  const auto stream = draw_stream(layer.inputs(), 9, 7);
  const Matrix<double> mean = Matrix<double>::Ones(9, 2);
  Cotangent<Filter> c;
  c.mean = mean;
  const auto want = seqbayes::scan_vjp(layer, some_state(layer), stream.view(), c);
  seqbayes::Gradient<Filter> got;
  seqbayes::scan_vjp(layer, some_state(layer, 9), stream.view(), c, got);
  CHECK(got.key != want.key);
  const double* memory = got.key.data();
  seqbayes::scan_vjp(layer, some_state(layer), stream.view(), c, got);
  CHECK(got.key.data() == memory);
  CHECK(got.key == want.key);
  CHECK(got.log_decay == want.log_decay);
  CHECK(got.initial_state == want.initial_state);
}

TEST_CASE("gradients of a batch are those of its items, by any executor") {
  std::vector<Filter> heads;
  heads.emplace_back(Filter::Options{.key_dim = 3, .value_dim = 2});
  heads.emplace_back(Filter::Options{.key_dim = 3, .value_dim = 2, .prior_variance = 2});
  std::vector<Stream<double>> streams;
  std::vector<seqbayes::Sequence<double>> inputs;
  std::vector<Filter::State> states;
  std::vector<Matrix<double>> means;
  for (std::uint64_t i = 0; i < 6; ++i) {
    streams.push_back(draw_stream(heads[0].inputs(), 9, 11 + i));
    states.push_back(some_state(heads[0], i));
    Draw draw(29 + i);
    draw_normal(means.emplace_back(9, 2), draw);
  }
  std::vector<Cotangent<Filter>> cotangents(6);
  for (std::size_t i = 0; i < 6; ++i) {
    inputs.push_back(streams[i].view());
    cotangents[i].mean = means[i];
    cotangents[i].log_evidence = 0.5;
  }
  for (const int threads : {1, 3}) {
    std::vector<seqbayes::Gradient<Filter>> got(6);
    seqbayes::scan_vjp(seqbayes::Threads{threads}, heads, states, inputs, cotangents, got);
    for (std::size_t i = 0; i < 6; ++i) {
      const auto want = seqbayes::scan_vjp(heads[i % 2], states[i], inputs[i], cotangents[i]);
      CHECK(got[i].key == want.key);
      CHECK(got[i].value == want.value);
      CHECK(got[i].prior_variance == want.prior_variance);
      CHECK(got[i].initial_state == want.initial_state);
    }
  }
  std::vector<seqbayes::Gradient<Filter>> fewer(5);
  CHECK_THROWS_AS(
      seqbayes::scan_vjp(seqbayes::Threads{1}, heads, states, inputs, cotangents, fewer),
      std::invalid_argument);
}

}  // namespace
}  // namespace gradient::errors_test
