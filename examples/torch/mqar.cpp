// Multi-query associative recall as Zoology defines it: trains a small model with each layer and
// asks it for as many pairs as it was trained for, and more.
#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "../support/program.hpp"
#include "jobs.hpp"
#include "mqar_model.hpp"
#include "mqar_study.hpp"
#include "training.hpp"

namespace {

constexpr const char* description =
    "Trains layers on multi-query associative recall, each with every rate and seed, and tests\n"
    "them inside and beyond what they were trained for. Trainings that ended are kept in "
    "mqar.csv,\n"
    "those that didn't in running/; run again with the same settings, it goes on from there.\n"
    "Writes mqar_recall.svg, mqar_recall.csv and mqar_recall.gp (the gnuplot script).";

namespace fs = std::filesystem;
using mqar::Entrant, mqar::Settings, mqar::Texts, mqar::Training;

struct Options {
  std::vector<std::string> layers;
  std::vector<double> rates = {4e-3, 1e-2};
  int seeds = 1;
  unsigned threads = std::max(1U, std::thread::hardware_concurrency());
  int threads_each = 1;
  std::string device = "cpu";
  int save_every = 30;
  bool quiet = false;
  fs::path output = "report";
};

// What a step draws comes from streams of their own; tests are the same for all seeds.
enum Stream : unsigned { data, order, dropout, held_out, test };

/// Which batches an epoch goes through; batch i has the same texts in all epochs.
std::vector<std::int64_t> order_of(std::int64_t batches, unsigned seed, std::int64_t epoch) {
  std::vector<std::int64_t> batch;
  mqar::Random random(training::generator(seed, epoch, order));
  for (std::int64_t i = 0; i < batches; ++i) {  // inside out, Fisher and Yates
    const std::size_t at = random.below(std::size_t(i + 1));
    batch.push_back(i);
    std::swap(batch[at], batch.back());
  }
  return batch;
}

/// The kind of each batch; what doesn't fill a batch is left out.
std::vector<mqar::Kind> batches_of(const Settings& settings) {
  std::vector<mqar::Kind> kinds;
  for (const auto& [kind, count] : settings.training) {
    kinds.insert(kinds.end(), std::size_t(count / settings.batch), kind);
  }
  return kinds;
}

/// Sums `f(batch)` over texts, as many at a time as ask 2048 times.
template <class F>
double sum_over(const Settings& settings, const Texts& texts, torch::Device device,
                mqar::Random random, const F& f) {
  const torch::NoGradGuard no_grad;
  const mqar::Task task(settings.vocabulary, settings.forgetting);
  const std::int64_t most = std::max<std::int64_t>(1, 2048 / texts.kind.pairs);
  double sum = 0;
  for (std::int64_t done = 0; done < texts.count; done += most) {
    sum += f(task.draw(texts.kind, std::min(most, texts.count - done), random).to(device));
  }
  return sum;
}

void evaluate(mqar::Model& model, const Settings& settings, torch::Device device,
              Training& result) {
  for (std::size_t i = 0; i < settings.training.size(); ++i) {
    const Texts texts{settings.training[i].kind, settings.batch};
    const double sum = sum_over(
        settings, texts, device, mqar::Random(training::generator(0, std::int64_t(i), held_out)),
        [&](const mqar::Batch& batch) {
          return model->loss(batch).item<double>() * double(batch.answers.numel());
        });
    result.loss +=
        sum / double(texts.count * texts.kind.pairs * std::int64_t(settings.training.size()));
  }
  for (std::size_t i = 0; i < settings.tests.size(); ++i) {
    const Texts& texts = settings.tests[i];
    const double sum = sum_over(
        settings, texts, device, mqar::Random(training::generator(0, std::int64_t(i), test)),
        [&](const mqar::Batch& batch) { return double(model->recalled(batch)); });
    result.recall.push_back(sum / double(texts.count * texts.kind.pairs));
  }
}

/// Trains on, from the file `saved` if there is one, to the end.
void train(const Settings& settings, const Options& options, const Entrant& entrant,
           const fs::path& saved, Training& result) {
  mqar::Model model{nullptr};
  {
    static std::mutex generator;  // libtorch's is global
    const std::lock_guard lock(generator);
    torch::manual_seed(result.seed);
    model = mqar::Model(entrant, settings.vocabulary, settings.width);
  }
  const torch::Device device(options.device);
  model->to(device);
  const std::vector<mqar::Kind> kinds = batches_of(settings);
  const auto batches = std::int64_t(kinds.size()), steps = batches * settings.epochs;
  training::Trainer trainer(
      model.ptr(), model->mixer->forgetting_parameters(),
      {.schedule = {.steps = steps, .rate = result.rate}, .weight_decay = 0.1});
  if (fs::exists(saved)) trainer.load(saved);
  const mqar::Task task(settings.vocabulary, settings.forgetting);
  training::Progress progress(
      fmt::format("{}, seed {}, rate {}", entrant.id, result.seed, result.rate), steps,
      trainer.steps());
  std::vector<std::int64_t> batch;
  auto last = training::Clock::now();
  while (!trainer.is_done()) {
    const std::int64_t step = trainer.steps(), within = step % batches;
    if (batch.empty() || within == 0) batch = order_of(batches, result.seed, step / batches);
    const std::int64_t i = batch[std::size_t(within)];
    mqar::Random texts(training::generator(result.seed, i, data));
    auto drops = training::generator(result.seed, step, dropout);
    const torch::Tensor loss =
        model->loss(task.draw(kinds[std::size_t(i)], settings.batch, texts).to(device), &drops);
    trainer.step(loss);
    if (!options.quiet) progress.add(trainer.steps(), loss.item<double>());
    if (training::Clock::now() - last < std::chrono::seconds(options.save_every)) continue;
    trainer.save(saved);
    last = training::Clock::now();
  }
  result.seconds = trainer.seconds();
  evaluate(model, settings, device, result);
}

struct Job {
  const Entrant* entrant;
  Training result;
};

/// What is to be trained and isn't yet.
std::vector<Job> jobs_of(const Options& options, const mqar::Record& record) {
  std::vector<Job> jobs;
  for (int seed = 1; seed <= options.seeds; ++seed) {
    for (const double rate : options.rates) {
      for (const Entrant& entrant : mqar::entrants()) {
        if (std::ranges::count(options.layers, entrant.id) == 0) continue;
        if (record.has(entrant.id, unsigned(seed), rate)) continue;
        jobs.push_back({&entrant, {.layer = entrant.id, .seed = unsigned(seed), .rate = rate}});
      }
    }
  }
  return jobs;
}

/// Trains them all, a thread each, `options.threads` at a time.
void train_all(const Settings& settings, const Options& options, mqar::Record& record) {
  std::vector<Job> jobs = jobs_of(options, record);
  std::size_t done = 0;
  std::mutex output;
  training::run_jobs(jobs.size(), options.threads, options.threads_each, [&](std::size_t i) {
    auto& [entrant, result] = jobs[i];
    const fs::path saved = options.output / "running" /
                           fmt::format("{}_{}_{}.pt", entrant->id, result.seed, result.rate);
    train(settings, options, *entrant, saved, result);
    const std::lock_guard lock(output);
    record.add(result);
    fs::remove(saved);
    fmt::print(stderr, "{:>3}/{} {:<16} seed {} rate {:<6g} loss {:.3f}, {}\n", ++done, jobs.size(),
               entrant->id, result.seed, result.rate, result.loss,
               training::Progress::duration(result.seconds));
  });
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  Settings given{};
  std::vector<std::string> training, tests;
  bool full = false;
  for (const Entrant& entrant : mqar::entrants()) options.layers.push_back(entrant.id);
  const auto all = options.layers;
  CLI::App app(description);
  program::add_option(app, "--output", options.output, "Directory of all files");
  program::add_option(app, "--entrants", options.layers, "Layers", CLI::IsMember(all));
  program::add_option(app, "--rates", options.rates, "Learning rates", CLI::PositiveNumber);
  program::add_option(app, "--seeds", options.seeds, "How many", CLI::Range(1, 1000));
  program::add_option(app, "--threads", options.threads, "Trainings at a time",
                      CLI::PositiveNumber);
  program::add_option(app, "--threads-each", options.threads_each, "Of a training",
                      CLI::PositiveNumber);
  program::add_option(app, "--device", options.device, "Where all but the scans run: cpu, cuda");
  program::add_option(app, "--save-every", options.save_every, "Seconds between two saves",
                      CLI::NonNegativeNumber);
  app.add_flag("--quiet", options.quiet, "No lines of progress");
  app.add_flag("--forgetting", given.forgetting,
               "Half the keys, each written twice; the last value counts");
  app.add_flag("--full", full, "Zoology's sizes, in place of small ones: hours a training");
  const auto size = [&](const char* name, std::int64_t& value, const char* what) {
    app.add_option(name, value, what)->check(CLI::PositiveNumber)->group("Sizes");
  };
  size("--vocabulary", given.vocabulary, "Tokens [128, full 8192]");
  size("--width", given.width, "Of the model, even [32, full 64]");
  size("--epochs", given.epochs, "How often texts are seen [6, full 8]");
  size("--batch", given.batch, "Texts a step [32, full 256]");
  app.add_option("--training", training, "Kinds of texts: LENGTH/PAIRSxTEXTS")->group("Sizes");
  app.add_option("--tests", tests, "Likewise")->group("Sizes");
  return program::run(app, "mqar", argc, argv, [&] {
    given.training = mqar::parse_texts(training);
    given.tests = mqar::parse_texts(tests);
    const Settings settings = mqar::filled(given, full ? mqar::full_size() : mqar::small_size());
    fs::create_directories(options.output / "running");
    mqar::Record record(options.output / "mqar.csv", settings);
    train_all(settings, options, record);
    mqar::report(record.trainings(), settings, options.output);
  });
}
