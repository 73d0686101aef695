// Every field of every layer, every way to get it wrong: the error names the field, its shape and
// the first bad row, and the state is as it was.
#include <laws/bad_values.hpp>
#include <laws/composed.hpp>
#include <laws/information.hpp>
#include <laws/layers.hpp>

namespace laws::bad_input_test {
namespace {

using seqbayes::Domain;
using seqbayes::InputWidth;

using Layers = Join<Grid<float>, DeltaFamily<float>, InformationLayers<float>,
                    std::tuple<seqbayes::GatedDeltaNet<float, 6, 5>, Composed<float>>>;

const Setup<double> setup{6, 5};
constexpr Index length = 23;
constexpr Index bad_row = 17;

std::vector<float> edges(Domain domain) {
  const float inf = std::numeric_limits<float>::infinity();
  const float most = std::numeric_limits<float>::max();
  switch (domain) {
    case Domain::finite: return {0.0f, -0.0f, most, -most};
    case Domain::non_negative: return {0.0f, -0.0f, most};
    case Domain::positive: return {std::numeric_limits<float>::denorm_min(), most};
    case Domain::log_decay: return {0.0f, -0.0f, -most, -inf};
    case Domain::log_factor: return {0.0f, most, -most, -inf};
  }
  return {};
}

std::string shape(const Matrix<float>& field) {
  return std::to_string(field.rows()) + " x " + std::to_string(field.cols());
}

/// What `scan` says of x; nothing if it takes it. Also of `scan_mean`, which has to say the same,
/// and of every execution form; none may touch the state.
template <class Layer>
std::string refusal(const Layer& layer, const seqbayes::Sequence<float>& x) {
  const auto start = some_state(layer);
  std::vector<std::string> said;
  for (const Execution how : {Execution(), Execution::sequential(), Execution::chunked(4)}) {
    for (const bool mean_alone : {false, true}) {
      auto state = start;
      std::string text;
      try {
        if (mean_alone) {
          seqbayes::scan_mean(layer, state, x, how);
        } else {
          seqbayes::scan(layer, state, x, how);
        }
      } catch (const std::invalid_argument& error) {
        text = error.what();
        if (!(state == start)) text = "the state was changed";
      }
      said.push_back(text);
    }
  }
  for (const std::string& text : said) {
    if (text != said[0]) return "the forms disagree: " + text + " / " + said[0];
  }
  return said[0];
}

/// A layer as this file sees it: the tests are compiled once for all of them.
struct Subject {
  std::string name;
  InputWidths inputs;
  std::function<std::string(const Stream<float>&)> refusal;
};

template <class Layer>
Subject subject() {
  const auto layer = make<Layer>(setup);
  return {describe(layer), layer.inputs(),
          [layer](const Stream<float>& stream) { return refusal(layer, stream.view()); }};
}

std::vector<Subject> subjects() {
  return []<class... Ls>(std::type_identity<std::tuple<Ls...>>) {
    return std::vector<Subject>{subject<Ls>()...};
  }(std::type_identity<Layers>());
}

/// A stream with the optional fields too.
Stream<float> full_stream(const InputWidths& inputs) {
  auto stream = draw_stream(inputs, length, 101);
  seqbayes::for_each_field(
      [](auto, auto, auto& field, const InputWidth& input) {
        if (input.may_be_empty) field.setZero(length, input.width);
      },
      stream.fields, inputs);
  return stream.as<float>();
}

/// Calls f(name, domain, field, input, refusal) for each field that each layer reads. f may change
/// the field, until it returns; refusal() is what the layer says of it.
template <class F>
void for_each_input(const F& f) {
  for (const Subject& layer : subjects()) {
    Stream<float> stream = full_stream(layer.inputs);
    INFO(layer.name);
    seqbayes::for_each_field(
        [&](const char* name, Domain domain, Matrix<float>& field, const InputWidth& input) {
          if (input.width == 0) return;
          INFO(name);
          const Matrix<float> good = field;
          f(std::string(name), domain, field, input, [&] { return layer.refusal(stream); });
          field = good;
        },
        stream.fields, layer.inputs);
  }
}

TEST_CASE("Good input is taken") {
  for (const Subject& layer : subjects()) {
    INFO(layer.name);
    CHECK(layer.refusal(full_stream(layer.inputs)) == "");
  }
  for_each_input(
      [](auto, Domain domain, Matrix<float>& field, const InputWidth& input, const auto& refusal) {
        const Matrix<float> good = field;
        for (const float edge : edges(domain)) {
          INFO(edge);
          field(bad_row, field.cols() - 1) = edge;
          CHECK(refusal() == "");
        }
        if (input.or_one) {
          field = good.leftCols(1).eval();
          CHECK(refusal() == "");
        }
        if (input.may_be_empty) {
          field.resize(0, 0);
          CHECK(refusal() == "");
        }
      });
}

TEST_CASE("A missing field is named") {
  for_each_input([](const std::string& name, Domain, Matrix<float>& field, const InputWidth& input,
                    const auto& refusal) {
    if (input.may_be_empty) return;
    field.resize(0, 0);
    const std::string said = refusal();
    CHECK_THAT(said, containing("seqbayes: " + name + " is missing"));
    // A missing query leaves the length open.
    const Index rows = name == "query" ? 0 : length;
    CHECK_THAT(said, containing(std::to_string(rows) + " x " + std::to_string(input.width)));
  });
}

TEST_CASE("A wrong shape is named") {
  for_each_input([](const std::string& name, Domain, Matrix<float>& field, const InputWidth& input,
                    const auto& refusal) {
    std::vector<Matrix<float>> wrong = {Matrix<float>::Zero(length, input.width + 1)};
    if (input.width > 2) wrong.push_back(Matrix<float>::Zero(length, input.width - 1));
    if (input.width > 1 && !input.or_one) wrong.push_back(Matrix<float>::Zero(length, 1));
    if (name != "query") {  // whose rows are the length
      wrong.push_back(Matrix<float>::Zero(length - 1, input.width));
      wrong.push_back(Matrix<float>::Zero(length + 1, input.width));
      wrong.push_back(Matrix<float>::Zero(1, input.width));
      wrong.push_back(Matrix<float>::Zero(0, input.width));
    }
    for (const Matrix<float>& other : wrong) {
      INFO(shape(other));
      field = other;
      const std::string said = refusal();
      CHECK_THAT(said, containing("seqbayes: " + name + " is " + shape(other)));
      CHECK_THAT(said, containing(std::to_string(length) + " x " + std::to_string(input.width)));
      if (input.or_one) CHECK_THAT(said, containing(std::to_string(length) + " x 1 or "));
    }
  });
  for (const Subject& layer : subjects()) {  // a query of another length makes the next field wrong
    INFO(layer.name);
    Stream<float> stream = full_stream(layer.inputs);
    stream.fields.query.conservativeResize(length - 1, stream.fields.query.cols());
    CHECK_THAT(layer.refusal(stream), containing("seqbayes: key is " + shape(stream.fields.key)));
  }
}

TEST_CASE("The first entry outside the domain is named") {
  for_each_input([](const std::string& name, Domain domain, Matrix<float>& field, const InputWidth&,
                    const auto& refusal) {
    const Matrix<float> good = field;
    for (const float bad : outside(domain)) {
      for (const Index row : {Index(0), bad_row, length - 1}) {
        for (const Index column : {Index(0), field.cols() - 1}) {
          INFO(bad << " in row " << row << ", column " << column);
          field(row, column) = bad;
          field(length - 1, 0) = bad;
          const std::string said = refusal();
          CHECK_THAT(said, containing("seqbayes: " + name + " (" + shape(field) + ")"));
          CHECK_THAT(said, containing("row " + std::to_string(row) + ":"));
          field = good;
        }
      }
    }
  });
}

/// Every matrix of the state that may have a wrong shape, with its name.
template <class State, class F>
void for_each_part(State& state, const F& f) {
  if constexpr (requires { state.mean; }) {
    f("mean", state.mean);
    if constexpr (requires { state.covariance.rows(); }) f("covariance", state.covariance);
  } else if constexpr (requires { state.key_moment; }) {
    f("key_moment", state.key_moment);
    f("value_moment", state.value_moment);
  } else if constexpr (requires { state.layers; }) {
    std::apply([&](auto&... part) { (for_each_part(part, f), ...); }, state.layers);
  } else if constexpr (requires { state.filter; }) {
    for_each_part(state.filter, f);
  } else {
    f("precision", state.precision);
    f("information", state.information);
  }
}

TEMPLATE_LIST_TEST_CASE("A state of another shape is refused", "", Layers) {
  const auto layer = make<TestType>(setup);
  INFO(describe(layer));
  if (has_static_widths<TestType>()) {
    auto state = layer.initial_state();
    CHECK_NOTHROW(layer.check_state(state));
    return;
  }
  const Stream<float> stream = full_stream(layer.inputs());
  auto good = some_state(layer);
  int parts = 0;
  for_each_part(good, [&](const std::string&, auto&) { ++parts; });
  for (int wrong = 0; wrong < parts; ++wrong) {
    auto state = some_state(layer);
    std::string name, expected;
    int index = 0;
    for_each_part(state, [&](const std::string& part, auto& matrix) {
      if (index++ != wrong) return;
      name = part;
      expected = std::to_string(matrix.rows()) + " x " + std::to_string(matrix.cols());
      if constexpr (std::remove_reference_t<decltype(matrix)>::ColsAtCompileTime ==
                    Eigen::Dynamic) {
        matrix.setZero(matrix.rows(), matrix.cols() + 1);
      } else {
        matrix.setZero(matrix.rows() + 1, 1);
      }
    });
    INFO(name);
    const auto before = state;
    CHECK_THROWS_WITH(
        seqbayes::scan(layer, state, stream.view()),
        containing("seqbayes: state." + name + " is ") && containing("expected " + expected));
    CHECK(state == before);
  }
}

TEST_CASE("ssd_scan names the inputs of Mamba-2") {
  const auto layer = make<seqbayes::Ssd<float>>(Setup<double>{4, 3});
  const Matrix<float> x = Matrix<float>::Ones(7, 3), dt = Matrix<float>::Ones(7, 1),
                      B = Matrix<float>::Ones(7, 4);
  const seqbayes::Mamba2Inputs<float> good{x, dt, -1.0f, B, B, 0.0f};
  const auto refused = [&](auto change, const std::string& text) {
    INFO(text);
    auto in = good;
    change(in);
    auto state = some_state(layer);
    const auto before = state;
    CHECK_THROWS_WITH(seqbayes::ssd_scan(layer, state, in), containing(text));
    CHECK(state == before);
  };
  Matrix<float> bad_x = x, bad_dt = dt;
  bad_x(5, 1) = std::numeric_limits<float>::quiet_NaN();
  bad_dt(3, 0) = -0.5f;
  const Matrix<float> narrow = Matrix<float>::Ones(7, 2), few = Matrix<float>::Ones(6, 1);
  refused([&](auto& in) { in.x = {}; }, "seqbayes: x is missing");
  refused([&](auto& in) { in.x = narrow; }, "seqbayes: x is 7 x 2, expected 7 x 3");
  refused([&](auto& in) { in.x = bad_x; }, "row 5");
  refused([&](auto& in) { in.dt = {}; }, "seqbayes: dt is missing");
  refused([&](auto& in) { in.dt = few; }, "seqbayes: dt is 6 x 1, expected 7 x 1");
  refused([&](auto& in) { in.dt = bad_dt; }, "row 3");
  // B and C are keys and queries.
  refused([&](auto& in) { in.B = narrow; }, "key is 7 x 2, expected 7 x 4");
  refused([&](auto& in) { in.C = {}; }, "query is missing");
  // A growing state has a positive log decay.
  refused([&](auto& in) { in.A = 1; }, "log_decay (7 x 1) has a bad entry in row 0");
}

}  // namespace
}  // namespace laws::bad_input_test
