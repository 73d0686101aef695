/// @file
/// Mamba-2 in its own names.
#pragma once

#include <seqbayes/layers/grid.hpp>
#include <seqbayes/scan/scan.hpp>

namespace seqbayes {

/// One head of Mamba-2's state-space duality (arXiv 2405.21060): h_t = e^{A dt} h_{t-1} + dt B x',
/// y = h' C + D x.
template <class Scalar>
struct Mamba2Inputs {
  MatrixView<Scalar> x;   ///< T x Dv.
  MatrixView<Scalar> dt;  ///< T x 1, >= 0: the step *after* bias and softplus.
  Scalar A{};             ///< < 0, the head's decay rate.
  MatrixView<Scalar> B;   ///< T x Dk; heads of a group share it.
  MatrixView<Scalar> C;   ///< T x Dk.
  Scalar D{};             ///< The skip from x to y; 0 for none.
};

/// Runs `layer` over a head given in Mamba-2's names: query C, key B, value dt x, log decay A dt.
/// Returns y, T x Dv. The state's mean is Mamba-2's state transposed.
/// @throws std::invalid_argument on bad input; the state is then as it was.
template <class Scalar, int Dk, int Dv>
Matrix<Scalar> ssd_scan(const Ssd<Scalar, Dk, Dv>& layer,
                        typename Ssd<Scalar, Dk, Dv>::State& state, const Mamba2Inputs<Scalar>& in,
                        Execution how = {}) {
  const Index length = in.x.rows();
  detail::check_field("x", Domain::finite, in.x, layer.value_dim(), length);
  detail::check_field("dt", Domain::non_negative, in.dt, 1, length);
  Matrix<Scalar> value(length, layer.value_dim());
  Vector<Scalar> log_decay(length);
  for (Index t = 0; t < length; ++t) {
    value.row(t) = (in.x.row(t).vector() * in.dt.row(t)[0]).transpose();
    log_decay[t] = in.A * in.dt.row(t)[0];
  }
  Sequence<Scalar> sequence;
  sequence.query = in.C;
  sequence.key = in.B;
  sequence.value = value;
  sequence.log_decay = log_decay;
  Matrix<Scalar> y = scan_mean(layer, state, sequence, how);
  for (Index t = 0; t < length; ++t) y.row(t) += (in.x.row(t).vector() * in.D).transpose();
  return y;
}

}  // namespace seqbayes
