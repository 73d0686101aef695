// Where two points of the grid are the same layer, they give the same numbers.
#include <Eigen/LU>

#include <laws/layers.hpp>
#include <laws/run.hpp>

namespace laws::identities_test {
namespace {

using seqbayes::AssociativeRegression;
using seqbayes::BayesianLayer;
using seqbayes::ChannelDecay;
using seqbayes::ConstantDecay;
using seqbayes::DiagonalCovariance;
using seqbayes::FullCovariance;
using seqbayes::IsotropicCovariance;
using seqbayes::LatentInput;
using seqbayes::NoCovariance;
using seqbayes::NoDecay;
using seqbayes::ResetCovariance;
using seqbayes::ScalarDecay;

template <class Model, class Decay, class Covariance>
using Point = seqbayes::Layer<double, any, any, Model, Decay, Covariance>;

constexpr Index length = 67;
constexpr Index key_dim = 6;
constexpr Index value_dim = 5;

/// Every field that any layer of the grid reads, so that one stream serves two layers.
Stream<double> stream_for_all(std::uint64_t seed) {
  InputWidths all;
  all.query = all.key = all.log_decay = all.process_noise = key_dim;
  all.value = value_dim;
  all.write_strength = all.observation_noise = 1;
  return draw_stream(all, length, seed);
}

/// The same tokens with the log decay of each token, or the process noise, shared by its channels.
void share(Matrix<double>& field) { field = field.leftCols(1).eval(); }
void spread(Matrix<double>& field) { field = field.leftCols(1).replicate(1, key_dim).eval(); }

/// `a` on the tokens xa and `b` on xb give the same mean, variance and evidence. Both carry the
/// rounding of their own sequence of operations, bounded by that of a's reference.
template <class A, class B>
void check_same(const A& a, const Setup<double>& setup, const Stream<double>& xa, const B& b,
                const Stream<double>& xb) {
  INFO(describe(a) << " and " << describe(b));
  auto start_a = a.initial_state();
  auto start_b = b.initial_state();
  start_a.mean = start_b.mean = some_state(a).mean;
  Bounds bounds = rounding_bounds(reference_for(a, setup, start_a, xa), rounding_unit<double>());
  bounds.covariance = infinity;  // may be kept in another shape
  for (const Execution how : {Execution::sequential(), Execution(), Execution::chunked(5)}) {
    auto state_a = start_a;
    auto state_b = start_b;
    Run<Real> run_a = run(a, state_a, xa.view(), how);
    Run<Real> run_b = run(b, state_b, xb.view(), how);
    run_a.covariance.resize(0, 0);
    run_b.covariance.resize(0, 0);
    check_close(run_b, run_a, bounds);
  }
}

template <class ModelType, class CovarianceType>
struct Row {
  using Model = ModelType;
  using Covariance = CovarianceType;
};
using Rows = std::tuple<
    Row<LatentInput, NoCovariance>, Row<LatentInput, FullCovariance>,
    Row<AssociativeRegression, ResetCovariance>, Row<AssociativeRegression, IsotropicCovariance>,
    Row<AssociativeRegression, DiagonalCovariance>, Row<AssociativeRegression, FullCovariance>>;

TEMPLATE_LIST_TEST_CASE("Decays that say the same give the same layer", "", Rows) {
  using Model = typename TestType::Model;
  using Covariance = typename TestType::Covariance;
  Setup<double> setup{key_dim, value_dim, 1.25, -0.1};
  setup.input_variance = 0.5;
  const auto none = make<Point<Model, NoDecay, Covariance>>(setup);
  const auto constant = make<Point<Model, ConstantDecay, Covariance>>(setup);
  const auto scalar = make<Point<Model, ScalarDecay, Covariance>>(setup);
  const auto channel = make<Point<Model, ChannelDecay, Covariance>>(setup);

  Stream<double> x = stream_for_all(41);
  share(x.fields.process_noise);
  Stream<double> one = x, all = x;
  share(one.fields.log_decay);
  spread(all.fields.log_decay);
  check_same(scalar, setup, one, channel, all);

  one.fields.log_decay.setConstant(setup.log_decay);
  all.fields.log_decay.setConstant(setup.log_decay);
  check_same(constant, setup, x, scalar, one);
  check_same(constant, setup, x, channel, all);

  one.fields.log_decay.setZero();
  all.fields.log_decay.setZero();
  check_same(none, setup, x, scalar, one);
  check_same(none, setup, x, channel, all);
}

TEST_CASE("With one key channel every covariance is full") {
  Setup<double> setup{1, value_dim, 1.25};
  const auto full = make<Point<AssociativeRegression, ChannelDecay, FullCovariance>>(setup);
  const auto diagonal = make<seqbayes::DiagonalKalmanDeltaNet<double>>(setup);
  const auto isotropic = make<seqbayes::IsotropicKalmanDeltaNet<double>>(setup);
  const auto x = draw_stream(full.inputs(), length, 43);
  check_same(full, setup, x, diagonal, x);
  check_same(full, setup, x, isotropic, x);
}

TEST_CASE("Keys along axes keep a full covariance diagonal") {
  Setup<double> setup{key_dim, value_dim, 1.25};
  const auto full = make<Point<AssociativeRegression, ChannelDecay, FullCovariance>>(setup);
  const auto diagonal = make<seqbayes::DiagonalKalmanDeltaNet<double>>(setup);
  auto x = draw_stream(full.inputs(), length, 45);
  Draw draw(47);
  x.fields.key.setZero();
  for (Index t = 0; t < length; ++t) x.fields.key(t, draw.below(key_dim)) = draw.normal();
  check_same(full, setup, x, diagonal, x);
}

/// The tokens of a reset layer as those of a filter: r = sigma_0^2 (1 - beta |k|^2) / beta.
Stream<double> as_filter_tokens(const Stream<double>& x, double prior_variance) {
  Stream<double> filter = x;
  for (Index t = 0; t < length; ++t) {
    filter.fields.observation_noise(t, 0) = seqbayes::to_observation_noise(
        x.fields.write_strength(t, 0), x.fields.key.row(t).squaredNorm(), prior_variance);
  }
  return filter;
}

using Decays = std::tuple<NoDecay, ScalarDecay, ChannelDecay>;

TEMPLATE_LIST_TEST_CASE("A reset layer is a filter whose covariance is reset", "", Decays) {
  const Setup<double> setup{key_dim, value_dim, 1.25};
  const auto reset = make<Point<AssociativeRegression, TestType, ResetCovariance>>(setup);
  const auto full = make<Point<AssociativeRegression, TestType, FullCovariance>>(setup);
  Stream<double> x = stream_for_all(49);
  if constexpr (std::is_same_v<TestType, ScalarDecay>) share(x.fields.log_decay);
  for (Index t = 0; t < length; ++t) {  // 0.1 <= beta |k|^2 <= 0.9
    x.fields.write_strength(t, 0) = 0.1 + 0.8 * x.fields.write_strength(t, 0);
  }
  Stream<double> filter = as_filter_tokens(x, setup.prior_variance);

  // Omega = sigma_0^2 I after a covariance decay of minus infinity.
  filter.fields.process_noise.setConstant(length, 1, setup.prior_variance);
  filter.fields.covariance_log_decay.setConstant(length, 1, -infinity);
  check_same(reset, setup, x, full, filter);
  filter.fields.covariance_log_decay.setConstant(length, key_dim, -infinity);
  check_same(reset, setup, x, full, filter);

  // The covariance put back to sigma_0^2 I by hand before every write.
  filter.fields.process_noise.setZero();
  filter.fields.covariance_log_decay.setZero();
  auto reset_state = reset.initial_state();
  auto full_state = full.initial_state();
  double mean = 0, variance = 0, evidence = 0;
  for (Index t = 0; t < length; ++t) {
    full_state.covariance.setIdentity();
    full_state.covariance *= setup.prior_variance;
    const auto a = reset.step(reset_state, x.view().token(t));
    const auto b = full.step(full_state, filter.view().token(t));
    mean = std::max(mean, (a.mean - b.mean).cwiseAbs().maxCoeff());
    variance = std::max(variance, std::abs(a.variance - b.variance));
    evidence = std::max(evidence, std::abs(a.log_evidence - b.log_evidence));
  }
  // Entries of order 10 for the mean, 20 for the variance, and nu^2 / s up to 1000 for the
  // evidence; a unit of them for each of the ten operations of a token and, for the mean, token.
  const double unit = rounding_unit<double>();
  CHECK(mean <= 10 * double(length) * unit);
  CHECK(variance <= 10 * 20 * unit);
  CHECK(evidence <= 10 * 1000 * unit);
}

/// D^c = sqrt(1 - rho) I and Omega = rho sigma_0^2 I.
TEST_CASE("One dial goes from the Bayesian Layer to Gated DeltaNet") {
  const Setup<double> setup{key_dim, value_dim, 1.25};
  const auto full = make<BayesianLayer<double>>(setup);
  const auto undecayed = make<Point<AssociativeRegression, NoDecay, FullCovariance>>(setup);
  const auto reset = make<seqbayes::GatedDeltaNet<double>>(setup);
  Stream<double> x = stream_for_all(51);
  share(x.fields.log_decay);
  for (Index t = 0; t < length; ++t) {
    x.fields.write_strength(t, 0) = 0.1 + 0.8 * x.fields.write_strength(t, 0);
  }
  x = as_filter_tokens(x, setup.prior_variance);
  const auto dialled = [&](double rho) {
    Stream<double> y = x;
    y.fields.covariance_log_decay.setConstant(length, 1, 0.5 * std::log1p(-rho));
    y.fields.process_noise.setConstant(length, 1, rho * setup.prior_variance);
    return y;
  };
  check_same(reset, setup, x, full, dialled(1));

  // rho = 0: the gains of full propagation without decay, bit by bit.
  auto state = full.initial_state();
  auto propagated = undecayed.initial_state();
  Stream<double> plain = x;
  plain.fields.process_noise.setZero();
  const auto a = run(full, state, dialled(0).view(), Execution::sequential());
  const auto b = run(undecayed, propagated, plain.view(), Execution::sequential());
  CHECK(a.covariance == b.covariance);
  CHECK(a.variance == b.variance);

  // In between the variance rises with rho: what is forgotten is uncertain again.
  double last = 0;
  for (const double rho : {0.0, 0.01, 0.1, 0.5, 0.9, 1.0}) {
    state = full.initial_state();
    const double variance = double(run(full, state, dialled(rho).view()).variance.sum());
    CHECK(variance > last);
    last = variance;
  }
}

/// R5.4: D^c = mu^{-1/2} I is recursive least squares with forgetting, whose batch form is the
/// regression with weights mu^{T - t} / r_t and ridge mu^T / sigma_0^2.
TEST_CASE("An inflated covariance is least squares with forgetting") {
  const Setup<double> setup{key_dim, value_dim, 1.25};
  const auto layer = make<BayesianLayer<double, any, any, NoDecay>>(setup);
  const double mu = 0.9375;
  auto x = draw_stream(layer.inputs(), length, 53);
  x.fields.process_noise.setZero();
  x.fields.covariance_log_decay.setConstant(length, 1, -0.5 * std::log(mu));

  Matrix<Real> information = Matrix<Real>::Identity(key_dim, key_dim) / Real(setup.prior_variance);
  Matrix<Real> moment = Matrix<Real>::Zero(key_dim, value_dim);
  Run<Real> want{Matrix<Real>(length, value_dim), Matrix<Real>(length, 1), 0, {}, {}};
  for (Index t = 0; t < length; ++t) {
    const auto key = x.fields.key.row(t).cast<Real>().eval();
    const auto query = x.fields.query.row(t).cast<Real>().eval();
    const Real weight = 1 / Real(x.fields.observation_noise(t, 0));
    information = Real(mu) * information + weight * key.transpose() * key;
    moment = Real(mu) * moment + weight * key.transpose() * x.fields.value.row(t).cast<Real>();
    want.covariance = information.inverse();
    want.memory = want.covariance * moment;
    want.mean.row(t) = query * want.memory;
    want.variance(t, 0) = (query * want.covariance * query.transpose())(0, 0);
  }
  const auto start = layer.initial_state();
  Bounds bounds = rounding_bounds(reference_for(layer, setup, start, x), rounding_unit<double>());
  bounds.evidence = infinity;  // least squares has none
  for (const Execution how : {Execution::sequential(), Execution(), Execution::chunked(5)}) {
    auto state = start;
    check_close(run(layer, state, x.view(), how), want, bounds);
  }
}

using Latent = std::tuple<NoDecay, ConstantDecay, ScalarDecay, ChannelDecay>;

TEMPLATE_LIST_TEST_CASE("Latent input: the mean knows nothing of the covariance", "", Latent) {
  for (const double input_variance : {infinity, 0.5}) {
    Setup<double> setup{key_dim, value_dim, 1.25};
    setup.input_variance = input_variance;
    const auto filter = make<Point<LatentInput, TestType, FullCovariance>>(setup);
    const auto mean = make<Point<LatentInput, TestType, NoCovariance>>(setup);
    const auto x = draw_stream(filter.inputs(), length, 55);
    auto filter_state = some_state(filter);
    auto state = mean.initial_state();
    state.mean = filter_state.mean;
    const auto want = seqbayes::scan_mean(mean, state, x.view(), Execution::sequential());
    const auto got = seqbayes::scan(filter, filter_state, x.view(), Execution::sequential());
    CHECK(got.mean == want);
    CHECK(filter_state.mean == state.mean);
  }
}

TEST_CASE("Latent input: a prior of finite variance shrinks what is written") {
  Setup<double> setup{key_dim, value_dim};
  const auto flat = make<seqbayes::Ssd<double>>(setup);
  setup.input_variance = 0.5;
  const auto shrunk = make<seqbayes::Ssd<double>>(setup);
  CHECK(flat.inputs().observation_noise.width == 0);
  CHECK(shrunk.inputs().observation_noise.width == 1);

  auto x = draw_stream(shrunk.inputs(), length, 57);
  auto shrunk_by_hand = x;
  for (Index t = 0; t < length; ++t) {
    shrunk_by_hand.fields.value.row(t) *= 0.5 / (0.5 + x.fields.observation_noise(t, 0));
  }
  Setup<double> flat_setup{key_dim, value_dim};
  check_same(flat, flat_setup, shrunk_by_hand, shrunk, x);

  // Exact certainty shrinks nothing; the less certain the value, the less is written.
  double last = infinity;
  for (const double noise : {1e-300, 0.1, 1.0, 10.0, 1e300}) {
    x.fields.observation_noise.setConstant(noise);
    auto state = shrunk.initial_state();
    auto flat_state = flat.initial_state();
    const double norm = double(run(shrunk, state, x.view()).mean.norm());
    const double flat_norm = double(run(flat, flat_state, x.view()).mean.norm());
    CHECK(norm < last);
    CHECK(norm == Approx(flat_norm * 0.5 / (0.5 + noise)).margin(1e-290));
    last = norm;
  }
}

}  // namespace
}  // namespace laws::identities_test
