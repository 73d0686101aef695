// Noise that is learned: against quadrature over it, and its calibration.
#include <support/catch.hpp>

#include <cmath>

#include <laws/stream.hpp>

namespace layers::learned_noise_test {
namespace {

using laws::Draw;
using seqbayes::Execution;
using seqbayes::Index;
using seqbayes::Matrix;

TEST_CASE("The density of t is that of the gamma function") {
  for (const Index n : {1, 2, 5, 64}) {
    for (const long double a : {0.05L, 0.5L, 3.L, 15.5L, 40.L, 1000.L}) {
      const long double h = n / 2.L, c = 0.3L, norm2 = 2.L;
      const long double want = std::lgamma(a + h) - std::lgamma(a) - h * std::log(a) -
                               h * std::log(2 * std::acos(-1.L) * c) -
                               (a + h) * std::log(1 + norm2 / (2 * a * c));
      // lgamma of 1000 is 6000, in units of 1e-19; double rounds numbers of some 100
      CHECK(double(seqbayes::detail::log_student_t<long double>(a, c, norm2, n)) ==
            Approx(double(want)).epsilon(1e-14).margin(1e-14));
      CHECK(seqbayes::detail::log_student_t<double>(double(a), double(c), double(norm2), n) ==
            Approx(double(want)).epsilon(1e-13).margin(1e-13));
    }
  }
  // Of many degrees of freedom it is the normal density, up to (n / 2)^2 / a or so.
  CHECK(seqbayes::detail::log_student_t<double>(1e14, 0.5, 3.0, 2) ==
        Approx(-3 - std::log(3.141592653589793)).epsilon(1e-12));
}

/// The evidence of a filter if sigma^2 is known, from its innovations in units of sigma.
double evidence_at(const seqbayes::Output<double>& out, double sigma2, Index n) {
  double sum = 0;
  for (Index t = 0; t < out.innovation_variance.size(); ++t) {
    const double s = out.innovation_variance[t] * sigma2;
    sum -= 0.5 * (out.innovation_norm2[t] / s + double(n) * std::log(2 * 3.141592653589793 * s));
  }
  return sum;
}

TEST_CASE("Learned noise: evidence and variance equal quadrature over the noise") {
  using Filter = seqbayes::BayesianLayer<double, 3, 2>;
  const double a = 2.5, b = 0.75;
  const Filter filter({.prior_variance = 1.5});
  const seqbayes::LearnedNoise<Filter> layer({filter, a, b});
  const auto stream = laws::draw_stream(filter.inputs(), 8, 3);
  auto known = filter.initial_state();
  const auto out = seqbayes::scan(filter, known, stream.view());
  // Over u = ln sigma^2, by the trapezoidal rule, which converges exponentially.
  double total = 0, expected = 0;
  constexpr int points = 4000;
  for (int i = 0; i < points; ++i) {
    const double u = -10 + 20.0 * i / points, sigma2 = std::exp(u);
    const double prior = a * std::log(b) - std::lgamma(a) - a * u - b / sigma2;  // of u
    const double p = std::exp(prior + evidence_at(out, sigma2, 2)) * 20 / points;
    total += p;
    expected += p * sigma2;
  }
  auto state = layer.initial_state();
  const auto learned = seqbayes::scan(layer, state, stream.view());
  // Tails beyond exp(+-10) are below exp(-100) and exp(-10 (a + 8)).
  CHECK(learned.log_evidence == Approx(std::log(total)).epsilon(1e-11));
  CHECK(learned.variance[7] == Approx(out.variance[7] * expected / total).epsilon(1e-11));
  CHECK(learned.mean == out.mean);
}

TEST_CASE("Learned noise: tiles equal steps, and states can be handed over") {
  using L = seqbayes::LearnedNoise<seqbayes::GatedDeltaNet<float, 8, 4>>;
  static_assert(seqbayes::FilterLayer<L> && seqbayes::runs_tiled<L>);
  const L layer({L::Filter(), 1.5f, 0.5f});
  auto stream = laws::draw_stream(layer.inputs(), 300, 5).as<float>();
  stream.fields.write_strength(7, 0) = 0;  // observes nothing
  const auto x = stream.view();
  auto by_step = layer.initial_state();
  const auto want = seqbayes::scan(layer, by_step, x, Execution::sequential());
  for (const Execution how : {Execution(), Execution::chunked(7)}) {
    auto state = layer.initial_state();
    seqbayes::scan(layer, state, x.tokens(0, 100), how);
    const auto got = seqbayes::scan(layer, state, x.tokens(100, 200), how);
    // Sums of some hundred terms of order one.
    CHECK((got.mean - want.mean.bottomRows(200)).cwiseAbs().maxCoeff() < 2e-5f);
    CHECK((got.variance - want.variance.tail(200)).cwiseAbs().maxCoeff() < 2e-5f);
    CHECK((got.innovation_variance - want.innovation_variance.tail(200)).cwiseAbs().maxCoeff() <
          1e-4f);
    CHECK(state.shape == by_step.shape);
    CHECK(state.shape == 1.5f + 299 * 2);
    CHECK(state.scale == Approx(by_step.scale).epsilon(1e-5));
    auto again = layer.initial_state(), whole = again;
    CHECK(seqbayes::scan_mean(layer, again, x, how) == seqbayes::scan(layer, whole, x, how).mean);
    CHECK(again == whole);
  }
}

TEST_CASE("Learned noise of a sharp prior is given noise") {
  using Filter = seqbayes::BayesianLayer<double, 3, 2>;
  const auto stream = laws::draw_stream(Filter().inputs(), 50, 7);
  auto state = Filter().initial_state();
  const auto want = seqbayes::scan(Filter(), state, stream.view());
  const seqbayes::LearnedNoise<Filter> layer({Filter(), 1e12, 1e12});
  auto learned = layer.initial_state();
  const auto got = seqbayes::scan(layer, learned, stream.view());
  // Off by the prior's relative variance, 1e-12, times 50 tokens.
  CHECK(got.log_evidence == Approx(want.log_evidence).epsilon(1e-9));
  CHECK((got.variance - want.variance).cwiseAbs().maxCoeff() < 1e-10);
}

/// Squared errors of a memory that the model's own law moves, and what was claimed of them, in the
/// first `early` tokens and after.
struct Errors {
  double square[2] = {}, claimed[2] = {};
};

// The noise is drawn from the prior, IG(3, 2): 4000 streams, each of which has an error with a
// relative standard deviation of about 1.6 in each part. 5 standard errors: 0.13.
TEST_CASE("Learned noise is calibrated from the first token on") {
  using Filter = seqbayes::BayesianLayer<double, Eigen::Dynamic, Eigen::Dynamic, seqbayes::NoDecay>;
  const Filter filter({.key_dim = 4, .value_dim = 2});
  const seqbayes::LearnedNoise<Filter> layer({filter, 3.0, 2.0});
  constexpr Index T = 60, early = 5;
  constexpr double drift = 0.02, noise = 0.5;
  Errors sum;
  for (std::uint64_t seed = 0; seed < 4000; ++seed) {
    Draw draw(1000 + seed);
    // sigma^2 ~ IG(3, 2): 2 over a sum of three exponentials
    double gamma = 0;
    for (int i = 0; i < 3; ++i) gamma -= std::log(draw.uniform(1e-9, 1));
    const double sigma = std::sqrt(2 / gamma);
    auto stream = laws::draw_stream(layer.inputs(), T, 7 * seed + 1, true);
    stream.fields.process_noise.setConstant(drift);
    stream.fields.observation_noise.setConstant(noise);
    Matrix<double> memory(4, 2), change(4, 2), error(1, 2), truth(T, 2);
    laws::draw_normal(memory, draw);
    memory *= sigma;
    for (Index t = 0; t < T; ++t) {
      laws::draw_normal(change, draw);
      laws::draw_normal(error, draw);
      memory += std::sqrt(drift) * sigma * change;
      stream.fields.value.row(t) =
          stream.fields.key.row(t) * memory + std::sqrt(noise) * sigma * error;
      truth.row(t) = stream.fields.query.row(t) * memory;
    }
    auto state = layer.initial_state();
    const auto out = seqbayes::scan(layer, state, stream.view());
    for (Index t = 0; t < T; ++t) {
      sum.square[t >= early] += (out.mean.row(t) - truth.row(t)).squaredNorm() / 2;
      sum.claimed[t >= early] += out.variance[t];
    }
  }
  CHECK(sum.square[0] / sum.claimed[0] == Approx(1).margin(0.13));
  CHECK(sum.square[1] / sum.claimed[1] == Approx(1).margin(0.13));
}

TEST_CASE("Learned noise refuses priors that make no sense") {
  using L = seqbayes::LearnedNoise<seqbayes::BayesianLayer<double, 3, 2>>;
  const auto prior = [](double shape, double scale) { return L({L::Filter(), shape, scale}); };
  CHECK_THROWS_WITH(prior(1, 1), containing("prior_shape"));
  CHECK_THROWS_WITH(prior(std::nan(""), 1), containing("prior_shape"));
  CHECK_THROWS_WITH(prior(INFINITY, 1), containing("prior_shape"));
  CHECK_THROWS_WITH(prior(2, 0), containing("prior_scale"));
  CHECK_NOTHROW(prior(1.01, 1e-30));
}

}  // namespace
}  // namespace layers::learned_noise_test
