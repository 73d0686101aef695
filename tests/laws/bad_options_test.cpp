// Options outside their domain: the error names the option.
#include <laws/bad_values.hpp>
#include <laws/information.hpp>
#include <laws/layers.hpp>

namespace laws::bad_options_test {
namespace {

using seqbayes::Domain;

using Layers = Join<Grid<float>, DeltaFamily<float>, InformationLayers<float>,
                    std::tuple<seqbayes::GatedDeltaNet<float, 6, 5>>>;

const Setup<double> setup{6, 5};

TEMPLATE_LIST_TEST_CASE("Widths that are none are refused", "", Layers) {
  using Options = typename TestType::Options;
  const Options good = make<TestType>(setup).options();
  CHECK_NOTHROW(TestType(good));
  for (const Index width : {0, -1, 7}) {
    if (width == 7 && !has_static_widths<TestType>()) continue;
    INFO(width);
    Options options = good;
    options.key_dim = width;
    CHECK_THROWS_WITH(TestType(options),
                      containing("seqbayes: option key_dim is " + std::to_string(width)));
    CHECK_THROWS_AS(TestType(options), std::invalid_argument);
    options = good;
    options.value_dim = width;
    CHECK_THROWS_WITH(TestType(options),
                      containing("seqbayes: option value_dim is " + std::to_string(width)));
    CHECK_THROWS_AS(TestType(options), std::invalid_argument);
  }
}

/// Sets one option of the layer in turn to each value, which has to be refused by the option's
/// name.
template <class Layer, class Number>
void check_refused(const char* name, const typename Layer::Options& good,
                   Number Layer::Options::*option, const std::vector<float>& values) {
  for (const float value : values) {
    INFO(name << " = " << value);
    typename Layer::Options options = good;
    options.*option = value;
    CHECK_THROWS_AS(Layer(options), std::invalid_argument);
    CHECK_THROWS_WITH(Layer(options), containing(std::string("seqbayes: option ") + name));
  }
}

TEST_CASE("Options outside their domain are refused") {
  using seqbayes::BayesianLayer;
  using Options = seqbayes::LayerOptions<float, 4, 3>;
  using Bayesian = BayesianLayer<float, 4, 3>;
  check_refused<Bayesian>("prior_variance", {}, &Options::prior_variance,
                          outside(Domain::non_negative));
  check_refused<Bayesian>("log_decay", {}, &Options::log_decay, outside(Domain::log_decay));
  check_refused<Bayesian>("info_scale", {}, &Options::info_scale, outside(Domain::non_negative));
  const float nan = std::numeric_limits<float>::quiet_NaN();
  check_refused<Bayesian>("input_variance", {}, &Options::input_variance,
                          {nan, 0.0f, -1.0f, -float(infinity)});
  CHECK_NOTHROW(Bayesian({.prior_variance = 0}));
  CHECK_NOTHROW(seqbayes::Retention<float, 4, 3>({.log_decay = -float(infinity)}));
  CHECK_NOTHROW(seqbayes::IsotropicKalmanDeltaNet<float, 4, 3>({.info_scale = 0}));

  using Preconditioned = seqbayes::PreconditionedGatedDeltaNet<float, 4, 3>;
  using Own = Preconditioned::Options;
  check_refused<Preconditioned>("epsilon", {}, &Own::epsilon, outside(Domain::positive));
  check_refused<Preconditioned>("base", {}, &Own::base, outside(Domain::positive));
  check_refused<Preconditioned>("log_scale", {}, &Own::log_scale, outside(Domain::finite));
}

TEST_CASE("Options of the information layers outside their domain are refused") {
  using Mesa = seqbayes::MesaNet<float, 4, 3>;
  for (const float bad : outside(Domain::positive)) {
    Mesa::Options options;
    options.ridge.setOnes(4);
    options.ridge[2] = bad;
    CHECK_THROWS_WITH(Mesa(options), containing("seqbayes: option ridge"));
  }
  Mesa::Options short_ridge;
  short_ridge.ridge.setOnes(3);
  CHECK_THROWS_WITH(Mesa(short_ridge), containing("seqbayes: option ridge"));

  using Entrywise = seqbayes::KalmanLinearAttention<float>;
  const auto good = make<Entrywise>(setup).options();
  check_refused<Entrywise>("floor", good, &Entrywise::Options::floor, outside(Domain::positive));
  for (const float bad : outside(Domain::non_negative)) {
    auto options = good;
    options.decay(2, 1) = bad;
    CHECK_THROWS_WITH(Entrywise(options), containing("seqbayes: option decay"));
    options = good;
    options.process_noise(2, 1) = bad;
    CHECK_THROWS_WITH(Entrywise(options), containing("seqbayes: option process_noise"));
  }
  auto options = good;
  options.decay.resize(6, 5);
  CHECK_THROWS_WITH(Entrywise(options), containing("option decay is 6 x 5, expected 5 x 6"));
}

TEST_CASE("Chunks of no tokens are refused") {
  CHECK_THROWS_AS(Execution::chunked(0), std::invalid_argument);
  CHECK_THROWS_AS(Execution::chunked(-3), std::invalid_argument);
}

}  // namespace
}  // namespace laws::bad_options_test
