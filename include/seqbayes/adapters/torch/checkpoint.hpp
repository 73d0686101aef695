/// @file
/// Files of a language model: config.json and safetensors, in flash-linear-attention's layout.
#pragma once

#include <ATen/Dispatch.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <fstream>
#include <ranges>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <seqbayes/adapters/detail/replace.hpp>
#include <seqbayes/adapters/safetensors.hpp>
#include <seqbayes/adapters/torch/mixer.hpp>

namespace seqbayes::libtorch {

/// Named as in config.json.
struct LanguageModelOptions {
  MixerOptions mixer;
  std::int64_t vocab_size = 0;
  std::int64_t num_hidden_layers = 1;
  std::int64_t intermediate_size = 0;  ///< Inner width of the MLPs.
  bool tie_word_embeddings = false;    ///< Whether the embedding is the output matrix as well.

  /// Reads config.json of a checkpoint: model_type gated_deltanet, delta_net or, with the rule and
  /// its options beside gated_deltanet's, seqbayes.
  /// @throws std::invalid_argument naming the file if it is of another kind of model.
  static LanguageModelOptions read(const std::filesystem::path& file);
  /// Writes what `read` reads.
  void write(const std::filesystem::path& file) const;

  /// These options.
  /// @throws std::invalid_argument if there is no such model.
  [[nodiscard]] const LanguageModelOptions& checked() const {
    mixer.check();
    if (vocab_size <= 0 || num_hidden_layers < 0 || intermediate_size <= 0) {
      detail::fail("language model options: vocab_size and intermediate_size must be > 0");
    }
    return *this;
  }
};

namespace detail {

/// Names of the values of an enumeration in config.json.
template <class Enum>
using Names = std::vector<std::pair<const char*, Enum>>;
inline const Names<Rule> rule_names = {{"linear_attention", Rule::linear_attention},
                                       {"ssd", Rule::ssd},
                                       {"delta_net", Rule::delta_net},
                                       {"gated_delta_net", Rule::gated_delta_net},
                                       {"diagonal_kalman", Rule::diagonal_kalman},
                                       {"bayesian", Rule::bayesian},
                                       {"student_t", Rule::student_t}};
inline const Names<Forgetting> forgetting_names = {{"dial", Forgetting::dial},
                                                   {"tied", Forgetting::tied}};

template <class Enum>
Enum by_name(const Names<Enum>& names, const std::string& name) {
  for (const auto& [known, value] : names) {
    if (name == known) return value;
  }
  fail("there is no " + name);
}

template <class Enum>
const char* name_of(const Names<Enum>& names, Enum value) {
  return std::ranges::find(names, value, &Names<Enum>::value_type::second)->first;
}

[[noreturn]] inline void fail(const std::filesystem::path& file, const std::string& what) {
  throw std::invalid_argument(file.string() + ": " + what);
}

inline nlohmann::json read_json(const std::filesystem::path& file) {
  std::ifstream stream(file);
  if (!stream) fail("the file cannot be opened");
  return nlohmann::json::parse(stream);
}

/// The file that lists a checkpoint's tensors, and those that hold them.
inline auto weight_files(const std::filesystem::path& directory) {
  const auto single = directory / "model.safetensors";
  const auto index = directory / "model.safetensors.index.json";
  std::pair<std::filesystem::path, std::set<std::filesystem::path>> result = {single, {single}};
  if (std::filesystem::exists(single) || !std::filesystem::exists(index)) return result;
  try {
    result = {index, {}};
    const auto json = read_json(index);
    for (const auto& entry : json.at("weight_map")) {
      const std::filesystem::path shard = entry.get<std::string>();
      if (shard != shard.filename()) fail(shard.string() + " lies outside of the checkpoint");
      result.second.insert(directory / shard);
    }
  } catch (const std::exception& error) {
    fail(index, error.what());
  }
  return result;
}

}  // namespace detail

inline LanguageModelOptions LanguageModelOptions::read(const std::filesystem::path& file) try {
  const auto json = detail::read_json(file);
  const auto is_null = [&](const char* name) {
    return !json.contains(name) || json[name].is_null();
  };
  for (const char* size :
       {"hidden_size", "num_heads", "num_v_heads", "head_dim", "conv_size", "expand_k", "expand_v",
        "hidden_ratio", "intermediate_size", "vocab_size", "num_hidden_layers"}) {
    // So that the product of two is a number.
    if (!is_null(size) && !(std::abs(json[size].get<double>()) <= 0x1p30)) {
      detail::fail(std::string(size) + " is too large");
    }
  }
  const auto get = [&](const char* name, auto otherwise) {
    return is_null(name) ? otherwise : json[name].template get<decltype(otherwise)>();
  };
  const auto is = [&](const char* name, const std::string& value, const char* same = "") {
    return is_null(name) || json[name] == value || json[name] == same;
  };
  const auto type = get("model_type", std::string());
  const bool is_delta_net = type == "delta_net";
  if ((type != "gated_deltanet" && type != "seqbayes" && !is_delta_net) || !is_null("attn") ||
      !is("hidden_act", "swish", "silu") || !is("qk_activation", "silu") || !is("qk_norm", "l2") ||
      !get("use_beta", true)) {
    detail::fail(
        "expected model_type gated_deltanet, delta_net or seqbayes, without attention layers, with "
        "SiLU, unit keys and beta");
  }
  LanguageModelOptions options;
  MixerOptions& mixer = options.mixer;
  mixer.hidden_size = json.at("hidden_size");
  mixer.num_heads = json.at("num_heads");
  if (is_delta_net) {  // widths of all heads together, in units of hidden_size
    mixer.rule = Rule::delta_net;
    const double expand_k = get("expand_k", 1.0);
    const double keys = static_cast<double>(mixer.hidden_size) * expand_k;
    mixer.head_dim = mixer.num_heads > 0 ? std::llround(keys) / mixer.num_heads : 0;
    mixer.expand_v = get("expand_v", 1.0) / expand_k;
  } else {
    mixer.num_v_heads = get("num_v_heads", mixer.num_v_heads);
    mixer.head_dim = json.at("head_dim");
    mixer.expand_v = get("expand_v", 2.0);
  }
  mixer.conv_size = get("use_short_conv", true) ? get("conv_size", mixer.conv_size) : 0;
  mixer.use_gate = get("use_gate", !is_delta_net);
  mixer.allow_neg_eigval = get("allow_neg_eigval", false);
  mixer.norm_eps = get("norm_eps", mixer.norm_eps);
  if (type == "seqbayes") {
    mixer.rule = detail::by_name(detail::rule_names, json.at("rule"));
    mixer.memory_decay = json.at("memory_decay");
    mixer.forgetting = detail::by_name(detail::forgetting_names, json.at("forgetting"));
    mixer.forgetting_start = json.at("forgetting_start");
  }
  options.vocab_size = json.at("vocab_size");
  options.num_hidden_layers = json.at("num_hidden_layers");
  options.tie_word_embeddings = get("tie_word_embeddings", false);
  // As flash-linear-attention: 2/3 hidden_ratio, up to a multiple of 256.
  const auto inner = mixer.hidden_size * get("hidden_ratio", std::int64_t(4)) * 2 / 3;
  options.intermediate_size = get("intermediate_size", (inner + 255) / 256 * 256);
  return options.checked();
} catch (const std::exception& error) {
  detail::fail(file, error.what());
}

inline void LanguageModelOptions::write(const std::filesystem::path& file) const {
  const bool is_gated = mixer.rule == Rule::gated_delta_net;
  nlohmann::ordered_json json = {{"model_type", is_gated ? "gated_deltanet" : "seqbayes"},
                                 {"hidden_size", mixer.hidden_size},
                                 {"num_heads", mixer.num_heads},
                                 {"num_v_heads", mixer.value_heads()},
                                 {"head_dim", mixer.head_dim},
                                 {"expand_v", mixer.expand_v},
                                 {"use_short_conv", mixer.conv_size > 0},
                                 {"conv_size", mixer.conv_size},
                                 {"use_gate", mixer.use_gate},
                                 {"allow_neg_eigval", mixer.allow_neg_eigval},
                                 {"norm_eps", mixer.norm_eps},
                                 {"vocab_size", vocab_size},
                                 {"num_hidden_layers", num_hidden_layers},
                                 {"intermediate_size", intermediate_size},
                                 {"hidden_act", "swish"},
                                 {"tie_word_embeddings", tie_word_embeddings}};
  if (is_gated) {
    json["architectures"] = {"GatedDeltaNetForCausalLM"};
  } else {
    json["rule"] = detail::name_of(detail::rule_names, mixer.rule);
    json["memory_decay"] = mixer.memory_decay;
    json["forgetting"] = detail::name_of(detail::forgetting_names, mixer.forgetting);
    json["forgetting_start"] = mixer.forgetting_start;
  }
  seqbayes::detail::replace(file, [&](const std::filesystem::path& partial) {
    std::ofstream stream(partial);
    stream << json.dump(2) << '\n';
    stream.close();
    if (!stream) detail::fail(partial, "the file cannot be written");
  });
}

namespace detail {

/// Copies a checkpoint's tensors into the parameters of the same names, one by one. What only a
/// filter has (see `Mixer`) may be missing where `is_filter` is false; it stays as it is then.
/// @throws std::invalid_argument naming the file and what is missing, left over, or of another
/// shape.
inline void load(::torch::nn::Module& module, const std::filesystem::path& directory,
                 bool is_filter) {
  const ::torch::NoGradGuard no_grad;
  auto parameters = module.named_parameters();
  std::set<std::string> missing;
  for (const std::string& name : parameters.keys()) {
    const bool of_filter = name.ends_with("attn.f_proj.weight") || name.ends_with("attn.f_bias");
    if (is_filter || !of_filter) missing.insert(name);
  }
  const auto [listing, files] = weight_files(directory);
  for (const auto& path : files) {
    safetensors::Reader file(path);
    for (const std::string& name : file.names()) {
      Tensor* parameter = parameters.find(name);
      if (parameter == nullptr && name == "lm_head.weight") continue;  // tied: the embedding again
      if (parameter == nullptr) fail(path, "the model has no " + name);
      const safetensors::Tensor stored = file.read(name);
      if (parameter->sizes() != at::IntArrayRef(stored.shape)) {
        fail(path, name + " is " + shape(stored.shape) + ", expected " + shape(parameter->sizes()));
      }
      try {
        AT_DISPATCH_FLOATING_TYPES(parameter->scalar_type(), "load", [&] {
          safetensors::copy(stored, std::span(parameter->template data_ptr<scalar_t>(),
                                              std::size_t(parameter->numel())));
        });
      } catch (const safetensors::Error& error) {
        fail(path, error.what());
      }
      missing.erase(name);
    }
  }
  if (!missing.empty()) fail(listing, "there is no " + *missing.begin());
}

inline void save(const ::torch::nn::Module& module, const std::filesystem::path& file) {
  std::vector<Tensor> kept;
  std::vector<safetensors::Tensor> tensors;
  for (const auto& entry : module.named_parameters()) {
    kept.push_back(entry.value().detach().to(at::kCPU, at::kFloat).contiguous());
    const std::span numbers(kept.back().data_ptr<float>(), std::size_t(kept.back().numel()));
    tensors.push_back(safetensors::view(entry.key(), kept.back().sizes().vec(), numbers));
  }
  seqbayes::detail::replace(file, [&](const std::filesystem::path& partial) {
    safetensors::write(partial, tensors, {{"format", "pt"}});
  });
}

}  // namespace detail
}  // namespace seqbayes::libtorch
