// What is known of one golden file in one scalar type, and how far it may be off.
#pragma once

#include <cmath>
#include <limits>
#include <optional>
#include <seqbayes/adapters/safetensors.hpp>
#include <string>
#include <type_traits>

namespace parity {

/// max |difference| / max(1, max |expected|), the greatest over all outputs, and where it is.
struct Deviation {
  double size = 0;
  double bound = 0;
  std::string where{};

  /// Anything that is not a number counts as infinitely far.
  void raise(double other, const std::string& output, const std::string& form) {
    if (std::isnan(other)) other = std::numeric_limits<double>::infinity();
    if (where.empty() || other > size) {
      size = other;
      where = output + " by " + form;
    }
  }
  [[nodiscard]] bool passed() const { return size <= bound; }
};

/// Runs the library over a golden file. Nothing, if there is no such operator.
/// @throws std::exception whose message says what is wrong with the file.
template <class Scalar>
std::optional<Deviation> check(const seqbayes::safetensors::File& file);

}  // namespace parity
