// The tensors of a golden file in one scalar type, seen head by head without a copy.
#pragma once

#include <algorithm>
#include <map>
#include <numeric>
#include <seqbayes/adapters/safetensors.hpp>
#include <seqbayes/sequence/view.hpp>
#include <string>
#include <vector>

namespace parity {

using seqbayes::Index;
using seqbayes::Matrix;
using seqbayes::MatrixView;
using seqbayes::safetensors::Error;
using seqbayes::safetensors::File;

/// A row-major array, [T, H, ...] or [H, ...].
template <class Scalar>
struct Array {
  std::vector<Index> shape;
  std::vector<Scalar> values;

  [[nodiscard]] Index extent(std::size_t axis) const {
    return axis < shape.size() ? shape[axis] : 1;
  }
  /// Number of entries below the first `axes` axes.
  [[nodiscard]] Index below(std::size_t axes) const {
    return std::accumulate(shape.begin() + Index(std::min(axes, shape.size())), shape.end(),
                           Index(1), std::multiplies<>());
  }
};

template <class Scalar>
class Tensors {
 public:
  explicit Tensors(const File& file) {
    for (const std::string& name : file.names()) {
      const auto& tensor = file.at(name);
      arrays_[name] = {{tensor.shape.begin(), tensor.shape.end()},
                       seqbayes::safetensors::values<Scalar>(tensor)};
    }
  }

  [[nodiscard]] bool has(const std::string& name) const { return arrays_.contains(name); }
  [[nodiscard]] const Array<Scalar>& at(const std::string& name) const {
    require(name);
    return arrays_.at(name);
  }
  [[nodiscard]] Array<Scalar>& at(const std::string& name) {
    require(name);
    return arrays_.at(name);
  }

  /// Head h of a [T, H, width] or [T, H] tensor: T rows, H rows apart. Where a tensor has fewer
  /// heads, they are groups and head h belongs to group h mod H.
  [[nodiscard]] MatrixView<Scalar> tokens(const std::string& name, Index h) const {
    const Array<Scalar>& array = at(name);
    if ((array.shape.size() != 2 && array.shape.size() != 3) || array.shape[1] == 0) {
      throw Error("tensor \"" + name + "\" is not [T, H] or [T, H, width]");
    }
    const Index width = array.below(2);
    const Index offset = (h % array.shape[1]) * width;
    return {array.values.data() + offset, array.shape[0], width, array.below(1)};
  }

  /// Head h of a [H, rows, cols], [H, rows] or [H] tensor.
  [[nodiscard]] MatrixView<Scalar> head(const std::string& name, Index h) const {
    const Array<Scalar>& array = at(name);
    if (array.shape.empty() || array.shape.size() > 3 || h >= array.shape[0]) {
      throw Error("tensor \"" + name + "\" is not [H, ...]");
    }
    return {array.values.data() + h * array.below(1), array.extent(1), array.below(2)};
  }

 private:
  void require(const std::string& name) const {
    if (!has(name)) throw Error("there is no tensor \"" + name + '"');
  }

  std::map<std::string, Array<Scalar>> arrays_;
};

template <class Scalar>
auto as_matrix(const MatrixView<Scalar>& view) {
  using Map = Eigen::Map<const Matrix<Scalar>, 0, Eigen::OuterStride<>>;
  return Map(view.data(), view.rows(), view.cols(), Eigen::OuterStride<>(view.row_stride()));
}

}  // namespace parity
