/// @file
/// What adapters/mpi.hpp is made of: ranks that work or fail together, and numbers on their way.
#pragma once

#include <mpi.h>

#include <algorithm>
#include <cstddef>
#include <exception>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include <seqbayes/sequence/view.hpp>

namespace seqbayes::mpi::detail {

/// A communicator of our own, so that no message of the caller's is taken for one of ours.
class Ranks {
 public:
  explicit Ranks(MPI_Comm comm) {
    MPI_Comm_dup(comm, &comm_);
    MPI_Comm_rank(comm_, &rank_);
    MPI_Comm_size(comm_, &size_);
  }
  ~Ranks() { MPI_Comm_free(&comm_); }
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;

  [[nodiscard]] int rank() const { return rank_; }
  [[nodiscard]] int last() const { return size_ - 1; }
  [[nodiscard]] MPI_Comm comm() const { return comm_; }

  [[nodiscard]] bool all(bool mine) const {
    int value = mine ? 1 : 0;
    MPI_Allreduce(MPI_IN_PLACE, &value, 1, MPI_INT, MPI_MIN, comm_);
    return value == 1;
  }

  /// Does this rank's part of a work. If it fails anywhere, what the first such rank says is thrown
  /// everywhere, so that nobody waits for those who gave up.
  template <class Work>
  void together(const Work& work) const {
    enum { fine, bad_input, other };
    int kind = fine;
    std::string text;
    try {
      work();
    } catch (const std::invalid_argument& error) {
      kind = bad_input;
      text = error.what();
    } catch (const std::exception& error) {
      kind = other;
      text = error.what();
    }
    int first = kind == fine ? size_ : rank_;
    MPI_Allreduce(MPI_IN_PLACE, &first, 1, MPI_INT, MPI_MIN, comm_);
    if (first == size_) return;
    int length = static_cast<int>(text.size());
    MPI_Bcast(&kind, 1, MPI_INT, first, comm_);
    MPI_Bcast(&length, 1, MPI_INT, first, comm_);
    text.resize(static_cast<std::size_t>(length));
    MPI_Bcast(text.data(), length, MPI_CHAR, first, comm_);
    text = "rank " + std::to_string(first) + ": " + text;
    if (kind == bad_input) throw std::invalid_argument(text);
    throw std::runtime_error(text);
  }

 private:
  MPI_Comm comm_{};
  int rank_ = 0, size_ = 1;
};

/// Numbers on their way, as bytes.
template <class Scalar>
class Package {
  static_assert(std::is_trivially_copyable_v<Scalar>,
                "seqbayes: numbers that own memory can't be sent as they are");

 public:
  template <class Part>
  void put(const Part& part) {
    if constexpr (std::is_same_v<Part, Scalar>) {
      numbers_.push_back(part);
    } else if constexpr (seqbayes::detail::DenseExpression<Part>) {
      numbers_.insert(numbers_.end(), part.data(), part.data() + part.size());
    }
  }
  /// In the order of `put`, into parts of the right shape.
  template <class Part>
  void take(Part& part) {
    if constexpr (std::is_same_v<Part, Scalar>) {
      part = numbers_[taken_++];
    } else if constexpr (seqbayes::detail::DenseExpression<Part>) {
      std::copy_n(numbers_.begin() + taken_, part.size(), part.data());
      taken_ += part.size();
    }
  }
  void send(const Ranks& ranks, int to) {
    MPI_Send(numbers_.data(), bytes(), MPI_BYTE, to, 0, ranks.comm());
  }
  void receive(const Ranks& ranks, int from) {
    MPI_Recv(numbers_.data(), bytes(), MPI_BYTE, from, 0, ranks.comm(), MPI_STATUS_IGNORE);
  }
  void broadcast(const Ranks& ranks, int from) {
    MPI_Bcast(numbers_.data(), bytes(), MPI_BYTE, from, ranks.comm());
  }
  [[nodiscard]] int bytes() const { return static_cast<int>(numbers_.size() * sizeof(Scalar)); }
  [[nodiscard]] Scalar* data() { return numbers_.data(); }

 private:
  std::vector<Scalar> numbers_;
  Index taken_ = 0;
};

}  // namespace seqbayes::mpi::detail
