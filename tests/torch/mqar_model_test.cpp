// examples/torch/mqar_model.hpp: its loss and its convolution as libtorch would do them, causality,
// how it starts, dropout.
#include <torch/autograd.h>
#include <torch/nn/functional/loss.h>

#include <cmath>
#include <random>
#include <vector>

#include "../../examples/torch/mqar_model.hpp"
#include "support/catch.hpp"

namespace mqar_model_test {
namespace {

using mqar::Batch, mqar::Entrant, mqar::Model, mqar::Task;
using torch::Tensor;

double error(const Tensor& a, const Tensor& b) { return (a - b).abs().max().item<double>(); }

TEST_CASE("mqar model: cross entropy and its gradient in blocks are those of all logits at once") {
  torch::manual_seed(3);
  for (const std::int64_t rows : {1, 256, 700}) {
    const auto options = torch::dtype(at::kDouble).requires_grad(true);
    const Tensor x = torch::randn({rows, 5}, options), embedding = torch::randn({9, 5}, options);
    const Tensor answers = torch::randint(9, {rows}, at::kLong);
    const Tensor loss = mqar::CrossEntropy::apply(x, embedding, answers);
    const Tensor plain = torch::nn::functional::cross_entropy(x.matmul(embedding.t()), answers);
    CHECK(error(loss, plain) < 1e-13);
    const auto d = torch::autograd::grad({3 * loss}, {x, embedding});
    const auto expected = torch::autograd::grad({3 * plain}, {x, embedding});
    CHECK(error(d[0], expected[0]) < 1e-13);
    CHECK(error(d[1], expected[1]) < 1e-13);
  }
}

TEST_CASE("mqar model: the convolution is libtorch's, padded in front") {
  torch::manual_seed(4);
  const torch::NoGradGuard no_grad;
  mqar::GatedConvolution layer(6);
  const Tensor u = torch::randn({2, 9, 6});
  const Tensor convolved =
      torch::conv1d(u.transpose(1, 2), layer->weight.t().unsqueeze(1), layer->bias, 1, 2, 1, 6)
          .slice(2, 0, 9)
          .transpose(1, 2);
  const Tensor gate = u.matmul(layer->projection->weight.t()) + layer->projection->bias;
  CHECK(error(layer(u), convolved * gate + u) < 1e-6);
}

TEST_CASE("mqar model: an answer sees no later token, and all that came before") {
  const torch::NoGradGuard no_grad;
  for (const Entrant& entrant : mqar::entrants()) {
    INFO(entrant.id);
    torch::manual_seed(5);
    Model model(entrant, 32, 8);
    Batch batch{torch::randint(32, {1, 12}, at::kLong), torch::arange(12).unsqueeze(0),
                torch::zeros({1, 12}, at::kLong)};
    const Tensor before = model(batch);
    batch.tokens = batch.tokens.clone();
    batch.tokens[0][5] = (batch.tokens[0][5] + 1) % 32;
    const Tensor after = model(batch);
    CHECK(after.slice(0, 0, 5).equal(before.slice(0, 0, 5)));
    for (std::int64_t t = 5; t < 12; ++t) CHECK(error(after[t], before[t]) > 0);
  }
}

TEST_CASE("mqar model: small weights to begin with, and filters that forget little") {
  for (const Entrant& entrant : mqar::entrants()) {
    INFO(entrant.id);
    torch::manual_seed(6);
    Model model(entrant, 256, 32);
    for (const Tensor& weight : {model->embedding->weight, model->convolution->projection->weight,
                                 model->mixer->q_proj->weight, model->mixer->o_proj->weight}) {
      CHECK(weight.std().item<double>() == Approx(0.02).epsilon(0.1));
    }
    const auto forgetting = model->mixer->forgetting_parameters();
    if (model->mixer->options().is_filter()) {
      CHECK(forgetting[0].abs().max().item<double>() == 0);
      CHECK(forgetting[1].eq(entrant.forgetting_start).all().item<bool>());
    }
    mqar::Random random(std::mt19937_64(1));
    const Batch batch = Task(256).draw({32, 4}, 8, random);
    CHECK(model->loss(batch).item<double>() == Approx(std::log(256)).epsilon(0.05));
  }
}

TEST_CASE("mqar model: dropout follows its generator alone") {
  torch::manual_seed(7);
  Model model(mqar::entrants().back(), 64, 8);
  mqar::Random random(std::mt19937_64(2));
  std::mt19937_64 first(3), again(3), other(4);
  const Batch batch = Task(64).draw({32, 4}, 8, random);
  const Tensor dropped = model(batch, &first);
  torch::manual_seed(8);
  CHECK(model(batch, &again).equal(dropped));
  CHECK_FALSE(model(batch, &other).equal(dropped));
  CHECK_FALSE(model(batch).equal(dropped));
}

TEST_CASE("mqar model: recalled are the answers with the largest logit") {
  torch::manual_seed(9);
  const torch::NoGradGuard no_grad;
  Model model(mqar::entrants().front(), 64, 8);
  mqar::Random random(std::mt19937_64(2));
  Batch batch = Task(64).draw({32, 4}, 8, random);
  const Tensor likeliest =
      model(batch).matmul(model->embedding->weight.t()).argmax(1).reshape({8, 4});
  batch.answers = likeliest.clone();
  batch.answers.slice(0, 0, 3).add_(1);
  CHECK(model->recalled(batch) == 20);
}

}  // namespace
}  // namespace mqar_model_test
