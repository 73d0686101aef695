/// @file
/// Derivatives of a loss with respect to one token's fields, as derivatives of decays, models and
/// policies add to them.
#pragma once

#include <Eigen/Core>
#include <cassert>

#include <seqbayes/sequence/sequence.hpp>

namespace seqbayes {

/// One token's row of one field's gradient. Empty where the layer doesn't read the field; what is
/// added there is dropped.
template <class Scalar>
class GradientRow {
 public:
  GradientRow() = default;
  GradientRow(Scalar* data, Index size) : data_(data), size_(size) {}

  /// Adds one derivative a channel; their sum if the field has one entry for all channels.
  template <class Entries>
  void add(const Entries& entries) {
    assert((size_ <= 1 || size_ == entries.size()) && "a gradient's row has the field's width");
    if (size_ == entries.size()) {
      Eigen::Map<Vector<Scalar, Entries::SizeAtCompileTime>>(data_, size_) += entries;
    } else if (size_ == 1) {
      data_[0] += entries.sum();
    }
  }
  /// Adds to a field of one entry.
  void add_one(const Scalar& entry) {
    assert(size_ <= 1 && "a gradient's row has the field's width");
    if (size_ == 1) data_[0] += entry;
  }

 private:
  Scalar* data_ = nullptr;
  Index size_ = 0;
};

/// A row of each field.
template <class Scalar>
using TokenGradient = Fields<GradientRow<Scalar>>;

namespace detail {

/// Row t of each field.
template <class Scalar>
TokenGradient<Scalar> token_gradient(Fields<Matrix<Scalar>>& fields, Index t) {
  TokenGradient<Scalar> rows;
  for_each_field(
      [t](auto, auto, Matrix<Scalar>& all, GradientRow<Scalar>& one) {
        if (all.size() == 0) return;
        one = {all.data() + t * all.cols(), all.cols()};
      },
      fields, rows);
  return rows;
}

}  // namespace detail
}  // namespace seqbayes
