/// @file
/// Relatives of the delta rule that write through the same memory pass (model/model.hpp).
#pragma once

#include <Eigen/Core>

#include <seqbayes/layers/layer.hpp>
#include <seqbayes/layers/several_writes.hpp>

namespace seqbayes {

/// Comba (Hu et al. 2025, arXiv 2506.02475).
template <class Scalar, int Dk = Eigen::Dynamic, int Dv = Eigen::Dynamic>
using Comba = Layer<Scalar, Dk, Dv, SeparateEraseKey, ScalarDecay, ResetCovariance>;

/// Gated DeltaNet-2 (Hatamizadeh et al. 2026, arXiv 2605.22791), as in flash-linear-attention's
/// `gdn2`.
template <class Scalar, int Dk = Eigen::Dynamic, int Dv = Eigen::Dynamic>
using GatedDeltaNet2 = Layer<Scalar, Dk, Dv, GatedErase, ChannelDecay, NoCovariance>;

/// Gated DeltaProduct (Siems et al. 2025, arXiv 2502.10297): one decay, then `Writes` delta-rule
/// writes, then one read a token.
template <class Scalar, int Writes, int Dk = Eigen::Dynamic, int Dv = Eigen::Dynamic>
using GatedDeltaProduct =
    SeveralWrites<Layer<Scalar, Dk, Dv, AssociativeRegression, ScalarDecay, ResetCovariance>,
                  Writes>;

/// Preconditioned DeltaNet, gated (Tumma et al. 2026, arXiv 2604.21100), as in
/// flash-linear-attention. Query and key are of unit norm; the caller normalises them.
template <class Scalar, int Dk = Eigen::Dynamic, int Dv = Eigen::Dynamic>
using PreconditionedGatedDeltaNet =
    Layer<Scalar, Dk, Dv, AssociativeRegression, ScalarDecay, PreconditionedReset>;

/// Diagonal plus low rank, the general linear recurrence of rank one.
template <class Scalar, int Dk = Eigen::Dynamic, int Dv = Eigen::Dynamic>
using Dplr = Layer<Scalar, Dk, Dv, DiagonalPlusLowRank, ChannelDecay, NoCovariance>;

/// RWKV-7 (Peng et al. 2025, arXiv 2503.14456).
template <class Scalar, int Dk = Eigen::Dynamic, int Dv = Eigen::Dynamic>
using Rwkv7 = Layer<Scalar, Dk, Dv, GatedRemoval, ChannelDecay, NoCovariance>;

}  // namespace seqbayes
