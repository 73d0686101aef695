/// @file
/// Non-owning views of caller memory: one row a token, each row contiguous, rows at any stride.
#pragma once

#include <Eigen/Core>
#include <type_traits>
#include <utility>

namespace seqbayes {

/// Signed, as in Eigen.
using Index = Eigen::Index;

/// Row-major dynamic matrix: the natural owner of data that a `MatrixView` looks at.
template <class Scalar>
using Matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// Column vector of `Size` entries.
template <class Scalar, int Size = Eigen::Dynamic>
using Vector = Eigen::Matrix<Scalar, Size, 1>;

namespace detail {

template <class Derived>
std::type_identity<Derived> dense_type(const Eigen::DenseBase<Derived>&);

/// The Eigen expression that T is or derives from: a segment is a VectorBlock is a Block.
template <class T>
using Dense = typename decltype(dense_type(std::declval<const T&>()))::type;

template <class T>
concept DenseExpression = requires {
  typename Dense<T>;
};

template <class Derived>
inline constexpr bool has_direct_access = (Eigen::internal::traits<Derived>::Flags &
                                           Eigen::DirectAccessBit) != 0;

template <class Derived>
inline constexpr bool is_owner = std::is_base_of_v<Eigen::PlainObjectBase<Derived>, Derived>;

}  // namespace detail

/// One token's entries of one field: `size()` contiguous scalars, or empty.
template <class Scalar>
class RowView {
 public:
  constexpr RowView() = default;
  /// `size` contiguous entries from `data` on.
  constexpr RowView(const Scalar* data, Index size) : data_(data), size_(size) {}

  /// Looks at a vector of the caller's, which has to outlive the view.
  template <class Source>
  requires detail::DenseExpression<std::remove_cvref_t<Source>> RowView(
      Source&& source)  // NOLINT(*-explicit-*,*-forwarding-reference-overload)
      : data_(source.data()), size_(source.size()) {
    using Derived = detail::Dense<Source>;
    static_assert(std::is_same_v<typename Derived::Scalar, Scalar>,
                  "seqbayes: the vector's scalar type differs from the layer's");
    static_assert(Derived::IsVectorAtCompileTime && Derived::InnerStrideAtCompileTime == 1,
                  "seqbayes: a token's field is a vector of contiguous entries");
    static_assert(std::is_lvalue_reference_v<Source> || !detail::is_owner<Derived>,
                  "seqbayes: the view would outlive this temporary; give it a name first");
  }

  [[nodiscard]] constexpr const Scalar* data() const { return data_; }
  [[nodiscard]] constexpr Index size() const { return size_; }
  [[nodiscard]] constexpr bool empty() const { return size_ == 0; }
  constexpr const Scalar& operator[](Index i) const { return data_[i]; }

  /// The entries as an Eigen vector of (static or dynamic) size `Size`.
  template <int Size = Eigen::Dynamic>
  [[nodiscard]] Eigen::Map<const Vector<Scalar, Size>> vector() const {
    return Eigen::Map<const Vector<Scalar, Size>>(data_, Size == Eigen::Dynamic ? size_ : Size);
  }

 private:
  const Scalar* data_ = nullptr;
  Index size_ = 0;
};

/// T x width entries of one field, one row a token; row t starts at `data() + t * row_stride()`.
template <class Scalar>
class MatrixView {
 public:
  constexpr MatrixView() = default;
  /// `rows` rows of `cols` contiguous entries each, `row_stride` entries from row to row.
  constexpr MatrixView(const Scalar* data, Index rows, Index cols, Index row_stride)
      : data_(data), rows_(rows), cols_(cols), row_stride_(row_stride) {}
  /// The same without gaps between rows.
  constexpr MatrixView(const Scalar* data, Index rows, Index cols)
      : MatrixView(data, rows, cols, cols) {}

  /// Looks at a matrix of the caller's (row-major, a block of one, or a column vector), which has
  /// to outlive the view. Never copies: what would need a copy does not compile.
  template <class Source>
  requires detail::DenseExpression<std::remove_cvref_t<Source>> MatrixView(
      Source&& source) {  // NOLINT(*-explicit-*,*-forwarding-reference-overload)
    using Derived = detail::Dense<Source>;
    static_assert(std::is_same_v<typename Derived::Scalar, Scalar>,
                  "seqbayes: the matrix's scalar type differs from the sequence's");
    static_assert(detail::has_direct_access<Derived>,
                  "seqbayes: this expression has no memory to view; evaluate it into a matrix");
    static_assert(std::is_lvalue_reference_v<Source> || !detail::is_owner<Derived>,
                  "seqbayes: the view would outlive this temporary; give it a name first");
    if constexpr (std::is_same_v<typename Derived::Scalar, Scalar> &&
                  detail::has_direct_access<Derived>) {
      constexpr bool one_column = Derived::ColsAtCompileTime == 1;
      static_assert(one_column || (Derived::IsRowMajor && Derived::InnerStrideAtCompileTime == 1),
                    "seqbayes: a token's row has to be contiguous; store the matrix row-major, as "
                    "seqbayes::Matrix<Scalar> does");
      data_ = source.data();
      rows_ = source.rows();
      cols_ = source.cols();
      row_stride_ =
          (one_column && !Derived::IsRowMajor) ? source.innerStride() : source.outerStride();
    }
  }

  /// `rows` rows of one entry, `value`, which the view keeps itself: its rows are views of it.
  static constexpr MatrixView constant(const Scalar& value, Index rows) {
    MatrixView view;
    view.constant_ = value;
    view.rows_ = rows;
    view.cols_ = 1;
    return view;
  }

  [[nodiscard]] constexpr const Scalar* data() const {
    return data_ || empty() ? data_ : &constant_;
  }
  [[nodiscard]] constexpr Index rows() const { return rows_; }
  [[nodiscard]] constexpr Index cols() const { return cols_; }
  [[nodiscard]] constexpr Index row_stride() const { return row_stride_; }
  [[nodiscard]] constexpr bool empty() const { return cols_ == 0; }

  [[nodiscard]] constexpr RowView<Scalar> row(Index t) const {
    if (empty()) return {};
    return {data_ ? data_ + t * row_stride_ : &constant_, cols_};
  }
  /// Rows `first` to `first + count - 1`; an empty view if this one is.
  [[nodiscard]] constexpr MatrixView rows(Index first, Index count) const {
    if (empty()) return {};
    MatrixView part = *this;
    if (data_) part.data_ += first * row_stride_;
    part.rows_ = count;
    return part;
  }

 private:
  const Scalar* data_ = nullptr;  ///< Null: all rows are `constant_`.
  Index rows_ = 0;
  Index cols_ = 0;
  Index row_stride_ = 0;
  Scalar constant_{};
};

/// The same entry for every token of a field, without a matrix of them:
/// `x.observation_noise = seqbayes::constant(0.1f, T)`. Rows and tokens of it are views of the
/// view, or of the sequence that holds it.
template <class Scalar>
constexpr MatrixView<Scalar> constant(const Scalar& value, Index length) {
  return MatrixView<Scalar>::constant(value, length);
}

}  // namespace seqbayes
