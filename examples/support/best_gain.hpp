// The honest baseline: the constant gain that is best, knowing the whole experiment.
#pragma once

#include <algorithm>
#include <cmath>

namespace study {

/// The gain in [0, 1] of the least error: the best of 100, then golden section around it.
template <class Error>
double best_gain(Error&& error) {
  double best = 0;
  for (int i = 1; i <= 100; ++i) best = error(0.01 * i) < error(best) ? 0.01 * i : best;
  const double ratio = (std::sqrt(5.0) - 1) / 2;
  double low = std::max(0.0, best - 0.01), high = std::min(1.0, best + 0.01);
  while (high - low > 1e-9) {
    const double left = high - ratio * (high - low), right = low + ratio * (high - low);
    (error(left) < error(right) ? high : low) = error(left) < error(right) ? right : left;
  }
  return (low + high) / 2;
}

}  // namespace study
