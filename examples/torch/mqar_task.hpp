/// Multi-query associative recall as Zoology defines it (Arora, Eyuboglu et al. 2023,
/// arXiv 2312.04927), drawn alike by every standard library.
#pragma once

#include <fmt/format.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <stdexcept>
#include <utility>
#include <vector>

#include "random.hpp"

namespace mqar {

using torch::Tensor;
using training::Random;

/// How long texts are, and how many keys each asks for.
struct Kind {
  std::int64_t length, pairs;
};

struct Batch {
  Tensor tokens;     ///< [B, length], int64
  Tensor positions;  ///< [B, pairs], int64: where a key is asked for, in the order of the keys.
  Tensor answers;    ///< [B, pairs], int64: the key's value, to be predicted there.

  [[nodiscard]] Batch to(torch::Device device) const {
    return {tokens.to(device), positions.to(device), answers.to(device)};
  }
};

/// A text draws `pairs` different keys of 1 .. V/2 - 1, and different values of V/2 .. V - 1, and
/// writes key, value, key, value, ... What is left is divided into slots of two tokens, of which
/// each key in turn takes one, the i-th with weight i^(a - 1), a = 0.01, and is asked for in its
/// first token. All other tokens are drawn from the whole vocabulary.
///
/// With `forgetting` each key is written twice, with different values and in random order of all
/// writes; the later value is the answer.
class Task {
 public:
  explicit Task(std::int64_t vocabulary, bool forgetting = false)
      : vocabulary_(vocabulary), writes_(forgetting ? 2 : 1) {}

  [[nodiscard]] Batch draw(const Kind& kind, std::int64_t texts, Random& random) const {
    check(kind);
    Batch batch{torch::empty({texts, kind.length}, at::kLong),
                torch::empty({texts, kind.pairs}, at::kLong),
                torch::empty({texts, kind.pairs}, at::kLong)};
    for (std::int64_t text = 0; text < texts; ++text) {
      write(kind, random, batch.tokens.data_ptr<std::int64_t>() + text * kind.length,
            batch.positions.data_ptr<std::int64_t>() + text * kind.pairs,
            batch.answers.data_ptr<std::int64_t>() + text * kind.pairs);
    }
    return batch;
  }

 private:
  using Numbers = std::vector<std::int64_t>;

  void check(const Kind& kind) const {
    const auto& [length, pairs] = kind;
    if (pairs < 1 || pairs >= vocabulary_ / 2 || writes_ * pairs > vocabulary_ / 2 ||
        (2 * writes_ + 2) * pairs > length) {
      throw std::invalid_argument(fmt::format("{} pairs don't fit {} tokens of a vocabulary of {}",
                                              pairs, length, vocabulary_));
    }
  }

  void write(const Kind& kind, Random& random, std::int64_t* tokens, std::int64_t* positions,
             std::int64_t* answers) const {
    const std::int64_t half = vocabulary_ / 2, all = writes_ * kind.pairs;
    const Numbers keys = distinct(1, half - 1, kind.pairs, random);
    const Numbers values = distinct(half, vocabulary_ - half, all, random);
    for (std::int64_t i = 0; i < kind.length; ++i) {
      tokens[i] = std::int64_t(random.below(std::size_t(vocabulary_)));
    }
    Numbers order(std::size_t(all), 0);  // write w is of key w mod pairs
    std::iota(order.begin(), order.end(), 0);
    if (writes_ > 1) order = distinct(0, all, all, random);
    for (std::int64_t i = 0; i < all; ++i) {
      const std::int64_t w = order[std::size_t(i)], key = w % kind.pairs;
      tokens[2 * i] = keys[std::size_t(key)];
      tokens[2 * i + 1] = answers[key] = values[std::size_t(w)];
    }
    const Numbers slots = draw_slots((kind.length - 2 * all) / 2, random);
    for (std::int64_t key = 0; key < kind.pairs; ++key) {
      positions[key] = 2 * (all + slots[std::size_t(key)]);
      tokens[positions[key]] = keys[std::size_t(key)];
    }
  }

  /// All slots, as they come when drawn by weight without replacement: the order of independent
  /// exponential times whose rates are the weights.
  static Numbers draw_slots(std::int64_t count, Random& random) {
    constexpr double a = 0.01;
    std::vector<std::pair<double, std::int64_t>> times;
    for (std::int64_t slot = 0; slot < count; ++slot) {
      times.emplace_back(-std::log(random.unit()) / std::pow(double(slot + 1), a - 1), slot);
    }
    std::ranges::sort(times);
    Numbers slots;
    for (const auto& [time, slot] : times) slots.push_back(slot);
    return slots;
  }

  /// `count` different numbers of first .. first + of - 1, in random order.
  static Numbers distinct(std::int64_t first, std::int64_t of, std::int64_t count, Random& random) {
    Numbers numbers;
    for (const std::size_t i : random.choose(std::size_t(count), std::size_t(of))) {
      numbers.push_back(first + std::int64_t(i));
    }
    return numbers;
  }

  std::int64_t vocabulary_, writes_;
};

}  // namespace mqar
