/// @file
/// The memory pass backwards: derivatives through one token's decay, write and read.
///
/// With dS the derivative by S_t from all that comes later, nu = y - \bar S' e and o = S_t' q
/// (docs/gradients.md):
///
///     dS += q do',  dq = S_t do,  dnu = dS' w,  dw = dS nu,  dy = dnu,  de = -\bar S dnu,
///     d\bar S = dS - e dnu',  dg = rowsum(d\bar S * \bar S),  dS_{t-1} = D d\bar S.
#pragma once

#include <seqbayes/gradient/gradient.hpp>
#include <seqbayes/memory/memory.hpp>

namespace seqbayes {

/// How the fields that a design model reads get their derivatives from those of what it writes (y),
/// reads (e) and, where it replaces, writes of that (u). Specialise it beside a model of your own.
template <class Model>
struct ModelVjp {
  static_assert(!std::is_same_v<Model, Model>,
                "seqbayes: scan_vjp has no derivatives of this design model. Specialise "
                "seqbayes::ModelVjp<Model> (gradient/memory.hpp).");
};

template <>
struct ModelVjp<LatentInput> {
  template <class Scalar, class Dy>
  static void written(const Token<Scalar>&, const Dy& dy, detail::TokenGradient<Scalar>& grad) {
    grad.value.add(dy);
  }
};

template <>
struct ModelVjp<AssociativeRegression> : ModelVjp<LatentInput> {
  template <class Scalar, class De>
  static void erase(const Token<Scalar>&, const De& de, detail::TokenGradient<Scalar>& grad) {
    grad.key.add(de);
  }
};

template <>
struct ModelVjp<SeparateEraseKey> : ModelVjp<LatentInput> {
  template <class Scalar, class De>
  static void erase(const Token<Scalar>&, const De& de, detail::TokenGradient<Scalar>& grad) {
    grad.erase_key.add(de);
  }
};

template <>
struct ModelVjp<GatedErase> {
  template <class Scalar, class Dy>
  static void written(const Token<Scalar>& token, const Dy& dy,
                      detail::TokenGradient<Scalar>& grad) {
    constexpr int Dv = Dy::SizeAtCompileTime;
    grad.value.add(dy.cwiseProduct(token.value_gate.template vector<Dv>()));
    grad.value_gate.add(dy.cwiseProduct(token.value.template vector<Dv>()));
  }
  template <class Scalar, class De>
  static void erase(const Token<Scalar>& token, const De& de, detail::TokenGradient<Scalar>& grad) {
    constexpr int Dk = De::SizeAtCompileTime;
    grad.key.add(de.cwiseProduct(token.erase_gate.template vector<Dk>()));
    grad.erase_gate.add(de.cwiseProduct(token.key.template vector<Dk>()));
  }
};

template <>
struct ModelVjp<DiagonalPlusLowRank> : ModelVjp<SeparateEraseKey> {
  template <class Scalar, class Du>
  static void erase_write(const Token<Scalar>&, const Du& du, detail::TokenGradient<Scalar>& grad) {
    grad.erase_write.add(du);
  }
};

template <>
struct ModelVjp<GatedRemoval> : ModelVjp<SeparateEraseKey> {
  template <class Scalar, class Du>
  static void erase_write(const Token<Scalar>& token, const Du& du,
                          detail::TokenGradient<Scalar>& grad) {
    constexpr int Dk = Du::SizeAtCompileTime;
    grad.erase_key.add(-du.cwiseProduct(token.erase_gate.template vector<Dk>()));
    grad.erase_gate.add(-du.cwiseProduct(token.erase_key.template vector<Dk>()));
  }
};

namespace detail {

/// nu of one token: y - \bar S' e, or y where nothing is corrected. `decay`: Dk factors.
template <class Model, class Memory, class Scalar, int Dk>
auto innovation_of(const Memory& before, const Vector<Scalar, Dk>& decay,
                   const Token<Scalar>& token) {
  constexpr int Dv = Memory::ColsAtCompileTime;
  Vector<Scalar, Dv> nu = Model::template written<Dv>(token);
  if constexpr (Model::write == Write::correct) {
    const Vector<Scalar, Dk> e = Model::template erase<Dk>(token).cwiseProduct(decay);
    nu -= before.transpose().lazyProduct(e);
  }
  return nu;
}

/// One token backwards. `before` is S_{t-1}; `dmemory` holds dS_t and gets dS_{t-1}; `dmean` is do;
/// `dnu` is what the evidence adds to dnu; `dgain` and `dlog_decay` (Dk) are results.
template <class Model, class Memory, class DMemory, class Scalar, int Dk, class DMean, class Dnu>
void write_and_read_vjp(const Memory& before, const Vector<Scalar, Dk>& decay,
                        const Vector<Scalar, Dk>& gain, const Token<Scalar>& token,
                        const DMean& dmean, const Dnu& dnu_of_evidence, DMemory& dmemory,
                        Vector<Scalar, Dk>& dgain, Vector<Scalar, Dk>& dlog_decay,
                        TokenGradient<Scalar>& grad) {
  constexpr int Dv = Memory::ColsAtCompileTime;
  using Keys = Vector<Scalar, Dk>;
  using Values = Vector<Scalar, Dv>;
  using Vjp = ModelVjp<Model>;
  const auto q = token.query.template vector<Dk>();
  const Matrix<Scalar> decayed = decay.asDiagonal() * before;  // \bar S
  const Values nu = innovation_of<Model>(before, decay, token);

  Keys dq = decayed.lazyProduct(dmean) + gain * nu.dot(dmean);
  dmemory += q.lazyProduct(dmean.transpose());
  const Values dnu = dmemory.transpose().lazyProduct(gain) + dnu_of_evidence;
  dgain = dmemory.lazyProduct(nu);
  Vjp::written(token, dnu, grad);
  if constexpr (Model::write == Write::correct) {
    const Keys e = Model::template erase<Dk>(token);
    Vjp::erase(token, Keys(-decayed.lazyProduct(dnu)), grad);
    dmemory -= e.lazyProduct(dnu.transpose());
  }
  dlog_decay = dmemory.cwiseProduct(decayed).rowwise().sum();
  if constexpr (Model::write == Write::replace) {
    const Keys e = Model::template erase<Dk>(token);
    const Keys u = Model::template erase_write<Dk>(token);
    const Values read = before.transpose().lazyProduct(e);
    const Values dread = dmemory.transpose().lazyProduct(u);
    dq += u * read.dot(dmean);
    Vjp::erase_write(token, Keys(dmemory.lazyProduct(read)), grad);
    Vjp::erase(token, Keys(before.lazyProduct(dread)), grad);
    dmemory.array().colwise() *= decay.array();
    dmemory += e.lazyProduct(dread.transpose());
  } else {
    dmemory.array().colwise() *= decay.array();
  }
  grad.query.add(dq);
}

}  // namespace detail
}  // namespace seqbayes
