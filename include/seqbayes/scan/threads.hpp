/// @file
/// Many heads and sequences at once, spread over threads by an executor of the caller's.
#pragma once

#include <atomic>
#include <exception>
#include <ranges>
#include <thread>
#include <vector>

#include <seqbayes/scan/scan.hpp>

namespace seqbayes {

/// Runs work on `count` threads of its own, the caller's among them.
///
/// Any callable with this signature is an executor: it calls `task(0)` to `task(tasks - 1)`, each
/// once, in any order and at the same time if it likes, and returns when all are done. With OpenMP,
/// say,
/// `[](Index n, auto&& task) { _Pragma("omp parallel for") for (Index i = 0; i < n; ++i) task(i);
/// }`.
struct Threads {
  int count = 1;  ///< 1 or less: the caller's thread alone.

  template <class Task>
  void operator()(Index tasks, Task&& task) const {
    std::atomic<Index> next{0};
    const auto work = [&] {
      for (Index i = next++; i < tasks; i = next++) task(i);
    };
    std::vector<std::jthread> others;
    for (Index i = 1; i < std::min<Index>(count, tasks); ++i) others.emplace_back(work);
    work();
  }
};

namespace detail {

/// Calls check(head, i) for each item of a batch, in order, and then, through the executor,
/// run(head, i). Item i is of head i modulo their number. An exception comes out when all items are
/// done.
template <class Executor, class Heads, class Check, class Run>
void for_each_item(const Executor& executor, const Heads& heads, Index items, const Check& check,
                   const Run& run) {
  const auto count = static_cast<Index>(std::ranges::size(heads));
  if (items > 0 && (count == 0 || items % count != 0)) {
    fail("a batch needs a whole number of items a head");
  }
  const auto head = [&](Index i) -> const auto& { return heads[std::size_t(i % count)]; };
  for (Index i = 0; i < items; ++i) check(head(i), std::size_t(i));

  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(items));
  executor(items, [&](Index i) {
    const auto item = static_cast<std::size_t>(i);
    try {
      run(head(i), item);
    } catch (...) {
      errors[item] = std::current_exception();
    }
  });
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

}  // namespace detail

/// Runs item i = 0, 1, ... of a batch: `heads[i % heads.size()]` from `states[i]` over `inputs[i]`
/// into `outputs[i]`, so that items are ordered sequence by sequence, head by head. Outputs are
/// `Output` or `MeanOutput` (as the layer's `scan` yields), or matrices for the mean alone; they
/// keep their memory if it is of the right size. Results are the same, bit by bit, for any
/// executor.
/// @throws std::invalid_argument on bad input, before any state is touched.
template <class Executor, std::ranges::random_access_range Heads,
          std::ranges::random_access_range States, std::ranges::random_access_range Inputs,
          std::ranges::random_access_range Outputs>
requires SequenceLayer<std::ranges::range_value_t<Heads>>
void scan(const Executor& executor, const Heads& heads, States&& states, const Inputs& inputs,
          Outputs&& outputs, Execution how = {}) {
  using Scalar = typename std::ranges::range_value_t<Heads>::Scalar;
  const auto size = [](const auto& range) { return static_cast<Index>(std::ranges::size(range)); };
  const Index items = size(states);
  if (size(inputs) != items || size(outputs) != items) {
    detail::fail("a batch needs one state, input and output an item");
  }
  detail::for_each_item(
      executor, heads, items,
      [&](const auto& head, std::size_t i) { detail::check_call(head, states[i], inputs[i]); },
      [&](const auto& head, std::size_t i) {
        Workspace<Scalar> workspace;
        detail::scan_checked(head, states[i], inputs[i], outputs[i], workspace, how);
      });
}

}  // namespace seqbayes
