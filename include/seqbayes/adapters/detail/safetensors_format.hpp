/// @file
/// The format that safetensors.hpp reads and writes: element types, JSON header, and the checks.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

namespace seqbayes::safetensors {

static_assert(std::endian::native == std::endian::little && sizeof(std::size_t) == 8,
              "needs a little-endian 64-bit machine");

/// Every failure below: one sentence that names the file and the tensor where they are known.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A named row-major array. `bytes` views a File, or the caller's numbers.
struct Tensor {
  std::string name;
  std::string dtype;  ///< F64 F32 F16 BF16 I64 I32 I16 I8 U64 U32 U16 U8 BOOL
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;
};

namespace detail {

template <class Stored>
Stored load(const std::byte* source) {  // of any alignment
  Stored stored;
  std::memcpy(&stored, source, sizeof stored);
  return stored;
}

template <class Stored>
double number(const std::byte* source) {
  return static_cast<double>(load<Stored>(source));
}

// IEEE 754 binary16. Exponent 0 is subnormal, 31 is inf or nan.
inline double float16(const std::byte* source) {
  const int bits = load<std::uint16_t>(source);
  const int exponent = (bits >> 10) & 31;
  const int fraction = bits & 1023;
  const double magnitude = exponent == 31  ? (fraction == 0 ? INFINITY : NAN)
                           : exponent == 0 ? std::ldexp(fraction, -24)
                                           : std::ldexp(1024 + fraction, exponent - 25);
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

// The upper half of a binary32.
inline double bfloat16(const std::byte* source) {
  return std::bit_cast<float>(std::uint32_t{load<std::uint16_t>(source)} << 16);
}

inline double boolean(const std::byte* source) { return *source == std::byte{0} ? 0 : 1; }

struct Dtype {
  std::string_view name;
  std::size_t size;
  double (*number)(const std::byte*);
};

inline constexpr Dtype dtypes[] = {
    {"F64", 8, number<double>},
    {"F32", 4, number<float>},
    {"F16", 2, float16},
    {"BF16", 2, bfloat16},
    {"I64", 8, number<std::int64_t>},
    {"I32", 4, number<std::int32_t>},
    {"I16", 2, number<std::int16_t>},
    {"I8", 1, number<std::int8_t>},
    {"U64", 8, number<std::uint64_t>},
    {"U32", 4, number<std::uint32_t>},
    {"U16", 2, number<std::uint16_t>},
    {"U8", 1, number<std::uint8_t>},
    {"BOOL", 1, boolean},
};

inline std::string quote(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

[[noreturn]] inline void fail(std::string_view tensor, const std::string& what) {
  throw Error("tensor " + quote(tensor) + " " + what);
}

// The element type, once dtype, shape and number of bytes are known to agree.
inline const Dtype& checked_dtype(const Tensor& tensor) {
  const auto* found = std::find_if(std::begin(dtypes), std::end(dtypes),
                                   [&](const Dtype& dtype) { return dtype.name == tensor.dtype; });
  if (found == std::end(dtypes)) {
    fail(tensor.name, "has the unknown dtype " + quote(tensor.dtype));
  }
  std::size_t size = found->size;
  for (const std::int64_t extent : tensor.shape) {
    if (extent < 0) fail(tensor.name, "has a negative number in its shape");
    const auto factor = static_cast<std::size_t>(extent);
    if (factor != 0 && size > SIZE_MAX / factor) {
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
  std::set<std::string> members;  // of the entry being read
  std::string name, member;       // the last key of the header, and of that entry
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
    if (depth == 1) members.clear();
    const bool fresh =
        depth == 1 ? entries.try_emplace(name).second : members.insert(member).second;
    if (!fresh) throw Error("the header has the key " + place() + " twice");
    return true;
  }
  bool start_object(std::size_t) { return expect(depth < 2, "object") && ++depth > 0; }
  bool start_array(std::size_t) {
    expect(depth == 2, "array");
    entries[name].numbers.try_emplace(member);
    return ++depth > 0;
  }
  bool end_object() { return depth-- > 0; }
  bool end_array() { return depth-- > 0; }
  bool string(const std::string& text) {
    expect(depth == 2, "string");
    entries[name].texts[member] = text;
    return true;
  }
  bool number_unsigned(std::uint64_t number) {
    expect(depth == 3 && std::in_range<std::int64_t>(number), "number");
    entries[name].numbers[member].push_back(static_cast<std::int64_t>(number));
    return true;
  }
  bool number_integer(std::int64_t) { return expect(false, "negative number"); }
  bool number_float(double, const std::string&) {
    return expect(false, "fractional or huge number");
  }
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
  if (dtype == entry.texts.end()) fail(name, "has no dtype string");
  if (shape == entry.numbers.end()) fail(name, "has no shape array");
  if (offsets == entry.numbers.end()) fail(name, "has no data_offsets array");
  if (offsets->second.size() != 2) fail(name, "has data_offsets that are not two numbers");
  const auto begin = static_cast<std::size_t>(offsets->second[0]);
  const auto end = static_cast<std::size_t>(offsets->second[1]);
  if (begin > end) fail(name, "has data that end before they begin");
  if (end > data.size()) fail(name, "has data beyond the end of the file");
  Tensor tensor{name, dtype->second, shape->second, data.subspan(begin, end - begin)};
  checked_dtype(tensor);
  return tensor;
}

inline std::map<std::string, Header::Entry> parse_header(std::string_view text) {
  if (!text.starts_with('{')) throw Error("the header does not start with '{'");
  // The JSON library would take a zero byte for the end of its input.
  if (text.find('\0') != text.npos) throw Error("the header is not valid JSON: it has a zero byte");
  Header header;
  nlohmann::json::sax_parse(text.begin(), text.end(), &header);
  return std::move(header.entries);
}

// Upstream's rule: every byte of the data belongs to one tensor.
inline void check_cover(const std::map<std::string, Tensor, std::less<>>& tensors,
                        std::span<const std::byte> data) {
  std::vector<const Tensor*> order;
  order.reserve(tensors.size());
  for (const auto& [name, tensor] : tensors) order.push_back(&tensor);
  const auto place = [](const Tensor* tensor) {
    return std::pair(tensor->bytes.data(), tensor->bytes.size());
  };
  std::sort(order.begin(), order.end(),
            [&](const Tensor* a, const Tensor* b) { return place(a) < place(b); });
  const std::byte* next = data.data();
  for (const Tensor* tensor : order) {
    if (tensor->bytes.data() < next) fail(tensor->name, "overlaps the data of another tensor");
    if (tensor->bytes.data() > next) fail(tensor->name, "has unused bytes before its data");
    next += tensor->bytes.size();
  }
  if (next != data.data() + data.size()) {
    throw Error("there are unused bytes after the last tensor");
  }
}

}  // namespace detail

}  // namespace seqbayes::safetensors
