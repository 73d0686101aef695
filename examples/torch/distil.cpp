// Distils a pretrained Gated DeltaNet into Bayesian Layers: all layers get a covariance, everything
// is trained, beside the same Gated DeltaNet trained the same.
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
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
    "is done or begun in the output directory is not done again.";

namespace fs = std::filesystem;
namespace st = seqbayes::libtorch;
using torch::Tensor;
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

Tensor loss_of(st::LanguageModel& model, const Settings& settings, const Corpus& corpus,
               unsigned seed, std::int64_t step) {
  Random random(training::generator(seed, step));
  std::vector<Text> texts;
  for (int i = 0; i < settings.texts; ++i) {
    texts.push_back(
        draw_any(std::size_t(settings.length), {corpus.train, corpus.train_words}, random));
  }
  const torch::Device device(settings.device);
  const Tensor weight = weights(texts, settings.answer_weight).to(device);
  return (nats(model, as_tokens(texts).to(device)) * weight).sum() / weight.sum();
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

training::TrainerOptions trainer_options(const Settings& settings, std::int64_t steps) {
  return {
      .schedule = {steps, settings.rate, std::min<std::int64_t>(settings.warm_up, steps / 4), 0.03},
      .beta2 = 0.95,
      .weight_decay = 0.01,
      .clip = 1};
}

/// Seconds a step, the median of five.
double seconds_a_step(const Settings& settings, const Student& student, const Corpus& corpus) {
  auto model = make(settings, student);
  training::Trainer trainer(model.ptr(), faster(model), trainer_options(settings, 6));
  std::vector<double> seconds;
  double before = 0;
  for (std::int64_t step = 0; step < 6; ++step) {
    trainer.step(loss_of(model, settings, corpus, 0, step));
    seconds.push_back(trainer.seconds() - std::exchange(before, trainer.seconds()));
  }
  std::sort(seconds.begin() + 1, seconds.end());  // the first one warms up
  return seconds[3];
}

/// How many steps the control makes while a Bayesian student makes one; kept for a second call.
double steps_of_equal_time(const Settings& settings, const Corpus& corpus) {
  const fs::path path = fs::path(settings.output) / "steps_of_equal_time.txt";
  double ratio = 0;
  if (std::ifstream(path) >> ratio) return ratio;
  ratio =
      seconds_a_step(settings, students[2], corpus) / seconds_a_step(settings, students[0], corpus);
  std::ofstream(path) << ratio << '\n';
  return ratio;
}

/// Trains, from where an earlier call was interrupted.
void train(st::LanguageModel& model, const std::string& name, std::int64_t steps, unsigned seed,
           const Settings& settings, const Corpus& corpus) {
  training::Trainer trainer(model.ptr(), faster(model), trainer_options(settings, steps));
  const fs::path path = fs::path(settings.output) / (name + ".training");
  if (fs::exists(path)) trainer.load(path);
  training::Progress progress(name, steps, trainer.steps());
  auto saved = training::Clock::now();
  while (!trainer.is_done()) {
    const Tensor loss = loss_of(model, settings, corpus, seed, trainer.steps());
    trainer.step(loss);
    progress.add(trainer.steps(), loss.item<double>());
    if (training::Clock::now() - saved > std::chrono::seconds(30)) {
      trainer.save(path);
      saved = training::Clock::now();
    }
  }
  st::save_language_model(model, fs::path(settings.output) / name);
  fs::remove(path);
  fmt::print(stderr, "{}: {} steps in {}\n", name, steps,
             training::Progress::duration(trainer.seconds()));
}

Shares evaluate(st::LanguageModel& model, const Settings& settings, const Corpus& corpus) {
  Shares all;
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
        const Share share = answered(model, texts, torch::Device(settings.device));
        row[task].met += share.met;
        row[task].of += share.of;
      }
    }
  }
  return all;
}

void run(const Settings& settings) {
  fs::create_directories(settings.output);
  const Corpus corpus(settings);
  Report report(settings);
  const auto add = [&](std::size_t student, const std::string& name, unsigned seed,
                       std::int64_t steps, st::LanguageModel& model) {
    model->eval();
    report.add(student, name, seed, steps, evaluate(model, settings, corpus),
               bits_per_byte(model, corpus.valid, 2048, 64, torch::Device(settings.device)));
  };
  auto pretrained = make(settings, students[0]);
  add(0, "pretrained", 0, 0, pretrained);
  const bool timed = std::ranges::count(settings.students, students[1].style.name) > 0;
  const double ratio = timed ? steps_of_equal_time(settings, corpus) : 1;
  for (unsigned seed = 1; seed <= unsigned(settings.seeds); ++seed) {
    for (std::size_t i = 0; i < students.size(); ++i) {
      const Student& student = students[i];
      if (std::ranges::count(settings.students, student.style.name) == 0) continue;
      const std::string name = fmt::format("{}-{}", student.style.name, seed);
      const auto steps =
          student.equal_time ? std::llround(settings.steps * ratio) : std::int64_t(settings.steps);
      const fs::path done = fs::path(settings.output) / name;
      const bool is_done = fs::exists(done / "config.json");
      auto model = is_done ? st::read_language_model(done) : make(settings, student);
      model->to(torch::Device(settings.device));
      if (!is_done) train(model, name, steps, seed, settings, corpus);
      add(i + 1, name, seed, steps, model);
    }
  }
  report.draw();
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
  program::add_option(app, "--students", settings.students, "Which", CLI::IsMember(all));
  program::add_option(app, "--contexts", settings.contexts, "Lengths of evaluations",
                      CLI::PositiveNumber);
  program::add_option(app, "--test-texts", settings.test_texts, "A task and length",
                      CLI::PositiveNumber);
  program::add_option(app, "--threads", settings.threads, "Of libtorch and the scans",
                      CLI::PositiveNumber);
  program::add_option(app, "--device", settings.device, "Where all but the scans run: cpu, cuda");
  return program::run(app, "distil", argc, argv, [&] {
    at::set_num_threads(settings.threads);
    run(settings);
  });
}
