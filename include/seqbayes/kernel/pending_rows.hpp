/// @file
/// What a read meets on its way back over pending writes: the products with their keys.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cstddef>

#include <seqbayes/kernel/stored.hpp>

namespace seqbayes::detail {

/// The keys of pending writes, `writes` a token, and the decays of the tokens' channels.
template <class Scalar>
struct PendingRows {
  const Scalar* keys;    ///< a_su, padded rows.
  const Scalar* decays;  ///< D_s, padded rows; null: no decay, or none by channels.
  Index tokens, writes;
  Index width;  ///< Padded.
};

/// Tokens of a span that read a memory in one pass.
inline constexpr Index tokens_at_once = 4;

/// What a few tokens need beside their state.
template <class Scalar>
struct PendingScratch {
  PendingScratch(Index key_dim, Index value_dim, Index most_writes)
      : keys(4, key_dim),
        along(1, most_writes),
        probes(2 * tokens_at_once, key_dim),
        reads(2 * tokens_at_once, value_dim),
        products(1, 2 * tokens_at_once * most_writes),
        sums(1, 2 * most_writes * vector_width<Scalar>),
        writes(most_writes) {}

  PaddedRows<Scalar> keys, along;  ///< A covariance's, and a fold's.
  PaddedRows<Scalar> probes, reads, products, sums;
  Index writes;
};

/// From the last token back to the first: products_su,r = a_su' x_r, x_r <- D_s x_r. `sums` is
/// scratch of a register for each product; products lie write by write, R of each.
template <std::size_t R, class Scalar>
[[gnu::noinline]] void walk_back(const PendingRows<Scalar>& rows,
                                 const std::array<Scalar*, R>& probes, Scalar* sums,
                                 Scalar* products) {
  using namespace Eigen::internal;
  using Entries = Packet<Scalar>;
  constexpr Index N = vector_width<Scalar>;
  constexpr int V = sweep_lanes<Scalar> / N;
  const std::array<Scalar*, R> probe = probes;
  const auto [keys, decays, tokens, writes, width] = rows;
  std::fill_n(sums, tokens * writes * Index(R) * N, Scalar(0));
  for (Index j = 0; j < width; j += V * N) {
    Entries x[R][V];
    for (std::size_t r = 0; r < R; ++r) {
      for (int v = 0; v < V; ++v) x[r][v] = pload<Entries>(probe[r] + j + v * N);
    }
    for (Index s = tokens; s-- > 0;) {
      for (Index u = s * writes; u < (s + 1) * writes; ++u) {
        const Scalar* key = keys + u * width + j;
        for (std::size_t r = 0; r < R; ++r) {
          Scalar* at = sums + (u * Index(R) + Index(r)) * N;
          Entries sum = pload<Entries>(at);
          for (int v = 0; v < V; ++v) sum = pmadd(pload<Entries>(key + v * N), x[r][v], sum);
          pstore(at, sum);
        }
      }
      if (!decays) continue;
      for (int v = 0; v < V; ++v) {
        const Entries decay = pload<Entries>(decays + s * width + j + v * N);
        for (std::size_t r = 0; r < R; ++r) x[r][v] = pmul(x[r][v], decay);
      }
    }
    if (!decays) continue;
    for (std::size_t r = 0; r < R; ++r) {
      for (int v = 0; v < V; ++v) pstore(probe[r] + j + v * N, x[r][v]);
    }
  }
  for (Index i = 0; i < tokens * writes * Index(R); ++i) {
    products[i] = predux(pload<Entries>(sums + i * N));
  }
}

/// out_r += sum_u products_ur b_u of padded rows b_u.
template <std::size_t R, class Scalar>
[[gnu::noinline]] void add_rows(const Scalar* b, Index count, Index width, const Scalar* products,
                                const std::array<Scalar*, R>& out) {
  using namespace Eigen::internal;
  using Entries = Packet<Scalar>;
  constexpr Index N = vector_width<Scalar>;
  constexpr int V = sweep_lanes<Scalar> / N;
  const std::array<Scalar*, R> sum = out;
  for (Index j = 0; j < width; j += V * N) {
    Entries sums[R][V];
    for (std::size_t r = 0; r < R; ++r) {
      for (int v = 0; v < V; ++v) sums[r][v] = pload<Entries>(sum[r] + j + v * N);
    }
    for (Index u = 0; u < count; ++u) {
      for (std::size_t r = 0; r < R; ++r) {
        const Entries factor = pset1<Entries>(products[u * Index(R) + Index(r)]);
        for (int v = 0; v < V; ++v) {
          sums[r][v] = pmadd(pload<Entries>(b + u * width + j + v * N), factor, sums[r][v]);
        }
      }
    }
    for (std::size_t r = 0; r < R; ++r) {
      for (int v = 0; v < V; ++v) pstore(sum[r] + j + v * N, sums[r][v]);
    }
  }
}

}  // namespace seqbayes::detail
