/// @file
/// Several writes a token, backwards: they are a longer sequence of single writes, of which the
/// last of each token is read.
#pragma once

#include <string_view>

#include <seqbayes/gradient/backward.hpp>
#include <seqbayes/scan/several_writes.hpp>

namespace seqbayes::detail {

/// Write j of token t is token t * Writes + j of `Base`; all but the first decay nothing.
template <class Base, int Dk, int Dv, int Writes>
void scan_vjp_checked(const SeveralWrites<Base, Dk, Dv, Writes>& layer,
                      const typename Base::State& initial_state,
                      const Sequence<typename Base::Scalar>& x,
                      const Cotangent<SeveralWrites<Base, Dk, Dv, Writes>>& cotangent,
                      Execution how, Gradient<SeveralWrites<Base, Dk, Dv, Writes>>& gradient) {
  using Scalar = typename Base::Scalar;
  const Base base(layer.options());
  const Index length = x.length();

  // A field `Writes` times as wide as the base's is split; any other is the same for each write,
  // but for the decay, which is the first one's.
  const auto writes_of = [](std::string_view name) { return name == "log_decay" ? 1 : Writes; };
  const InputWidths single = base.inputs(), several = layer.inputs();
  Fields<Matrix<Scalar>> owner;
  Sequence<Scalar> expanded;
  for_each_field(
      [&](const char* name, auto, const InputWidth& one, const InputWidth& all,
          const MatrixView<Scalar>& from, Matrix<Scalar>& to, MatrixView<Scalar>& view) {
        if (one.width == 0 || from.empty()) return;
        to.setZero(length * Writes, one.width == all.width ? from.cols() : one.width);
        const bool split = one.width != all.width;
        for (Index t = 0; t < length; ++t) {
          Scalar* row = to.data() + t * Writes * to.cols();
          for (Index j = 0; j < (split ? 1 : writes_of(name)); ++j, row += from.cols()) {
            Eigen::Map<Vector<Scalar>>(row, from.cols()) = from.row(t).vector();
          }
        }
        view = to;
      },
      single, several, x, owner, expanded);

  Matrix<Scalar> mean;
  Vector<Scalar> variance;
  Cotangent<Base> inner{{}, {}, cotangent.log_evidence, cotangent.state};
  if (!cotangent.mean.empty()) {
    mean.setZero(length * Writes, layer.value_dim());
    for (Index t = 0; t < length; ++t) {
      mean.row(t * Writes + Writes - 1) = cotangent.mean.row(t).vector().transpose();
    }
    inner.mean = mean;
  }
  if (!cotangent.variance.empty()) {
    variance.setZero(length * Writes);
    for (Index t = 0; t < length; ++t) variance[t * Writes + Writes - 1] = cotangent.variance[t];
    inner.variance = variance;
  }

  const Execution per_write =
      how.chunk() > 1 ? Execution::chunked(how.chunk_of(length, 1) * Writes) : how;
  Gradient<Base> flat;
  make_gradient(base, expanded, flat);
  scan_vjp_checked(base, initial_state, expanded, inner, per_write, flat);
  for_each_field(
      [&](const char* name, auto, const Matrix<Scalar>& from, Matrix<Scalar>& to) {
        if (to.size() == 0) return;
        const Index stride = length > 0 ? from.size() / length : 0;
        const Index copies = stride == to.cols() ? 1 : writes_of(name);
        for (Index t = 0; t < length; ++t) {
          const Scalar* row = from.data() + t * stride;
          for (Index j = 0; j < copies; ++j, row += to.cols()) {
            to.row(t) += Eigen::Map<const Vector<Scalar>>(row, to.cols()).transpose();
          }
        }
      },
      flat, gradient);
  gradient.initial_state = std::move(flat.initial_state);
  static_cast<LayerOptionGradient<Scalar>&>(gradient) = flat;
}

}  // namespace seqbayes::detail
