/// @file
/// The JSON header of a safetensors file, and how its tensors cover the data.
///
/// What is read is what the upstream library (Rust, https://github.com/huggingface/safetensors)
/// reads, but for three things that no writer writes: a header that doesn't start with '{' and a
/// key that comes twice, both ruled out by the format's own text, and an extent of 2^63 or more.
#pragma once

#include <algorithm>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <seqbayes/adapters/detail/safetensors_format.hpp>

namespace seqbayes::safetensors::detail {

inline void check_header_length(std::size_t bytes) {
  if (bytes > 100'000'000) throw Error("the header is longer than 100 MB");  // upstream's limit
}

// The header is an object of tensors' entries and of "__metadata__", an object of strings or null.
// An entry has a dtype, a shape, data_offsets, and members of no meaning, which may be anything. It
// is read as a stream (nlohmann's SAX interface): no depth of nesting costs stack.
class Header {
 public:
  using Numbers = std::optional<std::vector<std::int64_t>>;
  struct Entry {
    std::optional<std::string> dtype;
    Numbers shape, data_offsets;
  };
  std::map<std::string, Entry> entries;
  std::map<std::string, std::string> metadata;

  bool key(const std::string& text) {
    if (ignored_ > 0) return true;
    (depth_ == 1 ? name_ : member_) = text;
    if (!fresh()) throw Error("the header has the key " + where() + " twice");
    return true;
  }
  bool start_object(std::size_t) {
    if (place() == Place::ignored) return ++ignored_ > 0;
    expect(Place::object, "object");
    return ++depth_ > 0;
  }
  bool start_array(std::size_t) {
    if (place() == Place::ignored) return ++ignored_ > 0;
    expect(Place::array, "array");
    numbers().emplace();
    return ++depth_ > 0;
  }
  bool end_object() { return (ignored_ > 0 ? ignored_ : depth_)-- > 0; }
  bool end_array() { return end_object(); }

  bool string(const std::string& text) {
    if (place() == Place::ignored) return true;
    expect(Place::text, "string");
    if (entry_ == nullptr) {
      metadata[member_] = text;
    } else {
      entry_->dtype = text;
    }
    return true;
  }
  bool number_unsigned(std::uint64_t number) {
    if (place() == Place::ignored) return true;
    expect(Place::number, "number");
    if (!std::in_range<std::int64_t>(number)) unexpected("number");
    numbers()->push_back(static_cast<std::int64_t>(number));
    return true;
  }
  bool null() {
    return (depth_ == 1 && entry_ == nullptr) || only_ignored("null");  // no metadata
  }
  bool number_integer(std::int64_t) { return only_ignored("negative number"); }
  bool number_float(double, const std::string&) {
    return only_ignored("fractional or huge number");
  }
  bool boolean(bool) { return only_ignored("boolean"); }
  bool binary(const nlohmann::json::binary_t&) { return only_ignored("binary value"); }
  bool parse_error(std::size_t byte, const std::string&, const nlohmann::json::exception&) {
    throw Error("the header is not valid JSON at its byte " + std::to_string(byte));
  }

 private:
  enum class Place { object, array, text, number, ignored };

  // What the next value has to be.
  Place place() const {
    if (ignored_ > 0) return Place::ignored;
    if (depth_ < 2) return Place::object;
    if (depth_ == 3) return Place::number;
    if (entry_ == nullptr || member_ == "dtype") return Place::text;
    return member_ == "shape" || member_ == "data_offsets" ? Place::array : Place::ignored;
  }
  // Whether the key just read is there for the first time.
  bool fresh() {
    if (depth_ == 1 && name_ == "__metadata__") {
      entry_ = nullptr;
      return !std::exchange(has_metadata_, true);
    }
    if (depth_ == 1) {
      const auto [found, added] = entries.try_emplace(name_);
      entry_ = &found->second;
      return added;
    }
    if (entry_ == nullptr) return metadata.try_emplace(member_).second;
    if (place() == Place::text) return !entry_->dtype;
    return place() == Place::ignored || !numbers();
  }
  Numbers& numbers() { return member_ == "shape" ? entry_->shape : entry_->data_offsets; }

  void expect(Place expected, const char* what) const {
    if (place() != expected) unexpected(what);
  }
  bool only_ignored(const char* what) const {
    expect(Place::ignored, what);
    return true;
  }
  [[noreturn]] void unexpected(const std::string& what) const {
    throw Error("the header has an unexpected " + what + " at " + where());
  }
  std::string where() const {
    return depth_ > 1 ? quote(member_) + " of " + quote(name_) : quote(name_);
  }

  std::string name_, member_;  // the last key of the header, and of the object there
  Entry* entry_ = nullptr;     // of that name; null for "__metadata__"
  bool has_metadata_ = false;
  int depth_ = 0;
  int ignored_ = 0;  // objects and arrays open inside a member of no meaning
};

// Where a tensor's bytes lie in the data.
struct Place {
  std::size_t begin = 0, end = 0;
  // clang-tidy 14 takes the comparison that is generated with 0 for a pointer.
  friend auto operator<=>(const Place&, const Place&) = default;  // NOLINT(modernize-use-nullptr)
};

inline Place place_of(const std::string& name, const Header::Entry& entry, std::size_t size) {
  if (!entry.dtype) fail(name, "has no dtype string");
  if (!entry.shape) fail(name, "has no shape array");
  if (!entry.data_offsets) fail(name, "has no data_offsets array");
  const std::vector<std::int64_t>& offsets = *entry.data_offsets;
  if (offsets.size() != 2) fail(name, "has data_offsets that are not two numbers");
  const auto begin = static_cast<std::size_t>(offsets[0]);
  const auto end = static_cast<std::size_t>(offsets[1]);
  if (begin > end) fail(name, "has data that end before they begin");
  if (end > size) fail(name, "has data beyond the end of the file");
  return {begin, end};
}

// Of an entry that has a place.
inline Tensor tensor_of(const std::string& name, const Header::Entry& entry,
                        std::span<const std::byte> bytes) {
  Tensor tensor{name, *entry.dtype, *entry.shape, bytes};
  checked_dtype(tensor);
  return tensor;
}

inline Header parse_header(std::string_view text) {
  if (!text.starts_with('{')) throw Error("the header does not start with '{'");
  // The JSON library would take a zero byte for the end of its input.
  if (text.find('\0') != text.npos) throw Error("the header is not valid JSON: it has a zero byte");
  Header header;
  nlohmann::json::sax_parse(text.begin(), text.end(), &header);
  return header;
}

// Upstream's rule: every byte of the data belongs to one tensor.
inline void check_cover(const std::map<std::string, Place>& places, std::size_t size) {
  std::vector<std::pair<Place, std::string_view>> order;
  order.reserve(places.size());
  for (const auto& [name, place] : places) order.emplace_back(place, name);
  std::sort(order.begin(), order.end());
  std::size_t next = 0;
  for (const auto& [place, name] : order) {
    if (place.begin < next) fail(name, "overlaps the data of another tensor");
    if (place.begin > next) fail(name, "has unused bytes before its data");
    next = place.end;
  }
  if (next != size) throw Error("there are unused bytes after the last tensor");
}

// The header of a file that holds these tensors in this order, padded so that the data are aligned.
inline std::string header_of(const std::vector<Tensor>& tensors,
                             const std::map<std::string, std::string>& metadata) {
  using nlohmann::ordered_json;
  std::string text = "{";
  const auto put = [&](const std::string& name, const ordered_json& value) {
    text += (text.size() > 1 ? "," : "") + ordered_json(name).dump() + ":" + value.dump();
    check_header_length(text.size());
  };
  if (!metadata.empty()) put("__metadata__", metadata);
  std::set<std::string_view> taken = {"__metadata__"};
  std::size_t end = 0;
  for (const Tensor& tensor : tensors) {
    checked_dtype(tensor);
    if (!taken.insert(tensor.name).second) fail(tensor.name, "has a name that is taken");
    const std::size_t begin = std::exchange(end, end + tensor.bytes.size());
    put(tensor.name,
        {{"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {begin, end}}});
  }
  text += '}';
  text.resize((text.size() + 7) / 8 * 8, ' ');
  check_header_length(text.size());
  return text;
}

}  // namespace seqbayes::safetensors::detail
