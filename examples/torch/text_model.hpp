/// A byte-level language model on texts with answers: its loss, what it answers, bits a byte.
#pragma once

#include <torch/nn/functional/loss.h>

#include <cmath>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <seqbayes/adapters/torch/language_model.hpp>

#include "ranks.hpp"
#include "text_tasks.hpp"

namespace text_tasks {

namespace st = seqbayes::libtorch;
using torch::Tensor;

/// Texts of one length as [B, T], int64.
inline Tensor as_tokens(const std::vector<Text>& texts) {
  const auto length = std::int64_t(texts.at(0).bytes.size());
  Tensor tokens = torch::empty({std::int64_t(texts.size()), length}, at::kLong);
  auto* to = tokens.data_ptr<std::int64_t>();
  for (const Text& text : texts) {
    for (const char byte : text.bytes) *to++ = static_cast<unsigned char>(byte);
  }
  return tokens;
}

/// 1 for each byte but the first, which nothing predicts; `answer` for bytes of answers. [B, T -
/// 1].
inline Tensor weights(const std::vector<Text>& texts, double answer) {
  const auto length = std::int64_t(texts.at(0).bytes.size());
  Tensor weights = torch::ones({std::int64_t(texts.size()), length - 1});
  for (std::size_t i = 0; i < texts.size(); ++i) {
    for (const Span& span : texts[i].answers) {
      weights[std::int64_t(i)]
          .slice(0, std::int64_t(span.first) - 1, std::int64_t(span.last) - 1)
          .fill_(answer);
    }
  }
  return weights;
}

/// Nats of each byte but the first, [B, T - 1].
inline Tensor nats(st::LanguageModel& model, const Tensor& tokens) {
  const Tensor logits = model->forward(tokens.slice(1, 0, -1));
  return torch::nn::functional::cross_entropy(
      logits.transpose(1, 2), tokens.slice(1, 1),
      torch::nn::functional::CrossEntropyFuncOptions().reduction(torch::kNone));
}

/// A share of answers, and of how many.
struct Share {
  std::int64_t met = 0, of = 0;
  [[nodiscard]] double value() const { return double(met) / double(of); }
};

/// Answers of which every byte is the most probable one after all before it: greedy decoding writes
/// the same.
inline Share answered(st::LanguageModel& model, const std::vector<Text>& texts,
                      torch::Device device = at::kCPU) {
  const torch::NoGradGuard no_grad;
  const Tensor tokens = as_tokens(texts).to(device);
  const Tensor met =
      model->forward(tokens.slice(1, 0, -1)).argmax(-1).eq(tokens.slice(1, 1)).cpu().contiguous();
  Share share;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const bool* row = met[std::int64_t(i)].data_ptr<bool>();
    for (const Span& span : texts[i].answers) {
      ++share.of;
      if (std::all_of(row + span.first - 1, row + span.last - 1, [](bool b) { return b; })) {
        ++share.met;
      }
    }
  }
  return share;
}

/// Over pieces of `length` bytes, side by side from the start of a text, `most` of them or fewer,
/// shared among the ranks.
inline double bits_per_byte(st::LanguageModel& model, std::string_view text, std::size_t length,
                            std::size_t most, const training::Ranks& ranks,
                            torch::Device device = at::kCPU) {
  const torch::NoGradGuard no_grad;
  const std::size_t pieces = std::min(most, text.size() / length);
  if (pieces == 0) throw std::invalid_argument("the text is shorter than a piece of it");
  double sum = 0;
  for (std::size_t i = 0; i < pieces; ++i) {
    if (!ranks.has(std::int64_t(i))) continue;
    const Text piece{std::string(text.substr(i * length, length)), {}};
    sum += nats(model, as_tokens({piece}).to(device)).mean().item<double>();
  }
  ranks.sum(std::span(&sum, 1));
  return sum / double(pieces) / std::log(2.0);
}

}  // namespace text_tasks
