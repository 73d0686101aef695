/// The processes that make one training together: those that mpirun starts, or this one alone.
#pragma once

#include <fmt/format.h>
#include <torch/types.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <span>
#include <thread>
#include <vector>
#ifdef RANKS_BY_MPI
#include <mpi.h>
#endif

namespace training {

using torch::Tensor;

/// One object a program, of the main thread. All ranks call the same functions in the same order.
class Ranks {
 public:
#ifdef RANKS_BY_MPI
  Ranks() {
    int provided = 0;  // other threads, libtorch's, don't call MPI
    MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
  }
  ~Ranks() { MPI_Finalize(); }
#else
  Ranks() = default;
#endif
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;

  [[nodiscard]] int rank() const { return rank_; }
  [[nodiscard]] int size() const { return size_; }
  /// The one that writes files and prints.
  [[nodiscard]] bool is_first() const { return rank_ == 0; }
  /// Whether piece i of the work is this rank's.
  [[nodiscard]] bool has(std::int64_t i) const { return i % size_ == rank_; }

  /// What the first rank has.
  [[nodiscard]] double of_first(double number) const {
#ifdef RANKS_BY_MPI
    MPI_Bcast(&number, 1, MPI_DOUBLE, 0, MPI_COMM_WORLD);
#endif
    return number;
  }

  /// Each number becomes its sum over the ranks.
  void sum([[maybe_unused]] std::span<double> numbers) const {
#ifdef RANKS_BY_MPI
    MPI_Allreduce(MPI_IN_PLACE, numbers.data(), static_cast<int>(numbers.size()), MPI_DOUBLE,
                  MPI_SUM, MPI_COMM_WORLD);
#endif
  }

  /// The same of each entry of tensors, in one message.
  void sum(const std::vector<Tensor>& tensors) const {
    if (size_ == 1) return;
    const torch::NoGradGuard no_grad;
    std::vector<Tensor> flat;
    for (const Tensor& tensor : tensors) flat.push_back(tensor.flatten().to(at::kCPU, at::kDouble));
    const Tensor all = torch::cat(flat);
    sum(std::span(all.data_ptr<double>(), std::size_t(all.numel())));
    std::int64_t from = 0;
    for (const Tensor& tensor : tensors) {
      tensor.copy_(all.slice(0, from, from + tensor.numel()).view(tensor.sizes()));
      from += tensor.numel();
    }
  }

  /// Does the work. If it throws on one rank, which says why, all of them end.
  template <class Work>
  void run(const Work& work) const {
    try {
      work();
    } catch (const std::exception& error) {
      if (size_ == 1) throw;
      // Where all fail alike, the first one alone says it.
      if (!is_first()) std::this_thread::sleep_for(std::chrono::seconds(2));
      fmt::print(stderr, "rank {} of {}: {}\n", rank_, size_, error.what());
#ifdef RANKS_BY_MPI
      MPI_Abort(MPI_COMM_WORLD, 1);
#endif
    }
  }

 private:
  int rank_ = 0, size_ = 1;
};

}  // namespace training
