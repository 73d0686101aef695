#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <seqbayes/adapters/safetensors.hpp>

#include "adapters/safetensors_bytes.hpp"
#include "support/catch.hpp"

using namespace safetensors_test;
using seqbayes::safetensors::Tensor;
using seqbayes::safetensors::values;

TEST_CASE("safetensors: a malformed file is an error that says why", "[safetensors]") {
  const std::string f32 = "\"F32\"";
  const auto one = [](const std::string& text) { return "{" + text + "}"; };
  const auto bytes_with_length = [](std::uint64_t length) {
    Bytes bytes;
    append(bytes, little_endian({length}, 8) + "{}");
    return bytes;
  };
  struct Case {
    Bytes bytes;
    std::string words;
  };
  const std::vector<Case> cases = {
      {Bytes{}, "the file is too short for a header length"},
      {Bytes(7), "the file is too short for a header length"},
      {bytes_with_length(3), "the header is longer than the file"},
      {bytes_with_length(100'000'000), "the header is longer than the file"},
      {bytes_with_length(100'000'001), "the header is longer than 100 MB"},
      {bytes_with_length(0xffffffffffffffff), "the header is longer than 100 MB"},
      {bytes_with_length(0), "the header does not start with '{'"},
      {file_of(" {}"), "the header does not start with '{'"},
      {file_of("[]"), "the header does not start with '{'"},
      {file_of("\xef\xbb\xbf{}"), "the header does not start with '{'"},
      {file_of("{"), "the header is not valid JSON at its byte 2"},
      {file_of("{}}"), "the header is not valid JSON at its byte 3"},
      {file_of("{\"q\":}"), "the header is not valid JSON at its byte 6"},
      {file_of("{\"\xff\":1}"), "the header is not valid JSON"},
      {file_of("{\"q\":1e999}"), "the header is not valid JSON"},
      {file_of(std::string_view("{}\0\0", 4)), "it has a zero byte"},

      {file_of("{\"q\":1}"), "unexpected number at \"q\""},
      {file_of("{\"q\":\"F32\"}"), "unexpected string at \"q\""},
      {file_of("{\"q\":[]}"), "unexpected array at \"q\""},
      {file_of("{\"q\":null}"), "unexpected null at \"q\""},
      {file_of("{\"q\":true}"), "unexpected boolean at \"q\""},
      {file_of("{\"q\":{\"dtype\":null}}"), "unexpected null at \"dtype\" of \"q\""},
      {file_of("{\"q\":{\"dtype\":7}}"), "unexpected number at \"dtype\" of \"q\""},
      {file_of("{\"q\":{\"dtype\":{}}}"), "unexpected object at \"dtype\" of \"q\""},
      {file_of("{\"q\":{\"shape\":null}}"), "unexpected null at \"shape\" of \"q\""},
      {file_of("{\"q\":{\"shape\":3}}"), "unexpected number at \"shape\" of \"q\""},
      {file_of("{\"q\":{\"data_offsets\":{}}}"), "unexpected object at \"data_offsets\" of \"q\""},
      {file_of("{\"q\":{\"shape\":[[1]]}}"), "unexpected array at \"shape\" of \"q\""},
      {file_of("{\"q\":{\"shape\":[{}]}}"), "unexpected object at \"shape\" of \"q\""},
      {file_of("{\"q\":{\"shape\":[true]}}"), "unexpected boolean at \"shape\" of \"q\""},
      {file_of("{\"q\":{\"shape\":[\"1\"]}}"), "unexpected string at \"shape\" of \"q\""},
      {file_of("{\"q\":{\"shape\":[-1]}}"), "unexpected negative number at \"shape\" of \"q\""},
      {file_of("{\"q\":{\"shape\":[1.0]}}"), "unexpected fractional or huge number"},
      {file_of("{\"q\":{\"shape\":[1e2]}}"), "unexpected fractional or huge number"},
      {file_of("{\"q\":{\"shape\":[18446744073709551616]}}"), "fractional or huge number"},
      {file_of("{\"q\":{\"shape\":[9223372036854775808]}}"), "unexpected number at \"shape\""},
      {file_of("{\"q\":{\"data_offsets\":[-1,0]}}"), "negative number at \"data_offsets\" of"},

      {file_of("{\"__metadata__\":\"x\"}"), "unexpected string at \"__metadata__\""},
      {file_of("{\"__metadata__\":{\"T\":37}}"), "unexpected number at \"T\" of \"__metadata__\""},
      {file_of("{\"__metadata__\":{\"T\":[37]}}"), "unexpected array at \"T\" of \"__metadata__\""},
      {file_of("{\"__metadata__\":{\"T\":{}}}"), "unexpected object at \"T\" of \"__metadata__\""},
      {file_of("{\"__metadata__\":{\"T\":null}}"), "unexpected null at \"T\" of \"__metadata__\""},
      {file_of("{\"__metadata__\":[]}"), "unexpected array at \"__metadata__\""},
      {file_of("{\"__metadata__\":{\"T\":\"\",\"T\":\"\"}}"),
       "key \"T\" of \"__metadata__\" twice"},
      {file_of("{\"__metadata__\":{},\"__metadata__\":{}}"), "has the key \"__metadata__\" twice"},
      {file_of("{\"__metadata__\":null,\"__metadata__\":{}}"), "the key \"__metadata__\" twice"},
      {file_of(one(entry("q", f32, "[1]", "[0,4]") + "," + entry("q", f32, "[1]", "[0,4]")),
               "1234"),
       "the header has the key \"q\" twice"},
      {file_of("{\"q\":{\"shape\":[1],\"dtype\":\"U8\",\"shape\":[1]}}"),
       "the header has the key \"shape\" of \"q\" twice"},
      {file_of("{\"q\":{\"dtype\":\"U8\",\"dtype\":[1]}}"),
       "the header has the key \"dtype\" of \"q\" twice"},

      {file_of("{\"q\":{}}"), "tensor \"q\" has no dtype string"},
      {file_of("{\"q\":{\"note\":{\"dtype\":\"U8\"}}}"), "tensor \"q\" has no dtype string"},
      {file_of(one(entry("q", "[]", "[1]", "[0,4]")), "1234"), "unexpected array at \"dtype\""},
      {file_of("{\"q\":{\"dtype\":\"F32\"}}"), "tensor \"q\" has no shape array"},
      {file_of(one(entry("q", f32, "\"1\"", "[0,4]")), "1234"), "unexpected string at \"shape\""},
      {file_of("{\"q\":{\"dtype\":\"F32\",\"shape\":[1]}}"), "\"q\" has no data_offsets array"},
      {file_of(one(entry("q", f32, "[1]", "[0]")), "1234"),
       "data_offsets that are not two numbers"},
      {file_of(one(entry("q", f32, "[1]", "[0,4,8]")), "1234"), "that are not two numbers"},
      {file_of(one(entry("q", "\"F8\"", "[4]", "[0,4]")), "1234"), "has the unknown dtype \"F8\""},
      {file_of(one(entry("q", "\"f32\"", "[1]", "[0,4]")), "1234"), "the unknown dtype \"f32\""},

      {file_of(one(entry("q", f32, "[1]", "[4,0]")), "1234"), "data that end before they begin"},
      {file_of(one(entry("q", f32, "[1]", "[0,4]")), "123"), "data beyond the end of the file"},
      {file_of(one(entry("q", f32, "[0]", "[9223372036854775807,9223372036854775807]"))),
       "tensor \"q\" has data beyond the end of the file"},
      {file_of(one(entry("q", f32, "[2]", "[0,4]")), "1234"),
       "tensor \"q\" has 4 bytes of data where its dtype and shape need 8"},
      {file_of(one(entry("q", f32, "[0]", "[0,4]")), "1234"), "dtype and shape need 0"},
      {file_of(one(entry("q", "\"F4\"", "[3]", "[0,1]")), "1"), "has 12 bits, no whole bytes"},
      {file_of(one(entry("q", "\"F4\"", "[3]", "[0,2]")), "12"), "has 12 bits, no whole bytes"},
      {file_of(one(entry("q", "\"F6_E2M3\"", "[2,3]", "[0,4]")), "1234"), "has 36 bits, no whole"},
      {file_of(one(entry("q", "\"F4\"", "[2]", "[0,4]")), "1234"), "dtype and shape need 1"},
      // 2^32 * 2^32 wraps to 0, and so do 32 * 2^62 and, before the 0 is reached, 2^62 * 4.
      {file_of(one(entry("q", "\"U8\"", "[4294967296,4294967296]", "[0,0]"))), "size overflows"},
      {file_of(one(entry("q", f32, "[4611686018427387904]", "[0,0]"))), "size overflows"},
      {file_of(one(entry("q", f32, "[4611686018427387904,4,0]", "[0,0]"))), "size overflows"},

      {file_of(one(entry("q", f32, "[1]", "[0,4]") + "," + entry("k", f32, "[1]", "[0,4]")),
               "1234"),
       "overlaps the data of another tensor"},
      {file_of(one(entry("q", f32, "[1]", "[0,4]") + "," + entry("k", f32, "[1]", "[2,6]")),
               "123456"),
       "tensor \"k\" overlaps the data of another tensor"},
      {file_of(one(entry("q", f32, "[1]", "[1,5]")), "12345"),
       "tensor \"q\" has unused bytes before its data"},
      {file_of(one(entry("q", f32, "[1]", "[0,4]") + "," + entry("k", f32, "[1]", "[5,9]")),
               "123456789"),
       "tensor \"k\" has unused bytes before its data"},
      {file_of(one(entry("q", f32, "[1]", "[0,4]")), "12345"),
       "there are unused bytes after the last tensor"},
      {file_of("{}", "1"), "there are unused bytes after the last tensor"},
  };
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const std::string message =
        error_of([&] { File::parse(cases[i].bytes, "weights.safetensors"); });
    CAPTURE(i, message, cases[i].words);
    CHECK(message.starts_with("weights.safetensors: "));
    CHECK(message.find(cases[i].words) != message.npos);

    // The same of a file that is read tensor by tensor.
    const TemporaryFile file;
    std::ofstream(file.path, std::ios::binary)
        .write(reinterpret_cast<const char*>(cases[i].bytes.data()),
               static_cast<std::streamsize>(cases[i].bytes.size()));
    const std::string by_tensor = error_of([&] {
      seqbayes::safetensors::Reader reader(file.path);
      for (const std::string& name : reader.names()) reader.read(name);
    });
    CHECK(by_tensor ==
          file.path.string() + message.substr(std::string("weights.safetensors").size()));
  }
}

TEST_CASE("safetensors: an error is one line of UTF-8 whatever the file says", "[safetensors]") {
  const std::string in_file = error_of([] { File::parse(file_of("{\"a\\nb\\u0000\":{}}")); });
  CHECK(in_file == "safetensors data: tensor \"a\\nb\\u0000\" has no dtype string");
  const std::string from_user = error_of([] { File::parse(file_of("{}")).at("\n\xff"); });
  CHECK(from_user == "safetensors data: there is no tensor \"\\n\ufffd\"");
}

TEST_CASE("safetensors: no nesting is too deep", "[safetensors]") {
  const std::string arrays(1'000'000, '[');
  std::string objects;
  for (int level = 0; level < 200'000; ++level) objects += "{\"a\":";
  // In a member of no meaning it is passed over, to the end of the header; elsewhere it ends at
  // once.
  for (const std::string& start : {"{\"q\":{\"x\":" + arrays, objects}) {
    const std::string message = error_of([&] { File::parse(file_of(start)); });
    CAPTURE(message);
    CHECK(message.find("not valid JSON at its byte " + std::to_string(start.size() + 1)) !=
          message.npos);
  }
  for (const std::string& start : {"{\"q\":" + arrays, "{\"q\":{\"shape\":" + arrays}) {
    const std::string message = error_of([&] { File::parse(file_of(start)); });
    CAPTURE(message);
    CHECK(message.find("the header has an unexpected array") != message.npos);
  }
}

TEST_CASE("safetensors: any damage to a file is an error or another file", "[safetensors]") {
  const Bytes original = file_of("{\"__metadata__\":{\"op\":\"kda\",\"T\":\"3\"}," +
                                     entry("q", "\"F64\"", "[3,2]", "[0,48]") + "," +
                                     entry("tokens", "\"I32\"", "[3]", "[48,60]") + "," +
                                     entry("h", "\"BF16\"", "[2,1]", "[60,64]") + "," +
                                     entry("z", "\"F16\"", "[0,4]", "[64,64]") + "," +
                                     entry("mask", "\"BOOL\"", "[3]", "[64,67]") + "}",
                                 std::string(67, '\x3c'));
  REQUIRE(File::parse(original).names().size() == 5);

  std::mt19937 random(20250101);
  const auto below = [&random](std::size_t bound) { return random() % bound; };
  const std::string_view json = "{}[]\",:0123456789-.eE\\ ";
  int parsed = 0;
  int refused = 0;
  for (int trial = 0; trial < 20'000; ++trial) {
    Bytes bytes = original;
    for (std::size_t damage = below(3) + 1; damage > 0 && !bytes.empty(); --damage) {
      const std::size_t at = below(bytes.size());
      const auto place = bytes.begin() + static_cast<std::ptrdiff_t>(at);
      switch (below(6)) {
        case 0: bytes[at] ^= std::byte{1} << below(8); break;
        case 1: bytes[at] = static_cast<std::byte>(json[below(json.size())]); break;
        case 2: bytes[at % 8] = static_cast<std::byte>(below(256)); break;
        case 3: bytes.resize(at); break;
        case 4: bytes.erase(place); break;
        case 5: bytes.insert(place, static_cast<std::byte>(json[below(json.size())])); break;
      }
    }
    bytes.shrink_to_fit();  // so that a sanitizer sees a read past the end
    const std::size_t size = bytes.size();
    std::uint64_t header = 0;
    if (size >= 8) std::memcpy(&header, bytes.data(), 8);
    try {
      const auto file = File::parse(std::move(bytes));
      std::size_t used = 8 + header;
      for (const std::string& name : file.names()) {
        const Tensor& tensor = file.at(name);
        used += tensor.bytes.size();
        const auto numbers = values<double>(tensor);
        std::int64_t count = 1;
        for (const std::int64_t extent : tensor.shape) count *= extent;
        REQUIRE(static_cast<std::int64_t>(numbers.size()) == count);
      }
      REQUIRE(used == size);
      ++parsed;
    } catch (const Error& error) {
      REQUIRE(std::string_view(error.what()).starts_with("safetensors data: "));
      ++refused;
    }
  }
  CHECK(parsed > 500);  // damage to data and names
  CHECK(refused > 10'000);
}
