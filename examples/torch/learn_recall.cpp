// Trains a small model with each of four memories on associative recall, and asks it for more than
// it was trained for: more pairs, longer gaps, noisier values; with outliers also with a fifth
// memory that bears them.
#include <fmt/format.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/utils/clip_grad.h>
#include <torch/optim/adam.h>

#include <chrono>
#include <cmath>
#include <mutex>
#include <numbers>
#include <string>
#include <thread>
#include <vector>

#include <seqbayes/adapters/torch/mixer.hpp>

#include "../support/program.hpp"
#include "../support/study.hpp"
#include "jobs.hpp"
#include "recall_task.hpp"

namespace {

constexpr const char* description =
    "Trains DeltaNet, Gated DeltaNet, a diagonal Kalman delta net and the Bayesian Layer on\n"
    "associative recall of noisy values, each with every rate and seed; takes the best rate of\n"
    "each seed and evaluates inside and beyond the training regime. Where some of the values are\n"
    "outliers (--outliers), a Bayesian Layer with Student-t noise takes part. Writes\n"
    "learn_recall.svg, learn_recall.csv and learn_recall.gp (the gnuplot script).";

namespace st = seqbayes::libtorch;
using recall::Batch, recall::Regime, torch::Tensor;

struct Settings {
  int steps = 800, texts = 32, test_texts = 128, seeds = 3;
  std::vector<double> rates = {5e-3, 1e-2, 2e-2};
  double outliers = 0;
  unsigned threads = std::max(1U, std::thread::hardware_concurrency());
  std::string output = "report";
};

struct Memory {
  st::Rule rule;
  study::Style style;
};

/// The last takes part where there are outliers.
const std::vector<Memory> memories = {
    {st::Rule::delta_net, {"DeltaNet", "#999999", "solid", 5}},
    {st::Rule::gated_delta_net, {"Gated DeltaNet", "#e69f00", "solid", 9}},
    {st::Rule::diagonal_kalman, {"diagonal Kalman", "#56b4e9", "solid", 11}},
    {st::Rule::bayesian, {"Bayesian Layer", "#d55e00", "solid", 7}},
    {st::Rule::student_t, {"Student-t noise", "#0072b2", "solid", 13}}};

std::size_t taking_part(const Settings& settings) {
  return memories.size() - (settings.outliers > 0 ? 0 : 1);
}

/// A token is the embedding of its id and of whether it asks, beside its value; then one mixer of
/// one head of 16 x 16, and a linear map to classes.
class ModelImpl : public torch::nn::Module {
 public:
  explicit ModelImpl(st::Rule rule)
      : ids(recall::key_ids + recall::filler_ids, embedding),
        question(2, embedding),
        mixer(st::MixerOptions{.rule = rule,
                               .hidden_size = width,
                               .head_dim = 16,
                               .conv_size = 0,
                               .use_gate = false,
                               .memory_decay = false,
                               .forgetting_start = -5}),
        classes(width, recall::classes) {
    register_module("ids", ids);
    register_module("question", question);
    register_module("mixer", mixer);
    register_module("classes", classes);
    const torch::NoGradGuard no_grad;
    if (rule == st::Rule::gated_delta_net) {  // remembers about 1000 tokens to begin with
      mixer->A_log.zero_();
      mixer->dt_bias.fill_(std::log(std::expm1(1e-3)));
    }
  }

  /// Logits of the questions, [B, pairs, classes].
  Tensor forward(const Batch& batch) {
    st::MixerState state;
    const Tensor h = torch::cat({ids(batch.id) + question(batch.question), batch.value}, 2);
    return classes(mixer(h, state).slice(1, -batch.answer.size(1)));
  }

  [[nodiscard]] std::int64_t size() const {
    std::int64_t sum = 0;
    for (const Tensor& parameter : parameters()) sum += parameter.numel();
    return sum;
  }

 private:
  static constexpr std::int64_t embedding = 24, width = embedding + recall::channels;

  torch::nn::Embedding ids, question;
  st::Mixer mixer;
  torch::nn::Linear classes;
};
TORCH_MODULE(Model);

/// Nats a question.
Tensor loss_of(Model& model, const Batch& batch) {
  const Tensor log_p = torch::log_softmax(model->forward(batch), -1);
  return -log_p.gather(2, batch.answer.unsqueeze(2)).mean();
}

double share_recalled(Model& model, const Batch& batch) {
  return model->forward(batch).argmax(-1).eq(batch.answer).to(at::kDouble).mean().item<double>();
}

/// One training: every memory and rate sees the same texts and starts from the same embeddings.
struct Run {
  std::size_t memory = 0;
  unsigned seed = 0;
  double rate = 0;
  Model model{nullptr};
  study::Points curve = {};  // training loss, means of 25 steps
  double validation = 0;

  void train(const Settings& settings) {
    const recall::Task task(seed);
    std::mt19937 random(seed + 1000), held_out(seed + 2000);
    {
      static std::mutex generator;  // libtorch's is global
      const std::lock_guard lock(generator);
      torch::manual_seed(seed);
      model = Model(memories[memory].rule);
    }
    torch::optim::Adam adam(model->parameters(), torch::optim::AdamOptions(rate));
    auto& options = static_cast<torch::optim::AdamOptions&>(adam.param_groups()[0].options());
    study::Mean mean;
    for (int step = 1; step <= settings.steps; ++step) {
      options.lr(rate / 2 * (1 + std::cos(std::numbers::pi * (step - 1) / settings.steps)));
      adam.zero_grad();
      const Tensor loss =
          loss_of(model, task.draw({.outliers = settings.outliers}, settings.texts, random));
      loss.backward();
      torch::nn::utils::clip_grad_norm_(model->parameters(), 1);
      adam.step();
      mean.add(loss.item<double>());
      if (step % 25 == 0) curve.push_back({double(step), std::exchange(mean, {}).at(0).y, 0});
    }
    const torch::NoGradGuard no_grad;
    const Regime regime{.outliers = settings.outliers};
    validation = loss_of(model, task.draw(regime, settings.test_texts, held_out)).item<double>();
  }
};

std::vector<Run> all_runs(const Settings& settings) {
  std::vector<Run> runs;
  for (std::size_t memory = 0; memory < taking_part(settings); ++memory) {
    for (int seed = 1; seed <= settings.seeds; ++seed) {
      for (const double rate : settings.rates) {
        runs.push_back({.memory = memory, .seed = unsigned(seed), .rate = rate});
      }
    }
  }
  return runs;
}

/// Trains them all, a thread each, `settings.threads` at a time.
void train(std::vector<Run>& runs, const Settings& settings) {
  std::size_t done = 0;
  std::mutex output;
  training::run_jobs(runs.size(), settings.threads, 1, [&](std::size_t i) {
    const Run& run = runs[i];
    runs[i].train(settings);
    const std::lock_guard lock(output);
    fmt::print(stderr, "{:>3}/{} {:<16} seed {} rate {:<6g} loss {:.3f}\n", ++done, runs.size(),
               memories[run.memory].style.name, run.seed, run.rate, run.validation);
  });
}

/// Of each seed the run whose rate did best on held-out texts.
std::vector<Run> best_of_rates(const std::vector<Run>& runs, std::size_t memory) {
  std::vector<Run> best;
  for (const Run& run : runs) {
    if (run.memory != memory) continue;
    if (best.empty() || best.back().seed != run.seed) best.push_back(run);
    if (run.validation < best.back().validation) best.back() = run;
  }
  return best;
}

struct Sweep {
  std::string title, label;
  std::vector<double> values;
  Regime (*at)(double);
};

const std::vector<Sweep> sweeps = {
    {"More pairs",
     "pairs (12 in training)",
     {4, 8, 12, 16, 24, 32},
     [](double x) { return Regime{.pairs = int(x)}; }},
    {"Longer gaps",
     "fillers (8 in training)",
     {8, 16, 32, 64, 128},
     [](double x) { return Regime{.gap = int(x)}; }},
    {"Noisier values", "noise deviation (1 in training)", {0, 0.5, 1, 1.5, 2, 3}, [](double x) {
       return Regime{.noise = x};
     }}};

/// Share recalled at each value: mean and standard error over the seeds, on texts of their own.
study::Points evaluate(std::vector<Run>& runs, const Sweep& sweep, const Settings& settings) {
  const torch::NoGradGuard no_grad;
  study::Points points;
  for (const double x : sweep.values) {
    study::Mean mean;
    for (Run& run : runs) {
      std::mt19937 random(run.seed + 3000);
      Regime regime = sweep.at(x);
      regime.outliers = settings.outliers;
      const Batch batch = recall::Task(run.seed).draw(regime, settings.test_texts, random);
      mean.add(share_recalled(run.model, batch));
    }
    points.push_back(mean.at(x));
  }
  return points;
}

study::Points mean_curve(const std::vector<Run>& runs) {
  study::Points points;
  for (std::size_t i = 0; i < runs.front().curve.size(); ++i) {
    study::Mean mean;
    for (const Run& run : runs) mean.add(run.curve[i].y);
    points.push_back(mean.at(runs.front().curve[i].x));
  }
  return points;
}

void report(const std::vector<Run>& runs, const Settings& settings) {
  study::Figure figure{.name = "learn_recall", .styles = {}, .panels = {}};
  figure.panels.push_back({"Training", "step", "loss, nats a question", {}, "set yrange [0:*]"});
  for (const Sweep& sweep : sweeps) {
    figure.panels.push_back({sweep.title, sweep.label, "share recalled", {}, "set yrange [0:1]"});
  }
  fmt::print(
      "share recalled, mean of {} seeds (standard error)\n{:<16}{:>11}{:>14}{:>14}{:>14}{:>14}\n",
      settings.seeds, "", "parameters", "as trained", "32 pairs", "gap 128", "noise 2");
  for (std::size_t i = 0; i < taking_part(settings); ++i) {
    figure.styles.push_back(memories[i].style);
    std::vector<Run> best = best_of_rates(runs, i);
    figure.panels[0].curves.push_back({i, mean_curve(best), {}});
    std::vector<study::Points> recalled;
    for (std::size_t k = 0; k < sweeps.size(); ++k) {
      recalled.push_back(evaluate(best, sweeps[k], settings));
      figure.panels[k + 1].curves.push_back({i, recalled[k], recalled[k]});
    }
    fmt::print("{:<16}{:>11}", memories[i].style.name, best.front().model->size());
    for (const study::Point& point :
         {recalled[0][2], recalled[0].back(), recalled[1].back(), recalled[2][4]}) {
      fmt::print("{:>7.3f} ({:.3f})", point.y, point.error);
    }
    fmt::print("\n");
  }
  study::write_and_report(figure, settings.output);
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  CLI::App app(description);
  program::add_option(app, "--output", settings.output, "Directory of the figure");
  program::add_option(app, "--steps", settings.steps, "Of a training", CLI::Range(25, 1000000));
  program::add_option(app, "--texts", settings.texts, "A step", CLI::PositiveNumber);
  program::add_option(app, "--test-texts", settings.test_texts, "A point", CLI::PositiveNumber);
  program::add_option(app, "--rates", settings.rates, "Learning rates", CLI::PositiveNumber);
  program::add_option(app, "--seeds", settings.seeds, "How many", CLI::Range(2, 1000));
  program::add_option(app, "--outliers", settings.outliers,
                      "Share of the written values with 5 times the noise", CLI::Range(0.0, 1.0));
  program::add_option(app, "--threads", settings.threads, "Trainings at a time",
                      CLI::PositiveNumber);
  return program::run(app, "learn_recall", argc, argv, [&] {
    const auto start = std::chrono::steady_clock::now();
    std::vector<Run> runs = all_runs(settings);
    train(runs, settings);
    report(runs, settings);
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    fmt::print(stderr, "{:.0f} s\n", taken.count());
  });
}
