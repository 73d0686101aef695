/// The model of Zoology's experiments, with the layers that enter.
#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/nn/functional/padding.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/normalization.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <seqbayes/adapters/torch/mixer.hpp>

#include "../support/study.hpp"
#include "mqar_task.hpp"

namespace mqar {

namespace st = seqbayes::libtorch;

struct Entrant {
  std::string id;
  study::Style style;
  st::Rule rule;
  bool memory_decay = true;  // of filters
  st::Forgetting forgetting = st::Forgetting::dial;
  double forgetting_start = -5;
};

inline const std::vector<Entrant>& entrants() {
  using st::Rule, st::Forgetting;
  static const std::vector<Entrant> all = {
      {"linear_attention", {"linear attention", "#222222", "solid", 1}, Rule::linear_attention},
      {"ssd", {"SSD", "#cc79a7", "solid", 2}, Rule::ssd},
      {"delta_net", {"DeltaNet", "#999999", "solid", 5}, Rule::delta_net},
      {"gated_delta_net", {"Gated DeltaNet", "#e69f00", "solid", 9}, Rule::gated_delta_net},
      {"diagonal_kalman",
       {"diagonal Kalman", "#56b4e9", "solid", 11},
       Rule::diagonal_kalman,
       false},
      {"bayesian_tied",
       {"Bayesian, tied", "#009e73", "solid", 13},
       Rule::bayesian,
       true,
       Forgetting::tied},
      {"bayesian_static",
       {"Bayesian, never forgets", "#0072b2", "solid", 3},
       Rule::bayesian,
       false,
       Forgetting::dial,
       -1000},  // rho is 0 and stays it: recursive least squares
      {"bayesian_dial", {"Bayesian, dial", "#d55e00", "solid", 7}, Rule::bayesian, false}};
  return all;
}

/// conv(u) * (W u + b) + u, with a causal convolution of three taps a channel.
class GatedConvolutionImpl : public torch::nn::Module {
 public:
  explicit GatedConvolutionImpl(std::int64_t width)
      : projection(register_module("projection", torch::nn::Linear(width, width))) {
    const double bound = 1 / std::sqrt(3.0);  // as torch::nn::Conv1d
    weight = register_parameter("weight", torch::empty({3, width}).uniform_(-bound, bound));
    bias = register_parameter("bias", torch::empty({width}).uniform_(-bound, bound));
  }
  Tensor forward(const Tensor& u) {
    const std::int64_t length = u.size(1);
    const Tensor past = torch::constant_pad_nd(u, {0, 0, 2, 0});
    Tensor sum = bias;
    for (std::int64_t i = 0; i < 3; ++i) sum = sum + past.slice(1, i, i + length) * weight[i];
    return sum * projection(u) + u;
  }
  torch::nn::Linear projection;
  Tensor weight, bias;
};
TORCH_MODULE(GatedConvolution);

/// Mean of -log softmax(x E')[answer], over rows of x. The gradient is taken on the way, a block of
/// rows at a time, as the logits of all would take gigabytes.
class CrossEntropy : public torch::autograd::Function<CrossEntropy> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x,
                        const Tensor& embedding, const Tensor& answers) {
    constexpr std::int64_t block = 256;
    const std::int64_t rows = x.size(0);
    const Tensor dx = torch::empty_like(x), d_embedding = torch::zeros_like(embedding);
    double sum = 0;
    for (std::int64_t i = 0; i < rows; i += block) {
      const Tensor part = x.slice(0, i, i + block);
      const Tensor answer = answers.slice(0, i, i + block).unsqueeze(1);
      Tensor p = torch::log_softmax(part.matmul(embedding.t()), 1);
      sum -= p.gather(1, answer).sum().item<double>();
      p = p.exp_().scatter_add_(1, answer, torch::full(answer.sizes(), -1.0, p.options()));
      dx.slice(0, i, i + block) = p.matmul(embedding) / rows;
      d_embedding.addmm_(p.t(), part, 1, 1 / double(rows));
    }
    context->save_for_backward({dx, d_embedding});
    return torch::full({}, sum / double(rows), x.options());
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list d) {
    const auto saved = context->get_saved_variables();
    return {d[0] * saved[0], d[0] * saved[1], Tensor()};
  }
};

/// Embedding, tied with the output; two blocks x + mixer(norm(x)): a gated convolution, then the
/// layer; a norm.
class ModelImpl : public torch::nn::Module {
 public:
  ModelImpl(const Entrant& entrant, std::int64_t vocabulary, std::int64_t width)
      : embedding(vocabulary, width),
        convolution(width),
        mixer(st::MixerOptions{.rule = entrant.rule,
                               .hidden_size = width,
                               .num_heads = 2,
                               .head_dim = width / 2,
                               .use_gate = false,
                               .memory_decay = entrant.memory_decay,
                               .forgetting = entrant.forgetting,
                               .forgetting_start = entrant.forgetting_start}) {
    register_module("embedding", embedding);
    register_module("convolution", convolution);
    register_module("mixer", mixer);
    for (std::size_t i = 0; i < 3; ++i) {
      norms.emplace_back(torch::nn::LayerNormOptions({width}));
      register_module("norm" + std::to_string(i), norms.back());
    }
    const torch::NoGradGuard no_grad;
    embedding->weight.normal_(0, 0.02);
    for (const auto& module : modules(false)) {
      if (const auto* linear = module->as<torch::nn::Linear>()) {
        linear->weight.normal_(0, 0.02);
        if (linear->bias.defined()) linear->bias.zero_();
      }
    }
    if (mixer->options().is_filter()) mixer->f_proj->weight.zero_();
  }

  /// What the model says where keys are asked for, [B * pairs, width]; its products with the
  /// embedding are the logits. With `random` a tenth of the embeddings' entries is dropped.
  Tensor forward(const Batch& batch, std::mt19937_64* random = nullptr) {
    Tensor x = embedding(batch.tokens);
    if (random != nullptr) {
      constexpr double kept = 0.9;
      const auto generator = at::detail::createCPUGenerator((*random)());
      const Tensor mask = torch::empty(x.sizes()).bernoulli_(kept, generator).div_(kept);
      x = x * mask.to(x.device());
    }
    st::MixerState state;
    x = x + convolution(norms[0](x));
    x = x + mixer(norms[1](x), state);
    const auto index = batch.positions.unsqueeze(2).expand({-1, -1, x.size(2)});
    return norms[2](x.gather(1, index)).flatten(0, 1);
  }

  /// Nats an answer.
  Tensor loss(const Batch& batch, std::mt19937_64* random = nullptr) {
    return CrossEntropy::apply(forward(batch, random), embedding->weight, batch.answers.flatten());
  }

  /// How many answers are the likeliest token.
  std::int64_t recalled(const Batch& batch) {
    const Tensor logits = forward(batch).matmul(embedding->weight.t());
    return logits.argmax(1).eq(batch.answers.flatten()).sum().item<std::int64_t>();
  }

  torch::nn::Embedding embedding;
  GatedConvolution convolution;
  st::Mixer mixer;
  std::vector<torch::nn::LayerNorm> norms;
};
TORCH_MODULE(Model);

}  // namespace mqar
