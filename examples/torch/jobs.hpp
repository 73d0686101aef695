/// Jobs on threads of their own.
#pragma once

#include <ATen/Parallel.h>

#include <exception>
#include <mutex>

#include <seqbayes/scan/threads.hpp>

namespace training {

/// Calls job(0) to job(count - 1) on `threads` threads, each of which lets libtorch use `each`.
/// Once a job throws, no other is begun; what it threw comes out when those that run are done.
template <class Job>
void run_jobs(std::size_t count, unsigned threads, int each, const Job& job) {
  std::mutex mutex;
  std::exception_ptr failure;
  const auto failed = [&] {
    const std::lock_guard lock(mutex);
    return failure != nullptr;
  };
  const int before = at::get_num_threads();  // of the caller, whose thread takes part
  const seqbayes::Threads executor{int(threads)};
  executor(seqbayes::Index(count), [&](seqbayes::Index i) {
    if (failed()) return;
    at::set_num_threads(each);
    try {
      job(std::size_t(i));
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  });
  at::set_num_threads(before);
  if (failure) std::rethrow_exception(failure);
}

}  // namespace training
