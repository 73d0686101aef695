// Sums over 3e5 tokens in float: the evidence, and derivatives by what is constant in time.
#include <support/catch.hpp>

#include <laws/information.hpp>
#include <laws/layers.hpp>

namespace gradient::long_sums_test {
namespace {

using namespace laws;
using seqbayes::Cotangent;

constexpr Index length = 300'000;

/// The same token again and again: every term has the same sign and the same rounding errors, so
/// that a plain sum in float drifts, by 1e-4 and more.
Stream<double> constant_stream(const InputWidths& inputs) {
  auto stream = draw_stream(inputs, 1, 17);
  seqbayes::for_each_field(
      [](auto, auto, Matrix<double>& field) {
        if (field.size() > 0) field = field.row(0).replicate(length, 1).eval();
      },
      stream.fields);
  return stream;
}

template <class L>
Setup<double> some_setup() {
  Setup<double> setup{3, 2, 1.25, -0.25};
  setup.input_variance = 0.5;
  setup.info_scale = 1.5;
  return setup;
}

template <class L>
auto gradient_of(const Stream<double>& stream, Execution how) {
  using Scalar = typename L::Scalar;
  auto options = make<L>(some_setup<L>()).options();
  if constexpr (requires { options.process_noise; }) {  // what is forgotten settles
    options.decay.setConstant(Scalar(0.5));
    options.process_noise.setConstant(Scalar(0.25));
  }
  const L layer(options);
  const auto x = stream.as<Scalar>();
  const Matrix<Scalar> mean = Matrix<Scalar>::Constant(length, 2, Scalar(0.75));
  Cotangent<L> cotangent;
  cotangent.mean = mean;
  if constexpr (seqbayes::ProbabilisticLayer<L>) cotangent.log_evidence = Scalar(0.375);
  return seqbayes::scan_vjp(layer, layer.initial_state(), x.view(), cotangent, how);
}

template <class L>
std::vector<double> by_constants(const Stream<double>& stream, Execution how) {
  const auto gradient = gradient_of<L>(stream, how);
  std::vector<double> all{double(gradient.prior_variance), double(gradient.input_variance),
                          double(gradient.info_scale)};
  const auto add = [&](const auto& entries) {
    for (Index i = 0; i < entries.size(); ++i) all.push_back(double(entries.data()[i]));
  };
  if (gradient.log_decay.rows() == 1) add(gradient.log_decay);
  if constexpr (requires { gradient.options.ridge; }) add(gradient.options.ridge);
  if constexpr (requires { gradient.options.decay; }) {
    add(gradient.options.decay);
    add(gradient.options.process_noise);
  }
  return all;
}

using Layers = std::tuple<seqbayes::Retention<float>, seqbayes::GatedDeltaNet<float>,
                          seqbayes::IsotropicKalmanDeltaNet<float>, seqbayes::MesaNet<float, 3, 2>,
                          seqbayes::KalmanLinearAttention<float, 3, 2>>;

TEMPLATE_LIST_TEST_CASE("float: derivatives by constants keep their digits over many tokens", "",
                        Layers) {
  using Wide = Rebind<TestType, double>;
  const auto stream = constant_stream(make<TestType>(some_setup<TestType>()).inputs());
  const auto want = by_constants<Wide>(stream, Execution::sequential());
  double largest = 0;
  for (const double x : want) largest = std::max(largest, std::abs(x));
  CHECK(largest > 1000);
  for (const Execution how : {Execution(), Execution::sequential()}) {
    const auto got = by_constants<TestType>(stream, how);
    REQUIRE(got.size() == want.size());
    for (std::size_t i = 0; i < want.size(); ++i) {
      // Each term has some ten roundings of 6e-8, twenty times as much by solves and by decays
      // that remember ten tokens, and the same ones at every token.
      CHECK(std::abs(got[i] - want[i]) <= 2e-5 * largest);
    }
  }
}

using Filters = std::tuple<seqbayes::GatedDeltaNet<float>, seqbayes::BayesianLayer<float>,
                           seqbayes::GatedDeltaProduct<float, 2>>;

TEMPLATE_LIST_TEST_CASE("float: the evidence of many tokens is the sum of theirs", "", Filters) {
  const auto layer = make<TestType>(some_setup<TestType>());
  const auto x = constant_stream(layer.inputs()).template as<float>();
  for (const Execution how : {Execution(), Execution::sequential()}) {
    auto state = layer.initial_state();
    const double got = seqbayes::scan(layer, state, x.view(), how).log_evidence;
    state = layer.initial_state();
    double want = 0;
    for (Index t = 0; t < length; ++t) want += layer.step(state, x.view().token(t)).log_evidence;
    // Terms of tiles and steps differ by some roundings of 6e-8; that of the sum is one more.
    CHECK(got == Approx(want).epsilon(1e-6));
  }
}

TEST_CASE("a compensated sum: as exact as twice the digits, infinite terms, cancellation") {
  seqbayes::CompensatedSum<float> sum;
  for (int i = 0; i < 1'000'000; ++i) sum += 0.1f;
  CHECK(sum.value() == float(1e6 * double(0.1f)));
  sum += 1e10f;
  sum -= 1e10f;
  CHECK(sum.value() == float(1e6 * double(0.1f)));
  sum += -std::numeric_limits<float>::infinity();
  sum += 1;
  CHECK(sum.value() == -std::numeric_limits<float>::infinity());
}

}  // namespace
}  // namespace gradient::long_sums_test
