/// @file
/// Copies of tokens, for what may have to run them again.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include <seqbayes/sequence/sequence.hpp>

namespace seqbayes::detail {

/// Up to `count` tokens of the fields and widths given. Storing one doesn't allocate.
template <class Scalar>
class TokenRecords {
 public:
  TokenRecords(const InputWidths& widths, Index count) {
    for_each_field(
        [count](auto, auto, const InputWidth& input, Matrix<Scalar>& entries,
                std::vector<Index>& sizes) {
          if (input.width == 0) return;
          entries.setZero(count, input.width);
          sizes.resize(std::size_t(count));
        },
        widths, entries_, sizes_);
  }

  void store(Index i, const Token<Scalar>& token) {
    for_each_field(
        [i](auto, auto, const RowView<Scalar>& from, Matrix<Scalar>& entries,
            std::vector<Index>& sizes) {
          if (sizes.empty()) return;
          sizes[std::size_t(i)] = from.size();
          std::copy_n(from.data(), from.size(), entries.data() + i * entries.cols());
        },
        token, entries_, sizes_);
  }

  Token<Scalar> operator[](Index i) const {
    Token<Scalar> token;
    for_each_field(
        [i](auto, auto, RowView<Scalar>& to, const Matrix<Scalar>& entries,
            const std::vector<Index>& sizes) {
          if (sizes.empty()) return;
          to = {entries.data() + i * entries.cols(), sizes[std::size_t(i)]};
        },
        token, entries_, sizes_);
    return token;
  }

 private:
  Fields<Matrix<Scalar>> entries_;
  Fields<std::vector<Index>> sizes_;  ///< Of what was stored; empty: the field isn't read.
};

}  // namespace seqbayes::detail
