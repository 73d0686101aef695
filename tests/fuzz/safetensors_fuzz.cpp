// Any bytes are a file or an Error. Whatever parses is written and parsed to the same tensors, and
// values() yields their number of elements or an Error.
//
// A header length that the fuzzer guesses is almost always wrong: the same bytes are tried once
// more with that of a header up to the last '}'.
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <seqbayes/adapters/safetensors.hpp>

namespace safetensors = seqbayes::safetensors;
using safetensors::File;
using safetensors::Tensor;

namespace {

using Bytes = std::vector<std::byte>;

void require(bool right, const char* what) {
  if (right) return;
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}

std::vector<Tensor> tensors_of(const File& file) {
  std::vector<Tensor> tensors;
  for (const std::string& name : file.names()) tensors.push_back(file.at(name));
  return tensors;
}

bool same(const Tensor& a, const Tensor& b) {
  return a.name == b.name && a.dtype == b.dtype && a.shape == b.shape &&
         std::equal(a.bytes.begin(), a.bytes.end(), b.bytes.begin(), b.bytes.end());
}

Bytes contents(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  const std::string text(std::istreambuf_iterator<char>(stream), {});
  const auto* begin = reinterpret_cast<const std::byte*>(text.data());
  return {begin, begin + text.size()};
}

void check_values(const Tensor& tensor) {
  std::size_t elements = 1;
  for (const std::int64_t extent : tensor.shape) elements *= static_cast<std::size_t>(extent);
  try {
    require(safetensors::values<double>(tensor).size() == elements, "another number of elements");
  } catch (const safetensors::Error& error) {
    require(std::string(error.what()).ends_with("which values() can't decode"), error.what());
  }
}

void check_round_trip(const File& file) {
  static const auto path = std::filesystem::temp_directory_path() /
                           ("seqbayes_fuzz_" + std::to_string(::getpid()) + ".safetensors");
  const std::vector<Tensor> tensors = tensors_of(file);
  safetensors::write(path, tensors, file.metadata());
  const File again = File::read(path);
  const Bytes written = contents(path);
  require(again.metadata() == file.metadata(), "other metadata");
  const std::vector<Tensor> read = tensors_of(again);
  require(std::equal(tensors.begin(), tensors.end(), read.begin(), read.end(), same),
          "other tensors");
  safetensors::write(path, read, again.metadata());
  require(contents(path) == written, "another file when written again");
  std::filesystem::remove(path);
}

void check(Bytes bytes) {
  bytes.shrink_to_fit();  // so that the sanitizer sees a read past the end
  std::optional<File> file;
  try {
    file = File::parse(std::move(bytes));
  } catch (const safetensors::Error&) {
    return;
  }
  for (const Tensor& tensor : tensors_of(*file)) check_values(tensor);
  check_round_trip(*file);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto* begin = reinterpret_cast<const std::byte*>(data);
  Bytes bytes(begin, begin + size);
  check(bytes);
  const auto last = std::find(bytes.rbegin(), bytes.rend(), std::byte{'}'});
  const auto end = static_cast<std::uint64_t>(bytes.rend() - last);
  if (end <= 8) return 0;
  const std::uint64_t header = end - 8;
  std::memcpy(bytes.data(), &header, 8);
  check(std::move(bytes));
  return 0;
}
