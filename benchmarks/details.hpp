// Registers everything that can be timed with Google Benchmark.
#pragma once

#include "cases.hpp"

namespace seqbayes::benchmarks {

inline constexpr Index usual_length = 2048;

void register_ceilings();
void register_cases(const Cases& cases);
void register_chunks(const Cases& cases);
void register_lengths(const Cases& cases);
void register_threads();

/// Prints the table of docs/performance.md.
void print_summary(const Cases& cases);

/// Its part on other shapes, and that on `scan_vjp`.
void print_shapes(const Cases& cases);
void print_gradients();

/// The tables of docs/inference.md: decoding, and what 16 bits cost.
void print_decoders();
void print_storage();

/// The table of docs/scale.md.
void print_splits();

/// The case of this name; ends the program if there is none.
const Case& find(const Cases& cases, const std::string& name);

/// An executor that keeps its threads between calls.
struct OpenMp {
  int threads;

  template <class Task>
  void operator()(Index tasks, const Task& task) const {
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (Index i = 0; i < tasks; ++i) task(i);
  }
};

/// Threads over eight heads of the gated delta rule, which compile apart from the other cases.
class Heads {
 public:
  Heads(Index dim, Index length);
  ~Heads();
  void scan_mean(int threads);
  [[nodiscard]] Index tokens() const;

 private:
  struct Data;
  std::unique_ptr<Data> data_;
};

}  // namespace seqbayes::benchmarks
