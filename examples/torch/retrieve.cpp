// Evaluates a checkpoint on prompts that ask for what they contain: greedy decoding, scored as
// RULER does.
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <seqbayes/adapters/torch/language_model.hpp>

#include "../support/program.hpp"
#include "../support/study.hpp"
#include "jobs.hpp"
#include "retrieval.hpp"

namespace {

constexpr const char* description =
    "Evaluates a checkpoint on prompts: generates greedily and prints, by task, the mean share of\n"
    "references that occur in what was generated. Writes retrieve.csv. The prompts are a file "
    "with\n"
    "one JSON object a line:\n"
    "  {\"tokens\": [ids], \"references\": [[ids], ...], \"max_new_tokens\": n, \"task\": "
    "\"name\"}\n"
    "or, with --bytes, of a model whose tokens are bytes:\n"
    "  {\"prompt\": \"...\", \"references\": [\"...\"], \"max_new_tokens\": n, \"task\": \"name\"}";

namespace st = seqbayes::libtorch;
using retrieval::Prompt, retrieval::Tokens, torch::Tensor;

struct Settings {
  std::string checkpoint, prompts, output = "report";
  bool bytes = false;
  std::int64_t stop = -1;
  unsigned threads = std::max(1U, std::thread::hardware_concurrency());
};

/// The most probable continuation, without the token that ends it.
Tokens generate(st::LanguageModel& model, const Prompt& prompt, std::int64_t stop) {
  st::LanguageModelImpl::Cache cache;
  Tokens generated;
  Tensor tokens = torch::tensor(prompt.tokens).unsqueeze(0);
  while (std::int64_t(generated.size()) < prompt.max_new_tokens) {
    const Tensor hidden = model->hidden(tokens, cache).slice(1, -1);
    tokens = model->logits(hidden).argmax(-1);
    const auto token = tokens.item<std::int64_t>();
    if (token == stop) break;
    generated.push_back(token);
  }
  return generated;
}

/// Each prompt's score; a prompt a thread.
std::vector<double> evaluate(st::LanguageModel& model, const std::vector<Prompt>& prompts,
                             const Settings& settings) {
  std::vector<double> scores(prompts.size());
  std::size_t done = 0;
  std::mutex output;
  const auto start = std::chrono::steady_clock::now();
  training::run_jobs(prompts.size(), settings.threads, 1, [&](std::size_t i) {
    const c10::InferenceMode no_grad;
    const Tokens generated = generate(model, prompts[i], settings.stop);
    scores[i] = retrieval::score(generated, prompts[i].references, settings.bytes);
    const std::lock_guard lock(output);
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    ++done;
    fmt::print(stderr, "\r{}/{} prompts, {:.0f} s left ", done, prompts.size(),
               taken.count() / double(done) * double(prompts.size() - done));
  });
  fmt::print(stderr, "\n");
  return scores;
}

/// Prints the table and writes it to a file.
void report(const std::vector<Prompt>& prompts, const std::vector<double>& scores,
            const std::filesystem::path& directory) {
  struct Task {
    std::string name;
    study::Mean mean;
    int count = 0;
  };
  std::vector<Task> tasks;  // in the order of the file
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    auto task = std::ranges::find(tasks, prompts[i].task, &Task::name);
    if (task == tasks.end()) task = tasks.insert(task, {prompts[i].task, {}});
    task->mean.add(scores[i]);
    ++task->count;
  }
  std::filesystem::create_directories(directory);
  const auto path = directory / "retrieve.csv";
  std::ofstream csv(path);
  csv << "task,score,standard_error,prompts\n";
  fmt::print("{:<24}{:>10}{:>18}{:>10}\n", "task", "score", "standard error", "prompts");
  double sum = 0;
  for (const Task& task : tasks) {
    const auto [x, mean, deviation] = task.mean.at(0);
    sum += mean;
    const std::string error = task.count > 1 ? fmt::format("{:.4f}", deviation) : "";
    fmt::print("{:<24}{:>10.4f}{:>18}{:>10}\n", task.name, mean, error, task.count);
    std::string name;  // quotes are doubled
    for (const char c : task.name) name += c == '"' ? "\"\"" : std::string(1, c);
    csv << fmt::format("\"{}\",{:.6f},{},{}\n", name, mean, error, task.count);
  }
  if (tasks.size() > 1) {
    fmt::print("{:<24}{:>10.4f}\n", "mean of tasks", sum / double(tasks.size()));
  }
  csv.close();
  if (!csv) throw std::runtime_error(path.string() + ": the file cannot be written");
  fmt::print("{}\n", path.string());
}

void run(const Settings& settings) {
  auto model = st::read_language_model(settings.checkpoint);
  const auto vocabulary = model->options().vocab_size;
  const auto prompts = retrieval::read(settings.prompts, {settings.bytes, vocabulary});
  report(prompts, evaluate(model, prompts, settings), settings.output);
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  CLI::App app(description);
  app.add_option("checkpoint", settings.checkpoint, "Directory of the checkpoint")
      ->required()
      ->check(CLI::ExistingDirectory);
  app.add_option("prompts", settings.prompts, "File of prompts")
      ->required()
      ->check(CLI::ExistingFile);
  app.add_flag("--bytes", settings.bytes, "Prompts and references are text; case is folded");
  app.add_option("--stop", settings.stop, "Token that ends a generated text");
  program::add_option(app, "--threads", settings.threads, "Prompts evaluated at the same time",
                      CLI::Range(1, 1024));
  program::add_option(app, "--output", settings.output, "Directory of retrieve.csv");
  return program::run(app, "retrieve", argc, argv, [&] { run(settings); });
}
