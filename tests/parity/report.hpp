// What is known of one golden file in one scalar type, and how far it may be off.
#pragma once

#include <algorithm>
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
  /// The same of a plain float64 recursion, if the file has one beside its expected outputs.
  std::optional<double> recursion{};

  void raise(double other, const std::string& output, const std::string& form) {
    if (where.empty() || measure(other) > size) {
      size = measure(other);
      where = output + " by " + form;
    }
  }
  void raise_recursion(double other) {
    recursion = std::max(recursion.value_or(0), measure(other));
  }
  [[nodiscard]] bool passed() const { return size <= bound; }

 private:
  /// Anything that is not a number counts as infinitely far.
  static double measure(double size) {
    return std::isnan(size) ? std::numeric_limits<double>::infinity() : size;
  }
};

/// Runs the library over a golden file. Nothing, if there is no such operator.
/// @throws std::exception whose message says what is wrong with the file.
template <class Scalar>
std::optional<Deviation> check(const seqbayes::safetensors::File& file);

}  // namespace parity
