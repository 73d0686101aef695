// Checkpoints: shards, tied embeddings, 16-bit numbers, DeltaNet's layout; written and read back;
// broken ones.
#include "plain_model.hpp"

namespace checkpoint_test {
namespace {

namespace safetensors = seqbayes::safetensors;

std::string slurp(const fs::path& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

void spit(const fs::path& path, const std::string& content) { std::ofstream(path) << content; }

std::string error_of(const auto& action) {
  try {
    action();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

std::string reading_error(const fs::path& directory) {
  return error_of([&] { st::read_language_model(directory); });
}

// The embeddings in one shard as BF16, the rest in another as F16; sixteenths up to 4 are exact.
void write_shards(Plain& plain, const fs::path& directory) {
  nlohmann::json map;
  std::vector<safetensors::Tensor> first, second;
  std::vector<Tensor> kept;
  for (auto& [name, list] : plain.numbers) {
    for (double& x : list) x = std::clamp(std::round(x * 16) / 16, -4.0, 4.0);
    const bool early = name == "model.embeddings.weight";
    const Tensor numbers = torch::tensor(list, at::kDouble).to(early ? at::kBFloat16 : at::kHalf);
    kept.push_back(numbers);
    const auto* bytes = static_cast<const std::byte*>(numbers.data_ptr());
    (early ? first : second)
        .push_back({name, early ? "BF16" : "F16", plain.shapes.at(name), {bytes, list.size() * 2}});
    map[name] = early ? "model-1.safetensors" : "model-2.safetensors";
  }
  safetensors::write(directory / "model-1.safetensors", first);
  safetensors::write(directory / "model-2.safetensors", second);
  std::ofstream(directory / "model.safetensors.index.json")
      << nlohmann::json{{"metadata", {{"total_size", 1}}}, {"weight_map", map}};
  std::ofstream(directory / "config.json") << plain.config;
}

TEST_CASE("checkpoint: shards, bfloat16 and float16") {
  Plain plain(true);
  const Workplace work;
  write_shards(plain, work.path);
  const torch::NoGradGuard no_grad;
  auto model = st::read_language_model(work.path, at::kDouble);
  CHECK(deviation(model->forward(as_tensor(text)), plain.logits(text)) < 1e-12);

  fs::rename(work.path / "model-1.safetensors", work.path / "away");
  CHECK(reading_error(work.path) ==
        (work.path / "model-1.safetensors").string() + ": the file cannot be opened");
  const fs::path index = work.path / "model.safetensors.index.json";
  spit(index, R"({"weight_map": {"model.norm.weight": "model-2.safetensors"}})");
  CHECK(reading_error(work.path) == index.string() + ": there is no model.embeddings.weight");
  for (const char* broken :
       {"{", "{}", R"({"weight_map": {"model.norm.weight": 3}})",
        R"({"weight_map": {"model.norm.weight": "../model-2.safetensors"}})"}) {
    spit(index, broken);
    CHECK(reading_error(work.path).starts_with(index.string() + ": "));
  }
}

TEST_CASE("checkpoint: tied embeddings, whether the file has the output matrix or not") {
  const torch::NoGradGuard no_grad;
  for (const bool stored : {true, false}) {
    Plain plain(false);
    const Workplace work;
    plain.config["tie_word_embeddings"] = true;
    plain.numbers["lm_head.weight"] = plain.numbers["model.embeddings.weight"];
    const MatrixXd expected = plain.logits(text);
    if (!stored) plain.shapes.erase("lm_head.weight");
    plain.write(work.path);
    auto model = st::read_language_model(work.path, at::kDouble);
    CHECK(deviation(model->forward(as_tensor(text)), expected) < 1e-12);
    CHECK(model->named_parameters().find("lm_head.weight") == nullptr);

    st::save_language_model(model, work.path / "again");
    auto again = st::read_language_model(work.path / "again", at::kDouble);
    CHECK(deviation(again->forward(as_tensor(text)), expected) < 1e-5);  // float32
  }
}

TEST_CASE("checkpoint: DeltaNet's layout, and a filter that starts from it") {
  Plain plain(false);
  const Workplace work;
  for (const char* name : {"a_proj.weight", "A_log", "dt_bias"}) {
    for (const char* layer : {"0", "1"}) {
      plain.shapes.erase(std::string("model.layers.") + layer + ".attn." + name);
    }
  }
  plain.negative = false;
  for (const char* name : {"head_dim", "num_v_heads", "allow_neg_eigval"}) plain.config.erase(name);
  plain.config["model_type"] = "delta_net";
  plain.config["expand_k"] = plain.config["expand_v"] = 8.0 / 6;
  plain.write(work.path);
  const torch::NoGradGuard no_grad;
  const MatrixXd expected = plain.logits(text);
  auto model = st::read_language_model(work.path, at::kDouble);
  CHECK(model->options().mixer.rule == st::Rule::delta_net);
  CHECK(deviation(model->forward(as_tensor(text)), expected) < 1e-12);
  auto filter = st::read_language_model(work.path, at::kDouble, st::Rule::bayesian);
  CHECK(deviation(filter->forward(as_tensor(text)), expected) < 1e-12);
  for (const auto& [name, other] : std::vector<std::pair<std::string, nlohmann::json>>{
           {"qk_norm", "sum"}, {"qk_activation", "elu"}, {"use_beta", false}}) {
    plain.config[name] = other;
    plain.write(work.path);
    CHECK(reading_error(work.path).find("expected model_type") != std::string::npos);
    plain.config.erase(name);
  }
}

st::LanguageModelOptions small(const st::MixerOptions& mixer) {
  return {.mixer = mixer, .vocab_size = 11, .num_hidden_layers = 2, .intermediate_size = 7};
}

TEST_CASE("checkpoint: every rule comes back as it was saved") {
  const torch::NoGradGuard no_grad;
  const Workplace work;
  for (const auto rule :
       {st::Rule::linear_attention, st::Rule::ssd, st::Rule::delta_net, st::Rule::gated_delta_net,
        st::Rule::diagonal_kalman, st::Rule::bayesian, st::Rule::student_t}) {
    for (const bool tied : {false, true}) {
      INFO(int(rule) << tied);
      st::LanguageModel model(
          small({.rule = rule,
                 .hidden_size = 6,
                 .num_heads = 2,
                 .num_v_heads = tied ? 4 : 0,
                 .head_dim = 4,
                 .expand_v = tied ? 1.5 : 1,
                 .conv_size = tied ? 0 : 3,
                 .use_gate = tied,
                 .memory_decay = !tied,
                 .forgetting = tied ? st::Forgetting::tied : st::Forgetting::dial,
                 .forgetting_start = -1.1}));
      for (const auto& entry : model->named_parameters()) entry.value().uniform_(-0.7, 0.7);
      st::save_language_model(model, work.path);
      auto again = st::read_language_model(work.path);
      CHECK(again->options().mixer.rule == rule);
      CHECK(again->forward(as_tensor(text)).equal(model->forward(as_tensor(text))));
      if (again->options().mixer.is_filter()) {
        CHECK(again->options().mixer.forgetting_start == -1.1);
      }
    }
  }
  // The last, a filter, with one of its own parameters gone.
  const auto file = safetensors::File::read(work.path / "model.safetensors");
  std::vector<safetensors::Tensor> rest;
  for (const auto& name : file.names()) {
    if (name != "model.layers.1.attn.f_bias") rest.push_back(file.at(name));
  }
  safetensors::write(work.path / "model.safetensors", rest);
  CHECK(reading_error(work.path) ==
        (work.path / "model.safetensors").string() + ": there is no model.layers.1.attn.f_bias");
}

TEST_CASE("checkpoint: a file is replaced only by a complete one") {
  const Workplace work;
  const st::LanguageModel model(small({.hidden_size = 6, .head_dim = 4}));
  st::save_language_model(model, work.path);
  for (const char* name : {"model.safetensors", "config.json"}) {
    const fs::path partial = work.path / (std::string(name) + ".partial");
    CHECK(!fs::exists(partial));
    const std::string before = slurp(work.path / name);
    CHECK(!before.empty());
    fs::create_directories(partial / "in the way");
    CHECK(error_of([&] { st::save_language_model(model, work.path); }).find(partial.string()) == 0);
    CHECK(slurp(work.path / name) == before);
    fs::remove_all(partial);
  }
  CHECK(reading_error(work.path).empty());
}

TEST_CASE("checkpoint: what is broken is named") {
  const Workplace work;
  const std::string config = (work.path / "config.json").string() + ": ";
  const std::string weights = (work.path / "model.safetensors").string() + ": ";
  const auto message = [&](const Plain& some) {
    some.write(work.path);
    return reading_error(work.path);
  };
  CHECK(reading_error(work.path) == config + "seqbayes: the file cannot be opened");
  Plain plain(true);
  CHECK(message(plain).empty());
  for (const auto& [name, other] :
       std::vector<std::pair<std::string, nlohmann::json>>{{"model_type", "mamba2"},
                                                           {"attn", {{"layers", {1}}}},
                                                           {"hidden_act", "gelu"},
                                                           {"head_dim", 0},
                                                           {"num_heads", 3},
                                                           {"vocab_size", -1},
                                                           {"hidden_size", std::int64_t(1) << 61},
                                                           {"expand_v", 1e300},
                                                           {"hidden_size", "six"}}) {
    INFO(name);
    Plain changed = plain;
    changed.config[name] = other;
    CHECK(message(changed).starts_with(config));
    if (name == "attn" || name == "hidden_act" || name == "expand_v") continue;  // may be missing
    changed.config.erase(name);
    CHECK(message(changed).starts_with(config));
  }
  plain.shapes.erase("model.norm.weight");
  CHECK(message(plain) == weights + "there is no model.norm.weight");
  plain.add("model.norm.weight", {5});
  plain.numbers["model.norm.weight"].resize(5);
  CHECK(message(plain) == weights + "model.norm.weight is [5], expected [6]");
  plain.shapes["model.norm.weight"] = {6};
  plain.numbers["model.norm.weight"].resize(6);
  plain.add("model.layers.0.attn.D", {4});
  CHECK(message(plain) == weights + "the model has no model.layers.0.attn.D");
  fs::remove(work.path / "model.safetensors");
  CHECK(reading_error(work.path) == weights + "the file cannot be opened");
}

TEST_CASE("language model: logits of picked positions alone") {
  const torch::NoGradGuard no_grad;
  st::LanguageModel model(small({.hidden_size = 6, .head_dim = 4}));
  st::LanguageModelImpl::Cache cache;
  const Tensor hidden = model->hidden(as_tensor(text), cache);
  const Tensor all = model->forward(as_tensor(text));
  CHECK(torch::allclose(model->logits(hidden.slice(1, 3, 5)), all.slice(1, 3, 5)));
}

}  // namespace
}  // namespace checkpoint_test
