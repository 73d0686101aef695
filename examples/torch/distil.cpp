// Distils a pretrained Gated DeltaNet into Bayesian Layers: all layers get a covariance, everything
// is trained, beside the same Gated DeltaNet trained the same.
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "../support/program.hpp"
#include "distil_study.hpp"
#include "training.hpp"

namespace {

constexpr const char* description =
    "Trains a pretrained byte-level Gated DeltaNet on text and retrieval tasks, as it is (the\n"
    "control) and with Bayesian Layers in place of its own, then evaluates retrieval by context\n"
    "length and bits a byte. The control has two trainings: of as many steps, and of as much "
    "time.\n"
    "Writes a checkpoint of each, distil_results.csv, and the figure distil.svg (.csv, .gp). What\n"
    "is done or begun in the output directory is not done again. Where MPI was found, mpirun -n N\n"
    "shares a step's texts among N processes.";

namespace fs = std::filesystem;
namespace st = seqbayes::libtorch;
using torch::Tensor;
using training::Ranks;
using namespace distil;

st::LanguageModel make(const Settings& settings, const Student& student) {
  auto options = st::LanguageModelOptions::read(fs::path(settings.checkpoint) / "config.json");
  options.mixer.rule = student.rule;
  options.mixer.forgetting = student.forgetting;
  options.mixer.forgetting_start = student.start;
  auto model = st::read_language_model(settings.checkpoint, options);
  model->to(torch::Device(settings.device));
  return model;
}

/// The mean over a step's texts, weighted, or this rank's share of it: its texts' part of the sum.
Tensor loss_of(st::LanguageModel& model, const Settings& settings, const Corpus& corpus,
               unsigned seed, std::int64_t step, const Ranks& ranks) {
  Random random(training::generator(seed, step));
  std::vector<Text> all, own;
  for (int i = 0; i < settings.texts; ++i) {
    all.push_back(
        draw_any(std::size_t(settings.length), {corpus.train, corpus.train_words}, random));
    if (ranks.has(i)) own.push_back(all.back());
  }
  if (own.empty()) return torch::zeros({});
  const torch::Device device(settings.device);
  const Tensor weight = weights(own, settings.answer_weight).to(device);
  return (nats(model, as_tokens(own).to(device)) * weight).sum() /
         weights(all, settings.answer_weight).sum().to(device);
}

std::vector<Tensor> faster(st::LanguageModel& model) {
  std::vector<Tensor> all;
  for (const auto& layer : *model->model->layers) {
    for (const Tensor& tensor : layer->as<st::BlockImpl>()->attn->forgetting_parameters()) {
      all.push_back(tensor);
    }
  }
  return all;
}

/// A step of all ranks; the loss of all their texts.
double step(training::Trainer& trainer, st::LanguageModel& model, const Tensor& loss,
            const Ranks& ranks) {
  trainer.step([&] {
    if (loss.requires_grad()) loss.backward();
    std::vector<Tensor> sums = {loss.detach()};
    for (Tensor& parameter : model->parameters()) {
      Tensor& gradient = parameter.mutable_grad();
      if (!gradient.defined()) gradient = torch::zeros_like(parameter);
      sums.push_back(gradient);
    }
    ranks.sum(sums);
  });
  return loss.item<double>();
}

training::TrainerOptions trainer_options(const Settings& settings, std::int64_t steps) {
  return {
      .schedule = {steps, settings.rate, std::min<std::int64_t>(settings.warm_up, steps / 4), 0.03},
      .beta2 = 0.95,
      .weight_decay = 0.01,
      .clip = 1};
}

/// Seconds a step, the median of five.
double seconds_a_step(const Settings& settings, const Student& student, const Corpus& corpus,
                      const Ranks& ranks) {
  auto model = make(settings, student);
  training::Trainer trainer(model.ptr(), faster(model), trainer_options(settings, 6));
  std::vector<double> seconds;
  double before = 0;
  for (std::int64_t i = 0; i < 6; ++i) {
    step(trainer, model, loss_of(model, settings, corpus, 0, i, ranks), ranks);
    seconds.push_back(trainer.seconds() - std::exchange(before, trainer.seconds()));
  }
  std::sort(seconds.begin() + 1, seconds.end());  // the first one warms up
  return seconds[3];
}

/// How many steps the control makes while a Bayesian student makes one; kept for a second call.
double steps_of_equal_time(const Settings& settings, const Corpus& corpus, const Ranks& ranks) {
  const fs::path path = fs::path(settings.output) / "steps_of_equal_time.txt";
  double ratio = 0;
  if (ranks.is_first()) std::ifstream(path) >> ratio;
  ratio = ranks.of_first(ratio);
  if (ratio > 0) return ratio;
  const auto seconds = [&](const char* name) {
    const auto student = std::ranges::find(students, std::string(name),
                                           [](const Student& s) { return s.style.name; });
    return seconds_a_step(settings, *student, corpus, ranks);
  };
  const double dial = seconds("dial");
  ratio = ranks.of_first(dial / seconds("control"));
  if (ranks.is_first()) std::ofstream(path) << fmt::format("{}\n", ratio);
  return ratio;
}

/// Trains, from where an earlier call was interrupted.
void train(st::LanguageModel& model, const std::string& name, std::int64_t steps, unsigned seed,
           const Settings& settings, const Corpus& corpus, const Ranks& ranks) {
  training::Trainer trainer(model.ptr(), faster(model), trainer_options(settings, steps));
  const fs::path path = fs::path(settings.output) / (name + ".training");
  if (ranks.of_first(fs::exists(path)) > 0) trainer.load(path);
  training::Progress progress(name, steps, trainer.steps());
  auto saved = training::Clock::now();
  while (!trainer.is_done()) {
    const double loss =
        step(trainer, model, loss_of(model, settings, corpus, seed, trainer.steps(), ranks), ranks);
    if (!ranks.is_first()) continue;
    progress.add(trainer.steps(), loss);
    if (training::Clock::now() - saved > std::chrono::seconds(30)) {
      trainer.save(path);
      saved = training::Clock::now();
    }
  }
  if (!ranks.is_first()) return;
  st::save_language_model(model, fs::path(settings.output) / name);
  fs::remove(path);
  fmt::print(stderr, "{}: {} steps in {}\n", name, steps,
             training::Progress::duration(trainer.seconds()));
}

Shares evaluate(st::LanguageModel& model, const Settings& settings, const Corpus& corpus,
                const Ranks& ranks) {
  Shares all;
  std::int64_t batch = 0;
  for (const int context : settings.contexts) {
    auto& row = all.emplace_back(tasks.size());
    for (std::size_t task = 0; task < tasks.size(); ++task) {
      Random random(training::generator(0, context, unsigned(task) + 1));
      for (int done = 0; done < settings.test_texts; done += 8) {
        std::vector<Text> texts;
        for (int i = done; i < std::min(done + 8, settings.test_texts); ++i) {
          texts.push_back(
              draw(tasks[task], std::size_t(context), {corpus.valid, corpus.valid_words}, random));
        }
        if (!ranks.has(batch++)) continue;
        const Share share = answered(model, texts, torch::Device(settings.device));
        row[task].met += share.met;
        row[task].of += share.of;
      }
    }
    for (Share& share : row) {
      std::array<double, 2> sums = {double(share.met), double(share.of)};
      ranks.sum(sums);
      share = {std::int64_t(sums[0]), std::int64_t(sums[1])};
    }
  }
  return all;
}

/// Evaluates a student, trained first if no earlier call has done that.
void examine(std::size_t index, unsigned seed, const Settings& settings, const Corpus& corpus,
             const Ranks& ranks, std::optional<Report>& report) {
  const Student& student = students[index];
  const bool is_trained = student.trained != Student::never;
  const std::string name =
      is_trained ? fmt::format("{}-{}", student.style.name, seed) : student.style.name;
  std::int64_t steps = is_trained ? settings.steps : 0;
  if (student.trained == Student::time) {
    steps = std::llround(double(steps) * steps_of_equal_time(settings, corpus, ranks));
  }
  const fs::path done = fs::path(settings.output) / name;
  const bool is_done = ranks.of_first(fs::exists(done / "config.json")) > 0;
  auto model = is_done ? st::read_language_model(done) : make(settings, student);
  const torch::Device device(settings.device);
  model->to(device);
  if (is_trained && !is_done) train(model, name, steps, seed, settings, corpus, ranks);
  model->eval();
  const Shares shares = evaluate(model, settings, corpus, ranks);
  const double bits = bits_per_byte(model, corpus.valid, 2048, 64, ranks, device);
  if (report) report->add(index, name, is_trained ? seed : 0, steps, shares, bits);
}

void run(const Settings& settings, const Ranks& ranks) {
  const Corpus corpus(settings);
  std::optional<Report> report;
  if (ranks.is_first()) {
    fs::create_directories(settings.output);
    report.emplace(settings);
  }
  for (int seed = 0; seed < settings.seeds; ++seed) {
    for (std::size_t i = 0; i < students.size(); ++i) {
      if (std::ranges::count(settings.students, students[i].style.name) == 0) continue;
      if (students[i].trained == Student::never && seed > 0) continue;
      examine(i, unsigned(settings.first_seed + seed), settings, corpus, ranks, report);
    }
  }
  if (report) report->draw();
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  CLI::App app(description);
  const auto file = [&](const char* name, std::string& path, const char* text) {
    app.add_option(name, path, text)->required()->check(CLI::ExistingFile);
  };
  app.add_option("checkpoint", settings.checkpoint, "Directory of the pretrained model")
      ->required()
      ->check(CLI::ExistingDirectory);
  file("--text", settings.text, "To learn from; see fetch_text.sh");
  file("--valid", settings.valid, "To be asked about, and whose bits a byte are counted");
  file("--words", settings.words, "Keys of the tasks; the last sixth in evaluations alone");
  program::add_option(app, "--output", settings.output, "Directory of all results");
  program::add_option(app, "--steps", settings.steps, "Of a training", CLI::PositiveNumber);
  program::add_option(app, "--warm-up", settings.warm_up, "Steps of it", CLI::NonNegativeNumber);
  program::add_option(app, "--length", settings.length, "Bytes of a text", CLI::PositiveNumber);
  program::add_option(app, "--texts", settings.texts, "A step", CLI::PositiveNumber);
  program::add_option(app, "--rate", settings.rate, "Learning rate", CLI::PositiveNumber);
  program::add_option(app, "--seeds", settings.seeds, "How many", CLI::PositiveNumber);
  const std::vector<std::string> all = settings.students;
  program::add_option(app, "--first-seed", settings.first_seed, "To share them among machines",
                      CLI::NonNegativeNumber);
  program::add_option(app, "--students", settings.students, "Which", CLI::IsMember(all));
  program::add_option(app, "--contexts", settings.contexts, "Lengths of evaluations",
                      CLI::PositiveNumber);
  program::add_option(app, "--test-texts", settings.test_texts, "A task and length",
                      CLI::PositiveNumber);
  app.add_option("--threads", settings.threads,
                 "Of libtorch and the scans [all; one where mpirun starts several processes]")
      ->check(CLI::PositiveNumber);
  program::add_option(app, "--device", settings.device, "Where all but the scans run: cpu, cuda");
  return program::run(app, "distil", argc, argv, [&] {
    const Ranks ranks;
    if (settings.threads == 0 && ranks.size() > 1) settings.threads = 1;
    if (settings.threads > 0) at::set_num_threads(settings.threads);
    ranks.run([&] { run(settings, ranks); });
  });
}
