// The retrieval tasks of examples/torch/text_tasks.hpp, and how a model's answers to them are
// counted.
#include <algorithm>
#include <cctype>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "../../examples/torch/text_model.hpp"
#include "support/catch.hpp"

namespace text_tasks_test {
namespace {

using namespace text_tasks;

const std::string haystack = [] {
  std::string text;
  for (int i = 0; text.size() < 9000; ++i) text += "line " + std::to_string(i) + " of prose\n";
  return text;
}();
const std::vector<std::string> words = {
    "elm",   "oak",   "ash",   "fir",   "yew",   "pine",  "larch", "lime",  "rowan", "alder",
    "beech", "birch", "cedar", "hazel", "holly", "maple", "plane", "thorn", "willow"};

Random random(unsigned seed) { return Random(std::mt19937_64(seed)); }

/// What a reader would answer: searches the text before the question for the fact.
std::string look_up(const Text& text, const Span& answer) {
  const std::string before = text.bytes.substr(0, answer.first);
  std::smatch found;
  const std::string question = before.substr(before.rfind('\n'));
  if (std::regex_match(question, found, std::regex("\nThe special magic number for (\\w+) is: "))) {
    const std::regex fact("One of the special magic numbers for " + found[1].str() +
                          " is: (\\d+)\\.");
    return std::regex_search(before, found, fact) ? found[1].str() : "";
  }
  if (std::regex_match(question, found, std::regex("\nThe value of VAR (\\w\\w) is: "))) {
    std::string value = found[1];
    while (!std::isdigit(static_cast<unsigned char>(value[0]))) {
      if (!std::regex_search(before, found, std::regex("VAR " + value + " = (?:VAR )?(\\w+);"))) {
        return "";
      }
      value = found[1];
    }
    return value;
  }
  REQUIRE(std::regex_match(question, found, std::regex("\n(\\w+)=")));
  const std::string table = before.substr(before.find("Table: "));
  return std::regex_search(before, found, std::regex("\\b" + found[1].str() + "=(\\d+)[,.]"))
             ? found[1].str()
             : "";
}

TEST_CASE("text tasks: whoever reads the text knows the answers") {
  const Source source{haystack, words};
  const std::map<std::string, std::size_t> answers = {
      {"niah_single_noise", 1}, {"niah_single_text", 1},  {"niah_multikey", 1},
      {"niah_multiquery", 3},   {"variable_tracking", 1}, {"key_value_table", 4}};
  for (const Task& task : tasks) {
    for (unsigned seed = 0; seed < 20; ++seed) {
      Random r = random(seed), same = random(seed), other = random(seed + 100);
      const Text text = draw(task, 700, source, r);
      INFO(task.name << ":\n" << text.bytes);
      CHECK(text.bytes.size() == 700);
      REQUIRE(text.answers.size() == answers.at(task.name));
      std::set<std::size_t> places;
      for (const Span& answer : text.answers) {
        const std::string number = text.bytes.substr(answer.first, answer.last - answer.first);
        CHECK(number.size() == (std::string(task.name) == "key_value_table" ? 4 : 5));
        CHECK(number == look_up(text, answer));
        CHECK(text.bytes[answer.last] == '.');
        places.insert(answer.first);
      }
      CHECK(places.size() == text.answers.size());
      CHECK(draw(task, 700, source, same).bytes == text.bytes);
      CHECK(draw(task, 700, source, other).bytes != text.bytes);
    }
  }
}

TEST_CASE("text tasks: needles lie anywhere, and half of the texts are text alone") {
  const Source source{haystack, words};
  Random r = random(1);
  int first_half = 0, plain = 0;
  for (int i = 0; i < 200; ++i) {
    const Text text = draw(tasks[1], 700, source, r);
    if (text.bytes.find("One of the special") < 300) ++first_half;
    if (draw_any(700, source, r).answers.empty()) ++plain;
  }
  // Five standard errors of 200 fair coins are 35; the middle of the haystack is at 300.
  CHECK(std::abs(first_half - 100) < 35);
  CHECK(std::abs(plain - 100) < 35);
}

TEST_CASE("text tasks: what doesn't fit is refused") {
  const Source source{haystack, words};
  Random r = random(1);
  CHECK_THROWS_WITH(draw(tasks[0], 50, source, r), "niah_single_noise does not fit into 50 bytes");
  CHECK_THROWS_WITH(draw(tasks[1], 10000, source, r), "the text is shorter than the context");
  const std::vector<std::string> few = {"elm"};
  CHECK_THROWS_WITH(draw(tasks[2], 700, {haystack, few}, r), "there are too few to choose from");
}

TEST_CASE("text tasks: bytes of answers weigh more, and every byte but the first is predicted") {
  const std::vector<Text> texts = {{"ab12.", {{2, 4}}}, {"xyz\xff!", {}}};
  const Tensor tokens = as_tokens(texts);
  CHECK(tokens.equal(torch::tensor({{97, 98, 49, 50, 46}, {120, 121, 122, 255, 33}}, at::kLong)));
  CHECK(weights(texts, 6).equal(torch::tensor({{1.F, 6.F, 6.F, 1.F}, {1.F, 1.F, 1.F, 1.F}})));
}

TEST_CASE("text tasks: answers count as greedy decoding finds them") {
  const torch::NoGradGuard no_grad;
  torch::manual_seed(3);
  st::LanguageModelOptions options;
  options.mixer = {.hidden_size = 8, .num_heads = 2, .head_dim = 4};
  options.vocab_size = 256;
  options.intermediate_size = 8;
  st::LanguageModel model(options);
  // What the model itself would write after ten bytes, then the same with one byte changed.
  std::string written = "0123456789";
  st::LanguageModelImpl::Cache cache;
  Tensor logits = model->forward(as_tokens({{written, {}}}), cache);
  for (int i = 0; i < 6; ++i) {
    const Tensor next = logits.slice(1, -1).argmax(-1);
    written += static_cast<char>(next.item<std::int64_t>());
    logits = model->forward(next, cache);
  }
  std::string other = written;
  other[12] = static_cast<char>(other[12] + 1);
  const Share share = answered(model, {{written, {{10, 13}, {13, 16}}}, {other, {{10, 13}}}});
  CHECK(share.met == 2);
  CHECK(share.of == 3);
}

TEST_CASE("text tasks: bits a byte are the mean of all predicted bytes") {
  torch::manual_seed(4);
  st::LanguageModelOptions options;
  options.mixer = {.hidden_size = 8, .num_heads = 2, .head_dim = 4};
  options.vocab_size = 256;
  options.intermediate_size = 8;
  st::LanguageModel model(options);
  const torch::NoGradGuard no_grad;
  const std::string text = "The grass is green. The sky is blue.";
  double nats = 0;
  for (const std::size_t first : {0U, 12U}) {
    const Tensor tokens = as_tokens({{text.substr(first, 12), {}}});
    const Tensor p = torch::softmax(model->forward(tokens), -1);
    for (int t = 1; t < 12; ++t) {
      nats -= std::log(p[0][t - 1][tokens[0][t].item<std::int64_t>()].item<double>());
    }
  }
  CHECK(bits_per_byte(model, text, 12, 2, {}) == Approx(nats / 22 / std::log(2.0)).epsilon(1e-6));
}

}  // namespace
}  // namespace text_tasks_test
