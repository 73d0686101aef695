// The layers that are timed, in groups that compile side by side.
#pragma once

#include "run.hpp"

namespace seqbayes::benchmarks {

void add_float_64(Cases& cases);
void add_float_128(Cases& cases);
void add_float_other(Cases& cases);
void add_double(Cases& cases);
void add_family(Cases& cases);

/// Every layer of the grid. Widths `dk` and `dv` are those of the type, or the dynamic ones.
template <class Scalar, int Dk, int Dv>
void add_grid(Cases& cases, Index dk = Dk, Index dv = Dv) {
  add_case<LinearAttention<Scalar, Dk, Dv>>(cases, "LinearAttention", dk, dv);
  add_case<Retention<Scalar, Dk, Dv>>(cases, "Retention", dk, dv);
  add_case<Ssd<Scalar, Dk, Dv>>(cases, "Ssd", dk, dv);
  add_case<GatedLinearAttention<Scalar, Dk, Dv>>(cases, "GatedLinearAttention", dk, dv);
  add_case<DeltaNet<Scalar, Dk, Dv>>(cases, "DeltaNet", dk, dv);
  add_case<GatedDeltaNet<Scalar, Dk, Dv>>(cases, "GatedDeltaNet", dk, dv);
  add_case<KimiDeltaAttention<Scalar, Dk, Dv>>(cases, "KimiDeltaAttention", dk, dv);
  add_case<IsotropicKalmanDeltaNet<Scalar, Dk, Dv>>(cases, "IsotropicKalmanDeltaNet", dk, dv);
  add_case<DiagonalKalmanDeltaNet<Scalar, Dk, Dv>>(cases, "DiagonalKalmanDeltaNet", dk, dv);
  add_case<BayesianLayer<Scalar, Dk, Dv>>(cases, "BayesianLayer", dk, dv);
  add_case<BayesianLayer<Scalar, Dk, Dv, ChannelDecay>>(cases, "ChannelBayesianLayer", dk, dv);
}

/// Two layers stand for all: no covariance beside the memory, and a full one.
template <class Scalar, int Dk, int Dv>
void add_two(Cases& cases, Index dk = Dk, Index dv = Dv) {
  add_case<GatedDeltaNet<Scalar, Dk, Dv>>(cases, "GatedDeltaNet", dk, dv);
  add_case<BayesianLayer<Scalar, Dk, Dv>>(cases, "BayesianLayer", dk, dv);
}

/// The relatives of the delta rule, and the layers in information form.
template <class Scalar, int Dk, int Dv>
void add_delta_family(Cases& cases, Index dk = Dk, Index dv = Dv) {
  add_case<Comba<Scalar, Dk, Dv>>(cases, "Comba", dk, dv);
  add_case<GatedDeltaNet2<Scalar, Dk, Dv>>(cases, "GatedDeltaNet2", dk, dv);
  add_case<PreconditionedGatedDeltaNet<Scalar, Dk, Dv>>(cases, "PreconditionedGatedDeltaNet", dk,
                                                        dv);
  add_case<Dplr<Scalar, Dk, Dv>>(cases, "Dplr", dk, dv);
  add_case<Rwkv7<Scalar, Dk, Dv>>(cases, "Rwkv7", dk, dv);
  add_case<GatedDeltaProduct<Scalar, 2, Dk, Dv>>(cases, "GatedDeltaProduct2", dk, dv);
  add_case<KalmanLinearAttention<Scalar, Dk, Dv>>(cases, "KalmanLinearAttention", dk, dv);
  add_case<MesaNet<Scalar, Dk, Dv>>(cases, "MesaNet", dk, dv);
}

}  // namespace seqbayes::benchmarks
