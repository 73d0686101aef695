/// Random draws.
#pragma once

#include <cstddef>
#include <numeric>
#include <random>
#include <stdexcept>
#include <utility>
#include <vector>

namespace training {

/// Draws that are the same with every standard library: they differ in their distributions, not in
/// their generators.
class Random {
 public:
  explicit Random(std::mt19937_64 engine) : engine_(engine) {}
  /// Of 0 .. n - 1; n is far below 2^64, so none of them is favoured.
  std::size_t below(std::size_t n) { return engine_() % n; }
  std::size_t between(std::size_t first, std::size_t last) {
    return first + below(last - first + 1);
  }
  /// In (0, 1).
  double unit() { return (double(engine_() >> 12) + 0.5) * 0x1p-52; }
  /// Different numbers of 0 .. n - 1, in random order.
  std::vector<std::size_t> choose(std::size_t count, std::size_t n) {
    if (count > n) throw std::invalid_argument("there are too few to choose from");
    std::vector<std::size_t> all(n);
    std::iota(all.begin(), all.end(), std::size_t(0));
    for (std::size_t i = 0; i < count; ++i) std::swap(all[i], all[i + below(n - i)]);
    all.resize(count);
    return all;
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace training
