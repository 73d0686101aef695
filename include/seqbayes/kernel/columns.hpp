/// @file
/// Products of one token with a row-major state matrix: what `step` is made of.
///
/// A step passes over its state twice: once to predict, once to update and read it. Each pass takes
/// a few registers of columns at a time, with their sums in others.
#pragma once

#include <type_traits>

#include <seqbayes/kernel/sweep.hpp>

namespace seqbayes::detail {

/// Calls f.operator()<N>(first) over `columns` columns, N at once: four registers, which as chains
/// of additions hide their latency, then one, then single entries.
///
/// All of it is inlined, which compilers don't do by themselves.
template <class Scalar, class F>
[[gnu::flatten]] void for_each_columns(Index columns, const F& f) {
  constexpr int unit = vector_width<Scalar>;
  Index first = 0;
  for (; first + 4 * unit <= columns; first += 4 * unit) f.template operator()<4 * unit>(first);
  for (; first + unit <= columns; first += unit) f.template operator()<unit>(first);
  if constexpr (unit > 1) {
    for (; first < columns; ++first) f.template operator()<1>(first);
  }
}

/// One call a column, nothing forced inline: the arithmetic of such scalars is long by itself.
template <class Scalar, class F>
requires(!std::is_floating_point_v<Scalar>) void for_each_columns(Index columns, const F& f) {
  for (Index first = 0; first < columns; ++first) f.template operator()<1>(first);
}

/// N entries of a row, from `first` on; or the number that stands for all of them.
template <int N, class Row>
auto part(const Row& row, Index first) {
  if constexpr (requires { row.data(); }) {
    static_assert(Row::InnerStrideAtCompileTime == 1);
    return Lanes<typename Row::Scalar, N>::load(row.data() + first);
  } else {
    return row;
  }
}

/// to = a * x of rows of equal length; `a` may be a number.
template <class To, class X, class A>
void set_scaled(To&& to, const X& x, const A& a) {
  for_each_columns<typename X::Scalar>(x.size(), [&]<int N>(Index first) {
    (part<N>(x, first) * part<N>(a, first)).store(to.data() + first);
  });
}
/// x <- a * x, a row or a number.
template <class X, class A>
void scale_row(X&& x, const A& a) {
  if constexpr (requires { x.data(); }) {
    set_scaled(x, x, a);
  } else {
    x *= a;
  }
}

/// a' b of rows of equal length.
template <class A, class B>
auto dot(const A& a, const B& b) {
  using Scalar = typename A::Scalar;
  Scalar total(0);
  for_each_columns<Scalar>(a.size(), [&]<int N>(Index first) {
    total += (part<N>(a, first) * part<N>(b, first)).sum();
  });
  return total;
}

/// x' Diag(w) x.
template <class Weights, class X>
auto weighted_norm2(const Weights& w, const X& x) {
  using Scalar = typename X::Scalar;
  Scalar total(0);
  for_each_columns<Scalar>(x.size(), [&]<int N>(Index first) {
    const auto entries = part<N>(x, first);
    total += (part<N>(w, first) * (entries * entries)).sum();
  });
  return total;
}

/// Entries first to first + N - 1 of M' x for a row-major M.
template <int N, class Matrix, class X>
auto read_part(const Matrix& m, const X& x, Index first) {
  using Scalar = typename Matrix::Scalar;
  auto sum = Lanes<Scalar, N>::all(Scalar(0));
  const Scalar* row = m.data() + first;
  for (Index i = 0; i < m.rows(); ++i, row += m.cols()) {
    sum.add_product(Lanes<Scalar, N>::load(row), Scalar(x[i]));
  }
  return sum;
}

/// out = M' x.
template <class Matrix, class X, class Out>
void read(const Matrix& m, const X& x, Out& out) {
  for_each_columns<typename Matrix::Scalar>(
      m.cols(), [&]<int N>(Index first) { read_part<N>(m, x, first).store(out.data() + first); });
}

/// x' M x.
template <class Matrix, class X>
auto quadratic_form(const Matrix& m, const X& x) {
  using Scalar = typename Matrix::Scalar;
  Scalar total(0);
  for_each_columns<Scalar>(m.cols(), [&]<int N>(Index first) {
    total += (read_part<N>(m, x, first) * part<N>(x, first)).sum();
  });
  return total;
}

/// M <- Diag(scale) M + w y', then out = M' x: one pass. `scale` is one factor or one a row.
template <class Matrix, class Scale, class W, class Y, class X, class Out>
void update_and_read(Matrix& m, const Scale& scale, const W& w, const Y& y, const X& x, Out& out) {
  using Scalar = typename Matrix::Scalar;
  for_each_columns<Scalar>(m.cols(), [&]<int N>(Index first) {
    const auto write = part<N>(y, first);
    auto sum = Lanes<Scalar, N>::all(Scalar(0));
    Scalar* row = m.data() + first;
    for (Index i = 0; i < m.rows(); ++i, row += m.cols()) {
      auto updated = Lanes<Scalar, N>::load(row) * Scalar(scale[i]);
      updated.add_product(write, Scalar(w[i]));
      updated.store(row);
      sum.add_product(updated, Scalar(x[i]));
    }
    sum.store(out.data() + first);
  });
}

/// P <- D P D + sign c c' for a square P: exactly symmetric, since the products of two factors,
/// which commute, are taken first.
template <class Matrix, class Decay, class C>
void decay_and_add_outer(Matrix& p, const Decay& decay, const C& c,
                         const typename Matrix::Scalar& sign) {
  using Scalar = typename Matrix::Scalar;
  for_each_columns<Scalar>(p.cols(), [&]<int N>(Index first) {
    const auto column_decay = part<N>(decay, first), column_c = part<N>(c, first);
    Scalar* row = p.data() + first;
    for (Index i = 0; i < p.rows(); ++i, row += p.cols()) {
      auto updated = Lanes<Scalar, N>::load(row) * (column_decay * Scalar(decay[i]));
      updated.add_product(column_c, Scalar(sign * c[i]));
      updated.store(row);
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
