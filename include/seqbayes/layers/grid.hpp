/// @file
/// The named layers of the grid *design model x decay x covariance*.
///
/// Scalar first, then key width and value width (default `Eigen::Dynamic`). Any other point of the
/// grid is `Layer<Scalar, Dk, Dv, Model, Decay, Covariance>`.
#pragma once

#include <Eigen/Core>
#include <cmath>

#include <seqbayes/layers/layer.hpp>

namespace seqbayes {

/// Linear attention without normaliser (Katharopoulos et al. 2020, arXiv 2006.16236).
template <class Scalar, int Dk = Eigen::Dynamic, int Dv = Eigen::Dynamic>
using LinearAttention = Layer<Scalar, Dk, Dv, LatentInput, NoDecay, NoCovariance>;

/// RetNet's retention (Sun et al. 2023, arXiv 2307.08621), with the option `log_decay`.
template <class Scalar, int Dk = Eigen::Dynamic, int Dv = Eigen::Dynamic>
using Retention = Layer<Scalar, Dk, Dv, LatentInput, ConstantDecay, NoCovariance>;

/// ln(1 - 2^(-5 - head)): RetNet's decay of head 0, 1, ...
template <class Scalar>
Scalar retention_log_decay(int head) {
  return std::log1p(-std::exp2(Scalar(-5 - head)));
}

/// Mamba-2's state-space duality (Dao and Gu 2024, arXiv 2405.21060), also scalar-gated linear
/// attention. See `ssd_scan` for Mamba-2's own names.
template <class Scalar, int Dk = Eigen::Dynamic, int Dv = Eigen::Dynamic>
using Ssd = Layer<Scalar, Dk, Dv, LatentInput, ScalarDecay, NoCovariance>;

/// GLA (Yang et al. 2024, arXiv 2312.06635).
template <class Scalar, int Dk = Eigen::Dynamic, int Dv = Eigen::Dynamic>
using GatedLinearAttention = Layer<Scalar, Dk, Dv, LatentInput, ChannelDecay, NoCovariance>;

/// DeltaNet (Schlag et al. 2021, arXiv 2102.11174; Yang et al. 2024, arXiv 2406.06484).
template <class Scalar, int Dk = Eigen::Dynamic, int Dv = Eigen::Dynamic>
using DeltaNet = Layer<Scalar, Dk, Dv, AssociativeRegression, NoDecay, ResetCovariance>;

/// Gated DeltaNet (Yang et al. 2024, arXiv 2412.06464).
template <class Scalar, int Dk = Eigen::Dynamic, int Dv = Eigen::Dynamic>
using GatedDeltaNet = Layer<Scalar, Dk, Dv, AssociativeRegression, ScalarDecay, ResetCovariance>;

/// KDA (Kimi Linear, 2025, arXiv 2510.26692).
template <class Scalar, int Dk = Eigen::Dynamic, int Dv = Eigen::Dynamic>
using KimiDeltaAttention =
    Layer<Scalar, Dk, Dv, AssociativeRegression, ChannelDecay, ResetCovariance>;

/// Kalman delta net with one variance for all directions (Bui et al. 2026, arXiv 2609.07816).
template <class Scalar, int Dk = Eigen::Dynamic, int Dv = Eigen::Dynamic>
using IsotropicKalmanDeltaNet =
    Layer<Scalar, Dk, Dv, AssociativeRegression, ChannelDecay, IsotropicCovariance>;

/// Kalman delta net with one variance for each key channel (Bui et al. 2026, arXiv 2609.07816).
template <class Scalar, int Dk = Eigen::Dynamic, int Dv = Eigen::Dynamic>
using DiagonalKalmanDeltaNet =
    Layer<Scalar, Dk, Dv, AssociativeRegression, ChannelDecay, DiagonalCovariance>;

/// The Bayesian Layer (Dowling, Jeon, Savin and Park 2026, arXiv 2605.31163): the exact filter of
/// associative regression. `Decay` is `ScalarDecay`, `ChannelDecay` or `NoDecay`.
template <class Scalar, int Dk = Eigen::Dynamic, int Dv = Eigen::Dynamic, class Decay = ScalarDecay>
using BayesianLayer = Layer<Scalar, Dk, Dv, AssociativeRegression, Decay, FullCovariance>;

}  // namespace seqbayes
