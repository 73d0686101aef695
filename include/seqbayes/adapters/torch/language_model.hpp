/// @file
/// The language model around the mixers, and reading and writing it. Needs nlohmann-json.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/embedding.h>

#include <seqbayes/adapters/torch/checkpoint.hpp>

namespace seqbayes::libtorch {

/// x += mixer(norm x), x += mlp(norm x).
class BlockImpl : public ::torch::nn::Module {
 public:
  explicit BlockImpl(const LanguageModelOptions& options)
      : attn_norm(options.mixer.hidden_size, options.mixer.norm_eps),
        attn(options.mixer),
        mlp_norm(options.mixer.hidden_size, options.mixer.norm_eps),
        mlp(options.mixer.hidden_size, options.intermediate_size) {
    register_module("attn_norm", attn_norm);
    register_module("attn", attn);
    register_module("mlp_norm", mlp_norm);
    register_module("mlp", mlp);
  }
  Tensor forward(Tensor x, MixerState& state, const Tensor& mask) {
    x = x + attn(attn_norm(x), state, mask);
    return x + mlp(mlp_norm(x));
  }
  RmsNorm attn_norm;
  Mixer attn;
  RmsNorm mlp_norm;
  Mlp mlp;
};
TORCH_MODULE(Block);

/// Embedding, blocks and the last norm.
class BackboneImpl : public ::torch::nn::Module {
 public:
  explicit BackboneImpl(const LanguageModelOptions& options)
      : embeddings(options.vocab_size, options.mixer.hidden_size),
        norm(options.mixer.hidden_size, options.mixer.norm_eps) {
    register_module("embeddings", embeddings);
    register_module("layers", layers);
    register_module("norm", norm);
    for (std::int64_t i = 0; i < options.num_hidden_layers; ++i) layers->push_back(Block(options));
  }
  ::torch::nn::Embedding embeddings;
  ::torch::nn::ModuleList layers;
  RmsNorm norm;
};
TORCH_MODULE(Backbone);

/// From tokens to logits.
class LanguageModelImpl : public ::torch::nn::Module {
 public:
  /// What generation carries from token to token: a mixer state for each layer.
  using Cache = std::vector<MixerState>;

  explicit LanguageModelImpl(const LanguageModelOptions& options)
      : model(options.checked()), options_(options) {
    register_module("model", model);
    if (options.tie_word_embeddings) return;
    lm_head = register_module("lm_head", Linear(options.mixer.hidden_size, options.vocab_size));
  }

  /// Logits [B, T, vocab_size] of tokens [B, T] (int64) that follow those of the cache, which is
  /// advanced; an empty cache is the start of a text. Texts of different lengths are padded on
  /// either side, with any tokens, which `mask` (see `Inputs`) excludes: they have no trace in the
  /// cache, and their logits no meaning.
  /// @throws std::invalid_argument if the cache is another model's; it is then as it was.
  Tensor forward(const Tensor& tokens, Cache& cache, const Tensor& mask = {}) {
    return logits(hidden(tokens, cache, mask));
  }
  /// The same for a whole text.
  Tensor forward(const Tensor& tokens) {
    Cache cache;
    return forward(tokens, cache);
  }

  /// What `forward` gives `logits`, [B, T, hidden_size]: where few positions count, pick them
  /// first, as the output product is a good part of a small model's work.
  Tensor hidden(const Tensor& tokens, Cache& cache, const Tensor& mask = {}) {
    const auto layers = model->layers->size();
    Cache next = cache.empty() ? Cache(layers) : cache;
    if (next.size() != layers) {
      detail::fail("the cache has " + std::to_string(next.size()) + " layers, the model " +
                   std::to_string(layers));
    }
    Tensor x = model->embeddings(tokens);
    for (std::size_t i = 0; i < layers; ++i) {
      x = model->layers->ptr<BlockImpl>(i)->forward(x, next[i], mask);
    }
    cache = std::move(next);
    return model->norm(x);
  }
  /// [..., vocab_size] from [..., hidden_size].
  Tensor logits(const Tensor& hidden) {
    return LinearImpl::product(hidden, lm_head ? lm_head->weight : model->embeddings->weight);
  }

  [[nodiscard]] const LanguageModelOptions& options() const { return options_; }

  Backbone model;
  Linear lm_head{nullptr};  ///< None if the embeddings are tied.

 private:
  LanguageModelOptions options_;
};
TORCH_MODULE(LanguageModel);

/// Reads a checkpoint: config.json, and model.safetensors or the shards that
/// model.safetensors.index.json lists, to a model of these options. They may make a filter of a
/// reset layer, whose parameters f_proj and f_bias then stay as they start.
/// @throws std::exception naming the file that is broken.
inline LanguageModel read_language_model(const std::filesystem::path& directory,
                                         const LanguageModelOptions& options,
                                         at::ScalarType dtype = at::kFloat) {
  LanguageModel model(options);
  model->to(dtype);
  const auto own = LanguageModelOptions::read(directory / "config.json");
  detail::load(*model, directory, own.mixer.is_filter());
  model->eval();
  return model;
}

/// The same with the checkpoint's own options, or as another rule: from a reset layer to a filter
/// at `MixerOptions::reset`, whose outputs are those of the checkpoint until it is trained (but for
/// `student_t`, which weighs outliers from the start).
inline LanguageModel read_language_model(const std::filesystem::path& directory,
                                         at::ScalarType dtype = at::kFloat,
                                         std::optional<Rule> rule = std::nullopt) {
  auto options = LanguageModelOptions::read(directory / "config.json");
  if (rule) {
    options.mixer.memory_decay = options.mixer.decays();
    options.mixer.rule = *rule;
  }
  return read_language_model(directory, options, dtype);
}

/// Writes a checkpoint in float32 that `read_language_model` reads: a Gated DeltaNet as
/// flash-linear-attention has it, and any other rule with its options as model_type "seqbayes".
/// Each file takes the place of an older one only when it is complete.
/// @throws std::exception naming the file that cannot be written.
inline void save_language_model(const LanguageModel& model,
                                const std::filesystem::path& directory) {
  std::filesystem::create_directories(directory);
  detail::save(*model, directory / "model.safetensors");
  model->options().write(directory / "config.json");
}

}  // namespace seqbayes::libtorch
