// A covariance decay above 1 (recursive least squares with strong forgetting, R5.4) multiplies the
// covariance over a tile by more than float can hold, though P itself stays bounded: the tiles have
// to apply their common factor in time.
#include <cmath>
#include <random>

#include "seqbayes/seqbayes.hpp"
#include "support/catch.hpp"

TEST_CASE("tiles survive a covariance decay whose product overflows", "[laws]") {
  using Layer = seqbayes::BayesianLayer<float>;
  const Layer layer({.key_dim = 2, .value_dim = 3});
  const int length = 1024;
  // Keys in turn along two directions: each is seen every second token, so P settles.
  seqbayes::Matrix<float> key(length, 2), value(length, 3);
  for (int t = 0; t < length; ++t) {
    key.row(t) << (t % 2 == 0 ? 1.0F : 0.6F), (t % 2 == 0 ? 0.2F : -0.8F);
    for (int j = 0; j < 3; ++j) value(t, j) = std::sin(0.1F * float(t * (j + 1)));
  }
  const float mu = 0.65F;
  const seqbayes::Vector<float> zero = seqbayes::Vector<float>::Zero(length);
  const seqbayes::Vector<float> one = seqbayes::Vector<float>::Ones(length);
  const seqbayes::Vector<float> growth = zero.array() - 0.5F * std::log(mu);
  seqbayes::Sequence<float> x;
  x.query = x.key = key;
  x.value = value;
  x.log_decay = x.process_noise = zero;
  x.observation_noise = one;
  x.covariance_log_decay = growth;
  REQUIRE(std::isinf(std::pow(1.0F / mu, float(length))));

  auto by_step = layer.initial_state(), by_tile = layer.initial_state();
  const auto steps = scan(layer, by_step, x, seqbayes::Execution::sequential());
  const auto tiles = scan(layer, by_tile, x, seqbayes::Execution::chunked(512));
  REQUIRE(tiles.mean.allFinite());
  REQUIRE(tiles.variance.allFinite());
  // The window is 1 / (1 - mu) = 3 tokens, so P has condition ~ 10 and rounding is forgotten at
  // once: 100 float units of the largest entry.
  const float bound = 1e-5F;
  CHECK((steps.mean - tiles.mean).cwiseAbs().maxCoeff() < bound * steps.mean.cwiseAbs().maxCoeff());
  CHECK((steps.variance - tiles.variance).cwiseAbs().maxCoeff() <
        bound * steps.variance.maxCoeff());
  CHECK((by_step.covariance - by_tile.covariance).cwiseAbs().maxCoeff() <
        bound * by_step.covariance.cwiseAbs().maxCoeff());
}

TEST_CASE("a covariance that explodes between keys is finite in every form", "[laws]") {
  using Layer = seqbayes::BayesianLayer<float>;
  const Layer layer({.key_dim = 4, .value_dim = 4});
  const int length = 1000;
  seqbayes::Matrix<float> key(length, 4);
  std::mt19937 random(1);
  for (auto& entry : key.reshaped()) entry = float(random()) / float(random.max()) - 0.5F;
  const seqbayes::Vector<float> zero = seqbayes::Vector<float>::Zero(length);
  const seqbayes::Vector<float> one = seqbayes::Vector<float>::Ones(length);
  const seqbayes::Matrix<float> by_channel = seqbayes::Matrix<float>::Ones(length, 4);
  seqbayes::Sequence<float> x;
  x.query = x.key = x.value = key;
  x.log_decay = x.process_noise = zero;
  x.observation_noise = one;
  const auto run = [&](seqbayes::Execution how) {
    auto state = layer.initial_state();
    return scan(layer, state, x, how).mean.allFinite() && state.covariance.allFinite();
  };
  x.covariance_log_decay = one;  // e^2 a token, in directions that no key looks at
  CHECK(run(seqbayes::Execution::sequential()));
  CHECK(run({}));
  x.covariance_log_decay = by_channel;
  CHECK(run({}));
}
