/// @file
/// Ragged batches: sequences of different lengths, packed one behind the other in one buffer.
///
/// Offsets are what others call cu_seqlens: sequence i has tokens offsets[i] to offsets[i + 1] - 1
/// of the buffer; the first offset is 0, the last its number of tokens. Nothing is padded, so no
/// token has to be made harmless.
#pragma once

#include <algorithm>
#include <cstddef>
#include <ranges>
#include <span>
#include <string>
#include <vector>

#include <seqbayes/scan/threads.hpp>

namespace seqbayes {

/// The items of a ragged batch, as `scan` takes them: views of the packed sequences of all heads
/// (one `Sequence` a head, all of the same tokens), ordered sequence by sequence, head by head.
/// @throws std::invalid_argument if heads differ in their number of tokens, or if offsets don't
/// rise from 0 to it.
template <std::ranges::random_access_range Heads>
auto unpack(const Heads& packed, std::span<const Index> offsets) {
  std::vector<std::ranges::range_value_t<Heads>> items;
  if (std::ranges::size(packed) == 0) return items;
  const Index length = packed[0].length();
  for (const auto& head : packed) {
    if (head.length() != length) detail::fail("packed heads have different numbers of tokens");
  }
  if (offsets.empty() || offsets.front() != 0 || offsets.back() != length ||
      !std::is_sorted(offsets.begin(), offsets.end())) {
    detail::fail("offsets have to rise from 0 to the number of tokens, " + std::to_string(length));
  }
  for (std::size_t i = 0; i + 1 < offsets.size(); ++i) {
    for (const auto& head : packed) {
      items.push_back(head.tokens(offsets[i], offsets[i + 1] - offsets[i]));
    }
  }
  return items;
}

/// As `scan_mean` of the batch `unpack(packed, offsets)`, into packed means: one matrix a head, of
/// a row for each token of the buffer. Bit by bit what scans of the single sequences yield.
/// @throws std::invalid_argument on bad input, before any state is touched.
template <class Executor, std::ranges::random_access_range Heads,
          std::ranges::random_access_range States, std::ranges::random_access_range Packed,
          std::ranges::random_access_range Means>
requires SequenceLayer<std::ranges::range_value_t<Heads>>
void scan_mean(const Executor& executor, const Heads& heads, States&& states, const Packed& packed,
               std::span<const Index> offsets, Means&& means,
               Workspaces<typename std::ranges::range_value_t<Heads>::Scalar>& workspaces,
               Execution how = {}) {
  const auto size = [](const auto& range) { return static_cast<Index>(std::ranges::size(range)); };
  const auto inputs = unpack(packed, offsets);
  if (size(states) != size(inputs) || size(packed) != size(heads) || size(means) != size(heads)) {
    detail::fail(
        "a ragged batch needs an input and means a head, and a state for each sequence "
        "and head");
  }
  for (std::size_t h = 0; h < std::size_t(size(heads)); ++h) {
    detail::check_output(heads[h], packed[h], means[h]);  // before its memory may move
    means[h].resize(packed[h].length(), heads[h].value_dim());
  }
  const auto mean_of = [&](std::size_t i) -> auto& { return means[i % std::size_t(size(heads))]; };
  detail::for_each_item(
      executor, heads, size(inputs),
      [&](const auto& head, std::size_t i) { detail::check_call(head, states[i], inputs[i]); },
      [&](const auto& head, std::size_t i) {
        const Index first = offsets[i / std::size_t(size(heads))];
        auto* rows = mean_of(i).data() + first * head.value_dim();
        workspaces.lend([&](auto& workspace) {
          detail::run<false>(head, states[i], inputs[i], how, workspace, {rows});
        });
      });
}

/// As above, with workspaces of its own.
template <class Executor, std::ranges::random_access_range Heads,
          std::ranges::random_access_range States, std::ranges::random_access_range Packed,
          std::ranges::random_access_range Means>
requires SequenceLayer<std::ranges::range_value_t<Heads>>
void scan_mean(const Executor& executor, const Heads& heads, States&& states, const Packed& packed,
               std::span<const Index> offsets, Means&& means, Execution how = {}) {
  Workspaces<typename std::ranges::range_value_t<Heads>::Scalar> workspaces;
  scan_mean(executor, heads, states, packed, offsets, means, workspaces, how);
}

}  // namespace seqbayes
