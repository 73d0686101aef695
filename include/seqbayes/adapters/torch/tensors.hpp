/// @file
/// Layers' inputs, states and results as libtorch tensors: what is shared by torch/scan.hpp's
/// functions.
#pragma once

#include <torch/types.h>

#include <algorithm>
#include <string>
#include <vector>

#include <seqbayes/seqbayes.hpp>

namespace seqbayes::libtorch {

using ::torch::Tensor;

/// B sequences of T tokens and H heads on the CPU. Each field is [B, T, H, width], or [B, T, H]
/// where the width is 1, with the names and widths of `Sequence`; fields that the layer doesn't
/// read may stay undefined. One head is viewed where it lies, whatever the strides of B, T and H
/// are; a field is copied only if its last dimension is not contiguous.
using Inputs = Fields<Tensor>;

/// The state of B x H layers. Undefined tensors stand for the layers' initial state.
struct State {
  Tensor mean;        ///< [B, H, Dk, Dv].
  Tensor covariance;  ///< [B, H, Dk, Dk], [B, H, Dk] or [B, H], or undefined: what the layer keeps.
};

namespace detail {

using seqbayes::detail::fail;

template <class Scalar>
constexpr auto dtype = c10::CppTypeToScalarType<Scalar>::value;

inline std::string shape(at::IntArrayRef sizes) {
  std::string text;
  for (const auto size : sizes) text += (text.empty() ? "[" : ", ") + std::to_string(size);
  return text.empty() ? "[]" : text + "]";
}

template <class Scalar>
void check_tensor(const std::string& name, const Tensor& tensor) {
  if (!tensor.device().is_cpu() || tensor.layout() != at::kStrided) {
    fail(name + " must be a dense tensor on the CPU");
  }
  if (tensor.scalar_type() != dtype<Scalar>) {
    fail(name + " is " + at::toString(tensor.scalar_type()) + ", the layer's scalar " +
         at::toString(dtype<Scalar>));
  }
}

template <class Scalar>
void check_shape(const std::string& name, const Tensor& tensor, at::IntArrayRef expected) {
  check_tensor<Scalar>(name, tensor);
  if (tensor.sizes() != expected) {
    fail(name + " is " + shape(tensor.sizes()) + ", expected " + shape(expected));
  }
}

/// B sequences of H heads; item b H + h is head h of sequence b.
struct Extents {
  Index sequences = 0, length = 0, heads = 0;
  [[nodiscard]] Index items() const { return sequences * heads; }
};

/// Views of every item's fields, and the tensors that they look at.
template <class L>
class Batch {
 public:
  using Scalar = typename L::Scalar;

  Batch(const L& layer, const Inputs& x) {
    if (!x.query.defined() || x.query.dim() != 4) fail("query must be [B, T, H, Dk]");
    extents_ = {x.query.size(0), x.query.size(1), x.query.size(2)};
    sequences_.resize(std::size_t(extents_.items()));
    for_each_field(
        [&](const char* name, auto, const Tensor& given, Tensor& rows, const InputWidth& input) {
          if (given.defined() && input.width > 0) rows = as_rows(name, given);
        },
        x, tensors_, layer.inputs());
    for (Index i = 0; i < extents_.items(); ++i) {
      for_each_field(
          [&](auto, auto, const Tensor& rows, MatrixView<Scalar>& view) {
            if (rows.defined()) view = item(rows, i);
          },
          tensors_, sequences_[std::size_t(i)]);
    }
  }

  [[nodiscard]] const Extents& extents() const { return extents_; }
  [[nodiscard]] const std::vector<Sequence<Scalar>>& sequences() const { return sequences_; }
  /// The fields that the layer reads, [B, T, H, width].
  [[nodiscard]] const Inputs& fields() const { return tensors_; }

  /// Item i of a tensor [B, T, H, width] whose last dimension is contiguous.
  [[nodiscard]] MatrixView<Scalar> item(const Tensor& rows, Index i) const {
    const Index b = i / extents_.heads, h = i % extents_.heads;
    return {rows.data_ptr<Scalar>() + b * rows.stride(0) + h * rows.stride(2), rows.size(1),
            rows.size(3), rows.stride(1)};
  }

  /// A tensor [B, T, H, width] or [B, T, H] in the form that `item` takes.
  [[nodiscard]] Tensor as_rows(const std::string& name, const Tensor& given) const {
    check_tensor<Scalar>(name, given);
    const auto [sequences, length, heads] = extents_;
    if (given.dim() < 3 || given.dim() > 4 || given.size(0) != sequences ||
        given.size(1) != length || given.size(2) != heads) {
      fail(name + " is " + shape(given.sizes()) + ", expected [" + std::to_string(sequences) +
           ", " + std::to_string(length) + ", " + std::to_string(heads) + ", width]");
    }
    const Tensor rows = given.dim() == 3 ? given.unsqueeze(3) : given;
    return rows.size(3) <= 1 || rows.stride(3) == 1 ? rows : rows.contiguous();
  }

 private:
  Extents extents_;
  Inputs tensors_;
  std::vector<Sequence<Scalar>> sequences_;
};

/// A part of a state as numbers in a row, with its shape. Nothing is kept: no numbers.
template <class Part>
struct Flat {
  std::vector<std::int64_t> shape;
  static constexpr bool kept = !std::is_same_v<Part, Empty>;

  explicit Flat(const Part& part) {
    if constexpr (requires { part.rows(); }) {
      shape.push_back(part.rows());
      if constexpr (Part::ColsAtCompileTime != 1) shape.push_back(part.cols());
    }
  }
  static auto* data(auto& part) {
    if constexpr (requires { part.data(); }) {
      return part.data();
    } else {
      return &part;
    }
  }
  static Index size(const Part& part) {
    if constexpr (requires { part.size(); }) {
      return part.size();
    } else {
      return 1;
    }
  }
};

/// Reads [B, H, ...] into one part of each item's state. An undefined tensor leaves it as it is.
template <class Scalar, class Items, class Member>
void unpack(const std::string& name, const Tensor& tensor, const Extents& extents, Items& items,
            Member member) {
  using Part = std::remove_cvref_t<decltype(items[0].*member)>;
  if constexpr (Flat<Part>::kept) {
    if (!tensor.defined() || items.empty()) return;
    std::vector<std::int64_t> expected = {extents.sequences, extents.heads};
    const Flat<Part> flat(items[0].*member);
    expected.insert(expected.end(), flat.shape.begin(), flat.shape.end());
    check_shape<Scalar>(name, tensor, expected);
    const Tensor numbers = tensor.contiguous();
    const Scalar* from = numbers.template data_ptr<Scalar>();
    for (auto& item : items) {
      const Index size = flat.size(item.*member);
      std::copy_n(from, size, flat.data(item.*member));
      from += size;
    }
  }
}

/// One part of each item's state as [B, H, ...]; undefined if nothing is kept of it.
template <class Scalar, class Items, class Member>
Tensor pack(const Extents& extents, const Items& items, Member member) {
  using Part = std::remove_cvref_t<decltype(items[0].*member)>;
  Tensor tensor;
  if constexpr (Flat<Part>::kept) {
    if (items.empty()) return ::torch::empty({extents.sequences, extents.heads}, dtype<Scalar>);
    const Flat<Part> flat(items[0].*member);
    std::vector<std::int64_t> sizes = {extents.sequences, extents.heads};
    sizes.insert(sizes.end(), flat.shape.begin(), flat.shape.end());
    tensor = ::torch::empty(sizes, dtype<Scalar>);
    Scalar* to = tensor.data_ptr<Scalar>();
    for (const auto& item : items)
      to = std::copy_n(flat.data(item.*member), flat.size(item.*member), to);
  }
  return tensor;
}

/// Item i of a contiguous tensor [B, T, H, width], to be written.
template <class Scalar>
auto item_rows(const Tensor& tensor, Index i) {
  const Index length = tensor.size(1), heads = tensor.size(2), width = tensor.size(3);
  Scalar* to = tensor.data_ptr<Scalar>() + ((i / heads) * length * heads + i % heads) * width;
  return Eigen::Map<Matrix<Scalar>, 0, Eigen::OuterStride<>>(to, length, width,
                                                             Eigen::OuterStride<>(heads * width));
}

/// An uninitialised tensor [B, T, H, width].
template <class Scalar>
Tensor empty_rows(const Extents& extents, Index width) {
  return ::torch::empty({extents.sequences, extents.length, extents.heads, width}, dtype<Scalar>);
}

}  // namespace detail
}  // namespace seqbayes::libtorch
