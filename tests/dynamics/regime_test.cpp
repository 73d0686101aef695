// Streams drawn from each regime: is the regime found, and the noise levels within their errors?
#include <dynamics/levels.hpp>

#include <seqbayes/inference/regime.hpp>

namespace dynamics_test::regime_test {
namespace {

constexpr Index length = 300, dk = 6, dv = 8;

DecayingStream drawn(const Levels& truth, Regime regime, std::mt19937& engine) {
  DecayingStream stream{unit_keys(length, dk, engine)};
  stream.values = sample_values(stream.view(), dv, truth, regime, engine);
  return stream;
}
DecayingStream drawn(const Levels& truth, Regime regime, unsigned seed) {
  std::mt19937 engine(seed);
  return drawn(truth, regime, engine);
}

/// Deviation of a fitted level in standard errors, in logarithms.
double score(double found, double error, double truth) {
  return (std::log(found) - std::log(truth)) / error;
}

TEST_CASE("The regime that a stream was drawn from is found, and its noise levels") {
  constexpr int seeds = 20;
  std::mt19937 engine(1);
  const bool is_full = GENERATE(true, false);
  const Regime regime = is_full ? Regime::full : Regime::reset;
  const Levels truth{0.4, is_full ? 0.02 : 0.0, 1.5};
  double squares = 0;
  int scores = 0;
  for (int seed = 0; seed < seeds; ++seed) {
    const auto stream = drawn(truth, regime, engine);
    const auto choice = choose_regime(stream.view());
    INFO("seed " << seed << ", margin " << choice.margin << " +- " << choice.margin_error);
    CHECK(choice.regime() == regime);
    CHECK(choice.is_clear());
    const auto& fit = choice.best();
    std::vector<double> found{
        score(fit.levels.observation_noise, fit.log_errors.observation_noise, 0.4),
        score(fit.levels.prior_variance, fit.log_errors.prior_variance, 1.5)};
    if (is_full) {
      found.push_back(score(fit.levels.process_noise, fit.log_errors.process_noise, 0.02));
    }
    for (const double z : found) {
      INFO("a level is " << z << " standard errors off");
      CHECK(std::abs(z) < 4);  // once in 16000 normal numbers
      squares += z * z;
      ++scores;
    }
  }
  // Mean 1; two to three correlated scores a seed, so a standard deviation of 0.3 at most.
  CHECK(squares / scores > 0.4);
  CHECK(squares / scores < 2);
}

using Reset = KimiDeltaAttention<double>;
using Full = BayesianLayer<double, Eigen::Dynamic, Eigen::Dynamic, ChannelDecay>;

/// The log evidence at logarithms of the levels, by the layer alone.
double evidence_at(const DecayingStream& stream, const Vec& log_levels) {
  const Vec levels = log_levels.array().exp();
  const Full layer({.key_dim = dk, .value_dim = dv, .prior_variance = levels[2]});
  auto x = stream.view();
  const Vec r = levels[0] * stream.profile, omega = Vec::Constant(length, levels[1]);
  const Mat log_decay = stream.log_decay.replicate(1, dk);
  x.query = stream.key;
  x.observation_noise = r;
  x.process_noise = omega;
  x.log_decay = log_decay;
  auto state = layer.initial_state();
  return scan(layer, state, x).log_evidence;
}

TEST_CASE("A fit is the maximum of the layer's evidence, and its errors the curvature") {
  const DecayingStream stream = drawn({0.4, 0.02, 1.5}, Regime::full, 5);
  const auto fit = fit_noise<Full>(stream.view());
  const Vec best = (Vec(3) << std::log(fit.levels.observation_noise),
                    std::log(fit.levels.process_noise), std::log(fit.levels.prior_variance))
                       .finished();
  const double highest = evidence_at(stream, best);
  CHECK(fit.log_evidence == Approx(highest).epsilon(1e-11));  // the same number by another route
  Mat information(3, 3);
  const double h = 0.02;
  const auto shifted = [&](Index i, double a, Index j, double b) {
    Vec point = best;
    point[i] += a * h;
    point[j] += b * h;
    return evidence_at(stream, point);
  };
  for (Index i = 0; i < 3; ++i) {
    CHECK(shifted(i, 1, i, 0) < highest);
    CHECK(shifted(i, -1, i, 0) < highest);
    for (Index j = 0; j < 3; ++j) {
      information(i, j) = -(shifted(i, 1, j, 1) + shifted(i, -1, j, -1) - shifted(i, 1, j, -1) -
                            shifted(i, -1, j, 1)) /
                          (4 * h * h);
    }
  }
  const Vec errors = Mat(information.inverse()).diagonal().cwiseSqrt();
  // Differences of steps 0.02 and 0.05 agree up to their squares.
  CHECK(fit.log_errors.observation_noise == Approx(errors[0]).epsilon(0.01));
  CHECK(fit.log_errors.process_noise == Approx(errors[1]).epsilon(0.01));
  CHECK(fit.log_errors.prior_variance == Approx(errors[2]).epsilon(0.01));
}

TEST_CASE("Write strengths stand for their noises") {
  DecayingStream stream = drawn({1, 0, 2}, Regime::reset, 6);
  auto x = stream.view();
  x.observation_noise = {};
  const Vec strength = Vec::LinSpaced(length, 0, 1);  // the ends are behind the clamps
  x.write_strength = strength;
  // The reset layer as recorded: s_t = sigma_0^2 / beta_t, so the best sigma_0^2 is the mean of
  // beta_t |nu_t|^2 / dv, and its logarithm has the variance 2 / n.
  double sum = 0;
  Mat memory = Mat::Zero(dk, dv);
  for (Index t = 0; t < length; ++t) {
    const double beta = std::clamp(strength[t], 1e-6, 1 - 1e-3);
    memory *= 0.99;
    const Eigen::RowVectorXd innovation = stream.values.row(t) - stream.key.row(t) * memory;
    memory += beta * stream.key.row(t).transpose() * innovation;
    sum += beta * innovation.squaredNorm();
  }
  const auto fit = fit_noise<Reset>(x, Fitted::scale);
  CHECK(fit.levels.prior_variance == Approx(sum / double(length * dv)).epsilon(1e-9));
  CHECK(fit.levels.observation_noise == fit.levels.prior_variance);
  CHECK(fit.log_errors.prior_variance == Approx(std::sqrt(2.0 / double(length * dv))));
  CHECK(fit_noise<Reset>(x).log_evidence >= fit.log_evidence);
}

TEST_CASE("What is reset between writes can itself be fitted") {
  const auto full = drawn({0.4, 0.02, 1.5}, Regime::full, 7);
  const auto reset = drawn({0.4, 0, 1.5}, Regime::reset, 7);
  CHECK(fit_noise<Full>(full.view(), Fitted::levels_and_reset).reset < 0.05);
  const auto fit = fit_noise<Full>(reset.view(), Fitted::levels_and_reset);
  CHECK(fit.reset > 0.8);
  // rho = 1 is the reset layer. The climb ends where a step gains less than 1e-6 nats.
  CHECK(fit.log_evidence >= fit_noise<Reset>(reset.view()).log_evidence - 1e-3);
}

TEST_CASE("A drift that is not there has no lower bound") {
  const auto stream = drawn({0.4, 0, 1.5}, Regime::full, 8);
  const auto fit = fit_noise<Full>(stream.view());
  CHECK(fit.levels.process_noise < 1e-3);  // where 0.02 is known to 0.09 in the logarithm
  CHECK(fit.log_errors.process_noise > 0.3);
  CHECK(std::abs(score(fit.levels.observation_noise, fit.log_errors.observation_noise, 0.4)) < 4);
}

TEST_CASE("Streams without decay or noise are read, and bad ones refused") {
  auto stream = drawn({0.4, 0.02, 1.5}, Regime::full, 9);
  Sequence<double> x;
  x.key = stream.key;
  x.value = stream.values;
  CHECK(choose_regime(x).full.log_evidence < choose_regime(stream.view()).full.log_evidence);
  const Mat zero = Mat::Zero(length, dv);
  x.value = zero;
  using Catch::Matchers::StartsWith;
  CHECK_THROWS_WITH(choose_regime(x), StartsWith("seqbayes: value is zero"));
  x.value = {};
  CHECK_THROWS_WITH(choose_regime(x), StartsWith("seqbayes: value is missing"));
}

}  // namespace
}  // namespace dynamics_test::regime_test
