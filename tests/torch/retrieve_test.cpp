// The score of examples/torch/retrieve.cpp, its prompts, and the program itself on a random model.
#include <cstdlib>

#include "../../examples/torch/retrieval.hpp"
#include "plain_model.hpp"

namespace retrieve_test {
namespace {

using retrieval::Format, retrieval::Tokens;

TEST_CASE("retrieval: a reference counts if it occurs in one piece") {
  const Tokens generated = {5, 6, 7, 8, 6, 9};
  CHECK(retrieval::score(generated, {{6, 7}}, false) == 1);
  CHECK(retrieval::score(generated, {{6, 9}, {7}, {7, 9}, {9, 6}}, false) == 0.5);
  CHECK(retrieval::score(generated, {{5, 6, 7, 8, 6, 9}, {5, 6, 7, 8, 6, 9, 9}}, false) == 0.5);
  CHECK(retrieval::score({}, {{5}}, false) == 0);
  CHECK(retrieval::score({66, 97}, {{98, 65}}, false) == 0);  // ids, no letters
  const auto of_text = [](const char* text, const char* reference) {
    return retrieval::score(retrieval::bytes(text), {retrieval::bytes(reference)}, true);
  };
  CHECK(of_text("The Number is 42.", "number IS 42") == 1);
  CHECK(of_text("The Number is 42.", "43") == 0);
  CHECK(of_text("[", "{") == 0);  // 32 apart, as letters are
}

std::string parse_error(const std::string& line, bool is_text = false) {
  try {
    retrieval::parse(line, {is_text, 11});
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}

TEST_CASE("retrieval: a line of a file") {
  const auto prompt = retrieval::parse(
      R"({"tokens": [1, 10], "references": [[2], [3, 4]], "max_new_tokens": 5, "task": "t"})",
      {false, 11});
  CHECK(prompt.task == "t");
  CHECK(prompt.tokens == Tokens{1, 10});
  CHECK(prompt.references == std::vector<Tokens>{{2}, {3, 4}});
  CHECK(prompt.max_new_tokens == 5);
  const auto text = retrieval::parse(
      R"({"prompt": "Aé", "references": ["b"], "max_new_tokens": 1})", {true, 256});
  CHECK(text.tokens == Tokens{65, 0xc3, 0xa9});
  CHECK(text.references == std::vector<Tokens>{{98}});

  const std::string rest = R"(, "references": [[2]], "max_new_tokens": 5})";
  CHECK(parse_error("{") == "not a JSON object");
  CHECK(parse_error("[1]") == "not a JSON object");
  CHECK(parse_error("{\"prompt\": \"x\"" + rest) == "there is no \"tokens\"");
  CHECK(parse_error("{\"tokens\": \"x\"" + rest) == "tokens must be a list of token ids");
  CHECK(parse_error("{\"tokens\": []" + rest) == "tokens is empty");
  CHECK(parse_error("{\"tokens\": [1.5]" + rest) == "a token id must be a whole number");
  CHECK(parse_error("{\"tokens\": [11]" + rest) == "the model has no token 11, but 11");
  CHECK(parse_error("{\"tokens\": [1], \"task\": 3" + rest) == "task must be a string");
  CHECK(parse_error(R"({"tokens": [1], "references": [], "max_new_tokens": 5})") ==
        "references must be a list");
  CHECK(parse_error(R"({"tokens": [1], "references": [[1], []], "max_new_tokens": 5})") ==
        "a reference is empty");
  CHECK(parse_error(R"({"tokens": [1], "references": [[1]], "max_new_tokens": 0})") ==
        "max_new_tokens must be > 0");
  CHECK(parse_error(R"({"prompt": 3, "references": ["x"], "max_new_tokens": 1})", true) ==
        "prompt must be a string");
}

#ifdef RETRIEVE
std::string content(const fs::path& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

// What follows by the plain model, greedily.
std::vector<std::int64_t> continued(const Plain& plain, std::vector<std::int64_t> tokens,
                                    int count) {
  const std::size_t prompt = tokens.size();
  for (int i = 0; i < count; ++i) {
    Index best = 0;
    const MatrixXd logits = plain.logits(tokens);
    logits.row(logits.rows() - 1).maxCoeff(&best);
    tokens.push_back(best);
  }
  return {tokens.begin() + std::ptrdiff_t(prompt), tokens.end()};
}

TEST_CASE("retrieve: scores what the model generates, and names a broken line") {
  const Plain plain(true);
  const Workplace work;
  plain.write(work.path);
  const fs::path prompts = work.path / "prompts.jsonl", out = work.path / "out";
  const auto run = [&](const std::string& options = "") {
    const auto quoted = [](const fs::path& path) { return " '" + path.string() + "'"; };
    return std::system(("\"" RETRIEVE "\"" + quoted(work.path) + quoted(prompts) + " --output" +
                        quoted(out) + " " + options + " >" + quoted(work.path / "log") + " 2>&1")
                           .c_str());
  };
  const auto next = continued(plain, text, 6);
  const std::vector<std::int64_t> early(next.begin(), next.begin() + 4);
  const nlohmann::json first = {{"tokens", text},
                                {"references", {early, {0, 0, 0, 0, 0}}},
                                {"max_new_tokens", 4},
                                {"task", "a \"task\""}};
  nlohmann::json second = first, third = first;
  second["references"] = {next};  // longer than what is generated
  third["references"] = {next};
  third["max_new_tokens"] = 6;
  third["task"] = "b";
  std::ofstream(prompts) << first << "\n" << second << "\n\n" << third << "\n";
  for (const char* threads : {"--threads 1", "--threads 2"}) {
    REQUIRE(run(threads) == 0);
    CHECK(content(out / "retrieve.csv") ==
          "task,score,standard_error,prompts\n"
          "\"a \"\"task\"\"\",0.250000,0.2500,2\n\"b\",1.000000,,1\n");
  }
  REQUIRE(run("--stop " + std::to_string(next[0])) == 0);  // nothing is generated
  CHECK(content(out / "retrieve.csv").find("\"b\",0.000000") != std::string::npos);

  std::ofstream(prompts) << first << "\n{\"tokens\": 3}\n";
  CHECK(run() != 0);
  CHECK(content(work.path / "log") ==
        "retrieve: " + prompts.string() + ", line 2: tokens must be a list of token ids\n");
  std::ofstream(prompts, std::ios::trunc);
  CHECK(run() != 0);
  CHECK(content(work.path / "log") == "retrieve: " + prompts.string() + ": there are no prompts\n");
}
#endif

}  // namespace
}  // namespace retrieve_test
