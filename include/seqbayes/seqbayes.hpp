/// @file
/// The whole core of seqbayes; needs Eigen alone. Optional parts lie in seqbayes/adapters.
#pragma once

#include <seqbayes/concepts.hpp>
#include <seqbayes/decoder/heads.hpp>
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
#include <seqbayes/layers/evidence_mixture.hpp>
#include <seqbayes/layers/grid.hpp>
#include <seqbayes/layers/kalman_linear_attention.hpp>
#include <seqbayes/layers/learned_noise.hpp>
#include <seqbayes/layers/mesa_net.hpp>
#include <seqbayes/layers/student_t.hpp>
#include <seqbayes/scan/mamba2.hpp>
#include <seqbayes/scan/ragged.hpp>
#include <seqbayes/scan/scan.hpp>
#include <seqbayes/scan/threads.hpp>
#include <seqbayes/segments/scan_vjp.hpp>
#include <seqbayes/version.hpp>
#ifdef SEQBAYES_HAS_INSTANCES
#include <seqbayes/instances.hpp>
#endif

/// The layers, what they read and yield, and the algorithms over them.
namespace seqbayes {}

/// Closed forms of retrieval dynamics, calibration and noise fits.
namespace seqbayes::dynamics {}
