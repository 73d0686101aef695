// Prompts with the answers that they ask for, and how a generated text is scored.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace retrieval {

using Tokens = std::vector<std::int64_t>;

struct Prompt {
  std::string task;
  Tokens tokens;
  std::vector<Tokens> references = {};
  std::int64_t max_new_tokens = 0;
};

/// What the lines of a file are: token ids of a vocabulary, or text of which a byte is a token.
struct Format {
  bool is_text = false;
  std::int64_t vocabulary = 0;
};

inline Tokens bytes(const std::string& text) {
  Tokens tokens;
  for (const char c : text) tokens.push_back(static_cast<unsigned char>(c));
  return tokens;
}

/// ASCII letters in lower case.
inline Tokens folded(Tokens tokens) {
  for (auto& token : tokens) token += token >= 'A' && token <= 'Z' ? 'a' - 'A' : 0;
  return tokens;
}

/// The share of the references that occur in a text, as RULER scores; of texts the case is folded.
inline double score(const Tokens& generated, const std::vector<Tokens>& references, bool is_text) {
  const auto plain = [is_text](const Tokens& x) { return is_text ? folded(x) : x; };
  const Tokens text = plain(generated);
  const auto found = std::ranges::count_if(references, [&](const Tokens& reference) {
    return !std::ranges::search(text, plain(reference)).empty();
  });
  return static_cast<double>(found) / static_cast<double>(references.size());
}

namespace detail {

[[noreturn]] inline void fail(const std::string& what) { throw std::runtime_error(what); }

inline std::int64_t integer(const nlohmann::json& json, const std::string& name) {
  if (!json.is_number_integer()) fail(name + " must be a whole number");
  return json;
}

inline Tokens tokens(const nlohmann::json& json, const Format& format, const std::string& name) {
  Tokens result;
  if (format.is_text) {
    if (!json.is_string()) fail(name + " must be a string");
    result = bytes(json);
  } else {
    if (!json.is_array()) fail(name + " must be a list of token ids");
    for (const auto& id : json) result.push_back(integer(id, "a token id"));
  }
  if (result.empty()) fail(name + " is empty");
  for (const auto id : result) {
    if (id < 0 || id >= format.vocabulary) {
      fail(fmt::format("the model has no token {}, but {}", id, format.vocabulary));
    }
  }
  return result;
}

}  // namespace detail

/// Reads {"tokens": [ids], "references": [[ids], ...], "max_new_tokens": n, "task": "name"} or, of
/// text, {"prompt": "...", "references": ["...", ...], ...}. The task may be missing.
/// @throws std::runtime_error saying what is wrong with it.
inline Prompt parse(const std::string& line, const Format& format) {
  const auto json = nlohmann::json::parse(line, nullptr, false);
  if (!json.is_object()) detail::fail("not a JSON object");
  const auto get = [&](const char* name) {
    if (!json.contains(name)) detail::fail(fmt::format("there is no \"{}\"", name));
    return json[name];
  };
  const char* name = format.is_text ? "prompt" : "tokens";
  Prompt prompt{.task = "all", .tokens = detail::tokens(get(name), format, name)};
  const auto references = get("references");
  if (!references.is_array() || references.empty()) detail::fail("references must be a list");
  for (const auto& reference : references) {
    prompt.references.push_back(detail::tokens(reference, format, "a reference"));
  }
  prompt.max_new_tokens = detail::integer(get("max_new_tokens"), "max_new_tokens");
  if (prompt.max_new_tokens <= 0) detail::fail("max_new_tokens must be > 0");
  if (json.contains("task")) {
    if (!json["task"].is_string()) detail::fail("task must be a string");
    prompt.task = json["task"];
  }
  return prompt;
}

/// Reads a file, an object a line; empty lines are left out.
/// @throws std::runtime_error naming file and line.
inline std::vector<Prompt> read(const std::string& path, const Format& format) {
  std::ifstream in(path);
  std::vector<Prompt> prompts;
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) {
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    try {
      prompts.push_back(parse(line, format));
    } catch (const std::exception& error) {
      detail::fail(fmt::format("{}, line {}: {}", path, number, error.what()));
    }
  }
  if (prompts.empty()) detail::fail(path + ": there are no prompts");
  return prompts;
}

}  // namespace retrieval
