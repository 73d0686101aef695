// What is fitted to a stream has no unit of its own, and streams that tell nothing are refused.
#include <dynamics/levels.hpp>

#include <cmath>

#include <seqbayes/inference/regime.hpp>

namespace dynamics_test::units_test {
namespace {

using Reset = KimiDeltaAttention<double>;
using Full = BayesianLayer<double, Eigen::Dynamic, Eigen::Dynamic, ChannelDecay>;
using Diagonal = DiagonalKalmanDeltaNet<double>;

/// A stream whose every field is there, with units.
template <class Scalar>
struct Units {
  seqbayes::Matrix<Scalar> key, value;
  seqbayes::Vector<Scalar> noise, drift, strength, log_decay;

  /// Keys in `k`, values in `v`, noise fields in `n` and `w`.
  Units(double v, double k, double n = 1, double w = 1) {
    std::mt19937 engine(7);
    constexpr Index length = 90, dk = 3;
    const Mat unit = unit_keys(length, dk, engine);
    const Vec profile = Vec::LinSpaced(length, 0.5, 2);
    const Vec decay = Vec::Constant(length, -0.02);
    Sequence<double> x;
    x.key = unit;
    x.observation_noise = profile;
    x.process_noise = profile;
    x.log_decay = decay;
    const Mat drawn = sample_values(x, 2, Levels{0.4, 0.03, 1.5}, Regime::full, engine);
    key = (unit * k).cast<Scalar>();
    value = (drawn * v).cast<Scalar>();
    noise = (profile * n).cast<Scalar>();
    drift = (profile * w).cast<Scalar>();
    strength = (Vec::LinSpaced(length, 0, 1) / (k * k)).cast<Scalar>();
    log_decay = decay.cast<Scalar>();
  }
  enum class Noise { none, fields, strengths };
  [[nodiscard]] Sequence<Scalar> view(Noise kind) const {
    Sequence<Scalar> x;
    x.key = key;
    x.value = value;
    x.log_decay = log_decay;
    if (kind == Noise::strengths) x.write_strength = strength;
    if (kind == Noise::fields) {
      x.observation_noise = noise;
      x.process_noise = drift;
    }
    return x;
  }
};
using Noise = Units<double>::Noise;

/// Factors of r, omega and sigma_0^2 that units bring.
template <class Scalar>
Vec levels_of(const NoiseLevels<Scalar>& levels, double r, double omega, double prior) {
  Vec scaled(3);
  scaled << double(levels.observation_noise) / r, double(levels.process_noise) / omega,
      double(levels.prior_variance) / prior;
  return scaled;
}

template <class L>
void check_units(Noise kind, double v, double k, double epsilon) {
  INFO("noise " << int(kind) << ", values times " << v << ", keys times " << k);
  // Noise fields in units of the values' squares, so that the levels r and omega are their factors.
  const bool fields = kind == Noise::fields;
  const double n = fields ? v * v : 1, w = fields ? v * v / (k * k) : 1;
  const auto plain = fit_noise<L>(Units<double>(1, 1).view(kind));
  const Units<double> units(v, k, n, w);
  const auto found = fit_noise<L>(units.view(kind));
  const double of_memory = v * v / (k * k), of_noise = v * v / n;
  // What strengths stand for is sigma_0^2 (1 - beta |k|^2) / beta, so in 1 / K^2 as sigma_0^2.
  const double r = kind == Noise::strengths ? of_memory : of_noise;
  const Vec want = levels_of(plain.levels, 1, 1, 1);
  const Vec got = levels_of(found.levels, r, of_memory / w, of_memory);
  const Vec errors = levels_of(plain.log_errors, 1, 1, 1);
  const Vec got_errors = levels_of(found.log_errors, 1, 1, 1);
  const double values = double(units.value.size());
  for (Index i = 0; i < 3; ++i) {
    INFO("level " << i);
    CHECK(got[i] == Approx(want[i]).epsilon(epsilon).margin(0));
    if (std::isfinite(errors[i])) {
      CHECK(got_errors[i] == Approx(errors[i]).epsilon(100 * epsilon));
    } else {
      CHECK(got_errors[i] == errors[i]);
    }
  }
  CHECK(found.log_evidence + values * std::log(v) ==
        Approx(plain.log_evidence).epsilon(1e-13).margin(1e-13 * values * std::abs(std::log(v))));
}

TEMPLATE_TEST_CASE("Fits follow the units of values, keys and noises", "", Reset, Diagonal, Full) {
  const Noise kind = GENERATE(Noise::none, Noise::fields, Noise::strengths);
  // Decimal units round every entry anew, which moves the evidence by its rounding and a Newton
  // step by that over a difference's step: some 1e-14 / 0.05^2, and errors by its square root.
  for (const auto& [v, k] : {std::pair(1e-15, 1.0),
                             {1e15, 1.0},
                             {1.0, 1e-15},
                             {1.0, 1e15},
                             {1e-15, 1e15},
                             {1e15, 1e-15},
                             {3e-7, 0.7}}) {
    check_units<TestType>(kind, v, k, 1e-9);
  }
  // Powers of two round nothing.
  check_units<TestType>(kind, std::ldexp(1, -140), std::ldexp(1, 77), 1e-15);
}

TEST_CASE("Fits in float follow the units as far as float holds them") {
  using Layer = DiagonalKalmanDeltaNet<float>;
  using seqbayes::BayesianLayer;
  const auto check = [](auto fit, double v, double k) {
    INFO("values times " << v << ", keys times " << k);
    const auto plain = fit(Units<float>(1, 1)), found = fit(Units<float>(v, k));
    const double memory = v * v / (k * k);
    // The evidence of 180 values is 2e-5 off, and 0.03 nats where it is curved by n / 2 are 2 %.
    CHECK(double(found.levels.observation_noise) / (v * v) ==
          Approx(plain.levels.observation_noise).epsilon(0.02));
    CHECK(double(found.levels.prior_variance) / memory ==
          Approx(plain.levels.prior_variance).epsilon(0.05));
  };
  for (const auto& [v, k] :
       {std::pair(1e-15, 1.0), {1e15, 1.0}, {1.0, 1e-15}, {1.0, 1e15}, {1e-8, 1e8}, {3e-7, 0.7}}) {
    const auto none = Units<float>::Noise::none;
    check([&](const auto& x) { return fit_noise<Layer>(x.view(none)); }, v, k);
    check([&](const auto& x) { return fit_noise<BayesianLayer<float>>(x.view(none)); }, v, k);
  }
  using Catch::Matchers::Contains;
  const Units<float> tiny(1e-20, 1);
  CHECK_THROWS_WITH(fit_noise<Layer>(tiny.view(Units<float>::Noise::none)),
                    Contains("beyond the range"));
}

TEST_CASE("The choice of a regime follows the units, and so do levels by moments") {
  const Units<double> plain(1, 1);
  const auto want = choose_regime(plain.view(Noise::none));
  const Levels moments = estimate_noise(plain.view(Noise::none), Mat(0.3 * plain.key));
  for (const auto& [v, k] : {std::pair(1e-15, 1e3), {1e15, 1e-15}, {0.1, 1e15}}) {
    INFO("values times " << v << ", keys times " << k);
    const Units<double> units(v, k);
    const auto x = units.view(Noise::none);
    const auto choice = choose_regime(x);
    CHECK(choice.margin == Approx(want.margin).epsilon(1e-10));
    CHECK(choice.margin_error == Approx(want.margin_error).epsilon(1e-8));
    CHECK(choice.reset.levels.prior_variance / (v * v / (k * k)) ==
          Approx(want.reset.levels.prior_variance).epsilon(1e-9));
    const Levels found = estimate_noise(x, Mat(units.key * (0.3 / (k * k))));
    CHECK(found.observation_noise / (v * v) == Approx(moments.observation_noise).epsilon(1e-11));
    CHECK(found.process_noise / (v * v / (k * k)) == Approx(moments.process_noise).epsilon(1e-11));
    CHECK(found.prior_variance / (v * v / (k * k)) ==
          Approx(moments.prior_variance).epsilon(1e-11));
  }
}

/// What `f` complains about; empty if it does not.
template <class F>
std::string complaint_of(const F& f) {
  try {
    f();
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "";
}

TEST_CASE("A stream that tells no noise levels is refused by its own fault") {
  std::mt19937 engine(3);
  std::normal_distribution<double> normal;
  const auto random = [&](Index rows, Index cols) {
    return Mat(Mat::NullaryExpr(rows, cols, [&] { return normal(engine); }));
  };
  const auto complaints = [&](const Mat& key, const Mat& value) {
    Sequence<double> x;
    x.key = key;
    x.value = value;
    const std::vector<std::string> all{complaint_of([&] { fit_noise<Full>(x); }),
                                       complaint_of([&] { choose_regime(x); })};
    CHECK(all[0] == all[1]);
    return all[0];
  };
  using Catch::Matchers::StartsWith;
  const Mat key = random(40, 4), value = random(40, 2), zero = Mat::Zero(40, 4);
  CHECK(complaints(key, value) == "");
  CHECK_THAT(complaints(key, zero), StartsWith("seqbayes: value is zero"));
  CHECK_THAT(complaints(zero, value), StartsWith("seqbayes: key is zero"));
  CHECK_THAT(complaints(Mat(0, 4), Mat(0, 2)), StartsWith("seqbayes: key has no rows"));
  CHECK_THAT(complaints(key.topRows(1), value.topRows(1)), StartsWith("seqbayes: key has one row"));
  CHECK_THAT(complaints(key, 1e160 * value), StartsWith("seqbayes: value reaches"));
  CHECK_THAT(complaints(key, 1e-170 * value), StartsWith("seqbayes: value reaches"));
  CHECK_THAT(complaints(1e-170 * key, value), StartsWith("seqbayes: value reaches"));
  CHECK_THAT(complaints(1e170 * key, value), StartsWith("seqbayes: value reaches"));
  CHECK_THAT(complaints(Mat::Identity(4, 4), value.topRows(4)),
             StartsWith("seqbayes: key never comes back"));
  CHECK_THAT(complaints(Mat::Ones(40, 4), Mat::Ones(40, 2)),
             StartsWith("seqbayes: value follows from key without noise"));
  CHECK_THAT(complaints(key, key * random(4, 2)),
             StartsWith("seqbayes: value follows from key without noise"));
  // One factor of all levels is told by a single token.
  Sequence<double> x;
  const Mat one = key.topRows(1), its = value.topRows(1);
  x.key = one;
  x.value = its;
  const auto fit = fit_noise<Reset>(x, Fitted::scale);
  CHECK(fit.levels.observation_noise ==
        Approx(its.squaredNorm() / (2 * (1 + one.squaredNorm()))).epsilon(1e-14));
}

TEST_CASE("A level that does not matter has an infinite error, and the other one its own") {
  std::mt19937 engine(9);
  std::normal_distribution<double> normal;
  const Mat key = Mat::Ones(300, 1);
  Mat value(300, 3);
  Sequence<double> x;
  x.key = key;
  // Values that are noise: the memory tells nothing of them, so sigma_0^2 is as good as 0.
  for (double& v : value.reshaped()) v = normal(engine);
  x.value = value;
  const auto noise = fit_noise<Diagonal>(x);
  CHECK(std::isinf(noise.log_errors.process_noise));
  CHECK(noise.log_errors.observation_noise < 0.1);
  CHECK(noise.levels.observation_noise == Approx(1).epsilon(0.2));
  // A walk whose steps go on by half: a gain above 1 would be best, so r is as good as 0.
  for (Index t = 1; t < 300; ++t) value.row(t) += 0.5 * value.row(t - 1);
  const double step = value.squaredNorm() / 900;
  for (Index t = 1; t < 300; ++t) value.row(t) += value.row(t - 1);
  const auto walk = fit_noise<Reset>(x);
  CHECK(std::isinf(walk.log_errors.observation_noise));
  CHECK(walk.log_errors.prior_variance == Approx(std::sqrt(2.0 / 900)).epsilon(1e-3));
  CHECK(walk.levels.prior_variance == Approx(step).epsilon(1e-4));  // r / sigma_0^2 is 1e-6
}

TEST_CASE("Innovations are seen however small they are against what is claimed") {
  const Units<double> plain(1, 1), tiny(std::ldexp(1, -300), 1);
  const auto seen_of = [](const Units<double>& units) {
    auto x = units.view(Noise::fields);
    const Full layer({.key_dim = 3, .value_dim = 2, .prior_variance = 2});
    const Mat log_decay = units.log_decay.replicate(1, 3);
    x.log_decay = log_decay;
    return innovations(layer, x);
  };
  const auto seen = seen_of(plain), small = seen_of(tiny);
  CHECK(small.claimed == seen.claimed);
  CHECK(small.actual == Vec(seen.actual * std::ldexp(1, -600)));
  CHECK(seen.actual[0] == Approx(plain.value.row(0).squaredNorm() / 2).epsilon(1e-15));
  CHECK(seen.claimed[0] ==
        Approx(plain.noise[0] + 2 * std::exp(-0.04) + plain.drift[0]).epsilon(1e-14));
}

}  // namespace
}  // namespace dynamics_test::units_test
