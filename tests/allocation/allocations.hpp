// Counts allocations: by operator new, and by Eigen, which calls malloc and, asked to, asserts that
// it may. Replaces operator new, so one source of a program includes it, before Eigen.
#pragma once

#include <cstdlib>
#include <new>

namespace laws {
inline long allocations = 0;
}

#undef eigen_assert
#define EIGEN_RUNTIME_NO_MALLOC
#define eigen_assert(condition) (void)((condition) || ++laws::allocations)

#include <Eigen/Core>

// Not inlined: g++ would take one half of a pair for a mismatch of malloc and delete.
[[gnu::noinline]] void* operator new(std::size_t size) {
  ++laws::allocations;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(std::size_t size, std::align_val_t alignment) {
  ++laws::allocations;
  const auto unit = static_cast<std::size_t>(alignment);
  if (void* memory = std::aligned_alloc(unit, (size + unit - 1) / unit * unit)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}

namespace laws {

/// Allocations, and Eigen's assertions, in `work`.
template <class Work>
long count(const Work& work) {
  const long before = allocations;
  Eigen::internal::set_is_malloc_allowed(false);
  work();
  Eigen::internal::set_is_malloc_allowed(true);
  return allocations - before;
}

}  // namespace laws
