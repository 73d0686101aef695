/// Training that can be interrupted: a schedule of learning rates, AdamW that saves and resumes, a
/// line of progress.
#pragma once

#include <fmt/format.h>
#include <torch/nn/module.h>
#include <torch/nn/utils/clip_grad.h>
#include <torch/optim/adamw.h>
#include <torch/serialize/archive.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <numbers>
#include <random>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <seqbayes/adapters/detail/replace.hpp>

namespace training {

using torch::Tensor;
using Clock = std::chrono::steady_clock;

/// The generator of a step's data (or of anything else, as a stream of its own): what resumes at a
/// step needs no state of those before, and threads share none.
inline std::mt19937_64 generator(unsigned seed, std::int64_t step, unsigned stream = 0) {
  const auto bits = static_cast<std::uint64_t>(step);
  std::seed_seq words{std::uint32_t(seed), std::uint32_t(bits), std::uint32_t(bits >> 32),
                      std::uint32_t(stream)};
  return std::mt19937_64(words);
}

/// Linear warm-up to `rate`, then a cosine down to `floor * rate`.
struct Schedule {
  std::int64_t steps;
  double rate;
  std::int64_t warm_up = 0;
  double floor = 0;

  /// Of step 0, 1, ..., steps - 1.
  [[nodiscard]] double rate_at(std::int64_t step) const {
    if (step < warm_up) return rate * double(step + 1) / double(warm_up);
    const double way = double(step - warm_up) / double(std::max<std::int64_t>(steps - warm_up, 1));
    const double cosine = std::cos(std::numbers::pi * std::min(way, 1.0));
    return rate * (floor + (1 - floor) / 2 * (1 + cosine));
  }
};

struct TrainerOptions {
  Schedule schedule;
  double faster = 5;  ///< Learning rate of the faster parameters over that of the others.
  double beta1 = 0.9, beta2 = 0.999;
  double weight_decay = 0;  ///< Of all but the faster ones.
  double clip = 0;          ///< Largest norm of the gradient; 0: any.
};

/// AdamW over a model's parameters, of which some learn faster and without weight decay
/// (`Mixer::forgetting_parameters()`).
class Trainer {
 public:
  Trainer(std::shared_ptr<torch::nn::Module> model, const std::vector<Tensor>& faster,
          const TrainerOptions& options)
      : model_(std::move(model)),
        options_(options),
        optimizer_(groups(*model_, faster, options), torch::optim::AdamWOptions()) {}

  /// How many steps are done.
  [[nodiscard]] std::int64_t steps() const { return steps_; }
  [[nodiscard]] bool is_done() const { return steps_ >= options_.schedule.steps; }
  /// The time that training has taken so far, without interruptions.
  [[nodiscard]] double seconds() const {
    return before_ + std::chrono::duration<double>(Clock::now() - start_).count();
  }

  void step(const Tensor& loss) {
    step([&loss] { loss.backward(); });
  }
  /// With the gradient that `add()` adds to the parameters' zeros.
  template <std::invocable Add>
  void step(const Add& add) {
    optimizer_.zero_grad();
    add();
    if (options_.clip > 0) {
      torch::nn::utils::clip_grad_norm_(model_->parameters(), options_.clip);
    }
    const double rate = options_.schedule.rate_at(steps_);
    set_rate(0, rate);
    set_rate(1, rate * options_.faster);
    optimizer_.step();
    ++steps_;
  }

  /// Writes model, optimizer, schedule, step number and time; whenever this is interrupted, `path`
  /// is a whole file.
  void save(const std::filesystem::path& path) const {
    try {
      torch::serialize::OutputArchive all, model, optimizer;
      model_->save(model);
      optimizer_.save(optimizer);
      all.write("model", model);
      all.write("optimizer", optimizer);
      all.write("schedule", schedule());
      all.write("steps", torch::tensor(steps_));
      all.write("seconds", torch::tensor(seconds(), at::kDouble));
      seqbayes::detail::replace(path, [&](const auto& part) { all.save_to(part.string()); });
    } catch (const std::exception&) {
      throw std::runtime_error(path.string() + ": the training cannot be saved there");
    }
  }

  /// Goes on where `save` was called. If this throws, neither model nor trainer is of use.
  void load(const std::filesystem::path& path) {
    try {
      torch::serialize::InputArchive all, model, optimizer;
      all.load_from(path.string());
      Tensor saved_schedule, steps, seconds;
      all.read("schedule", saved_schedule);
      all.read("steps", steps);
      all.read("seconds", seconds);
      all.read("model", model);
      all.read("optimizer", optimizer);
      const auto shapes = shapes_of(*model_);
      model_->load(model);
      optimizer_.load(optimizer);
      if (!saved_schedule.equal(schedule()) || shapes_of(*model_) != shapes) {
        throw std::runtime_error("of another training");
      }
      steps_ = steps.item<std::int64_t>();
      before_ = seconds.item<double>();
      start_ = Clock::now();
    } catch (const std::exception&) {
      throw std::runtime_error(path.string() +
                               ": broken, or saved by a training with other settings");
    }
  }

 private:
  static std::vector<torch::optim::OptimizerParamGroup> groups(const torch::nn::Module& model,
                                                               const std::vector<Tensor>& faster,
                                                               const TrainerOptions& options) {
    std::vector<Tensor> others;
    for (const Tensor& parameter : model.parameters()) {
      const auto same = [&](const Tensor& other) { return other.is_same(parameter); };
      if (std::ranges::none_of(faster, same)) others.push_back(parameter);
    }
    const auto group = [&](const std::vector<Tensor>& parameters, double decay) {
      auto adamw = std::make_unique<torch::optim::AdamWOptions>();
      adamw->betas({options.beta1, options.beta2}).weight_decay(decay);
      return torch::optim::OptimizerParamGroup(parameters, std::move(adamw));
    };
    return {group(others, options.weight_decay), group(faster, 0)};
  }

  void set_rate(std::size_t group, double rate) {
    auto& options = optimizer_.param_groups()[group].options();
    static_cast<torch::optim::AdamWOptions&>(options).lr(rate);
  }

  [[nodiscard]] Tensor schedule() const {
    const auto& [steps, rate, warm_up, floor] = options_.schedule;
    return torch::tensor({double(steps), rate, double(warm_up), floor}, at::kDouble);
  }

  static std::vector<std::vector<std::int64_t>> shapes_of(const torch::nn::Module& model) {
    std::vector<std::vector<std::int64_t>> shapes;
    for (const Tensor& parameter : model.parameters()) shapes.push_back(parameter.sizes().vec());
    return shapes;
  }

  std::shared_ptr<torch::nn::Module> model_;
  TrainerOptions options_;
  torch::optim::AdamW optimizer_;
  std::int64_t steps_ = 0;
  double before_ = 0;  // seconds until it was saved
  Clock::time_point start_ = Clock::now();
};

/// Says on stderr how far a training is, now and then.
class Progress {
 public:
  /// @param done steps of an earlier run, which say nothing about the time left.
  Progress(std::string name, std::int64_t steps, std::int64_t done = 0)
      : name_(std::move(name)), steps_(steps), first_(done) {}

  /// @param done how many steps are done, this one too.
  void add(std::int64_t done, double loss) {
    sum_ += loss;
    ++count_;
    const auto now = Clock::now();
    if (now - last_ < std::chrono::seconds(5)) return;
    const std::chrono::duration<double> taken = now - start_;
    const double left = taken.count() * double(steps_ - done) / double(done - first_);
    fmt::print(stderr, "{}: step {} of {}, loss {:.3f}, {} left\n", name_, done, steps_,
               sum_ / double(count_), duration(left));
    last_ = now;
    sum_ = 0;
    count_ = 0;
  }

  /// 9 s, 2 min 10 s, 1 h 5 min.
  static std::string duration(double seconds) {
    const auto s = std::lround(seconds);
    if (s < 60) return fmt::format("{} s", s);
    if (s < 3600) return fmt::format("{} min {} s", s / 60, s % 60);
    return fmt::format("{} h {} min", s / 3600, s / 60 % 60);
  }

 private:
  std::string name_;
  std::int64_t steps_, first_, count_ = 0;
  double sum_ = 0;
  Clock::time_point start_ = Clock::now(), last_ = start_;
};

}  // namespace training
