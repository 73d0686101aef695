/// @file
/// Reads and writes safetensors files: an 8-byte little-endian header length, a JSON header, raw
/// row-major data, as laid down at https://github.com/huggingface/safetensors. Needs nlohmann-json.
///
///     const auto file = seqbayes::safetensors::File::read("weights.safetensors");
///     const auto& key = file.at("key");                                // key.shape is {T, H, d}
///     const auto numbers = seqbayes::safetensors::values<float>(key);  // T * H * d of them
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <ios>
#include <map>
#include <memory>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <seqbayes/adapters/detail/safetensors_format.hpp>
#include <seqbayes/adapters/detail/safetensors_header.hpp>

/// Files of named tensors.
namespace seqbayes::safetensors {

/// The tensors of one file. Keep it while its tensors are in use: they view its bytes.
class File {
 public:
  /// @throws Error naming the file, if it cannot be read or breaks the format.
  static File read(const std::filesystem::path& path) {
    std::error_code failure;
    const auto size = std::filesystem::file_size(path, failure);
    std::ifstream stream(path, std::ios::binary);
    if (failure || !stream) throw Error(path.string() + ": the file cannot be opened");
    std::vector<std::byte> bytes(size);
    stream.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(size));
    if (!stream) throw Error(path.string() + ": the file cannot be read");
    return parse(std::move(bytes), path.string());
  }

  /// As `read`, from memory. `origin` stands for the file name in error messages.
  static File parse(std::vector<std::byte> bytes, std::string origin = "safetensors data") {
    File file;
    file.origin_ = std::move(origin);
    file.bytes_ = std::make_shared<const std::vector<std::byte>>(std::move(bytes));
    try {
      file.parse_bytes();
    } catch (const Error& error) {
      throw Error(file.origin_ + ": " + error.what());
    }
    return file;
  }

  /// The tensor of that name, or nullptr.
  const Tensor* find(std::string_view name) const {
    const auto found = tensors_.find(name);
    return found == tensors_.end() ? nullptr : &found->second;
  }

  /// @throws Error if there is no tensor of that name.
  const Tensor& at(std::string_view name) const {
    const Tensor* tensor = find(name);
    if (tensor == nullptr) throw Error(origin_ + ": there is no tensor " + detail::quote(name));
    return *tensor;
  }

  /// In alphabetical order.
  std::vector<std::string> names() const {
    std::vector<std::string> result;
    for (const auto& [name, tensor] : tensors_) result.push_back(name);
    return result;
  }

  /// The strings of the header's `__metadata__`.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  File() = default;

  void parse_bytes() {
    const std::span<const std::byte> bytes(*bytes_);
    std::uint64_t length = 0;
    if (bytes.size() < sizeof length) throw Error("the file is too short for a header length");
    std::memcpy(&length, bytes.data(), sizeof length);
    detail::check_header_length(length);
    if (length > bytes.size() - sizeof length) throw Error("the header is longer than the file");
    const auto* text = reinterpret_cast<const char*>(bytes.data()) + sizeof length;
    const auto data = bytes.subspan(sizeof length + length);
    detail::Header header = detail::parse_header({text, length});
    metadata_ = std::move(header.metadata);
    std::map<std::string, detail::Place> places;
    for (const auto& [name, entry] : header.entries) {
      const auto [begin, end] = places[name] = detail::place_of(name, entry, data.size());
      const auto tensor = detail::tensor_of(name, entry, data.subspan(begin, end - begin));
      tensors_.emplace_hint(tensors_.end(), name, tensor);
    }
    detail::check_cover(places, data.size());
  }

  std::string origin_;
  std::shared_ptr<const std::vector<std::byte>> bytes_;
  std::map<std::string, Tensor, std::less<>> tensors_;
  std::map<std::string, std::string> metadata_;
};

/// A file of which no more than one tensor is in memory at a time.
class Reader {
 public:
  /// @throws Error naming the file, if it cannot be read or its header breaks the format.
  explicit Reader(const std::filesystem::path& path)
      : origin_(path.string()), stream_(path, std::ios::binary) {
    std::error_code failure;
    const auto size = std::filesystem::file_size(path, failure);
    if (failure || !stream_) throw Error(origin_ + ": the file cannot be opened");
    try {
      read_header(size);
    } catch (const Error& error) {
      throw Error(origin_ + ": " + error.what());
    }
  }

  /// In alphabetical order.
  std::vector<std::string> names() const {
    std::vector<std::string> result;
    for (const auto& [name, place] : places_) result.push_back(name);
    return result;
  }

  /// The tensor of that name, which views memory of this object until the next call.
  /// @throws Error naming the file, if there is none, or its bytes cannot be read or don't agree
  /// with its dtype and shape.
  Tensor read(const std::string& name) try {
    const auto found = places_.find(name);
    if (found == places_.end()) throw Error("there is no tensor " + detail::quote(name));
    const auto [begin, end] = found->second;
    bytes_.resize(end - begin);
    read(data_ + begin, reinterpret_cast<char*>(bytes_.data()), bytes_.size());
    return detail::tensor_of(name, header_.entries.at(name), bytes_);
  } catch (const Error& error) {
    throw Error(origin_ + ": " + error.what());
  }

 private:
  void read_header(std::uint64_t size) {
    std::uint64_t length = 0;
    if (size < sizeof length) throw Error("the file is too short for a header length");
    read(0, reinterpret_cast<char*>(&length), sizeof length);
    detail::check_header_length(length);
    if (length > size - sizeof length) throw Error("the header is longer than the file");
    std::string text(length, ' ');
    read(sizeof length, text.data(), length);
    header_ = detail::parse_header(text);
    data_ = sizeof length + length;
    for (const auto& [name, entry] : header_.entries) {
      places_[name] = detail::place_of(name, entry, size - data_);
    }
    detail::check_cover(places_, size - data_);
  }

  void read(std::uint64_t from, char* to, std::uint64_t size) {
    stream_.seekg(static_cast<std::streamoff>(from));
    stream_.read(to, static_cast<std::streamsize>(size));
    if (!stream_) throw Error("the file cannot be read");
  }

  std::string origin_;
  std::ifstream stream_;
  detail::Header header_;
  std::map<std::string, detail::Place> places_;
  std::uint64_t data_ = 0;  // where they begin
  std::vector<std::byte> bytes_;
};

/// Writes the numbers of a tensor in row-major order, each rounded to double and then to Scalar.
/// @throws Error if the dtype, the shape and the bytes disagree, the dtype can't be decoded or
/// there is another number of places.
template <std::floating_point Scalar>
void copy(const Tensor& tensor, std::span<Scalar> to) {
  const detail::Dtype& dtype = detail::checked_dtype(tensor);
  if (dtype.number == nullptr) {
    detail::fail(tensor.name, "has the dtype " + tensor.dtype + ", which values() can't decode");
  }
  const std::size_t size = dtype.bits / 8;
  if (tensor.bytes.size() != to.size() * size) {
    detail::fail(tensor.name, "has " + std::to_string(tensor.bytes.size() / size) +
                                  " numbers, expected " + std::to_string(to.size()));
  }
  for (std::size_t i = 0; i < to.size(); ++i) {
    to[i] = static_cast<Scalar>(dtype.number(tensor.bytes.data() + i * size));
  }
}

/// The numbers of a tensor, as `copy` writes them.
/// @throws Error if the dtype, the shape and the bytes disagree or the dtype can't be decoded.
template <std::floating_point Scalar>
std::vector<Scalar> values(const Tensor& tensor) {
  const std::size_t bits = detail::checked_dtype(tensor).bits;
  std::vector<Scalar> result(tensor.bytes.size() * 8 / bits);
  copy(tensor, std::span(result));
  return result;
}

/// A view of contiguous float or double numbers, for write().
template <std::ranges::contiguous_range Numbers>
Tensor view(std::string name, std::vector<std::int64_t> shape, const Numbers& numbers) {
  using Scalar = std::ranges::range_value_t<Numbers>;
  static_assert(std::same_as<Scalar, double> || std::same_as<Scalar, float>);
  return {std::move(name), std::same_as<Scalar, double> ? "F64" : "F32", std::move(shape),
          std::as_bytes(std::span(numbers))};
}

/// Writes a file anew. Errors in the tensors are found before it is touched.
/// @throws Error naming the file, for whatever `read` would refuse and if it can't be written.
inline void write(const std::filesystem::path& path, std::vector<Tensor> tensors,
                  const std::map<std::string, std::string>& metadata = {}) try {
  // As upstream: wide elements first and a padded header, so that every tensor is aligned.
  std::stable_sort(tensors.begin(), tensors.end(), [](const Tensor& a, const Tensor& b) {
    return detail::checked_dtype(a).bits > detail::checked_dtype(b).bits;
  });
  const std::string header = detail::header_of(tensors, metadata);
  const std::uint64_t length = header.size();
  std::ofstream stream(path, std::ios::binary);
  const auto put = [&stream](std::span<const std::byte> bytes) {
    stream.write(reinterpret_cast<const char*>(bytes.data()),
                 static_cast<std::streamsize>(bytes.size()));
  };
  put(std::as_bytes(std::span(&length, 1)));
  put(std::as_bytes(std::span(header)));
  for (const Tensor& tensor : tensors) put(tensor.bytes);
  stream.close();
  if (!stream) throw Error("the file cannot be written");
} catch (const Error& error) {
  throw Error(path.string() + ": " + error.what());
} catch (const nlohmann::json::exception&) {
  throw Error(path.string() + ": a name or a metadata value is not valid UTF-8");
}

}  // namespace seqbayes::safetensors
