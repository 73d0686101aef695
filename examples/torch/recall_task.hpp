/// Associative recall of noisy values, as batches of tensors.
#pragma once

#include <torch/types.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <random>
#include <vector>

namespace recall {

using torch::Tensor;

constexpr std::int64_t key_ids = 64, filler_ids = 32, classes = 16, channels = 16;
constexpr double outlier_size = 5;

/// How hard a text is. These are the values of training.
struct Regime {
  int pairs = 12;    ///< Associations, each written once to three times, twice on average.
  int gap = 8;       ///< Unrelated tokens between the writes and the questions.
  double noise = 1;  ///< Standard deviation, a channel, of a written value about its class's code.
  double outliers = 0;  ///< Share of written values with `outlier_size` times that.
};

/// Texts of T = 2 pairs + gap + pairs tokens: writes, fillers, and one question for each key.
struct Batch {
  Tensor id;        ///< [B, T], int64: which key, or which filler.
  Tensor question;  ///< [B, T], int64: 1 where the class is asked for, and the value is 0.
  Tensor value;     ///< [B, T, channels]
  Tensor answer;    ///< [B, pairs], int64: classes, of the last `pairs` tokens.
};

/// A text draws its keys without repetition, and each key's class. A class's code has independent
/// standard normal channels, the same in all texts; a filler's value is normal, too.
class Task {
 public:
  explicit Task(unsigned seed) : codes_(classes * channels) {
    std::mt19937 random(seed);
    for (float& entry : codes_) entry = std::normal_distribution<float>()(random);
  }

  [[nodiscard]] Batch draw(const Regime& regime, int texts, std::mt19937& random) const {
    const std::int64_t length = 3 * regime.pairs + regime.gap;
    Batch batch{torch::zeros({texts, length}, at::kLong), torch::zeros({texts, length}, at::kLong),
                torch::zeros({texts, length, channels}),
                torch::zeros({texts, regime.pairs}, at::kLong)};
    for (std::int64_t text = 0; text < texts; ++text) {
      write(regime, random, batch.id[text].data_ptr<std::int64_t>(),
            batch.question[text].data_ptr<std::int64_t>(), batch.value[text].data_ptr<float>(),
            batch.answer[text].data_ptr<std::int64_t>());
    }
    return batch;
  }

 private:
  void write(const Regime& regime, std::mt19937& random, std::int64_t* id, std::int64_t* question,
             float* value, std::int64_t* answer) const {
    std::normal_distribution<float> normal;
    std::vector<std::int64_t> keys(key_ids);
    std::iota(keys.begin(), keys.end(), 0);
    std::shuffle(keys.begin(), keys.end(), random);
    for (int i = 0; i < regime.pairs; ++i) answer[i] = below(classes, random);
    std::uniform_real_distribution<double> uniform;
    for (const int pair : order(regime.pairs, random)) {
      const bool is_outlier = regime.outliers > 0 && uniform(random) < regime.outliers;
      const double noise = regime.noise * (is_outlier ? outlier_size : 1);
      *id++ = keys[std::size_t(pair)];
      ++question;
      for (std::int64_t c = 0; c < channels; ++c) {
        *value++ = codes_[std::size_t(answer[pair] * channels + c)] +
                   static_cast<float>(noise) * normal(random);
      }
    }
    for (int i = 0; i < regime.gap; ++i) {
      *id++ = key_ids + below(filler_ids, random);
      ++question;
      for (std::int64_t c = 0; c < channels; ++c) *value++ = normal(random);
    }
    for (int i = 0; i < regime.pairs; ++i) {
      *id++ = keys[std::size_t(i)];
      *question++ = 1;
    }
  }

  /// Each pair once, and as many again at random, at most three of one.
  static std::vector<int> order(int pairs, std::mt19937& random) {
    std::vector<int> again, written(static_cast<std::size_t>(pairs));
    std::iota(written.begin(), written.end(), 0);
    for (const int pair : written) again.insert(again.end(), 2, pair);
    std::shuffle(again.begin(), again.end(), random);
    written.insert(written.end(), again.begin(), again.begin() + pairs);
    std::shuffle(written.begin(), written.end(), random);
    return written;
  }

  static std::int64_t below(std::int64_t n, std::mt19937& random) {
    return std::uniform_int_distribution<std::int64_t>(0, n - 1)(random);
  }

  std::vector<float> codes_;
};

}  // namespace recall
