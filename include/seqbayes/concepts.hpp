/// @file
/// The concepts of the library: what a layer is, `SequenceLayer`, `ProbabilisticLayer` and
/// `FilterLayer`, and what the three axes of the grid are made of, `DesignModel`, `DecayKind` and
/// `CovariancePolicy`, with what a policy may have beside, `DifferentiablePolicy`, `GroupPolicy`
/// and `DifferentiableGroupPolicy`. Each is explained where it is defined; docs/writing-a-layer.md
/// uses them.
#pragma once

#include <seqbayes/covariance/group.hpp>
#include <seqbayes/covariance/policy.hpp>
#include <seqbayes/decay/decay.hpp>
#include <seqbayes/model/model.hpp>
#include <seqbayes/sequence/concept.hpp>
