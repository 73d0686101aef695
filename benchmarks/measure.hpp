// Clocks, and runs of several tasks in turn, so that a noisy machine disturbs all of them alike.
#pragma once

#include <algorithm>
#include <chrono>
#include <ctime>
#include <functional>
#include <vector>

namespace seqbayes::benchmarks {

/// CPU time of this thread: what a shared machine gives to others doesn't count.
inline double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

inline double wall_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

inline double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

using Task = std::function<void()>;

/// Seconds of each task in each round.
class Timings {
 public:
  /// Runs a, b, ..., a, b, ...: `rounds` times after one that doesn't count. `warm`: each of them
  /// once before it is timed, so that it starts with its own data in the caches.
  Timings(const std::vector<Task>& tasks, int rounds, double (*clock)() = thread_seconds,
          bool warm = false)
      : seconds_(tasks.size()) {
    for (int round = -1; round < rounds; ++round) {
      for (std::size_t i = 0; i < tasks.size(); ++i) {
        if (warm) tasks[i]();
        const double start = clock();
        tasks[i]();
        const double end = clock();
        if (round >= 0) seconds_[i].push_back(end - start);
      }
    }
  }

  [[nodiscard]] double of(std::size_t task) const { return median(seconds_[task]); }

  /// The median over the rounds of f(seconds of the tasks in that round).
  template <class F, class... Tasks>
  [[nodiscard]] double median_of(F&& f, Tasks... tasks) const {
    std::vector<double> values;
    for (std::size_t round = 0; round < seconds_.front().size(); ++round) {
      values.push_back(f(seconds_[static_cast<std::size_t>(tasks)][round]...));
    }
    return median(values);
  }

 private:
  std::vector<std::vector<double>> seconds_;
};

}  // namespace seqbayes::benchmarks
