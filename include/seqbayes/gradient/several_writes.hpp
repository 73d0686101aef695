/// @file
/// Several writes a token, backwards: they are a longer sequence of single writes, of which the
/// last of each token is read.
#pragma once

#include <type_traits>
#include <utility>

#include <seqbayes/gradient/backward.hpp>
#include <seqbayes/layers/several_writes.hpp>

namespace seqbayes::detail {

/// The sequence's gradients from those of the single writes.
template <class L, class Scalar>
void fold_writes(const L& layer, const Fields<Matrix<Scalar>>& single,
                 Fields<Matrix<Scalar>>& gradient) {
  for_each_share(
      layer,
      [](Share share, const Matrix<Scalar>& from, Matrix<Scalar>& to) {
        for (Index t = 0; t < to.rows(); ++t) {
          for (Index j = 0; j < (share == Share::first ? 1 : L::writes); ++j) {
            const Index at = share == Share::split ? j * from.cols() : 0;
            to.row(t).segment(at, from.cols()) += from.row(t * L::writes + j);
          }
        }
      },
      single, gradient);
}

template <class Base, int Writes>
struct VjpScratch<SeveralWrites<Base, Writes>> {
  using Scalar = typename Base::Scalar;
  VjpScratch<Base> single;
  Fields<Matrix<Scalar>> inputs;
  Matrix<Scalar> mean;
  Vector<Scalar> variance;
  Gradient<Base> gradient;
};

template <class Base, int Writes>
void scan_vjp_checked(const SeveralWrites<Base, Writes>& layer,
                      const typename Base::State& initial_state,
                      const Sequence<typename Base::Scalar>& x,
                      const Cotangent<SeveralWrites<Base, Writes>>& cotangent, Execution how,
                      VjpScratch<SeveralWrites<Base, Writes>>& scratch,
                      Gradient<SeveralWrites<Base, Writes>>& gradient) {
  static_assert(std::is_empty_v<OptionGradient<Base>>,
                "seqbayes: scan_vjp of several writes a token has no derivatives with respect to "
                "options of the base layer's own");
  using Scalar = typename Base::Scalar;
  const Index length = x.length();
  const Sequence<Scalar> writes = expand_writes(layer, x, scratch.inputs);

  Cotangent<Base> inner{{}, {}, cotangent.log_evidence, cotangent.state};
  if (!cotangent.mean.empty()) {
    scratch.mean.setZero(length * Writes, layer.value_dim());
    for (Index t = 0; t < length; ++t) {
      scratch.mean.row(t * Writes + Writes - 1) = cotangent.mean.row(t).vector().transpose();
    }
    inner.mean = scratch.mean;
  }
  if (!cotangent.variance.empty()) {
    scratch.variance.setZero(length * Writes);
    for (Index t = 0; t < length; ++t) {
      scratch.variance[t * Writes + Writes - 1] = cotangent.variance[t];
    }
    inner.variance = scratch.variance;
  }

  const Execution per_write =
      how.chunk() > 1 ? Execution::chunked(how.chunk_of(length, 1) * Writes) : how;
  Gradient<Base>& single = scratch.gradient;
  make_gradient(layer.base(), writes, single);
  scan_vjp_checked(layer.base(), initial_state, writes, inner, per_write, scratch.single, single);
  fold_writes<SeveralWrites<Base, Writes>, Scalar>(layer, single, gradient);
  gradient.initial_state = std::move(single.initial_state);
  static_cast<LayerOptionGradient<Scalar>&>(gradient) = single;
}

}  // namespace seqbayes::detail
