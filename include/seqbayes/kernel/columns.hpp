/// @file
/// Products of one token with a row-major state matrix: what `step` is made of.
///
/// A step passes over its state twice: once to predict, once to update and read it. Each pass takes
/// a few vectors of columns at a time, with their sums in registers.
#pragma once

#include <array>

#include <seqbayes/kernel/sweep.hpp>

namespace seqbayes::detail {

/// Columns taken at once: 4 chains of additions hide their latency.
template <class Scalar>
inline constexpr int columns_at_once = 4 * vector_width<Scalar>;

/// Calls f.operator()<N>(first, width) over `columns` columns: N = `columns_at_once` where there
/// are as many, `Eigen::Dynamic` for the rest.
///
/// All of it is inlined, which compilers don't do by themselves.
template <class Scalar, class F>
[[gnu::flatten]] void for_each_columns(Index columns, const F& f) {
  constexpr int N = columns_at_once<Scalar>;
  Index first = 0;
  for (; first + N <= columns; first += N) f.template operator()<N>(first, N);
  if (first < columns) f.template operator()<Eigen::Dynamic>(first, columns - first);
}

/// One call a column, nothing forced inline: the arithmetic of such scalars is long by itself.
template <class Scalar, class F>
requires(!std::is_floating_point_v<Scalar>) void for_each_columns(Index columns, const F& f) {
  for (Index first = 0; first < columns; ++first) f.template operator()<1>(first, 1);
}

/// A few entries of a row, on the stack.
template <class Scalar, int N>
using RowPart = Eigen::Array<Scalar, N, 1, Eigen::ColMajor,
                             N == Eigen::Dynamic ? columns_at_once<Scalar> : N, 1>;

/// Entries first to first + width - 1 of a row, or the number that stands for all of them.
template <int N, class Row>
auto part(Row&& row, Index first, Index width) {
  if constexpr (requires { row.template segment<N>(first, width); }) {
    return row.template segment<N>(first, width);
  } else {
    return row;
  }
}

/// Entries first to first + width - 1 of M' x for a row-major M.
template <int N, class Matrix, class X>
auto read_part(const Matrix& m, const X& x, Index first, Index width) {
  using Scalar = typename Matrix::Scalar;
  RowPart<Scalar, N> sum = RowPart<Scalar, N>::Zero(width);
  const Scalar* row = m.data() + first;
  for (Index i = 0; i < m.rows(); ++i, row += m.cols()) {
    sum += Eigen::Map<const RowPart<Scalar, N>>(row, width) * Scalar(x[i]);
  }
  return sum;
}

/// out = M' x.
template <class Matrix, class X, class Out>
void read(const Matrix& m, const X& x, Out& out) {
  for_each_columns<typename Matrix::Scalar>(m.cols(), [&]<int N>(Index first, Index width) {
    out.template segment<N>(first, width) = read_part<N>(m, x, first, width).matrix();
  });
}

/// x' M x.
template <class Matrix, class X>
auto quadratic_form(const Matrix& m, const X& x) {
  using Scalar = typename Matrix::Scalar;
  Scalar total(0);
  for_each_columns<Scalar>(m.cols(), [&]<int N>(Index first, Index width) {
    total += (read_part<N>(m, x, first, width) * x.template segment<N>(first, width).array()).sum();
  });
  return total;
}

/// M <- Diag(scale) M + w y', then out = M' x: one pass. `scale` is one factor or one a row.
template <class Matrix, class Scale, class W, class Y, class X, class Out>
void update_and_read(Matrix& m, const Scale& scale, const W& w, const Y& y, const X& x, Out& out) {
  using Scalar = typename Matrix::Scalar;
  for_each_columns<Scalar>(m.cols(), [&]<int N>(Index first, Index width) {
    using Part = Eigen::Map<RowPart<Scalar, N>>;
    const RowPart<Scalar, N> write = y.template segment<N>(first, width).array();
    RowPart<Scalar, N> sum = RowPart<Scalar, N>::Zero(width);
    Scalar* row = m.data() + first;
    for (Index i = 0; i < m.rows(); ++i, row += m.cols()) {
      Part part(row, width);
      const RowPart<Scalar, N> updated = part * scale[i] + write * Scalar(w[i]);
      part = updated;
      sum += updated * Scalar(x[i]);
    }
    out.template segment<N>(first, width) = sum.matrix();
  });
}

/// P <- D P D + sign c c' for a square P: exactly symmetric, since the products of two factors,
/// which commute, are taken first.
template <class Matrix, class Decay, class C>
void decay_and_add_outer(Matrix& p, const Decay& decay, const C& c,
                         const typename Matrix::Scalar& sign) {
  using Scalar = typename Matrix::Scalar;
  for_each_columns<Scalar>(p.cols(), [&]<int N>(Index first, Index width) {
    using Part = Eigen::Map<RowPart<Scalar, N>>;
    const RowPart<Scalar, N> column_decay = decay.template segment<N>(first, width).array();
    const RowPart<Scalar, N> column_c = c.template segment<N>(first, width).array();
    Scalar* row = p.data() + first;
    for (Index i = 0; i < p.rows(); ++i, row += p.cols()) {
      Part part(row, width);
      part = part * (column_decay * Scalar(decay[i])) + column_c * Scalar(sign * c[i]);
    }
  });
}

/// The same factor for every row.
template <class Scalar>
struct SameFactor {
  Scalar factor;
  const Scalar& operator[](Index) const { return factor; }
};

}  // namespace seqbayes::detail
