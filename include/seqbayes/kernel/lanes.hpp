/// @file
/// A few entries of a row, in registers: what the kernels compute with.
///
/// Eigen's packets with operators. Its arrays of fixed size would do the same arithmetic, but take
/// compilers longer (docs/performance.md).
#pragma once

#include <Eigen/Core>
#include <cmath>

#include <seqbayes/sequence/view.hpp>

namespace seqbayes::detail {

/// One vector register of scalars; a scalar itself of types that have none.
template <class Scalar>
using Packet = typename Eigen::internal::packet_traits<Scalar>::type;

/// Entries of one vector register.
template <class Scalar>
inline constexpr int vector_width = static_cast<int>(Eigen::internal::packet_traits<Scalar>::size);

/// What N lanes are made of: registers, or single scalars where N is no multiple of those.
template <class Scalar, bool registers>
struct LaneEntry {
  using type = Packet<Scalar>;
  static constexpr int width = vector_width<Scalar>;
};
template <class Scalar>
struct LaneEntry<Scalar, false> {
  using type = Scalar;
  static constexpr int width = 1;
};

/// N scalars.
template <class Scalar, int N>
class Lanes {
  using Made = LaneEntry<Scalar, N % vector_width<Scalar> == 0>;
  using Entry = typename Made::type;
  static constexpr int width = Made::width;
  static constexpr int count = N / width;

 public:
  EIGEN_STRONG_INLINE static Lanes all(const Scalar& x) {
    Lanes out;
    for (int i = 0; i < count; ++i) out.entries_[i] = Eigen::internal::pset1<Entry>(x);
    return out;
  }
  /// From and to any address.
  EIGEN_STRONG_INLINE static Lanes load(const Scalar* data) {
    Lanes out;
    for (int i = 0; i < count; ++i) {
      out.entries_[i] = Eigen::internal::ploadu<Entry>(data + i * width);
    }
    return out;
  }
  EIGEN_STRONG_INLINE void store(Scalar* data) const {
    for (int i = 0; i < count; ++i) Eigen::internal::pstoreu(data + i * width, entries_[i]);
  }

  EIGEN_STRONG_INLINE Lanes& operator+=(const Lanes& b) {
    for (int i = 0; i < count; ++i) entries_[i] = Eigen::internal::padd(entries_[i], b.entries_[i]);
    return *this;
  }
  EIGEN_STRONG_INLINE Lanes& operator-=(const Lanes& b) {
    for (int i = 0; i < count; ++i) entries_[i] = Eigen::internal::psub(entries_[i], b.entries_[i]);
    return *this;
  }
  EIGEN_STRONG_INLINE Lanes& operator*=(const Lanes& b) {
    for (int i = 0; i < count; ++i) entries_[i] = Eigen::internal::pmul(entries_[i], b.entries_[i]);
    return *this;
  }
  EIGEN_STRONG_INLINE Lanes& operator*=(const Scalar& b) { return *this *= all(b); }

  /// += a b, fused where the processor can, whatever the compiler's flags: alike for registers and
  /// for single scalars of types that have registers.
  EIGEN_STRONG_INLINE void add_product(const Lanes& a, const Scalar& b) {
#if defined(__ARM_FEATURE_FMA)  // where Eigen has fused registers only
    if constexpr (width == 1 && 1 < vector_width<Scalar>) {
      for (int i = 0; i < count; ++i) entries_[i] = std::fma(a.entries_[i], b, entries_[i]);
      return;
    }
#endif
    const Entry factor = Eigen::internal::pset1<Entry>(b);
    for (int i = 0; i < count; ++i) {
      entries_[i] = Eigen::internal::pmadd(a.entries_[i], factor, entries_[i]);
    }
  }

  EIGEN_STRONG_INLINE friend Lanes operator+(Lanes a, const Lanes& b) { return a += b; }
  EIGEN_STRONG_INLINE friend Lanes operator-(Lanes a, const Lanes& b) { return a -= b; }
  EIGEN_STRONG_INLINE friend Lanes operator*(Lanes a, const Lanes& b) { return a *= b; }
  EIGEN_STRONG_INLINE friend Lanes operator*(Lanes a, const Scalar& b) { return a *= b; }
  EIGEN_STRONG_INLINE Lanes operator-() const {
    Lanes out;
    for (int i = 0; i < count; ++i) out.entries_[i] = Eigen::internal::pnegate(entries_[i]);
    return out;
  }

  [[nodiscard]] EIGEN_STRONG_INLINE Scalar minimum() const {
    Entry least = entries_[0];
    for (int i = 1; i < count; ++i) least = Eigen::internal::pmin(least, entries_[i]);
    if constexpr (width == 1) {
      return least;
    } else {
      return Eigen::internal::predux_min(least);
    }
  }
  [[nodiscard]] EIGEN_STRONG_INLINE Scalar sum() const {
    Entry total = entries_[0];
    for (int i = 1; i < count; ++i) total = Eigen::internal::padd(total, entries_[i]);
    return Eigen::internal::predux(total);
  }

 private:
  Entry entries_[count];
};

/// The first `width` of N entries, zeros beyond, and back.
template <int N, class Scalar>
Lanes<Scalar, N> load_lanes(const Scalar* row, Index width) {
  if (width == N) return Lanes<Scalar, N>::load(row);
  Scalar entries[N];
  for (Index j = 0; j < N; ++j) entries[j] = j < width ? row[j] : Scalar(0);
  return Lanes<Scalar, N>::load(entries);
}
template <int N, class Scalar>
void store_lanes(const Lanes<Scalar, N>& x, Scalar* row, Index width) {
  if (width == N) return x.store(row);
  Scalar entries[N];
  x.store(entries);
  for (Index j = 0; j < width; ++j) row[j] = entries[j];
}

}  // namespace seqbayes::detail
