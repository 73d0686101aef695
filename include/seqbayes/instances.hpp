/// @file
/// Scans and gradients that are compiled once and linked, instead of in every file that calls them:
/// those of the named layers with dynamic widths in float and double, in the CMake target
/// `seqbayes::instances`, and those of your own layers by the same macros.
///
/// A program that links the target has this header from `seqbayes.hpp`. For a layer of your own,
/// say in a header, behind the layer,
///
///     SEQBAYES_FILTER_INSTANCES(extern template, seqbayes::BayesianLayer<float, 64, 64>)
///
/// and the same with `template` for `extern template` in one source file.
#pragma once

#include <Eigen/Core>

#include <seqbayes/seqbayes.hpp>

#define SEQBAYES_SCAN_INSTANCE(how, probabilistic, ...)                                        \
  how void seqbayes::detail::run<probabilistic>(                                               \
      const __VA_ARGS__&, __VA_ARGS__::State&, const seqbayes::Sequence<__VA_ARGS__::Scalar>&, \
      seqbayes::Execution, seqbayes::Workspace<__VA_ARGS__::Scalar>&,                          \
      const seqbayes::detail::Results<__VA_ARGS__::Scalar>&);

/// A layer without variance: its scan and the derivatives of it.
#define SEQBAYES_INSTANCES(how, ...)                                                           \
  SEQBAYES_SCAN_INSTANCE(how, false, __VA_ARGS__)                                              \
  how void seqbayes::detail::scan_vjp_checked(                                                 \
      const __VA_ARGS__&, const __VA_ARGS__::State&,                                           \
      const seqbayes::Sequence<__VA_ARGS__::Scalar>&, const seqbayes::Cotangent<__VA_ARGS__>&, \
      seqbayes::Execution, seqbayes::detail::VjpScratch<__VA_ARGS__>&,                         \
      seqbayes::Gradient<__VA_ARGS__>&);

/// A filter, with variance and evidence.
#define SEQBAYES_FILTER_INSTANCES(how, ...)      \
  SEQBAYES_SCAN_INSTANCE(how, true, __VA_ARGS__) \
  SEQBAYES_INSTANCES(how, __VA_ARGS__)

/// The summary of a layer whose tokens compose (segments/summarise.hpp).
#define SEQBAYES_SUMMARY_INSTANCE(how, ...)                               \
  how seqbayes::Segment<__VA_ARGS__> seqbayes::detail::summarise_checked( \
      const __VA_ARGS__&, const seqbayes::Sequence<__VA_ARGS__::Scalar>&);

#define SEQBAYES_COMPOSABLE_INSTANCES(how, ...) \
  SEQBAYES_INSTANCES(how, __VA_ARGS__)          \
  SEQBAYES_SUMMARY_INSTANCE(how, __VA_ARGS__)
#define SEQBAYES_COMPOSABLE_FILTER_INSTANCES(how, ...) \
  SEQBAYES_FILTER_INSTANCES(how, __VA_ARGS__)          \
  SEQBAYES_SUMMARY_INSTANCE(how, __VA_ARGS__)

/// The named layers.
#define SEQBAYES_GRID_INSTANCES(how, S)                                                   \
  SEQBAYES_COMPOSABLE_INSTANCES(how, seqbayes::LinearAttention<S>)                        \
  SEQBAYES_COMPOSABLE_INSTANCES(how, seqbayes::Retention<S>)                              \
  SEQBAYES_COMPOSABLE_INSTANCES(how, seqbayes::Ssd<S>)                                    \
  SEQBAYES_COMPOSABLE_INSTANCES(how, seqbayes::GatedLinearAttention<S>)                   \
  SEQBAYES_COMPOSABLE_FILTER_INSTANCES(how, seqbayes::DeltaNet<S>)                        \
  SEQBAYES_COMPOSABLE_FILTER_INSTANCES(how, seqbayes::GatedDeltaNet<S>)                   \
  SEQBAYES_COMPOSABLE_FILTER_INSTANCES(how, seqbayes::KimiDeltaAttention<S>)              \
  SEQBAYES_FILTER_INSTANCES(how, seqbayes::IsotropicKalmanDeltaNet<S>)                    \
  SEQBAYES_FILTER_INSTANCES(how, seqbayes::DiagonalKalmanDeltaNet<S>)                     \
  SEQBAYES_COMPOSABLE_FILTER_INSTANCES(how, seqbayes::BayesianLayer<S>)                   \
  SEQBAYES_COMPOSABLE_FILTER_INSTANCES(                                                   \
      how, seqbayes::BayesianLayer<S, Eigen::Dynamic, Eigen::Dynamic, seqbayes::NoDecay>) \
  SEQBAYES_COMPOSABLE_FILTER_INSTANCES(                                                   \
      how, seqbayes::BayesianLayer<S, Eigen::Dynamic, Eigen::Dynamic, seqbayes::ChannelDecay>)
#define SEQBAYES_FAMILY_INSTANCES(how, S)                           \
  SEQBAYES_COMPOSABLE_INSTANCES(how, seqbayes::Comba<S>)            \
  SEQBAYES_COMPOSABLE_INSTANCES(how, seqbayes::GatedDeltaNet2<S>)   \
  SEQBAYES_COMPOSABLE_INSTANCES(how, seqbayes::Dplr<S>)             \
  SEQBAYES_COMPOSABLE_INSTANCES(how, seqbayes::Rwkv7<S>)            \
  SEQBAYES_INSTANCES(how, seqbayes::PreconditionedGatedDeltaNet<S>) \
  SEQBAYES_INSTANCES(how, seqbayes::MesaNet<S>)                     \
  SEQBAYES_INSTANCES(how, seqbayes::KalmanLinearAttention<S>)

SEQBAYES_GRID_INSTANCES(extern template, float)
SEQBAYES_GRID_INSTANCES(extern template, double)
SEQBAYES_FAMILY_INSTANCES(extern template, float)
SEQBAYES_FAMILY_INSTANCES(extern template, double)
