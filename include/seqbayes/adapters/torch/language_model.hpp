/// @file
/// The language model around the mixers, and its checkpoints in flash-linear-attention's layout
/// (`GatedDeltaNetForCausalLM`). Needs nlohmann-json.
#pragma once

#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/embedding.h>

#include <filesystem>
#include <fstream>
#include <set>

#include <seqbayes/adapters/safetensors.hpp>
#include <seqbayes/adapters/torch/mixer.hpp>

namespace seqbayes::libtorch {

/// Named as in config.json.
struct LanguageModelOptions {
  MixerOptions mixer;
  std::int64_t vocab_size = 0;
  std::int64_t num_hidden_layers = 1;
  std::int64_t intermediate_size = 0;  ///< Inner width of the MLPs.

  /// Reads config.json of a checkpoint.
  /// @throws std::invalid_argument if it is of another kind of model than this one.
  static LanguageModelOptions read(const std::filesystem::path& file);
};

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
  Tensor forward(Tensor x, MixerState& state) {
    x = x + attn(attn_norm(x), state);
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
      : model(options), lm_head(Linear(options.mixer.hidden_size, options.vocab_size)) {
    register_module("model", model);
    register_module("lm_head", lm_head);
  }

  /// Logits [B, T, vocab_size] of tokens [B, T] (int64) that follow those of the cache, which is
  /// advanced; an empty cache is the start of a text.
  /// @throws std::invalid_argument if the cache is another model's; it is then as it was.
  Tensor forward(const Tensor& tokens, Cache& cache) {
    const auto layers = model->layers->size();
    Cache next = cache.empty() ? Cache(layers) : cache;
    if (next.size() != layers) {
      detail::fail("the cache has " + std::to_string(next.size()) + " layers, the model " +
                   std::to_string(layers));
    }
    Tensor x = model->embeddings(tokens);
    for (std::size_t i = 0; i < layers; ++i) {
      x = model->layers->ptr<BlockImpl>(i)->forward(x, next[i]);
    }
    cache = std::move(next);
    return lm_head(model->norm(x));
  }
  /// The same for a whole text.
  Tensor forward(const Tensor& tokens) {
    Cache cache;
    return forward(tokens, cache);
  }

  Backbone model;
  Linear lm_head;
};
TORCH_MODULE(LanguageModel);

inline LanguageModelOptions LanguageModelOptions::read(const std::filesystem::path& file) try {
  std::ifstream stream(file);
  if (!stream) detail::fail("the file cannot be opened");
  const auto json = nlohmann::json::parse(stream);
  const auto is_null = [&](const char* name) {
    return !json.contains(name) || json[name].is_null();
  };
  const auto get = [&](const char* name, auto otherwise) {
    return is_null(name) ? otherwise : json[name].template get<decltype(otherwise)>();
  };
  const auto activation = get("hidden_act", std::string("swish"));
  if (get("model_type", std::string()) != "gated_deltanet" || !is_null("attn") ||
      (activation != "swish" && activation != "silu") || get("tie_word_embeddings", false)) {
    detail::fail(
        "expected model_type gated_deltanet without attention layers and tied embeddings, with "
        "SiLU");
  }
  LanguageModelOptions options;
  MixerOptions& mixer = options.mixer;
  mixer.hidden_size = json.at("hidden_size");
  mixer.num_heads = json.at("num_heads");
  mixer.num_v_heads = get("num_v_heads", mixer.num_v_heads);
  mixer.head_dim = json.at("head_dim");
  mixer.expand_v = get("expand_v", 2.0);
  mixer.conv_size = get("use_short_conv", true) ? get("conv_size", mixer.conv_size) : 0;
  mixer.use_gate = get("use_gate", true);
  mixer.allow_neg_eigval = get("allow_neg_eigval", false);
  mixer.norm_eps = get("norm_eps", mixer.norm_eps);
  options.vocab_size = json.at("vocab_size");
  options.num_hidden_layers = json.at("num_hidden_layers");
  // As flash-linear-attention: 2/3 hidden_ratio, up to a multiple of 256.
  const auto inner = mixer.hidden_size * get("hidden_ratio", std::int64_t(4)) * 2 / 3;
  options.intermediate_size = get("intermediate_size", (inner + 255) / 256 * 256);
  return options;
} catch (const std::exception& error) {
  throw std::invalid_argument(file.string() + ": " + error.what());
}

/// Copies a checkpoint's tensors into the parameters of the same names, in the parameters' dtype.
/// Parameters that only a filter has (see `Mixer`) may be missing; they stay as they are.
/// @throws std::invalid_argument naming what is missing, left over, or of another shape.
inline void load(::torch::nn::Module& module, const safetensors::File& file) {
  const ::torch::NoGradGuard no_grad;
  const std::set<std::string> own = {"f_proj.weight", "f_bias"};
  std::set<std::string> left;
  for (const auto& name : file.names()) left.insert(name);
  for (auto& entry : module.named_parameters()) {
    const std::string& name = entry.key();
    const safetensors::Tensor* stored = file.find(name);
    if (stored == nullptr) {
      const auto begin = name.rfind("attn.");
      if (begin != name.npos && own.contains(name.substr(begin + 5))) continue;
      detail::fail("the checkpoint has no " + name);
    }
    if (entry.value().sizes() != at::IntArrayRef(stored->shape)) {
      detail::fail("the checkpoint's " + name + " is " + detail::shape(stored->shape) +
                   ", expected " + detail::shape(entry.value().sizes()));
    }
    std::vector<double> numbers = safetensors::values<double>(*stored);
    entry.value().copy_(::torch::from_blob(numbers.data(), stored->shape, at::kDouble));
    left.erase(name);
  }
  if (!left.empty())
    detail::fail("the model has no " + *left.begin() + ", which the checkpoint has");
}

/// Reads a directory with config.json and model.safetensors. `rule` may be another than the
/// checkpoint's: a filter's outputs are those of the checkpoint until it is trained.
/// @throws std::exception naming the file that cannot be read.
inline LanguageModel read_language_model(const std::filesystem::path& directory,
                                         at::ScalarType dtype = at::kFloat,
                                         Rule rule = Rule::gated_delta_net) {
  auto options = LanguageModelOptions::read(directory / "config.json");
  options.mixer.rule = rule;
  LanguageModel model(options);
  model->to(dtype);
  load(*model, safetensors::File::read(directory / "model.safetensors"));
  model->eval();
  return model;
}

}  // namespace seqbayes::libtorch
