// Safetensors files laid out by hand, for the tests of the reader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <seqbayes/adapters/safetensors.hpp>

namespace safetensors_test {

using seqbayes::safetensors::Error;
using seqbayes::safetensors::File;

using Bytes = std::vector<std::byte>;

inline void append(Bytes& bytes, std::string_view text) {
  for (const char c : text) bytes.push_back(static_cast<std::byte>(c));
}

// A file laid out by hand: header length, header, data.
inline Bytes file_of(std::string_view header, std::string_view data = {}) {
  Bytes bytes;
  for (int byte = 0; byte < 8; ++byte) {
    bytes.push_back(static_cast<std::byte>((header.size() >> (8 * byte)) & 255));
  }
  append(bytes, header);
  append(bytes, data);
  return bytes;
}

// "name":{...} of a header. The last three arguments are pasted in as they are.
inline std::string entry(const std::string& name, const std::string& dtype,
                         const std::string& shape, const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":" + dtype + ",\"shape\":" + shape +
         ",\"data_offsets\":" + offsets + "}";
}

// The lowest `size` bytes of each number, lowest byte first.
inline std::string little_endian(const std::vector<std::uint64_t>& numbers, int size) {
  std::string data;
  for (const std::uint64_t number : numbers) {
    for (int byte = 0; byte < size; ++byte) {
      data.push_back(static_cast<char>((number >> (8 * byte)) & 255));
    }
  }
  return data;
}

// A file of the tensor x.
inline File file_of_one(const std::string& dtype, std::size_t count, const std::string& data) {
  return File::parse(file_of("{" +
                                 entry("x", "\"" + dtype + "\"", "[" + std::to_string(count) + "]",
                                       "[0," + std::to_string(data.size()) + "]") +
                                 "}",
                             data));
}

// Gone at the end of its scope.
struct TemporaryFile {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() /
      ("seqbayes_" + std::to_string(std::random_device()()) + ".safetensors");
  TemporaryFile() = default;
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() { std::filesystem::remove(path); }

  Bytes bytes() const {
    std::ifstream stream(path, std::ios::binary);
    Bytes result;
    append(result, std::string(std::istreambuf_iterator<char>(stream), {}));
    return result;
  }
};

// What went wrong, or an empty text.
template <class Action>
std::string error_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace safetensors_test
