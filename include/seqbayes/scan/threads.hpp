/// @file
/// Many heads and sequences at once, spread over threads by an executor of the caller's.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <ranges>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <seqbayes/scan/scan.hpp>

namespace seqbayes {

namespace detail {

/// Calls work() on `count` threads, the caller's among them, and joins the others whatever happens.
/// Where the system gives fewer, as many call it. (libc++ has no std::jthread before version 20.)
template <class Thread = std::thread, class Work>
void on_threads(Index count, const Work& work) {
  struct Joined {
    std::vector<Thread> threads;
    ~Joined() {
      for (Thread& thread : threads) thread.join();
    }
  } others;
  try {
    for (Index i = 1; i < count; ++i) others.threads.emplace_back(work);
  } catch (const std::system_error&) {  // no more threads
  } catch (const std::bad_alloc&) {
  }
  work();
}

}  // namespace detail

/// Runs work on `count` threads, the caller's among them; starts the others in each call. If the
/// system can't start as many, those that it can do all of it.
///
/// Any callable with this signature is an executor: it calls `task(0)` to `task(tasks - 1)`, each
/// once, in any order and at the same time if it likes, and returns when all are done. With OpenMP,
/// say,
/// `[](Index n, auto&& task) { _Pragma("omp parallel for") for (Index i = 0; i < n; ++i) task(i);
/// }`. The library's tasks throw nothing; one that does ends the program on any thread but the
/// caller's.
struct Threads {
  int count = 1;  ///< 1 or less: the caller's thread alone.

  template <class Task>
  void operator()(Index tasks, Task&& task) const {
    std::atomic<Index> next{0};
    detail::on_threads(std::min<Index>(count, tasks), [&] {
      for (Index i = next++; i < tasks; i = next++) task(i);
    });
  }
};

namespace detail {

/// Calls task(0) to task(tasks - 1) through the executor. Where some throw, all others are done and
/// then the exception of the first comes out.
template <class Executor, class Task>
void for_each_task(const Executor& executor, Index tasks, const Task& task) {
  std::mutex mutex;
  Index first = tasks;
  std::exception_ptr error;
  executor(tasks, [&](Index i) {
    try {
      task(i);
    } catch (...) {
      const std::scoped_lock lock(mutex);
      if (i < first) {
        first = i;
        error = std::current_exception();
      }
    }
  });
  if (error) std::rethrow_exception(error);
}

/// Calls check(head, i) for all items of a batch and then, if none has thrown, run(head, i). Item i
/// is of head i modulo their number.
template <class Executor, class Heads, class Check, class Run>
void for_each_item(const Executor& executor, const Heads& heads, Index items, const Check& check,
                   const Run& run) {
  const auto count = static_cast<Index>(std::ranges::size(heads));
  if (items > 0 && (count == 0 || items % count != 0)) {
    fail("a batch needs a whole number of items a head");
  }
  const auto head = [&](Index i) -> const auto& { return heads[std::size_t(i % count)]; };
  for_each_task(executor, items, [&](Index i) { check(head(i), std::size_t(i)); });
  for_each_task(executor, items, [&](Index i) { run(head(i), std::size_t(i)); });
}

}  // namespace detail

/// The workspaces of a batch: as many as items run at the same time. They keep their memory for the
/// next batch; batches of one scalar may share them, at the same time, too.
template <class Scalar>
class Workspaces {
 public:
  /// Calls work(workspace) with one that no other thread holds.
  template <class Work>
  void lend(const Work& work) {
    std::unique_ptr<Workspace<Scalar>> workspace = take();
    work(*workspace);
    const std::scoped_lock lock(mutex_);
    idle_.push_back(std::move(workspace));
  }

 private:
  std::unique_ptr<Workspace<Scalar>> take() {
    const std::scoped_lock lock(mutex_);
    if (idle_.empty()) return std::make_unique<Workspace<Scalar>>();
    auto last = std::move(idle_.back());
    idle_.pop_back();
    return last;
  }

  std::mutex mutex_;
  std::vector<std::unique_ptr<Workspace<Scalar>>> idle_;
};

/// Runs item i = 0, 1, ... of a batch: `heads[i % heads.size()]` from `states[i]` over `inputs[i]`
/// into `outputs[i]`, so that items are ordered sequence by sequence, head by head. Outputs are
/// `Output` or `MeanOutput` (as the layer's `scan` yields), or matrices for the mean alone; they
/// keep their memory if it is of the right size. Results are the same, bit by bit, for any
/// executor. It is called twice: to check all items and to run them.
/// An output may not share memory with any item's input; with its own item's it is refused.
/// @throws std::invalid_argument on bad input, before any state is touched.
template <class Executor, std::ranges::random_access_range Heads,
          std::ranges::random_access_range States, std::ranges::random_access_range Inputs,
          std::ranges::random_access_range Outputs>
requires SequenceLayer<std::ranges::range_value_t<Heads>>
void scan(const Executor& executor, const Heads& heads, States&& states, const Inputs& inputs,
          Outputs&& outputs,
          Workspaces<typename std::ranges::range_value_t<Heads>::Scalar>& workspaces,
          Execution how = {}) {
  const auto size = [](const auto& range) { return static_cast<Index>(std::ranges::size(range)); };
  const Index items = size(states);
  if (size(inputs) != items || size(outputs) != items) {
    detail::fail("a batch needs one state, input and output an item");
  }
  detail::for_each_item(
      executor, heads, items,
      [&](const auto& head, std::size_t i) {
        detail::check_call(head, states[i], inputs[i]);
        detail::check_output(head, inputs[i], outputs[i]);
      },
      [&](const auto& head, std::size_t i) {
        workspaces.lend([&](auto& workspace) {
          detail::scan_checked(head, states[i], inputs[i], outputs[i], workspace, how);
        });
      });
}

/// As above, with workspaces of its own.
template <class Executor, std::ranges::random_access_range Heads,
          std::ranges::random_access_range States, std::ranges::random_access_range Inputs,
          std::ranges::random_access_range Outputs>
requires SequenceLayer<std::ranges::range_value_t<Heads>>
void scan(const Executor& executor, const Heads& heads, States&& states, const Inputs& inputs,
          Outputs&& outputs, Execution how = {}) {
  Workspaces<typename std::ranges::range_value_t<Heads>::Scalar> workspaces;
  scan(executor, heads, states, inputs, outputs, workspaces, how);
}

/// As `scan`, for the means alone: the fast path. `means` are matrices, T x Dv.
template <class Executor, std::ranges::random_access_range Heads,
          std::ranges::random_access_range States, std::ranges::random_access_range Inputs,
          std::ranges::random_access_range Means>
requires SequenceLayer<std::ranges::range_value_t<Heads>>
void scan_mean(const Executor& executor, const Heads& heads, States&& states, const Inputs& inputs,
               Means&& means,
               Workspaces<typename std::ranges::range_value_t<Heads>::Scalar>& workspaces,
               Execution how = {}) {
  static_assert(std::is_same_v<std::ranges::range_value_t<Means>,
                               Matrix<typename std::ranges::range_value_t<Heads>::Scalar>>,
                "seqbayes: the means of a batch are matrices, seqbayes::Matrix<Scalar>");
  scan(executor, heads, states, inputs, means, workspaces, how);
}

/// As above, with workspaces of its own.
template <class Executor, std::ranges::random_access_range Heads,
          std::ranges::random_access_range States, std::ranges::random_access_range Inputs,
          std::ranges::random_access_range Means>
requires SequenceLayer<std::ranges::range_value_t<Heads>>
void scan_mean(const Executor& executor, const Heads& heads, States&& states, const Inputs& inputs,
               Means&& means, Execution how = {}) {
  Workspaces<typename std::ranges::range_value_t<Heads>::Scalar> workspaces;
  scan_mean(executor, heads, states, inputs, means, workspaces, how);
}

}  // namespace seqbayes
