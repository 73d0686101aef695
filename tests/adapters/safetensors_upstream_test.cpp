// What the format's own library reads and writes beyond tensors of numbers, and how much of it.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
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

TEST_CASE("safetensors: reads what the upstream library reads", "[safetensors]") {
  const std::string a = entry("a", "\"F32\"", "[1]", "[0,4]");
  const std::string one = little_endian({0x3f800000}, 4);
  const auto reads_a = [&](const std::string& header, const std::string& more = "") {
    const auto file = File::parse(file_of(header, one + more));
    return values<float>(file.at("a")) == std::vector<float>{1};
  };
  CHECK(reads_a("{\"__metadata__\":null," + a + "}"));
  CHECK(reads_a("{\"__metadata__\":{}," + a + "}\n\t\r "));
  CHECK(reads_a(
      "{ \"a\" : { \"dtype\" : \"\\u004632\", \"shape\" : [ 1 ] , \"data_offsets\":[0, 4] } }"));

  // Members of no meaning may be anything, twice too, and hold what would be meant elsewhere.
  for (const std::string value :
       {"17", "-1", "1.5", "1e300", "18446744073709551616", "true", "null", "\"x\"", "[]", "{}",
        "{\"dtype\":\"F64\",\"dtype\":[{\"shape\":null}]}",
        "[[[1,\"x\",{\"bits\":8}],[-1.5,false]]]"}) {
    CAPTURE(value);
    CHECK(reads_a("{\"a\":{\"x\":" + value + ",\"dtype\":\"F32\",\"shape\":[1],\"__metadata__\":" +
                  value + ",\"data_offsets\":[0,4],\"x\":" + value + "}}"));
  }

  // Elements are counted before they are measured: 2^62 times 0 are none.
  CHECK(reads_a("{" + a + "," + entry("b", "\"F64\"", "[4611686018427387904,0]", "[4,4]") + "}"));
}

TEST_CASE("safetensors: a type that can't be decoded is listed and passed on", "[safetensors]") {
  struct Case {
    std::string dtype;
    int count, bytes;
  };
  for (const auto& [dtype, count, bytes] :
       {Case{"F8_E4M3", 3, 3}, Case{"F8_E5M2", 3, 3}, Case{"F8_E8M0", 3, 3},
        Case{"F8_E4M3FNUZ", 3, 3}, Case{"F8_E5M2FNUZ", 3, 3}, Case{"F4", 6, 3},
        Case{"F6_E2M3", 4, 3}, Case{"F6_E3M2", 8, 6}, Case{"C64", 2, 16}, Case{"F4", 0, 0}}) {
    CAPTURE(dtype);
    const std::string data(std::size_t(bytes), '\x5a');
    const auto file = file_of_one(dtype, std::size_t(count), data);
    CHECK(file.at("x").dtype == dtype);
    CHECK(file.at("x").shape == std::vector<std::int64_t>{count});
    CHECK(file.at("x").bytes.size() == data.size());
    CHECK(error_of([&] { values<float>(file.at("x")); }) ==
          "tensor \"x\" has the dtype " + dtype + ", which values() can't decode");

    // With a neighbour of a known type, through a file.
    const TemporaryFile temporary;
    write(temporary.path, {file.at("x"), view("a", {1}, std::vector{2.0})});
    const auto again = File::read(temporary.path);
    CHECK(values<double>(again.at("a")) == std::vector<double>{2});
    CHECK(again.at("x").dtype == dtype);
    CHECK(again.at("x").shape == std::vector<std::int64_t>{count});
    const auto bytes_again = again.at("x").bytes;
    CHECK(bytes_again.size() == data.size());
    CHECK(std::all_of(bytes_again.begin(), bytes_again.end(),
                      [](std::byte byte) { return byte == std::byte{0x5a}; }));
  }
}

TEST_CASE("safetensors: many tensors", "[safetensors]") {
  // With a search through all names for each of them this takes minutes.
  const int count = 50'000;
  std::vector<float> numbers(count);
  std::vector<Tensor> tensors;
  for (int i = 0; i < count; ++i) {
    numbers[std::size_t(i)] = static_cast<float>(i);
    tensors.push_back(
        view("sample." + std::to_string(i), {1}, std::span(&numbers[std::size_t(i)], 1)));
  }
  const TemporaryFile temporary;
  write(temporary.path, tensors);
  const auto file = File::read(temporary.path);
  REQUIRE(file.names().size() == std::size_t(count));
  int wrong = 0;
  for (int i = 0; i < count; ++i) {
    wrong += values<float>(file.at("sample." + std::to_string(i))) !=
             std::vector<float>{static_cast<float>(i)};
  }
  CHECK(wrong == 0);
}

TEST_CASE("safetensors: the longest header can be read back, a longer one isn't written",
          "[safetensors]") {
  const TemporaryFile temporary;
  std::map<std::string, std::string> metadata = {{"text", ""}};
  const std::size_t around = std::string("{\"__metadata__\":{\"text\":\"\"}}").size();
  metadata["text"].assign(100'000'000 - around, 'x');
  write(temporary.path, {}, metadata);
  CHECK(std::filesystem::file_size(temporary.path) == 100'000'008);
  CHECK(File::read(temporary.path).metadata() == metadata);

  metadata["text"] += 'x';
  CHECK(error_of([&] { write(temporary.path, {}, metadata); }) ==
        temporary.path.string() + ": the header is longer than 100 MB");
  CHECK(std::filesystem::file_size(temporary.path) == 100'000'008);  // as it was
}
