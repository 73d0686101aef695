#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <seqbayes/adapters/safetensors.hpp>

#include "adapters/safetensors_bytes.hpp"
#include "support/catch.hpp"

using namespace safetensors_test;
using seqbayes::safetensors::Tensor;
using seqbayes::safetensors::values;
using seqbayes::safetensors::view;
using seqbayes::safetensors::write;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

bool same(double a, double b) {  // tells -0 from 0, takes nan for nan
  return std::isnan(a) ? std::isnan(b) : a == b && std::signbit(a) == std::signbit(b);
}

}  // namespace

TEST_CASE("safetensors: reads a file laid out by hand", "[safetensors]") {
  const auto file = File::parse(
      file_of("{\"__metadata__\":{\"op\":\"ssd\",\"empty\":\"\"}," +
                  entry("b", "\"I32\"", "[2]", "[8,16]") + "," +
                  entry("a \\u00e9", "\"F32\"", "[1,2]", "[0,8]") + "}   ",
              little_endian({0x3f800000, 0xc0200000}, 4) + little_endian({7, 0xffffffff}, 4)));
  CHECK(file.metadata() == std::map<std::string, std::string>{{"empty", ""}, {"op", "ssd"}});
  CHECK(file.names() == std::vector<std::string>{"a \u00e9", "b"});
  CHECK(file.at("b").name == "b");
  CHECK(file.at("b").dtype == "I32");
  CHECK(file.at("a \u00e9").shape == std::vector<std::int64_t>{1, 2});
  CHECK(values<float>(file.at("a \u00e9")) == std::vector<float>{1, -2.5f});
  CHECK(values<double>(file.at("b")) == std::vector<double>{7, -1});
  CHECK(file.find("c") == nullptr);
  CHECK(file.find("b") == &file.at("b"));
}

TEST_CASE("safetensors: a copy keeps the bytes alive", "[safetensors]") {
  auto file = std::make_unique<File>(file_of_one("U8", 2, "\x01\x02"));
  const File copy = *file;
  file.reset();
  CHECK(values<double>(copy.at("x")) == std::vector<double>{1, 2});
}

TEST_CASE("safetensors: every element type", "[safetensors]") {
  struct Case {
    std::string dtype;
    int size;
    std::vector<std::uint64_t> bits;
    std::vector<double> expected;
  };
  const std::vector<Case> cases = {
      {"F64",
       8,
       {0x3ff8000000000000, 1, 0xfff0000000000000, 0x8000000000000000, 0x7ff8000000000000},
       {1.5, 0x1p-1074, -infinity, -0.0, NAN}},
      {"F32",
       4,
       {0x40490fdb, 1, 0x7f800000, 0x80000000, 0x7fc00000},
       {0x1.921fb6p1, 0x1p-149, infinity, -0.0, NAN}},
      {"F16",
       2,
       {0x3c00, 0xc000, 0x0001, 0x03ff, 0x0400, 0x7bff, 0x7c00, 0xfc00, 0x8000, 0x7e00},
       {1, -2, 0x1p-24, 0x1.ff8p-15, 0x1p-14, 65504, infinity, -infinity, -0.0, NAN}},
      {"BF16",
       2,
       {0x3f80, 0xc000, 0x0001, 0x7f7f, 0x7f80, 0xff80, 0x8000, 0x7fc0},
       {1, -2, 0x1p-133, 0x1.fep127, infinity, -infinity, -0.0, NAN}},
      {"I64", 8, {5, 0xffffffffffffffff, 0x8000000000000000}, {5, -1, -0x1p63}},
      {"I32", 4, {5, 0xffffffff, 0x80000000}, {5, -1, -0x1p31}},
      {"I16", 2, {5, 0xffff, 0x8000}, {5, -1, -32768}},
      {"I8", 1, {5, 0xff, 0x80}, {5, -1, -128}},
      {"U64", 8, {5, 0xffffffffffffffff}, {5, 0x1p64}},  // 2^64 - 1, rounded to double
      {"U32", 4, {5, 0xffffffff}, {5, 0x1p32 - 1}},
      {"U16", 2, {5, 0xffff}, {5, 65535}},
      {"U8", 1, {5, 0xff}, {5, 255}},
      {"BOOL", 1, {0, 1, 2}, {0, 1, 1}},
  };
  for (const Case& c : cases) {
    const auto file = file_of_one(c.dtype, c.bits.size(), little_endian(c.bits, c.size));
    const auto doubles = values<double>(file.at("x"));
    const auto floats = values<float>(file.at("x"));
    REQUIRE(doubles.size() == c.expected.size());
    REQUIRE(floats.size() == c.expected.size());
    for (std::size_t i = 0; i < c.expected.size(); ++i) {
      CAPTURE(c.dtype, i, doubles[i], floats[i], c.expected[i]);
      CHECK(same(doubles[i], c.expected[i]));
      CHECK(same(floats[i], static_cast<float>(c.expected[i])));
    }
  }
}

TEST_CASE("safetensors: all 65536 numbers of 16 bits", "[safetensors]") {
  std::vector<std::uint64_t> all(65536);
  for (std::size_t bits = 0; bits < all.size(); ++bits) all[bits] = bits;
  const std::string data = little_endian(all, 2);
  const auto halves = values<double>(file_of_one("F16", all.size(), data).at("x"));
  const auto brains = values<float>(file_of_one("BF16", all.size(), data).at("x"));
  REQUIRE(halves.size() == all.size());
  REQUIRE(brains.size() == all.size());
  int wrong_halves = 0;
  int wrong_brains = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    // binary16 in fixed point: every finite number is a multiple of 2^-24.
    const auto bits = static_cast<std::int64_t>(i);
    const std::int64_t exponent = bits / 1024 % 32;
    const std::int64_t fraction = bits % 1024;
    const std::int64_t multiple = exponent == 0 ? fraction : (1024 + fraction) << (exponent - 1);
    double half = static_cast<double>(multiple) / 16777216;
    if (exponent == 31) half = fraction == 0 ? infinity : NAN;
    if (bits >= 32768) half = -half;
    wrong_halves += !same(halves[i], half);
    // bfloat16 is a binary32 whose lower half is zero.
    const std::array<std::uint16_t, 2> words = {0, static_cast<std::uint16_t>(i)};
    float brain = 0;
    std::memcpy(&brain, words.data(), sizeof brain);
    wrong_brains += !same(static_cast<double>(brains[i]), static_cast<double>(brain));
  }
  CHECK(wrong_halves == 0);
  CHECK(wrong_brains == 0);
}

TEST_CASE("safetensors: accepts what the format allows", "[safetensors]") {
  CHECK(File::parse(file_of("{}")).names().empty());
  CHECK(File::parse(file_of("{}      ")).metadata().empty());

  // A scalar, two empty tensors, members of no meaning, entries in any order.
  const auto file = File::parse(file_of("{" + entry("empty", "\"F64\"", "[3,0,2]", "[4,4]") + "," +
                                            entry("also empty", "\"F64\"", "[0]", "[4,4]") + "," +
                                            entry("last", "\"U8\"", "[1]", "[4,5]") +
                                            ",\"scalar\":{\"note\":\"x\",\"data_offsets\":[0,4],"
                                            "\"extra\":[1],\"shape\":[],\"dtype\":\"F32\"}}",
                                        little_endian({0x3f800000}, 4) + "\x09"));
  CHECK(file.at("scalar").shape.empty());
  CHECK(values<double>(file.at("scalar")) == std::vector<double>{1});
  CHECK(values<double>(file.at("empty")).empty());
  CHECK(values<double>(file.at("last")) == std::vector<double>{9});

  // Data at every alignment; a sanitizer build reports a misaligned load.
  for (std::size_t padding = 0; padding < 8; ++padding) {
    const std::string header =
        "{" + entry("x", "\"F64\"", "[2]", "[0,16]") + "}" + std::string(padding, ' ');
    const auto shifted =
        File::parse(file_of(header, little_endian({0x3ff8000000000000, 0x4000000000000000}, 8)));
    CHECK(values<double>(shifted.at("x")) == std::vector<double>{1.5, 2});
  }
}

TEST_CASE("safetensors: write and read back", "[safetensors]") {
  const TemporaryFile temporary;
  const std::vector<float> odd = {1.5f, -0.0f, std::numeric_limits<float>::denorm_min()};
  const std::vector<double> state = {0x1p-1074, -infinity, 1.0 / 3, 1e300};
  const std::array<double, 0> none = {};
  write(
      temporary.path,
      {view("odd", {3}, odd), view("state \"\u00e9\"", {2, 2}, state), view("none", {0, 5}, none)},
      {{"op", "kda"}, {"text", "a\n\"b\""}});
  const auto file = File::read(temporary.path);
  CHECK(file.metadata() == std::map<std::string, std::string>{{"op", "kda"}, {"text", "a\n\"b\""}});
  CHECK(file.names() == std::vector<std::string>{"none", "odd", "state \"\u00e9\""});
  CHECK(file.at("odd").dtype == "F32");
  const auto odd_bytes = std::as_bytes(std::span(odd));
  const auto read_bytes = file.at("odd").bytes;
  CHECK(std::equal(read_bytes.begin(), read_bytes.end(), odd_bytes.begin(), odd_bytes.end()));
  CHECK(file.at("state \"\u00e9\"").dtype == "F64");
  CHECK(file.at("state \"\u00e9\"").shape == std::vector<std::int64_t>{2, 2});
  CHECK(values<double>(file.at("state \"\u00e9\"")) == state);  // bit for bit: no conversion
  CHECK(file.at("none").shape == std::vector<std::int64_t>{0, 5});

  // Tensor by tensor: the same, in any order.
  seqbayes::safetensors::Reader reader(temporary.path);
  CHECK(reader.names() == file.names());
  for (const char* name : {"state \"\u00e9\"", "none", "odd", "none", "state \"\u00e9\""}) {
    const Tensor tensor = reader.read(name);
    CHECK(tensor.name == name);
    CHECK(tensor.dtype == file.at(name).dtype);
    CHECK(tensor.shape == file.at(name).shape);
    CHECK(std::ranges::equal(tensor.bytes, file.at(name).bytes));
  }

  // What was read can be written again, in any type.
  const auto integers = file_of_one("I64", 1, little_endian({41}, 8));
  write(temporary.path, {integers.at("x"), file.at("odd")});
  const auto again = File::read(temporary.path);
  CHECK(values<double>(again.at("x")) == std::vector<double>{41});
  CHECK(values<float>(again.at("odd")) == odd);
}

TEST_CASE("safetensors: writes the layout of the upstream library", "[safetensors]") {
  const TemporaryFile temporary;
  write(temporary.path, {});
  CHECK(temporary.bytes() == file_of("{}      "));
  write(temporary.path, {}, {{"framework", "pt"}});
  CHECK(temporary.bytes() == file_of("{\"__metadata__\":{\"framework\":\"pt\"}}     "));
  // Wide elements come first, so that the padded header aligns all of them.
  write(temporary.path, {view("a", {1}, std::vector<float>{1}), view("b", {1}, std::vector{2.0})});
  CHECK(temporary.bytes() ==
        file_of("{\"b\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[0,8]},"
                "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]}}    ",
                little_endian({0x4000000000000000}, 8) + little_endian({0x3f800000}, 4)));
}

TEST_CASE("safetensors: what cannot be written is an error", "[safetensors]") {
  const TemporaryFile temporary;
  const std::vector<double> two = {1, 2};
  const auto error = [&](const std::vector<Tensor>& tensors,
                         const std::map<std::string, std::string>& metadata = {}) {
    return error_of([&] { write(temporary.path, tensors, metadata); });
  };
  const std::string file = temporary.path.string() + ": ";
  CHECK(error({view("q", {3}, two)}) ==
        file + "tensor \"q\" has 16 bytes of data where its dtype and shape need 24");
  CHECK(error({view("q", {-2}, two)}) == file + "tensor \"q\" has a negative number in its shape");
  CHECK(error({view("q", {2}, two), view("q", {2}, two)}) ==
        file + "tensor \"q\" has a name that is taken");
  CHECK(error({view("__metadata__", {2}, two)}) ==
        file + "tensor \"__metadata__\" has a name that is taken");
  CHECK(error({{"q", "F128", {1}, std::as_bytes(std::span(two))}}) ==
        file + "tensor \"q\" has the unknown dtype \"F128\"");
  CHECK(error({{"q", "F4", {3}, std::as_bytes(std::span(two))}}) ==
        file + "tensor \"q\" has 12 bits, no whole bytes");
  CHECK(error({view("q", {std::int64_t{1} << 62, 4}, two)}) ==
        file + "tensor \"q\" has a shape whose size overflows");
  CHECK(error({view("\xff", {2}, two)}) == file + "a name or a metadata value is not valid UTF-8");
  CHECK(error({}, {{"op", "\xff"}}) == file + "a name or a metadata value is not valid UTF-8");
  CHECK_FALSE(std::filesystem::exists(temporary.path));

  const auto nowhere = temporary.path / "file";
  CHECK(error_of([&] { write(nowhere, {}); }) == nowhere.string() + ": the file cannot be written");
}

TEST_CASE("safetensors: reading names the file and the tensor", "[safetensors]") {
  const TemporaryFile temporary;
  const std::string path = temporary.path.string();
  CHECK(error_of([&] { File::read(temporary.path); }) == path + ": the file cannot be opened");
  const auto folder = std::filesystem::temp_directory_path();
  CHECK(error_of([&] { File::read(folder); }) == folder.string() + ": the file cannot be opened");

  write(temporary.path, {view("q", {1}, std::vector{2.0})});
  CHECK(error_of([&] { File::read(temporary.path).at("k"); }) ==
        path + ": there is no tensor \"k\"");
  std::filesystem::resize_file(temporary.path, std::filesystem::file_size(temporary.path) - 1);
  CHECK(error_of([&] { File::read(temporary.path); }) ==
        path + ": tensor \"q\" has data beyond the end of the file");

  // Tensor by tensor, likewise; what vanishes on the way, too.
  using seqbayes::safetensors::Reader;
  CHECK(error_of([&] { Reader{temporary.path}; }) ==
        path + ": tensor \"q\" has data beyond the end of the file");
  CHECK(error_of([&] { Reader{folder}; }) == folder.string() + ": the file cannot be opened");
  write(temporary.path, {view("q", {1}, std::vector{2.0})});
  Reader reader(temporary.path);
  CHECK(error_of([&] { reader.read("k"); }) == path + ": there is no tensor \"k\"");
  std::filesystem::resize_file(temporary.path, std::filesystem::file_size(temporary.path) - 1);
  CHECK(error_of([&] { reader.read("q"); }) == path + ": the file cannot be read");

  // A tensor put together by hand is checked too.
  CHECK(error_of([] {
          values<float>(Tensor{"q", "F32", {1}, {}});
        }) == "tensor \"q\" has 0 bytes of data where its dtype and shape need 4");
}
