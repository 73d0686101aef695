// Modules and checkpoints against the model written out in Eigen, and a pretrained model as the
// start of a filter.
#include <torch/autograd.h>

#include <cstdlib>

#include "plain_model.hpp"

namespace language_model_test {
namespace {

TEST_CASE("language model: a checkpoint's logits, at once and token by token") {
  const torch::NoGradGuard no_grad;
  for (const bool full : {true, false}) {
    const Plain plain(full);
    const Workplace work;
    plain.write(work.path);
    const MatrixXd expected = plain.logits(text);  // of order 1
    auto model = st::read_language_model(work.path, at::kDouble);
    CHECK(deviation(model->forward(as_tensor(text)), expected) < 1e-12);
    auto single = st::read_language_model(work.path, at::kFloat);
    CHECK(deviation(single->forward(as_tensor(text)), expected) < 1e-4);

    st::LanguageModelImpl::Cache cache;
    std::vector<Tensor> parts;
    const Tensor tokens = as_tensor(text);
    parts.push_back(model->forward(tokens.slice(1, 0, 5), cache));
    for (std::int64_t t = 5; t < tokens.size(1); ++t) {
      parts.push_back(model->forward(tokens.slice(1, t, t + 1), cache));
    }
    CHECK(deviation(torch::cat(parts, 1), expected) < 1e-12);

    if (full) {  // two texts in a batch
      const std::vector<std::int64_t> other(text.rbegin(), text.rend());
      const Tensor both = model->forward(torch::cat({tokens, as_tensor(other)}));
      CHECK(deviation(both.slice(0, 1), plain.logits(other)) < 1e-12);
    }
  }
}

TEST_CASE("filters: at the reset a pretrained Gated DeltaNet keeps its outputs") {
  Plain plain(true);
  const Workplace work;
  plain.write(work.path);
  const MatrixXd expected = plain.logits(text);
  for (const auto rule : {st::Rule::diagonal_kalman, st::Rule::bayesian}) {
    auto model = st::read_language_model(work.path, at::kDouble, rule);
    CHECK(deviation(model->forward(as_tensor(text)), expected) < 1e-12);
    auto single = st::read_language_model(work.path, at::kFloat, rule);
    CHECK(deviation(single->forward(as_tensor(text)), expected) < 1e-4);
  }
  plain.config["allow_neg_eigval"] = true;
  plain.write(work.path);
  CHECK_THROWS_AS(st::read_language_model(work.path, at::kDouble, st::Rule::bayesian),
                  std::invalid_argument);
}

TEST_CASE("filters: derivatives with respect to what is forgotten") {
  const Tensor h = torch::randn({2, 9, 8}, at::kDouble);
  for (const auto rule : {st::Rule::diagonal_kalman, st::Rule::bayesian}) {
    for (const auto forgetting : {st::Forgetting::dial, st::Forgetting::tied}) {
      for (const bool memory_decay : {true, false}) {
        torch::manual_seed(3);
        st::Mixer mixer(st::MixerOptions{.rule = rule,
                                         .hidden_size = 8,
                                         .num_heads = 2,
                                         .head_dim = 4,
                                         .memory_decay = memory_decay,
                                         .forgetting = forgetting,
                                         .forgetting_start = -2});
        mixer->to(at::kDouble);
        {
          const torch::NoGradGuard no_grad;
          mixer->f_proj->weight.uniform_(-0.5, 0.5);
        }
        const auto loss = [&] {
          st::MixerState state;
          return mixer(h, state).square().mean();
        };
        const auto leaves = mixer->forgetting_parameters();
        REQUIRE(leaves.size() == 2);
        const auto gradients = torch::autograd::grad({loss()}, leaves);
        const torch::NoGradGuard no_grad;
        for (std::size_t i = 0; i < leaves.size(); ++i) {
          INFO("parameter " << i << ", form " << int(forgetting) << ", decay " << memory_decay);
          double* entry = leaves[i].data_ptr<double>() + 1;
          const double at = *entry, h_step = 1e-5;
          const auto loss_at = [&](double step) {
            *entry = at + step;
            return loss().item<double>();
          };
          const double difference = (loss_at(h_step) - loss_at(-h_step)) / (2 * h_step);
          *entry = at;
          // Rounding of a loss of order 0.1, 1e-17 / h, and truncation.
          CHECK(gradients[i].flatten()[1].item<double>() ==
                Approx(difference).epsilon(1e-5).margin(1e-10));
          CHECK(std::abs(difference) > 1e-7);
        }
      }
    }
  }
}

TEST_CASE("filters: where nothing is written the covariance stays at its prior") {
  const torch::NoGradGuard no_grad;
  for (const auto forgetting : {st::Forgetting::dial, st::Forgetting::tied}) {
    st::Mixer mixer(st::MixerOptions{.rule = st::Rule::bayesian,
                                     .hidden_size = 8,
                                     .head_dim = 4,
                                     .forgetting = forgetting,
                                     .forgetting_start = -3});
    mixer->b_proj->weight.zero_();
    st::MixerState state;
    st::Inputs x = mixer->inputs(torch::randn({1, 30, 8}), state);
    x.key = torch::zeros_like(x.key);
    st::State memory;
    mixer->mix(x, memory);
    // Thirty roundings of numbers of order 1.
    CHECK((memory.covariance[0][0] - torch::eye(4)).abs().max().item<double>() < 1e-5);
    CHECK(x.covariance_log_decay.defined() == (forgetting == st::Forgetting::dial));
  }
}

TEST_CASE("language model: training lowers the loss of every rule") {
  const Tensor tokens = as_tensor(text);
  for (const auto rule :
       {st::Rule::linear_attention, st::Rule::ssd, st::Rule::delta_net, st::Rule::gated_delta_net,
        st::Rule::diagonal_kalman, st::Rule::bayesian, st::Rule::student_t}) {
    torch::manual_seed(2);
    st::LanguageModelOptions options;
    options.mixer = {.rule = rule, .hidden_size = 8, .num_heads = 2, .head_dim = 4};
    options.vocab_size = 11;
    options.intermediate_size = 8;
    st::LanguageModel model(options);
    const auto loss = [&] {
      const Tensor log_p = torch::log_softmax(model->forward(tokens.slice(1, 0, -1)), -1);
      return -log_p.gather(2, tokens.slice(1, 1).unsqueeze(2)).mean();
    };
    const double before = loss().item<double>();
    for (int step = 0; step < 20; ++step) {
      model->zero_grad();
      loss().backward();
      const torch::NoGradGuard no_grad;
      for (auto& parameter : model->parameters()) {
        REQUIRE(parameter.grad().isfinite().all().item<bool>());
        parameter -= 0.3 * parameter.grad();
      }
    }
    CHECK(loss().item<double>() < 0.8 * before);
  }
}

#ifdef RUN_CHECKPOINT
TEST_CASE("run_checkpoint: succeeds where the recorded logits are met, and only there") {
  const Plain plain(true);
  const Workplace work;
  plain.write(work.path);
  seqbayes::Matrix<double> logits = plain.logits(text);
  const std::vector<double> tokens(text.begin(), text.end());
  const auto run = [&] {
    const std::int64_t length = std::int64_t(text.size());
    const std::vector<double> numbers(logits.data(), logits.data() + logits.size());
    seqbayes::safetensors::write(work.path / "stream",
                                 {seqbayes::safetensors::view("tokens", {length}, tokens),
                                  seqbayes::safetensors::view("logits", {length, 11}, numbers)});
    const std::string where = "'" + work.path.string() + "'";
    return std::system(
        ("\"" RUN_CHECKPOINT "\" " + where + " " + where + "/stream >" + where + "/out 2>&1")
            .c_str());
  };
  CHECK(run() == 0);
  logits(3, 4) += 0.01;
  CHECK(run() != 0);
}
#endif

}  // namespace
}  // namespace language_model_test
