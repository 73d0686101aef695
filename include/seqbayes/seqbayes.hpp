/// @file
/// The whole core of seqbayes; needs Eigen alone. Optional parts lie in seqbayes/adapters.
#pragma once

#include <seqbayes/dynamics/calibration.hpp>
#include <seqbayes/dynamics/change_point.hpp>
#include <seqbayes/dynamics/collision.hpp>
#include <seqbayes/dynamics/constant_gain.hpp>
#include <seqbayes/dynamics/drift_retention.hpp>
#include <seqbayes/dynamics/marchenko_pastur.hpp>
#include <seqbayes/dynamics/recall.hpp>
#include <seqbayes/dynamics/regime.hpp>
#include <seqbayes/gradient/scan_vjp.hpp>
#include <seqbayes/layers/delta_family.hpp>
#include <seqbayes/layers/grid.hpp>
#include <seqbayes/layers/information.hpp>
#include <seqbayes/layers/ssd.hpp>
#include <seqbayes/scan/scan.hpp>
#include <seqbayes/scan/threads.hpp>
