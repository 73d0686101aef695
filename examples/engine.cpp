// What an inference engine does with a recurrent layer, on a toy model of one layer: prompts of
// different lengths in one buffer, a prefix that requests share, prefill in chunks while others
// decode, and drafts that are verified and rolled back. Every text has to come out as if it had
// been decoded alone, token by token.
#include <cstdio>

#include <seqbayes/seqbayes.hpp>

namespace {

using seqbayes::Index;
using seqbayes::Matrix;
using Layer = seqbayes::GatedDeltaNet<float, 16, 16>;
using Decoder = seqbayes::Decoder<Layer>;
using Text = std::vector<Index>;

constexpr Index heads = 4, width = 16, vocabulary = 48;

/// The fields of consecutive tokens, all heads beside each other.
struct Fields {
  Matrix<float> query, key, value, log_decay, write_strength;

  [[nodiscard]] seqbayes::Sequence<float> head(Index h) const {
    seqbayes::Sequence<float> x;
    x.query = query.middleCols(h * width, width);
    x.key = key.middleCols(h * width, width);
    x.value = value.middleCols(h * width, width);
    x.log_decay = log_decay.middleCols(h, 1);
    x.write_strength = write_strength.middleCols(h, 1);
    return x;
  }
  [[nodiscard]] std::vector<seqbayes::Sequence<float>> all_heads() const {
    std::vector<seqbayes::Sequence<float>> all;
    for (Index h = 0; h < heads; ++h) all.push_back(head(h));
    return all;
  }
  /// One token with the heads as rows, as `decode` takes them.
  [[nodiscard]] seqbayes::Sequence<float> rows() const {
    return {.query = {query.data(), heads, width},
            .key = {key.data(), heads, width},
            .value = {value.data(), heads, width},
            .log_decay = {log_decay.data(), heads, 1},
            .write_strength = {write_strength.data(), heads, 1}};
  }
};

/// Each token has its query, key, value and gates; the most probable next token is that whose
/// output vector fits best.
struct Model {
  Layer layer;
  Matrix<float> query, key, value, output;

  Model() {
    std::srand(1);
    for (auto* table : {&query, &key, &value, &output}) {
      *table = Matrix<float>::Random(vocabulary, heads * width);
    }
    for (auto* table : {&query, &key}) {
      for (Index h = 0; h < heads; ++h) table->middleCols(h * width, width).rowwise().normalize();
    }
  }
  [[nodiscard]] Fields read(const Text& text, std::size_t first, std::size_t count) const {
    const auto T = static_cast<Index>(count);
    Fields x{Matrix<float>(T, heads * width), Matrix<float>(T, heads * width),
             Matrix<float>(T, heads * width), Matrix<float>::Constant(T, heads, -0.02f),
             Matrix<float>::Constant(T, heads, 0.7f)};
    for (Index t = 0; t < T; ++t) {
      const Index token = text[first + std::size_t(t)];
      x.query.row(t) = query.row(token);
      x.key.row(t) = key.row(token);
      x.value.row(t) = value.row(token);
    }
    return x;
  }
  /// `mean` holds all heads' means of a token.
  [[nodiscard]] Index next(const float* mean) const {
    Index best = 0;
    (output * Eigen::Map<const Eigen::VectorXf>(mean, heads * width)).maxCoeff(&best);
    return best;
  }
};

/// One request: its text and a decoder for each head. The last token is not yet read.
struct Request {
  Text text;
  std::size_t read = 0;  // tokens of it that the decoders have seen
  std::vector<Decoder> decoders;
};

/// The next `count` tokens of a prompt, none of whose outputs are asked for.
void prefill(const Model& model, Request& request, std::size_t count) {
  const Fields x = model.read(request.text, request.read, count);
  for (Index h = 0; h < heads; ++h) request.decoders[std::size_t(h)].span(x.head(h));
  request.read += count;
}

/// One token of all heads.
void decode(const Model& model, Request& request) {
  const Fields x = model.read(request.text, request.read++, 1);
  Matrix<float> mean;
  seqbayes::decode(seqbayes::Threads{1}, request.decoders, x.rows(), mean);
  request.text.push_back(model.next(mean.data()));
}

/// A cheap guess: what followed the last token where it stood before.
Text draft(const Text& text, std::size_t count) {
  Text guess = {text.back()};
  for (std::size_t i = text.size() - 1; i-- > 0 && guess.size() == 1;) {
    if (text[i] != text.back()) continue;
    for (std::size_t j = i + 1; j < text.size() && guess.size() < count; ++j) {
      guess.push_back(text[j]);
    }
  }
  return guess;
}

/// Reads the last token and a draft at once, keeps what the model would have written itself, and
/// takes the rest back. Returns how many tokens that gave.
std::size_t decode_draft(const Model& model, Request& request) {
  const Text guess = draft(request.text, 5);
  const Fields x = model.read(guess, 0, guess.size());
  const auto tokens = static_cast<Index>(guess.size());
  Matrix<float> mean(tokens, heads * width);
  for (Index h = 0; h < heads; ++h) {
    mean.middleCols(h * width, width) = request.decoders[std::size_t(h)].span(x.head(h));
  }
  std::size_t kept = 0;
  do {
    request.text.push_back(model.next(mean.row(Index(kept)).data()));
    ++kept;
  } while (kept < guess.size() && request.text.back() == guess[kept]);
  for (Decoder& decoder : request.decoders) decoder.rollback(tokens - Index(kept));
  request.read += kept;
  return kept;
}

/// The text that a request alone would give, by `step`.
Text alone(const Model& model, Text text, std::size_t length) {
  std::vector<Layer::State> states(heads, model.layer.initial_state());
  std::vector<float> mean(heads * width);
  for (std::size_t t = 0; text.size() < length; ++t) {
    const Fields x = model.read(text, t, 1);
    for (Index h = 0; h < heads; ++h) {
      const auto y = model.layer.step(states[std::size_t(h)], x.head(h).token(0));
      std::copy_n(y.mean.data(), width, mean.data() + h * width);
    }
    if (t + 1 == text.size()) text.push_back(model.next(mean.data()));
  }
  return text;
}

}  // namespace

int main() {
  const Model model;
  constexpr std::size_t length = 120;
  const auto prompt = [](std::size_t size, Index seed) {
    Text text;
    for (std::size_t i = 0; i < size; ++i)
      text.push_back((Index(i * i) * 7 + seed * 5) % vocabulary);
    return text;
  };

  // A ragged batch: two prompts, one behind the other in one buffer, without their last tokens.
  const Text prompts[] = {prompt(40, 1), prompt(13, 2)};
  Text packed(prompts[0].begin(), prompts[0].end() - 1);
  packed.insert(packed.end(), prompts[1].begin(), prompts[1].end() - 1);
  const std::vector<Index> offsets = {0, 39, 51};
  std::vector<Layer::State> states(2 * heads, model.layer.initial_state());
  std::vector<Matrix<float>> means(heads);
  const Fields x = model.read(packed, 0, packed.size());
  seqbayes::scan_mean(seqbayes::Threads{2}, std::vector<Layer>(heads, model.layer), states,
                      x.all_heads(), offsets, means);
  Request requests[4];
  for (std::size_t i = 0; i < 2; ++i) {
    requests[i] = {prompts[i], prompts[i].size() - 1, {}};
    for (std::size_t h = 0; h < heads; ++h) {
      requests[i].decoders.emplace_back(model.layer, states[i * heads + h]);
    }
  }

  // A prefix cache: a third request begins as the first; its decoders are copies.
  requests[2] = requests[0];
  requests[2].text.insert(requests[2].text.end() - 1, {5, 6, 7});
  const Text third = requests[2].text;

  // A fourth has a long prompt, of which it reads 16 tokens a round while the others decode. The
  // second decodes by drafts.
  requests[3] = {prompt(100, 3), 0, {heads, Decoder(model.layer, model.layer.initial_state())}};
  int rounds = 0, drafts = 0;
  std::size_t drafted = 0;
  for (bool busy = true; busy; ++rounds) {
    busy = false;
    for (Request& request : requests) {
      const std::size_t waiting = request.text.size() - request.read;
      if (request.text.size() >= length && waiting <= 1) continue;
      busy = true;
      if (waiting > 1) {
        prefill(model, request, std::min<std::size_t>(waiting - 1, 16));
      } else if (&request == &requests[1]) {
        drafted += decode_draft(model, request);
        ++drafts;
      } else {
        decode(model, request);
      }
    }
  }

  const Text starts[] = {prompts[0], prompts[1], third, prompt(100, 3)};
  bool same = true;
  for (std::size_t i = 0; i < 4; ++i) {
    const Text& text = requests[i].text;
    const bool as_alone = text == alone(model, starts[i], text.size());
    same = same && as_alone;
    std::printf("request %zu: prompt of %3zu tokens, %3zu written, %s\n", i + 1, starts[i].size(),
                text.size() - starts[i].size(),
                as_alone ? "as decoded alone" : "NOT as decoded alone");
  }
  std::printf("%d rounds; drafts gave %.1f tokens each\n", rounds, double(drafted) / drafts);
  return same ? 0 : 1;
}
