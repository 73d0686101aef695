// Runs a pretrained Gated DeltaNet language model over a recorded text and compares its logits with
// the recorded ones: the whole text at once, and token by token.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include <seqbayes/adapters/torch.hpp>

namespace {

namespace st = seqbayes::libtorch;
using torch::Tensor;

struct Recorded {
  Tensor tokens;  // [1, T]
  Tensor logits;  // [T, vocabulary]
};

Recorded read(const std::string& path) {
  const auto file = seqbayes::safetensors::File::read(path);
  const auto tensor = [&file](const char* name) {
    const auto& stored = file.at(name);
    auto numbers = seqbayes::safetensors::values<double>(stored);
    return torch::from_blob(numbers.data(), stored.shape, at::kDouble).clone();
  };
  return {tensor("tokens").to(at::kLong).unsqueeze(0), tensor("logits")};
}

// One token after another, from the state of those before.
Tensor decode(st::LanguageModel& model, const Tensor& tokens) {
  st::LanguageModelImpl::Cache cache;
  std::vector<Tensor> logits;
  for (std::int64_t t = 0; t < tokens.size(1); ++t) {
    logits.push_back(model->forward(tokens.slice(1, t, t + 1), cache));
  }
  return torch::cat(logits, 1);
}

// Prints the deviation. Returns whether it is within the tolerance, relative to the largest logit,
// and the most probable successor of every token is the recorded one.
bool compare(const std::string& name, const Tensor& logits, const Recorded& recorded,
             double tolerance, double seconds) {
  const Tensor found = logits.squeeze(0).to(at::kDouble);
  const Tensor error = (found - recorded.logits).abs();
  const auto others = found.argmax(-1).ne(recorded.logits.argmax(-1)).sum().item<std::int64_t>();
  fmt::print("{:<26}{:>12.2e}{:>12.2e}{:>16}{:>12.0f}\n", name, error.max().item<double>(),
             error.mean().item<double>(), others, static_cast<double>(found.size(0)) / seconds);
  return others == 0 &&
         error.max().item<double>() <= tolerance * recorded.logits.abs().max().item<double>();
}

}  // namespace

int main(int argc, char** argv) try {
  CLI::App app(
      "Runs a checkpoint (config.json, model.safetensors in flash-linear-attention's layout of\n"
      "Gated DeltaNet) over a recorded text and compares its logits with the recorded ones.");
  std::string directory;
  std::vector<std::string> streams;
  double tolerance = 1e-5;
  app.add_option("checkpoint", directory, "Directory of the checkpoint")
      ->required()
      ->check(CLI::ExistingDirectory);
  app.add_option("streams", streams, "safetensors files with tokens [T] and logits [T, vocabulary]")
      ->required()
      ->check(CLI::ExistingFile);
  app.add_option("--tolerance", tolerance, "Largest error, relative to the largest logit")
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);

  const torch::NoGradGuard no_grad;
  bool met = true;
  for (const std::string& stream : streams) {
    const Recorded recorded = read(stream);
    fmt::print("{}: {} tokens, logits up to {:.1f}\n{:<26}{:>12}{:>12}{:>16}{:>12}\n", stream,
               recorded.tokens.size(1), recorded.logits.abs().max().item<double>(), "", "max error",
               "mean error", "other argmax", "tokens/s");
    for (const auto dtype : {at::kDouble, at::kFloat}) {
      for (const auto rule : {st::Rule::gated_delta_net, st::Rule::bayesian}) {
        auto model = st::read_language_model(directory, dtype, rule);
        const std::string name = fmt::format("{}{}", dtype == at::kDouble ? "double" : "float",
                                             rule == st::Rule::bayesian ? ", Bayesian" : "");
        for (const bool whole : {true, false}) {
          const auto start = std::chrono::steady_clock::now();
          const Tensor logits =
              whole ? model->forward(recorded.tokens) : decode(model, recorded.tokens);
          const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
          met &=
              compare(name + (whole ? "" : ", decode"), logits, recorded, tolerance, taken.count());
        }
      }
    }
  }
  if (!met) fmt::print("The recorded logits are not met.\n");
  return met ? 0 : 1;
} catch (const std::exception& error) {
  fmt::print(stderr, "run_checkpoint: {}\n", error.what());
  return 1;
}
