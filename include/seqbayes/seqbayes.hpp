/// @file
/// The whole core of seqbayes; needs Eigen alone. Optional parts lie in seqbayes/adapters.
#pragma once

#include <seqbayes/concepts.hpp>
#include <seqbayes/dynamics/change_point.hpp>
#include <seqbayes/dynamics/collision.hpp>
#include <seqbayes/dynamics/constant_gain.hpp>
#include <seqbayes/dynamics/drift_retention.hpp>
#include <seqbayes/dynamics/marchenko_pastur.hpp>
#include <seqbayes/dynamics/recall.hpp>
#include <seqbayes/gradient/scan_vjp.hpp>
#include <seqbayes/inference/calibration.hpp>
#include <seqbayes/inference/regime.hpp>
#include <seqbayes/layers/delta_family.hpp>
#include <seqbayes/layers/grid.hpp>
#include <seqbayes/layers/kalman_linear_attention.hpp>
#include <seqbayes/layers/mesa_net.hpp>
#include <seqbayes/scan/mamba2.hpp>
#include <seqbayes/scan/scan.hpp>
#include <seqbayes/scan/threads.hpp>
