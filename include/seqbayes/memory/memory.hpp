/// @file
/// The memory pass of one token: decay, write, read. Knows gains, no covariance (filters.md section
/// 2).
#pragma once

#include <seqbayes/decay/decay.hpp>
#include <seqbayes/memory/model.hpp>

namespace seqbayes::detail {

/// S' x: what the memory holds at x.
template <class Memory, class Key>
auto read(const Memory& memory, const Key& x) {
  using Scalar = typename Memory::Scalar;
  using Values = Vector<Scalar, Memory::ColsAtCompileTime>;
  Values values = Values::Zero(memory.cols());
  for (Index i = 0; i < memory.rows(); ++i) values += memory.row(i).transpose() * Scalar(x[i]);
  return values;
}

/// S <- S + w y'.
template <class Memory, class Key, class Value>
void add(Memory& memory, const Key& w, const Value& y) {
  using Scalar = typename Memory::Scalar;
  for (Index i = 0; i < memory.rows(); ++i) memory.row(i) += y.transpose() * Scalar(w[i]);
}

/// Decays and writes one token. Returns the innovation y - \bar S' e (just y where nothing is
/// predicted).
template <class Model, class Memory, class Factor, class Gain, class Scalar>
auto decay_and_write(Memory& memory, const Factor& decay, const Gain& gain,
                     const Token<Scalar>& token) {
  constexpr int dk = Memory::RowsAtCompileTime;
  constexpr int dv = Memory::ColsAtCompileTime;
  Vector<Scalar, dv> innovation = Model::template written<dv>(token);
  if constexpr (Model::write == Write::replace) {
    const auto erased = read(memory, Model::template erase<dk>(token));
    decay_rows(memory, decay);
    add(memory, Model::template erase_write<dk>(token), erased);
  } else {
    decay_rows(memory, decay);
    if constexpr (Model::write == Write::correct) {
      innovation -= read(memory, Model::template erase<dk>(token));
    }
  }
  add(memory, gain, innovation);
  return innovation;
}

}  // namespace seqbayes::detail
