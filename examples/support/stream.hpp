// A recorded stream of one layer: what each head's memory sees, token by token.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <seqbayes/adapters/safetensors.hpp>
#include <seqbayes/seqbayes.hpp>

namespace inspect {

using seqbayes::Index;
using Matrix = seqbayes::Matrix<double>;
using Vector = seqbayes::Vector<double>;
using seqbayes::safetensors::Error;

/// One head: T tokens, key width Dk, value width Dv.
struct Head {
  Index number = 0;
  Matrix query, key, value;      // T x Dk, T x Dk, T x Dv
  Vector log_decay;              // T
  Vector write_strength;         // T, as recorded
  std::optional<Matrix> output;  // T x Dv
  std::optional<Matrix> memory;  // Dk x Dv, after the last token

  Vector
      constant_noise;  // T ones in place of the noise that the write strengths stand for; or empty
  Index floored = 0;   // tokens whose write strength no filter stands behind

  [[nodiscard]] Index length() const { return key.rows(); }

  /// All of it, as a layer may read it.
  [[nodiscard]] seqbayes::Sequence<double> sequence() const {
    seqbayes::Sequence<double> x;
    x.query = query;
    x.key = key;
    x.value = value;
    x.log_decay = log_decay;
    x.write_strength = write_strength;
    if (constant_noise.size() > 0) x.observation_noise = constant_noise;
    return x;
  }
};

struct Stream {
  std::string file, layer;
  std::map<std::string, std::string> metadata;
  Index length = 0, recorded_length = 0, heads_recorded = 0, key_dim = 0, value_dim = 0;
  std::vector<Head> heads;
};

/// The tensors of a file whose names start with a prefix, with shape and type checked.
class Tensors {
 public:
  using Shape = std::vector<std::int64_t>;

  Tensors(const std::string& path, std::string prefix)
      : path_(path), prefix_(std::move(prefix)), file_(seqbayes::safetensors::File::read(path)) {
    if (!file_.find(prefix_ + "q")) fail_without_query();
  }

  [[nodiscard]] Shape shape(const std::string& name) const {
    return file_.at(prefix_ + name).shape;
  }
  [[nodiscard]] bool has(const std::string& name) const { return file_.find(prefix_ + name); }
  [[nodiscard]] const auto& metadata() const { return file_.metadata(); }

  [[noreturn]] void fail(const std::string& what) const { throw Error(path_ + ": " + what); }

  [[nodiscard]] std::vector<double> values(const std::string& name, const Shape& expected) const {
    const auto& tensor = file_.at(prefix_ + name);
    if (tensor.shape != expected) {
      fail(fmt::format("tensor \"{}{}\" has shape {}, expected {}", prefix_, name, tensor.shape,
                       expected));
    }
    constexpr std::array floating{"F64", "F32", "F16", "BF16"};
    if (std::ranges::find(floating, tensor.dtype) == floating.end()) {
      fail(fmt::format("tensor \"{}{}\" has dtype {}, expected one of {}", prefix_, name,
                       tensor.dtype, fmt::join(floating, ", ")));
    }
    return seqbayes::safetensors::values<double>(tensor);
  }

 private:
  [[noreturn]] void fail_without_query() const {
    std::set<std::string> prefixes;
    for (const std::string& name : file_.names()) {
      if (name == "q" || name.ends_with(".q")) prefixes.insert(name.substr(0, name.size() - 1));
    }
    if (prefixes.empty()) fail(fmt::format("there is no tensor \"{}q\"", prefix_));
    fail(fmt::format("there is no tensor \"{}q\"; choose one of the layers {} with --layer",
                     prefix_, prefixes));
  }

  std::string path_, prefix_;
  seqbayes::safetensors::File file_;
};

/// Head `h` of a [T, H, width] array as T x width.
inline Matrix head_rows(const std::vector<double>& values, Index h, Index heads, Index width,
                        Index length) {
  return Eigen::Map<const Matrix, 0, Eigen::OuterStride<>>(values.data() + h * width, length, width,
                                                           Eigen::OuterStride<>(heads * width));
}

/// Reads the tensors q, k [T, H, dk], v [T, H, dv], g, beta [T, H] and, where the file has them,
/// o [T, H, dv] and final_state [H, dk, dv]. `numbers` selects heads (empty: all); only the first
/// `max_tokens` tokens are kept (0: all). The tensors' names start with `prefix`, which a dot ends.
/// @throws Error in one line
inline Stream read_stream(const std::string& path, std::string prefix, std::vector<Index> numbers,
                          Index max_tokens) {
  if (!prefix.empty() && !prefix.ends_with('.')) prefix += '.';
  const Tensors tensors(path, prefix);
  const auto q_shape = tensors.shape("q");
  if (q_shape.size() != 3 || std::ranges::count(q_shape, 0) > 0) {
    tensors.fail(fmt::format("tensor \"{}q\" has shape {}, expected [T, H, dk]", prefix, q_shape));
  }
  const auto v_shape = tensors.has("v") ? tensors.shape("v") : Tensors::Shape{};
  const std::int64_t length = q_shape[0], heads = q_shape[1], dk = q_shape[2];
  const std::int64_t dv = v_shape.size() == 3 && v_shape[2] > 0 ? v_shape[2] : dk;

  const auto q = tensors.values("q", q_shape);
  const auto k = tensors.values("k", q_shape);
  const auto v = tensors.values("v", {length, heads, dv});
  const auto g = tensors.values("g", {length, heads});
  const auto beta = tensors.values("beta", {length, heads});
  std::vector<double> o, memory;
  if (tensors.has("o")) o = tensors.values("o", {length, heads, dv});
  if (tensors.has("final_state")) memory = tensors.values("final_state", {heads, dk, dv});

  Stream stream{path, prefix, tensors.metadata(), length, length, heads, dk, dv, {}};
  if (max_tokens > 0) stream.length = std::min(stream.length, max_tokens);
  if (stream.length < 8) tensors.fail(fmt::format("{} tokens are too few", stream.length));
  if (numbers.empty()) {
    for (Index h = 0; h < heads; ++h) numbers.push_back(h);
  }
  for (const Index h : numbers) {
    if (h < 0 || h >= heads) {
      tensors.fail(fmt::format("there is no head {}: the heads are 0 to {}", h, heads - 1));
    }
    const auto rows = [&](const std::vector<double>& values, Index width) {
      return head_rows(values, h, heads, width, stream.length);
    };
    Head head;
    head.number = h;
    head.query = rows(q, dk);
    head.key = rows(k, dk);
    head.value = rows(v, dv);
    head.log_decay = rows(g, 1);
    head.write_strength = rows(beta, 1);
    if (!o.empty()) head.output = rows(o, dv);
    if (!memory.empty() && stream.length == length) {
      head.memory = Eigen::Map<const Matrix>(memory.data() + h * dk * dv, dk, dv);
    }
    if (head.value.isZero(0)) tensors.fail(fmt::format("head {}: every value is zero", h));
    for (Index t = 0; t < stream.length; ++t) {
      const double strength = head.write_strength[t], norm2 = head.key.row(t).squaredNorm();
      head.floored +=
          seqbayes::dynamics::clamped_write_strength(strength, norm2) != strength ? 1 : 0;
    }
    stream.heads.push_back(std::move(head));
  }
  return stream;
}

}  // namespace inspect
