// The task of examples/torch/learn_recall.cpp, and the program itself on few texts.
#include <sys/wait.h>

#include <unistd.h>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <set>
#include <string>

#include "../../examples/torch/recall_task.hpp"
#include "support/catch.hpp"

namespace learn_recall_test {
namespace {

namespace fs = std::filesystem;

TEST_CASE("recall task: what is asked was written, one to three times, with its class's code") {
  const recall::Task task(5);
  std::mt19937 random(6);
  const int pairs = 9, gap = 4, writes = 2 * pairs, texts = 20;
  const recall::Batch batch = task.draw({pairs, gap, 0}, texts, random);
  REQUIRE(batch.id.size(1) == writes + gap + pairs);
  std::map<std::int64_t, torch::Tensor> codes;  // noise is 0, so a class has one value
  for (int b = 0; b < texts; ++b) {
    std::map<std::int64_t, int> times;
    std::map<std::int64_t, torch::Tensor> value;
    for (int t = 0; t < writes; ++t) {
      const auto id = batch.id[b][t].item<std::int64_t>();
      ++times[id];
      value[id] = batch.value[b][t];
      CHECK(id < recall::key_ids);
      CHECK(batch.question[b][t].item<std::int64_t>() == 0);
    }
    for (int t = writes; t < writes + gap; ++t) {
      CHECK(batch.id[b][t].item<std::int64_t>() >= recall::key_ids);
      CHECK(batch.question[b][t].item<std::int64_t>() == 0);
      CHECK(batch.value[b][t].abs().max().item<float>() > 0);
    }
    std::set<std::int64_t> asked;
    for (int i = 0; i < pairs; ++i) {
      const int t = writes + gap + i;
      const auto id = batch.id[b][t].item<std::int64_t>();
      const auto answer = batch.answer[b][i].item<std::int64_t>();
      CHECK(asked.insert(id).second);
      CHECK((times[id] >= 1 && times[id] <= 3));
      CHECK(batch.question[b][t].item<std::int64_t>() == 1);
      CHECK(batch.value[b][t].abs().max().item<float>() == 0);
      REQUIRE((answer >= 0 && answer < recall::classes));
      const auto code = codes.try_emplace(answer, value[id]).first->second;
      CHECK(code.equal(value[id]));
    }
  }
  CHECK(codes.size() == recall::classes);
}

TEST_CASE("recall task: written values deviate from their code by the noise") {
  const recall::Task task(5);
  std::mt19937 first(7), again(7);
  const recall::Batch clean = task.draw({12, 8, 0}, 200, first);
  const recall::Batch noisy = task.draw({12, 8, 1.5}, 200, again);
  REQUIRE(clean.id.equal(noisy.id));  // the same draws, scaled
  const auto noise = (noisy.value - clean.value).slice(1, 0, 24);
  // 76800 draws: the deviation's standard error is 1.5 / sqrt(2 * 76800) = 0.004.
  CHECK(noise.std().item<double>() == Approx(1.5).margin(0.02));
  CHECK(std::abs(noise.mean().item<double>()) < 0.025);  // standard error 0.005
}

TEST_CASE("recall task: outliers are whole values of larger noise") {
  const recall::Task task(5);
  std::mt19937 first(7), again(7);
  const auto values = [&](double noise, std::mt19937& random) {
    return task.draw({12, 8, noise, 0.25}, 400, random).value.slice(1, 0, 24);
  };
  const auto clean = values(0, first);
  const auto noise = (values(2, again) - clean).square().mean(2).sqrt();  // of 16 channels
  // Less than one mean of 16 squares in 10^4 is below 0.16 or above 4 times its expectation.
  const auto large = noise.gt(4);
  CHECK(noise.masked_select(large).square().mean().item<double>() == Approx(100).epsilon(0.05));
  CHECK(noise.masked_select(~large).square().mean().item<double>() == Approx(4).epsilon(0.05));
  // 9600 draws: the share's standard error is 0.0044.
  CHECK(large.to(at::kDouble).mean().item<double>() == Approx(0.25).margin(0.022));
}

#ifdef LEARN_RECALL
std::string text(const fs::path& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST_CASE("learn_recall: a table and figures, the same for any number of threads") {
  const fs::path work = fs::temp_directory_path() / ("learn_recall " + std::to_string(::getpid()));
  const auto run = [&](const std::string& threads) {
    fs::remove_all(work);
    const std::string command =
        "\"" LEARN_RECALL
        "\" --steps 50 --texts 4 --test-texts 4 --seeds 2 --rates 0.01 --outliers 0.1 --threads " +
        threads + " --output \"" + work.string() + "\" >/dev/null 2>&1";
    CHECK(std::system(command.c_str()) == 0);
    return text(work / "learn_recall.csv");
  };
  const std::string csv = run("1");
  CHECK(csv == run("2"));
  fs::remove_all(work);
  for (const char* memory :
       {"DeltaNet", "Gated DeltaNet", "diagonal Kalman", "Bayesian Layer", "Student-t noise"}) {
    CHECK(csv.find("\"Longer gaps\",\"" + std::string(memory) + "\"") != std::string::npos);
  }
  CHECK(csv.find("nan") == std::string::npos);
}
#endif

}  // namespace
}  // namespace learn_recall_test
