// What the core can do at best, with the instructions this program is compiled for.
#pragma once

#include <benchmark/benchmark.h>
#include <Eigen/Core>
#include <utility>

#include "measure.hpp"

namespace seqbayes::benchmarks {

inline constexpr int multiply_add_rounds = 200'000;  ///< About a millisecond.

/// Flops of one call of `multiply_add`.
template <class Scalar>
constexpr double multiply_add_flops() {
  constexpr int lanes = Eigen::internal::packet_traits<Scalar>::size;
  return 2.0 * 12 * lanes * multiply_add_rounds;
}

/// x, as a number that the compiler doesn't know. (`benchmark::DoNotOptimize(x)` may lose it: g++
/// leaves out the store that its "+m,r" needs.)
template <class Scalar>
Scalar unknown(Scalar x) {
  volatile Scalar hidden = x;
  return hidden;
}

/// a <- a b + c in 12 independent vector registers: enough to hide the latency of two pipelines,
/// few enough for the 16 registers of AVX. Packets, because a compiler need not contract products
/// and sums of arrays.
template <class Scalar>
[[gnu::noinline]] void multiply_add() {
  using Packet = typename Eigen::internal::packet_traits<Scalar>::type;
  using Eigen::internal::pmadd;
  using Eigen::internal::pset1;
  [&]<std::size_t... i>(std::index_sequence<i...>) {
    const Packet b = pset1<Packet>(unknown(Scalar(0.999)));
    const Packet c = pset1<Packet>(unknown(Scalar(1e-3)));
    Packet a[] = {pset1<Packet>(Scalar(i))...};
    for (int n = 0; n < multiply_add_rounds; ++n) ((a[i] = pmadd(a[i], b, c)), ...);
    ((benchmark::DoNotOptimize(a[i])), ...);
  }
  (std::make_index_sequence<12>());
}

/// x <- 1 x: reads and writes memory in place, once.
template <class Scalar>
[[gnu::noinline]] void read_and_write(Scalar* data, Eigen::Index size) {
  Eigen::Map<Eigen::Array<Scalar, Eigen::Dynamic, 1>>(data, size) *= unknown(Scalar(1));
  benchmark::ClobberMemory();
}

/// Y = X W for a tall X and a square W, by Eigen: what a projection of a layer's inputs costs.
template <class Scalar>
class Product {
  using Matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

 public:
  Product(Eigen::Index rows, Eigen::Index dim)
      : x_(Matrix::Random(rows, dim)), w_(Matrix::Random(dim, dim)), y_(rows, dim) {}

  void operator()() {
    y_.noalias() = x_ * w_;
    benchmark::DoNotOptimize(y_.data());
    benchmark::ClobberMemory();
  }
  [[nodiscard]] double flops() const { return 2.0 * double(x_.size()) * double(w_.cols()); }

 private:
  Matrix x_, w_, y_;
};

/// Flops a second of `multiply_add`: the peak of this core, now.
template <class Scalar>
double peak() {
  return multiply_add_flops<Scalar>() / Timings({multiply_add<Scalar>}, 5).of(0);
}

}  // namespace seqbayes::benchmarks
