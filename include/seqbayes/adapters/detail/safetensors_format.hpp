/// @file
/// What safetensors.hpp reads and writes: errors, tensors, and the format's element types.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
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
  /// F64 F32 F16 BF16 I64 I32 I16 I8 U64 U32 U16 U8 BOOL, and those that values() can't decode:
  /// C64 F8_E5M2 F8_E4M3 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ F6_E2M3 F6_E3M2 F4.
  std::string dtype;
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
  std::size_t bits;
  double (*number)(const std::byte*);  // null: listed, passed on, never decoded
};

inline constexpr Dtype dtypes[] = {
    {"F64", 64, number<double>},
    {"F32", 32, number<float>},
    {"F16", 16, float16},
    {"BF16", 16, bfloat16},
    {"I64", 64, number<std::int64_t>},
    {"I32", 32, number<std::int32_t>},
    {"I16", 16, number<std::int16_t>},
    {"I8", 8, number<std::int8_t>},
    {"U64", 64, number<std::uint64_t>},
    {"U32", 32, number<std::uint32_t>},
    {"U16", 16, number<std::uint16_t>},
    {"U8", 8, number<std::uint8_t>},
    {"BOOL", 8, boolean},
    {"C64", 64, nullptr},
    {"F8_E5M2", 8, nullptr},
    {"F8_E4M3", 8, nullptr},
    {"F8_E8M0", 8, nullptr},
    {"F8_E4M3FNUZ", 8, nullptr},
    {"F8_E5M2FNUZ", 8, nullptr},
    {"F6_E2M3", 6, nullptr},
    {"F6_E3M2", 6, nullptr},
    {"F4", 4, nullptr},
};

inline std::string quote(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

[[noreturn]] inline void fail(std::string_view tensor, const std::string& what) {
  throw Error("tensor " + quote(tensor) + " " + what);
}

// a * b, in a shape.
inline std::size_t product(const Tensor& tensor, std::size_t a, std::size_t b) {
  if (b != 0 && a > SIZE_MAX / b) fail(tensor.name, "has a shape whose size overflows");
  return a * b;
}

// The element type, once dtype, shape and number of bytes are known to agree.
inline const Dtype& checked_dtype(const Tensor& tensor) {
  const auto* found = std::find_if(std::begin(dtypes), std::end(dtypes),
                                   [&](const Dtype& dtype) { return dtype.name == tensor.dtype; });
  if (found == std::end(dtypes)) {
    fail(tensor.name, "has the unknown dtype " + quote(tensor.dtype));
  }
  std::size_t bits = 1;  // elements first: those of a shape with a 0 are none, however wide
  for (const std::int64_t extent : tensor.shape) {
    if (extent < 0) fail(tensor.name, "has a negative number in its shape");
    bits = product(tensor, bits, static_cast<std::size_t>(extent));
  }
  bits = product(tensor, bits, found->bits);
  if (bits % 8 != 0) fail(tensor.name, "has " + std::to_string(bits) + " bits, no whole bytes");
  if (bits / 8 != tensor.bytes.size()) {
    fail(tensor.name, "has " + std::to_string(tensor.bytes.size()) +
                          " bytes of data where its dtype and shape need " +
                          std::to_string(bits / 8));
  }
  return *found;
}

}  // namespace detail

}  // namespace seqbayes::safetensors
