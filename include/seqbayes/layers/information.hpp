/// @file
/// Layers that keep information (precision) instead of covariance.
#pragma once

#include <seqbayes/memory/kalman_linear_attention.hpp>
#include <seqbayes/memory/mesa_net.hpp>
