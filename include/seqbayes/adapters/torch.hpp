/// @file
/// Layers in libtorch: functions of tensors [B, T, H, D] with derivatives, modules with the
/// projections that these layers have in practice, and a language model that reads checkpoints in
/// flash-linear-attention's layout. Needs libtorch and, for checkpoints, nlohmann-json.
///
///     namespace st = seqbayes::libtorch;
///     st::Inputs x;                       // a tensor [B, T, H, width] for each field
///     x.query = q; x.key = k; x.value = v; x.log_decay = g; x.write_strength = beta;
///     st::State state;                    // empty: the start
///     const seqbayes::GatedDeltaNet<float> layer({.key_dim = 64, .value_dim = 64});
///     auto o = st::scan_mean(layer, state, x);   // [B, T, H, 64]; state advanced
#pragma once

#include <seqbayes/adapters/torch/language_model.hpp>
#include <seqbayes/adapters/torch/mixer.hpp>
#include <seqbayes/adapters/torch/modules.hpp>
#include <seqbayes/adapters/torch/scan.hpp>

/// Layers in libtorch: functions of tensors, modules, language models.
namespace seqbayes::libtorch {}
