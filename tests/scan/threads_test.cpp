// Threads does all tasks once and joins what it has started, however many threads there are to
// have.
#include <atomic>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <vector>

#include <seqbayes/scan/threads.hpp>

#include "support/catch.hpp"

using seqbayes::Index;

namespace {

/// A std::thread of which the system has `left`, and then none.
struct Scarce {
  inline static int left = 0;
  inline static int joined = 0;
  std::thread thread;

  template <class Work>
  explicit Scarce(const Work& work) {
    if (left == 0)
      throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again));
    --left;
    thread = std::thread(work);
  }
  void join() {
    thread.join();
    ++joined;
  }
};

}  // namespace

TEST_CASE("Threads does each task once, for any number of threads and tasks") {
  for (const int count : {-1, 0, 1, 2, 5}) {
    for (const Index tasks : {0, 1, 3, 100}) {
      std::vector<std::atomic<int>> calls(std::size_t(tasks) + 1);
      seqbayes::Threads{count}(tasks, [&](Index i) { ++calls[std::size_t(i)]; });
      CAPTURE(count, tasks);
      for (Index i = 0; i < tasks; ++i) CHECK(calls[std::size_t(i)] == 1);
      CHECK(calls[std::size_t(tasks)] == 0);
    }
  }
}

TEST_CASE("Where the system gives fewer threads, those and the caller's do the work") {
  for (const int available : {0, 1, 3}) {
    Scarce::left = available;
    Scarce::joined = 0;
    std::atomic<int> calls = 0;
    seqbayes::detail::on_threads<Scarce>(6, [&] { ++calls; });
    CHECK(calls == available + 1);
    CHECK(Scarce::joined == available);
  }
}

TEST_CASE("An exception on the caller's thread comes through, after the others are joined") {
  Scarce::left = 3;
  Scarce::joined = 0;
  std::atomic<int> calls = 0;
  const auto caller = std::this_thread::get_id();
  const auto work = [&] {
    if (std::this_thread::get_id() == caller) throw std::runtime_error("caller");
    ++calls;
  };
  CHECK_THROWS_WITH(seqbayes::detail::on_threads<Scarce>(3, work), "caller");
  CHECK(calls == 2);
  CHECK(Scarce::joined == 2);
}
