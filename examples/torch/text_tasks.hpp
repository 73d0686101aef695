/// Retrieval tasks in the style of RULER, as bytes: facts hidden in text, and questions at its end.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "random.hpp"

namespace text_tasks {

using training::Random;

/// Bytes first .. last - 1 of a text.
struct Span {
  std::size_t first = 0, last = 0;
  friend bool operator==(const Span&, const Span&) = default;
};

struct Text {
  std::string bytes;
  std::vector<Span> answers;  ///< Each is a number, right after its question.
};

/// What texts are made of.
struct Source {
  std::string_view text;
  std::span<const std::string> words;

  /// `length` bytes from anywhere.
  [[nodiscard]] std::string_view piece(std::size_t length, Random& random) const {
    if (text.size() <= length) throw std::invalid_argument("the text is shorter than the context");
    return text.substr(random.below(text.size() - length), length);
  }
};

namespace detail {

/// A decimal number of that many digits, the first of them not 0.
inline std::string number(int digits, Random& random) {
  std::string text(1, char('1' + random.below(9)));
  while (int(text.size()) < digits) text += char('0' + random.below(10));
  return text;
}

/// A question's words, its answer and a full stop, at the end of `tail`.
inline void ask(Text& tail, const std::string& question, const std::string& answer) {
  tail.bytes += question;
  tail.answers.push_back({tail.bytes.size(), tail.bytes.size() + answer.size()});
  tail.bytes += answer + ".";
}

/// The needles, in order, at random places of the haystack; the questions behind it.
inline Text hide(const std::vector<std::string>& needles, std::string_view haystack,
                 const Text& tail, Random& random) {
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < needles.size(); ++i) {
    places.push_back(random.between(0, haystack.size()));
  }
  std::ranges::sort(places);
  Text all;
  std::size_t from = 0;
  for (std::size_t i = 0; i < needles.size(); ++i) {
    all.bytes += haystack.substr(from, places[i] - from);
    all.bytes += needles[i];
    from = places[i];
  }
  all.bytes += haystack.substr(from);
  for (const Span& answer : tail.answers) {
    all.answers.push_back({all.bytes.size() + answer.first, all.bytes.size() + answer.last});
  }
  all.bytes += tail.bytes;
  return all;
}

/// What is left of `length` beside these; nothing if they don't fit.
inline std::optional<std::size_t> room(std::size_t length, const std::vector<std::string>& needles,
                                       const Text& tail) {
  std::size_t taken = tail.bytes.size();
  for (const std::string& needle : needles) taken += needle.size();
  return taken > length ? std::nullopt : std::optional(length - taken);
}

inline std::string noise(std::size_t length) {
  constexpr std::string_view sentence =
      "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. ";
  std::string text;
  while (text.size() < length) text += sentence;
  text.resize(length);
  return text;
}

/// Numbers of `keys` words, of which `queries` are asked for.
inline std::optional<Text> needles(std::size_t length, std::size_t keys, std::size_t queries,
                                   bool in_noise, const Source& source, Random& random) {
  std::vector<std::string> words, numbers, needles;
  for (const std::size_t word : random.choose(keys, source.words.size())) {
    words.push_back(source.words[word]);
    numbers.push_back(number(5, random));
    needles.push_back(" One of the special magic numbers for " + words.back() +
                      " is: " + numbers.back() + ".");
  }
  Text tail;
  for (const std::size_t i : random.choose(queries, keys)) {
    ask(tail, "\nThe special magic number for " + words[i] + " is: ", numbers[i]);
  }
  const auto rest = room(length, needles, tail);
  if (!rest) return {};
  if (in_noise) return hide(needles, noise(*rest), tail, random);
  return hide(needles, source.piece(*rest, random), tail, random);
}

/// A number that is handed from variable to variable, `hops` times; the last one is asked for.
inline std::optional<Text> variables(std::size_t length, std::size_t hops, const Source& source,
                                     Random& random) {
  constexpr std::string_view letters = "ABCDEFGHJK";
  std::vector<std::string> names, needles;
  for (const std::size_t i : random.choose(hops + 1, letters.size() * letters.size())) {
    names.push_back({letters[i / letters.size()], letters[i % letters.size()]});
  }
  const std::string value = number(5, random);
  needles.push_back(" VAR " + names[0] + " = " + value + ";");
  for (std::size_t i = 0; i < hops; ++i) {
    needles.push_back(" VAR " + names[i + 1] + " = VAR " + names[i] + ";");
  }
  Text tail;
  ask(tail, "\nThe value of VAR " + names.back() + " is: ", value);
  const auto rest = room(length, needles, tail);
  if (!rest) return {};
  return hide(needles, source.piece(*rest, random), tail, random);
}

/// A table of 4 to 17 words and numbers in one place, before or behind text; up to 4 are asked for.
inline std::optional<Text> table(std::size_t length, const Source& source, Random& random) {
  const std::size_t rows = random.between(4, 17);
  std::vector<std::string> words, numbers;
  std::string table = "Table: ";
  for (const std::size_t word : random.choose(rows, source.words.size())) {
    words.push_back(source.words[word]);
    numbers.push_back(number(4, random));
    table += (words.size() > 1 ? ", " : "") + words.back() + "=" + numbers.back();
  }
  table += ". ";
  Text tail;
  for (const std::size_t i : random.choose(4, rows)) {
    ask(tail, "\n" + words[i] + "=", numbers[i]);
  }
  const auto rest = room(length, {table}, tail);
  if (!rest) return {};
  const std::string text(source.piece(*rest, random));
  return hide({}, random.below(2) == 0 ? text + table : table + text, tail, random);
}

}  // namespace detail

/// Texts of a task have `length` bytes; none where its words don't fit.
struct Task {
  const char* name;
  std::optional<Text> (*draw)(std::size_t length, const Source& source, Random& random);
};

inline constexpr std::array tasks = {
    Task{"niah_single_noise",
         [](auto length, auto& source, auto& random) {
           return detail::needles(length, 1, 1, true, source, random);
         }},
    Task{"niah_single_text",
         [](auto length, auto& source, auto& random) {
           return detail::needles(length, 1, 1, false, source, random);
         }},
    Task{"niah_multikey",
         [](auto length, auto& source, auto& random) {
           return detail::needles(length, 4, 1, false, source, random);
         }},
    Task{"niah_multiquery",
         [](auto length, auto& source, auto& random) {
           return detail::needles(length, 4, 3, false, source, random);
         }},
    Task{"variable_tracking",
         [](auto length, auto& source, auto& random) {
           return detail::variables(length, 2, source, random);
         }},
    Task{"key_value_table", [](auto length, auto& source, auto& random) {
           return detail::table(length, source, random);
         }}};

/// A text of the task, drawn again until it fits.
inline Text draw(const Task& task, std::size_t length, const Source& source, Random& random) {
  for (int attempt = 0; attempt < 100; ++attempt) {
    if (auto text = task.draw(length, source, random)) return *std::move(text);
  }
  throw std::invalid_argument(std::string(task.name) + " does not fit into " +
                              std::to_string(length) + " bytes");
}

/// Half of the texts are text alone, half a task each.
inline Text draw_any(std::size_t length, const Source& source, Random& random) {
  if (random.below(2) == 0) return {std::string(source.piece(length, random)), {}};
  return draw(tasks[random.below(tasks.size())], length, source, random);
}

}  // namespace text_tasks
