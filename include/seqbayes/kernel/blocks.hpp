/// @file
/// A covariance as sweeps take it: in blocks of columns, with the updates and reads of a group.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cstddef>
#include <type_traits>

#include <seqbayes/kernel/buffer.hpp>

namespace seqbayes::detail {

template <class Scalar>
struct FullBuffers {
  Buffer<Scalar> blocks;       ///< Dk x Dk, block by block of `sweep_lanes` columns.
  Buffer<Scalar> rows, lanes;  ///< Updates rows_u lanes_u'; padded rows.
  Buffer<Scalar> probes;       ///< What reads; Dk each.
  Buffer<Scalar> reads;        ///< The blocks times the probes; padded rows.
  Buffer<Scalar> scales;       ///< Decay of each channel that the next sweep applies; padded.
};

/// P = `scale()` * blocks (Dk x Dk, symmetric), updated by U outer products and read by R probes at
/// once. `uniform`: decays are the same for all channels, and `scale()` takes them up.
template <class Scalar, int Dk, bool uniform>
class FullBlocks {
  static constexpr int N = sweep_lanes<Scalar>;

 public:
  using Keys = Eigen::Array<Scalar, Dk, 1>;
  using Row = Eigen::Map<Keys>;
  using ConstRow = Eigen::Map<const Keys>;
  /// Decays: one number if uniform, or Dk.
  using Factors = std::conditional_t<uniform, Scalar, Keys>;

  FullBlocks(FullBuffers<Scalar>& buffers, Index key_dim, Index updates, Index reads)
      : buffers_(buffers), dk_(key_dim), padded_(round_up(key_dim, N)), updates_(updates) {
    buffers.blocks.reserve(dk_ * padded_);
    buffers.rows.reserve(updates * padded_);
    buffers.lanes.reserve(updates * padded_);
    buffers.probes.reserve(reads * dk_);
    buffers.reads.reserve(reads * padded_);
    std::fill_n(buffers.scales.reserve(padded_), padded_, Scalar(1));
  }

  Row row(Index u) { return Row(buffers_.rows.data() + u * padded_, dk_); }
  Row lane(Index u) { return Row(buffers_.lanes.data() + u * padded_, dk_); }
  Row probe(Index j) { return Row(buffers_.probes.data() + j * dk_, dk_); }
  /// The blocks times probe j, without `scale()`.
  ConstRow read(Index j) const { return ConstRow(buffers_.reads.data() + j * padded_, dk_); }
  const Scalar& scale() const { return scale_; }

  Factors no_decay() const {
    if constexpr (uniform) {
      return Scalar(1);
    } else {
      return Keys::Ones(dk_);
    }
  }

  /// Takes a matrix, with no updates yet.
  void load(const Scalar* matrix) {
    for (Index b = 0; b < padded_; b += N) {
      load_block<N>(block(b), matrix, dk_, dk_, b, std::min<Index>(N, dk_ - b));
    }
    scale_ = Scalar(1);
    std::fill_n(buffers_.rows.data(), updates_ * padded_, Scalar(0));
    std::fill_n(buffers_.lanes.data(), updates_ * padded_, Scalar(0));
  }
  void store(Scalar* matrix) {
    for (Index b = 0; b < padded_; b += N) {
      Scalar* columns = block(b);
      for (Index i = 0; i < dk_; ++i) {
        (Lanes<Scalar, N>::load(columns + i * N) * scale_).store(columns + i * N);
      }
      store_block<N>(columns, matrix, dk_, dk_, b, std::min<Index>(N, dk_ - b));
    }
  }

  /// P counts as the blocks.
  void forget_scale() { scale_ = Scalar(1); }
  /// The diagonal of P.
  template <class Diagonal>
  void diagonal(Diagonal& diagonal) const {
    for (Index i = 0; i < dk_; ++i)
      diagonal[i] = buffers_.blocks.data()[i / N * N * dk_ + i * N + i % N] * scale_;
  }
  /// Adds to the diagonal of P, and to what the first `probes` probes have read.
  template <class Diagonal>
  void add_diagonal(const Diagonal& diagonal, Index probes) {
    const Scalar inverse = Scalar(1) / scale_;
    for (Index i = 0; i < dk_; ++i) block(i / N * N)[i * N + i % N] += diagonal[i] * inverse;
    for (Index j = 0; j < probes; ++j) {
      Row(buffers_.reads.data() + j * padded_, dk_) += diagonal * probe(j) * inverse;
    }
  }

  /// P <- A P A with the decay A of a group. Returns whether the next sweep has to scale the
  /// blocks: always by channels, else where the scale has become small or (a covariance may grow)
  /// large.
  template <class Decay>
  bool decay(const Decay& factors) {
    if constexpr (uniform) {
      scale_ *= factors * factors;
      if (!(scale_ < least_lazy_decay<Scalar> || scale_ > 1 / least_lazy_decay<Scalar>)) {
        return false;
      }
      block_scale_ = scale_;
      scale_ = Scalar(1);
    } else {
      Row(buffers_.scales.data(), dk_) = factors;
    }
    return true;
  }

  /// Updates the blocks with rows and lanes and reads the probes.
  template <std::size_t Updates, std::size_t Reads>
  void sweep(bool scaled) {
    if (scaled) {
      sweep_blocks<uniform ? Scaling::rows : Scaling::rows_and_columns, Updates, Reads>();
    } else {
      sweep_blocks<Scaling::none, Updates, Reads>();
    }
  }

 private:
  Scalar* block(Index first_column) { return buffers_.blocks.data() + first_column * dk_; }

  template <Scaling scaling, std::size_t Updates, std::size_t Reads>
  void sweep_blocks() {
    std::array<const Scalar*, Updates> w;
    for (std::size_t u = 0; u < Updates; ++u) w[u] = row(Index(u)).data();
    std::array<const Scalar*, Reads> e;
    for (std::size_t j = 0; j < Reads; ++j) e[j] = probe(Index(j)).data();
    for (Index b = 0; b < padded_; b += N) {
      Scales<Scalar> scales{&block_scale_, 0, nullptr};
      if constexpr (!uniform) scales = {buffers_.scales.data(), 1, buffers_.scales.data() + b};
      seqbayes::detail::sweep<scaling, N>(block(b), dk_, w, {buffers_.lanes.data() + b, padded_}, e,
                                          {buffers_.reads.data() + b, padded_}, scales);
    }
  }

  FullBuffers<Scalar>& buffers_;
  Index dk_, padded_, updates_;
  Scalar scale_{1};
  Scalar block_scale_{1};  ///< Of all blocks, in the next sweep.
};

}  // namespace seqbayes::detail
