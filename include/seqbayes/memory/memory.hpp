/// @file
/// The memory pass of one token: decay, write, read. Knows gains, no covariance.
#pragma once

#include <seqbayes/decay/decay.hpp>
#include <seqbayes/memory/columns.hpp>
#include <seqbayes/memory/model.hpp>

namespace seqbayes::detail {

template <class Scalar>
SameFactor<Scalar> row_factors(UnitFactor) {
  return {Scalar(1)};
}
template <class Scalar>
SameFactor<Scalar> row_factors(const Scalar& factor) {
  return {factor};
}
template <class Scalar, int Dk>
const Vector<Scalar, Dk>& row_factors(const Vector<Scalar, Dk>& factors) {
  return factors;
}

/// x_i times the i-th factor, entry by entry.
template <class Scalar, class Factors, class X>
struct Scaled {
  const Factors& factors;
  const X& x;
  Scalar operator[](Index i) const { return factors[i] * x[i]; }
};

/// Decays and writes one token, and reads `mean` = S' q. Returns |y - \bar S' e|^2 (|y|^2 where
/// nothing is predicted).
template <class Model, class Memory, class Factor, class Gain, class Scalar, class Mean>
Scalar write_and_read(Memory& memory, const Factor& decay, const Gain& gain,
                      const Token<Scalar>& token, Mean& mean) {
  constexpr int dk = Memory::RowsAtCompileTime;
  constexpr int dv = Memory::ColsAtCompileTime;
  const auto& factors = row_factors<Scalar>(decay);
  Vector<Scalar, dv> innovation = Model::template written<dv>(token);
  if constexpr (Model::write != Write::add) {
    const auto e = Model::template erase<dk>(token);
    Vector<Scalar, dv> erased(memory.cols());
    if constexpr (Model::write == Write::correct) {
      using Decayed = Scaled<Scalar, std::remove_cvref_t<decltype(factors)>, decltype(e)>;
      read(memory, Decayed{factors, e}, erased);
      innovation -= erased;
    } else {
      read(memory, e, erased);
      update_and_read(memory, factors, Model::template erase_write<dk>(token), erased, e, mean);
      update_and_read(memory, SameFactor<Scalar>{Scalar(1)}, gain, innovation,
                      token.query.template vector<dk>(), mean);
      return innovation.squaredNorm();
    }
  }
  update_and_read(memory, factors, gain, innovation, token.query.template vector<dk>(), mean);
  return innovation.squaredNorm();
}

}  // namespace seqbayes::detail
