// examples/torch/training.hpp: the schedule, what AdamW does to each group, and resuming.
#include <torch/nn/modules/linear.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "../../examples/torch/jobs.hpp"
#include "../../examples/torch/training.hpp"
#include "support/catch.hpp"

namespace training_test {
namespace {

namespace fs = std::filesystem;
using torch::Tensor;
using training::Schedule, training::Trainer, training::TrainerOptions;

TEST_CASE("training: rates by hand") {
  const Schedule plain{.steps = 4, .rate = 2};
  const double half = std::sqrt(0.5);
  for (const auto& [step, rate] : std::vector<std::pair<int, double>>{
           {0, 2}, {1, 1 + half}, {2, 1}, {3, 1 - half}, {4, 0}, {9, 0}}) {
    CHECK(plain.rate_at(step) == Approx(rate).margin(1e-15));
  }
  const Schedule warm{.steps = 9, .rate = 3, .warm_up = 3, .floor = 0.5};
  for (const auto& [step, rate] :
       std::vector<std::pair<int, double>>{{0, 1}, {1, 2}, {2, 3}, {3, 3}, {6, 2.25}, {9, 1.5}}) {
    CHECK(warm.rate_at(step) == Approx(rate));
  }
}

TEST_CASE("training: a step's generator depends on seed, step and stream alone") {
  CHECK(training::generator(3, 4)() == training::generator(3, 4)());
  CHECK(training::generator(3, 4)() != training::generator(4, 3)());
  CHECK(training::generator(3, 4)() != training::generator(3, 4 + (std::int64_t(1) << 32))());
  CHECK(training::generator(3, 4)() != training::generator(3, 4, 1)());
}

struct TwoImpl : torch::nn::Module {
  TwoImpl()
      : slow(register_parameter("slow", torch::tensor({1.0, -2.0}))),
        fast(register_parameter("fast", torch::tensor({3.0}))) {}
  Tensor slow, fast;
};
TORCH_MODULE(Two);

// Adam's first step is the gradient's sign times the rate; AdamW takes rate * decay of the weight.
TEST_CASE("training: the faster group steps further and doesn't decay") {
  Two model;
  Trainer trainer(model.ptr(), {model->fast},
                  {.schedule = {.steps = 10, .rate = 0.01}, .faster = 5, .weight_decay = 0.25});
  trainer.step((model->slow * torch::tensor({7.0, -4.0})).sum() + 2 * model->fast.sum());
  CHECK(trainer.steps() == 1);
  CHECK(model->slow[0].item<double>() == Approx(1 - 0.01 * 0.25 - 0.01));
  CHECK(model->slow[1].item<double>() == Approx(-2 * (1 - 0.01 * 0.25) + 0.01));
  CHECK(model->fast[0].item<double>() == Approx(3 - 0.05));
}

TEST_CASE("training: gradients are clipped to the norm") {
  Two model;
  Trainer trainer(model.ptr(), {}, {.schedule = {.steps = 10, .rate = 0.01}, .clip = 0.5});
  trainer.step((model->slow * torch::tensor({2.0, -6.0})).sum() + 9 * model->fast.sum());
  const double scale = 0.5 / 11;  // sqrt(4 + 36 + 81)
  CHECK(model->slow.grad()[0].item<double>() == Approx(2 * scale));
  CHECK(model->slow.grad()[1].item<double>() == Approx(-6 * scale));
  CHECK(model->fast.grad()[0].item<double>() == Approx(9 * scale));
}

torch::nn::Linear start(std::int64_t outputs = 3) {
  torch::nn::Linear model(5, outputs);
  const torch::NoGradGuard no_grad;
  for (Tensor& parameter : model->parameters()) {
    parameter.copy_(torch::linspace(-1, 1, parameter.numel()).reshape(parameter.sizes()));
  }
  return model;
}

Trainer trainer_of(torch::nn::Linear& model, std::int64_t steps = 9) {
  return {
      model.ptr(),
      {model->bias},
      {.schedule = {.steps = steps, .rate = 0.1, .warm_up = 2}, .weight_decay = 0.1, .clip = 1}};
}

void go_on(torch::nn::Linear& model, Trainer& trainer, std::int64_t until) {
  while (trainer.steps() < until) {
    auto random = training::generator(1, trainer.steps());
    std::vector<float> x(10);
    for (float& entry : x) entry = float(random() >> 40) * 0x1p-24F;
    trainer.step(model->forward(torch::tensor(x).reshape({2, 5})).square().sum());
  }
}

struct Directory {
  fs::path path = fs::temp_directory_path() / ("training " + std::to_string(::getpid()));
  Directory() { fs::create_directories(path); }
  ~Directory() { fs::remove_all(path); }
};

TEST_CASE("training: saved and resumed, to the last bit as if never interrupted") {
  const Directory directory;
  const fs::path file = directory.path / "saved";
  torch::nn::Linear whole = start(), first = start(), second = start();
  Trainer at_once = trainer_of(whole), before = trainer_of(first), after = trainer_of(second);
  go_on(whole, at_once, 9);
  go_on(first, before, 4);
  before.save(file);
  go_on(first, before, 6);
  before.save(file);  // over the older one
  after.load(file);
  CHECK(after.steps() == 6);
  CHECK((after.seconds() > 0 && after.seconds() < before.seconds()));
  CHECK_FALSE(after.is_done());
  go_on(second, after, 9);
  CHECK(after.is_done());
  CHECK(second->weight.equal(whole->weight));
  CHECK(second->bias.equal(whole->bias));
  CHECK_FALSE(second->weight.equal(first->weight));
  // Nothing but the file is left.
  CHECK(std::distance(fs::directory_iterator(directory.path), {}) == 1);
}

TEST_CASE("training: a file that is no such training is named") {
  const Directory directory;
  const fs::path file = directory.path / "saved";
  torch::nn::Linear model = start(), wider = start(4);
  Trainer trainer = trainer_of(model);
  go_on(model, trainer, 2);
  const auto refuses = [&](Trainer other) {
    CHECK_THROWS_WITH(other.load(file),
                      file.string() + ": broken, or saved by a training with other settings");
  };
  refuses(trainer_of(model));  // no file
  trainer.save(file);
  refuses(trainer_of(wider));
  refuses(trainer_of(model, 10));  // another schedule
  Two two;
  refuses({two.ptr(), {two->fast}, {.schedule = {.steps = 9, .rate = 0.1, .warm_up = 2}}});
  fs::resize_file(file, fs::file_size(file) / 2);
  refuses(trainer_of(model));
  std::ofstream(file) << "something else";
  refuses(trainer_of(model));
  CHECK_THROWS_WITH(
      trainer.save(directory.path / "none" / "saved"),
      (directory.path / "none" / "saved").string() + ": the training cannot be saved there");
}

TEST_CASE("training: jobs are done once each, and none is begun after one has failed") {
  for (const unsigned threads : {1U, 3U}) {
    const int before = at::get_num_threads();
    std::vector<std::atomic<int>> times(20);
    training::run_jobs(20, threads, 1, [&](std::size_t i) { times[i] += at::get_num_threads(); });
    CHECK(std::ranges::all_of(times, [](int n) { return n == 1; }));
    CHECK(at::get_num_threads() == before);
    std::atomic<unsigned> begun = 0;
    CHECK_THROWS_WITH(training::run_jobs(1000, threads, 1,
                                         [&](std::size_t) {
                                           ++begun;
                                           throw std::runtime_error("no");
                                         }),
                      "no");
    CHECK(begun <= threads);
  }
}

TEST_CASE("training: times left") {
  CHECK(training::Progress::duration(8.6) == "9 s");
  CHECK(training::Progress::duration(130) == "2 min 10 s");
  CHECK(training::Progress::duration(3600 + 5 * 60 + 40) == "1 h 5 min");
}

}  // namespace
}  // namespace training_test
