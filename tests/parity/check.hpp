// Defines check() of report.hpp.
#pragma once

#include "operators.hpp"

namespace parity {

/// What a layer may be off. float64: as the golden files ask. float32 (unit of rounding u = 2^-24):
/// an entry of the state passes through T updates and a read is a sum over Dk entries. Roundings
/// that are independent add up to sqrt(T + Dk) u, but one that repeats each token, as that of a
/// constant decay does (kla's a^2, retention's gamma), adds up to T u. Hence (T + Dk) u: 2.7e-6 for
/// the small files and 9.9e-6 for the large ones. The worst seen, 2.2e-6, is `final_eta` of the
/// large kla.
template <class Scalar>
double bound(const Case<Scalar>& golden) {
  if constexpr (std::is_same_v<Scalar, double>) return 1e-12;
  return double(golden.length() + golden.key_dim()) * std::ldexp(1.0, -24);
}

template <class Scalar>
std::optional<Deviation> check(const File& file) {
  Case<Scalar> golden(file);
  const std::string name = golden.text("op");
  for (const auto& op : Operators<Scalar>::table) {
    if (op.name != name) continue;
    op.run(golden);
    Deviation worst = golden.worst();
    worst.bound = bound(golden);
    return worst;
  }
  return std::nullopt;
}

}  // namespace parity
