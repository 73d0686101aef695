/// @file
/// The memory pass of one token: decay, write, read, and the same backwards. Knows gains, no
/// covariance.
#pragma once

#include <type_traits>

#include <seqbayes/decay/decay.hpp>
#include <seqbayes/kernel/columns.hpp>
#include <seqbayes/model/model.hpp>

namespace seqbayes::detail {

/// One factor a row, with which a write also decays its memory.
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
template <class Scalar, int Dv>
SameFactor<Scalar> row_factors(const ValueFactors<Scalar, Dv>&) {
  return {Scalar(1)};  // columns are decayed before the write
}

/// Decays a memory, or a derivative with respect to one.
template <class Memory>
void decay_memory(Memory&, UnitFactor) {}
template <class Memory>
void decay_memory(Memory& memory, const typename Memory::Scalar& factor) {
  memory *= factor;
}
template <class Memory, class Scalar, int Dk>
void decay_memory(Memory& memory, const Vector<Scalar, Dk>& factors) {
  memory.array().colwise() *= factors.array();
}
template <class Memory, class Scalar, int Dv>
void decay_memory(Memory& memory, const ValueFactors<Scalar, Dv>& value) {
  memory.array().rowwise() *= value.factors.transpose().array();
}

/// The part of it that `row_factors` leaves.
template <class Memory, class Factor>
void decay_columns(Memory&, const Factor&) {}
template <class Memory, class Scalar, int Dv>
void decay_columns(Memory& memory, const ValueFactors<Scalar, Dv>& value) {
  decay_memory(memory, value);
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
template <class Model, class Memory, class Options, class Factor, class Gain, class Scalar,
          class Mean>
Scalar write_and_read(Memory& memory, const Options& options, const Factor& decay, const Gain& gain,
                      const Token<Scalar>& token, Mean& mean) {
  constexpr int dk = Memory::RowsAtCompileTime;
  constexpr int dv = Memory::ColsAtCompileTime;
  const auto& factors = row_factors<Scalar>(decay);
  Vector<Scalar, dv> innovation = Model::template target<dv>(token, options);
  const auto q = token.query.template vector<dk>();
  if constexpr (Model::write == Write::replace) {
    const Vector<Scalar, dk> e = Model::template prediction_key<dk>(token, options);
    Vector<Scalar, dv> erased(memory.cols());
    read(memory, e, erased);
    decay_columns(memory, decay);
    update_and_read(memory, factors, Model::template write_key<dk>(token, options), erased, e,
                    mean);
    update_and_read(memory, SameFactor<Scalar>{Scalar(1)}, gain, innovation, q, mean);
    return innovation.squaredNorm();
  }
  decay_columns(memory, decay);
  if constexpr (Model::write == Write::correct) {
    const auto e = Model::template prediction_key<dk>(token, options);
    using Decayed = Scaled<Scalar, std::remove_cvref_t<decltype(factors)>, decltype(e)>;
    Vector<Scalar, dv> predicted(memory.cols());
    read(memory, Decayed{factors, e}, predicted);
    innovation -= predicted;
  }
  update_and_read(memory, factors, gain, innovation, q, mean);
  return innovation.squaredNorm();
}

/// nu of one token, y - \bar S' e, or y where nothing is corrected, from \bar S.
template <class Model, class Memory, class Options, class Scalar>
auto innovation_of(const Memory& decayed, const Options& options, const Token<Scalar>& token) {
  constexpr int Dk = Memory::RowsAtCompileTime, Dv = Memory::ColsAtCompileTime;
  Vector<Scalar, Dv> nu = Model::template target<Dv>(token, options);
  if constexpr (Model::write == Write::correct) {
    const Vector<Scalar, Dk> e = Model::template prediction_key<Dk>(token, options);
    nu -= decayed.transpose().lazyProduct(e);
  }
  return nu;
}

/// The derivative with respect to log factors, from that to \bar S and \bar S itself: rowsum(d\bar
/// S
/// * \bar S) or, of value channels, colsum.
template <class Decayed, class DMemory, class Factor>
auto log_factors_vjp(const Decayed& decayed, const DMemory& dmemory, const Factor&) {
  using Scalar = typename Decayed::Scalar;
  return Vector<Scalar, Decayed::RowsAtCompileTime>(dmemory.cwiseProduct(decayed).rowwise().sum());
}
template <class Decayed, class DMemory, class Scalar, int Dv>
Vector<Scalar, Dv> log_factors_vjp(const Decayed& decayed, const DMemory& dmemory,
                                   const ValueFactors<Scalar, Dv>&) {
  return dmemory.cwiseProduct(decayed).colwise().sum().transpose();
}

/// The memory pass of one token backwards. With dS the derivative with respect to S_t from all that
/// comes later, nu = y - \bar S' e and o = S_t' q (docs/gradients.md):
///
///     dS += q do',  dq = S_t do,  dnu = dS' w,  dw = dS nu,  dy = dnu,  de = -\bar S dnu,
///     d\bar S = dS - e dnu',  dg = rowsum(d\bar S * \bar S),  dS_{t-1} = D d\bar S.
///
/// `before` is S_{t-1}, `decayed` \bar S, `nu` from `innovation_of`; `dmemory` holds dS_t and gets
/// dS_{t-1}; `dmean` is do; `dnu_of_evidence` is what the evidence adds to dnu; `dgain` is a
/// result. Returns the derivative with respect to the log factors.
template <class Model, class Before, class Memory, class Options, class Factor, class Scalar,
          int Dk, class Values, class DMemory, class OptionSums>
auto write_and_read_vjp(const Before& before, const Memory& decayed, const Options& options,
                        const Factor& decay, const Vector<Scalar, Dk>& gain,
                        const Token<Scalar>& token, const Values& nu, const Values& dmean,
                        const Values& dnu_of_evidence, DMemory& dmemory, Vector<Scalar, Dk>& dgain,
                        TokenGradient<Scalar>& grad, OptionSums& doptions) {
  using Keys = Vector<Scalar, Dk>;
  const auto q = token.query.template vector<Dk>();
  Keys dq = decayed.lazyProduct(dmean) + gain * nu.dot(dmean);
  dmemory += q.lazyProduct(dmean.transpose());
  const Values dnu = dmemory.transpose().lazyProduct(gain) + dnu_of_evidence;
  dgain = dmemory.lazyProduct(nu);
  Model::target_vjp(token, options, dnu, grad, doptions);
  if constexpr (Model::write == Write::correct) {
    const Keys e = Model::template prediction_key<Dk>(token, options);
    Model::prediction_key_vjp(token, options, Keys(-decayed.lazyProduct(dnu)), grad, doptions);
    dmemory -= e.lazyProduct(dnu.transpose());
  }
  const auto dlog_factors = log_factors_vjp(decayed, dmemory, decay);
  if constexpr (Model::write == Write::replace) {
    const Keys e = Model::template prediction_key<Dk>(token, options);
    const Keys u = Model::template write_key<Dk>(token, options);
    const Values read = before.transpose().lazyProduct(e);
    const Values dread = dmemory.transpose().lazyProduct(u);
    dq += u * read.dot(dmean);
    Model::write_key_vjp(token, options, Keys(dmemory.lazyProduct(read)), grad, doptions);
    Model::prediction_key_vjp(token, options, Keys(before.lazyProduct(dread)), grad, doptions);
    decay_memory(dmemory, decay);
    dmemory += e.lazyProduct(dread.transpose());
  } else {
    decay_memory(dmemory, decay);
  }
  grad.query.add(dq);
  return dlog_factors;
}

}  // namespace seqbayes::detail
