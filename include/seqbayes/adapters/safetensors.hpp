// Reads and writes safetensors files: an 8-byte little-endian header length, a JSON header, raw
// row-major data, as laid down at https://github.com/huggingface/safetensors. Needs nlohmann-json.
//
//   const auto file = seqbayes::safetensors::File::read("weights.safetensors");
//   const auto& key = file.at("key");                                 // key.shape is {T, H, d}
//   const auto numbers = seqbayes::safetensors::values<float>(key);   // T * H * d of them
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <limits>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace seqbayes::safetensors {

static_assert(std::endian::native == std::endian::little, "safetensors data are little-endian");

/// Every failure below: one sentence that names the file and the tensor where they are known.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A named row-major array. `bytes` views a File, or the caller's numbers.
struct Tensor {
  std::string name;
  std::string dtype;  // F64 F32 F16 BF16 I64 I32 I16 I8 U64 U32 U16 U8 BOOL
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;
};

namespace detail {

// IEEE 754 binary16. Exponent 0 is subnormal, 31 is inf or nan.
struct Float16 {
  std::uint16_t bits;
  explicit operator double() const {
    const int exponent = (bits >> 10) & 31;
    const int fraction = bits & 1023;
    const double magnitude = exponent == 31  ? (fraction == 0 ? INFINITY : NAN)
                             : exponent == 0 ? std::ldexp(fraction, -24)
                                             : std::ldexp(1024 + fraction, exponent - 25);
    return (bits & 0x8000) != 0 ? -magnitude : magnitude;
  }
};

// The upper half of a binary32.
struct BFloat16 {
  std::uint16_t bits;
  explicit operator double() const { return std::bit_cast<float>(std::uint32_t{bits} << 16); }
};

struct Bool {
  std::uint8_t byte;
  explicit operator double() const { return byte == 0 ? 0 : 1; }
};

template <class Stored>
double load(const std::byte* source) {  // of any alignment
  Stored stored;
  std::memcpy(&stored, source, sizeof stored);
  return static_cast<double>(stored);
}

struct Dtype {
  std::string_view name;
  std::size_t size;
  double (*load)(const std::byte*);
};

inline constexpr Dtype dtypes[] = {{"F64", 8, load<double>},        {"F32", 4, load<float>},
                                   {"F16", 2, load<Float16>},       {"BF16", 2, load<BFloat16>},
                                   {"I64", 8, load<std::int64_t>},  {"I32", 4, load<std::int32_t>},
                                   {"I16", 2, load<std::int16_t>},  {"I8", 1, load<std::int8_t>},
                                   {"U64", 8, load<std::uint64_t>}, {"U32", 4, load<std::uint32_t>},
                                   {"U16", 2, load<std::uint16_t>}, {"U8", 1, load<std::uint8_t>},
                                   {"BOOL", 1, load<Bool>}};

inline std::string quote(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

[[noreturn]] inline void fail(std::string_view tensor, const std::string& what) {
  throw Error("tensor " + quote(tensor) + " " + what);
}

// The element type, once dtype, shape and number of bytes are known to agree.
inline const Dtype& checked_dtype(const Tensor& tensor) {
  const auto* found = std::ranges::find(dtypes, std::string_view(tensor.dtype), &Dtype::name);
  if (found == std::end(dtypes)) fail(tensor.name, "has the unknown dtype " + quote(tensor.dtype));
  std::size_t size = found->size;
  for (const std::int64_t extent : tensor.shape) {
    if (extent < 0) fail(tensor.name, "has a negative number in its shape");
    const auto factor = static_cast<std::size_t>(extent);
    if (factor != 0 && size > std::numeric_limits<std::size_t>::max() / factor) {
      fail(tensor.name, "has a shape whose size overflows");
    }
    size *= factor;
  }
  if (size != tensor.bytes.size()) {
    fail(tensor.name, "has " + std::to_string(tensor.bytes.size()) +
                          " bytes of data where its dtype and shape need " + std::to_string(size));
  }
  return *found;
}

// The header is an object of objects whose members are strings or arrays of non-negative integers.
// It is read as a stream (nlohmann's SAX interface): three levels deep at most, no key twice.
struct Header {
  struct Entry {
    std::map<std::string, std::string> texts;
    std::map<std::string, std::vector<std::int64_t>> numbers;
  };
  std::map<std::string, Entry> entries;
  std::string name;    // the key of the entry being read
  std::string member;  // the key inside that entry
  int depth = 0;

  std::string place() const {
    return depth > 1 ? quote(member) + " of " + quote(name) : quote(name);
  }
  bool expect(bool expected, const std::string& what) const {
    if (!expected) throw Error("the header has an unexpected " + what + " at " + place());
    return true;
  }
  bool key(const std::string& text) {
    (depth == 1 ? name : member) = text;
    const bool repeated =
        depth == 1 ? entries.contains(name)
                   : entries[name].texts.contains(member) || entries[name].numbers.contains(member);
    if (repeated) throw Error("the header has the key " + place() + " twice");
    return true;
  }
  bool start_object(std::size_t) {
    expect(depth < 2, "object");
    if (++depth == 2) entries.try_emplace(name);
    return true;
  }
  bool start_array(std::size_t) {
    expect(depth++ == 2, "array");
    return entries[name].numbers.try_emplace(member).second;
  }
  bool end_object() { return depth-- > 0; }
  bool end_array() { return depth-- > 0; }
  bool string(const std::string& text) {
    expect(depth == 2, "string");
    return entries[name].texts.try_emplace(member, text).second;
  }
  bool number_unsigned(std::uint64_t number) {
    expect(depth == 3 && std::in_range<std::int64_t>(number), "number");
    entries[name].numbers[member].push_back(static_cast<std::int64_t>(number));
    return true;
  }
  bool number_integer(std::int64_t) { return expect(false, "negative number"); }
  bool number_float(double, const std::string&) { return expect(false, "fractional number"); }
  bool boolean(bool) { return expect(false, "boolean"); }
  bool null() { return expect(false, "null"); }
  bool binary(const nlohmann::json::binary_t&) { return expect(false, "binary value"); }
  bool parse_error(std::size_t byte, const std::string&, const nlohmann::json::exception&) {
    throw Error("the header is not valid JSON at its byte " + std::to_string(byte));
  }
};

inline Tensor parse_tensor(const std::string& name, const Header::Entry& entry,
                           std::span<const std::byte> data) {
  const auto dtype = entry.texts.find("dtype");
  const auto shape = entry.numbers.find("shape");
  const auto offsets = entry.numbers.find("data_offsets");
  if (dtype == entry.texts.end()) fail(name, "has no dtype");
  if (shape == entry.numbers.end()) fail(name, "has no shape");
  if (offsets == entry.numbers.end()) fail(name, "has no data_offsets");
  if (offsets->second.size() != 2) fail(name, "has data_offsets that are not two numbers");
  const auto begin = static_cast<std::size_t>(offsets->second[0]);
  const auto end = static_cast<std::size_t>(offsets->second[1]);
  if (begin > end) fail(name, "has data that end before they begin");
  if (end > data.size()) fail(name, "has data beyond the end of the file");
  Tensor tensor{name, dtype->second, shape->second, data.subspan(begin, end - begin)};
  checked_dtype(tensor);
  return tensor;
}

// Every byte of the data belongs to one tensor.
inline void check_cover(const std::map<std::string, Tensor, std::less<>>& tensors,
                        std::span<const std::byte> data) {
  std::vector<std::span<const std::byte>> views;
}

}  // namespace detail
