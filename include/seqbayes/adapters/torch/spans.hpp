/// @file
/// Which tokens of a batch of tensors are tokens, and which are padding.
#pragma once

#include <torch/types.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include <seqbayes/sequence/check.hpp>

namespace seqbayes::libtorch {

using ::torch::Tensor;

namespace detail {

using seqbayes::detail::fail;

inline std::string shape(at::IntArrayRef sizes) {
  std::string text;
  for (const auto size : sizes) text += (text.empty() ? "[" : ", ") + std::to_string(size);
  return text.empty() ? "[]" : text + "]";
}

/// Where the tokens of each sequence begin, and how many there are.
struct Spans {
  std::vector<Index> first, count;

  /// Those of a mask [B, T].
  Spans(const Tensor& mask, Index sequences, Index length)
      : first(std::size_t(sequences), 0), count(std::size_t(sequences), length) {
    if (!mask.defined()) return;
    if (mask.dim() != 2 || mask.size(0) != sequences || mask.size(1) != length ||
        mask.scalar_type() != at::kBool || mask.layout() != at::kStrided) {
      fail("mask is " + shape(mask.sizes()) + " of " + at::toString(mask.scalar_type()) +
           ", expected [" + std::to_string(sequences) + ", " + std::to_string(length) +
           "] of Bool");
    }
    const Tensor plain = mask.to(at::kCPU).contiguous();
    const bool* row = plain.data_ptr<bool>();
    for (std::size_t b = 0; b < first.size(); ++b, row += length) {
      const bool* begin = std::find(row, row + length, true);
      const bool* end = std::find(begin, row + length, false);
      if (std::find(end, row + length, true) != row + length) {
        fail("mask: the tokens of sequence " + std::to_string(b) + " have padding between them");
      }
      count[b] = end - begin;
      first[b] = count[b] > 0 ? begin - row : 0;
    }
  }
};

}  // namespace detail
}  // namespace seqbayes::libtorch
