/// @file
/// What a layer is: the concept that every layer, and a user's own, satisfies.
#pragma once

#include <concepts>

#include <seqbayes/sequence/sequence.hpp>

namespace seqbayes {

/// A recurrent layer: parameters in the object, everything that changes in its `State`.
///
/// - `inputs()` says which fields of a sequence it reads, and their widths;
/// - `step(state, token)` advances the state by one token and returns an aggregate whose `.mean`
///   holds the value_dim() outputs of that token.
///
/// Used if it is there: `check_state(state)`, which throws; `step_mean(state, token)`, which leaves
/// out what costs more than the mean; and `advance(state, token)`, which leaves out the output.
/// docs/writing-a-layer.md has a complete layer.
template <class L>
concept SequenceLayer = std::copyable<typename L::State> &&
    requires(const L layer, typename L::State state, const Token<typename L::Scalar> token) {
  { layer.key_dim() } -> std::convertible_to<Index>;
  { layer.value_dim() } -> std::convertible_to<Index>;
  { layer.inputs() } -> std::convertible_to<InputWidths>;
  { layer.initial_state() } -> std::same_as<typename L::State>;
  { layer.step(state, token).mean.size() } -> std::convertible_to<Index>;
};

/// A layer that knows how sure it is: `step` also returns `.variance` and `.log_evidence`. What it
/// may return beside them, see `FilterLayer`.
template <class L>
concept ProbabilisticLayer = SequenceLayer<L> &&
    requires(const L layer, typename L::State state, const Token<typename L::Scalar> token) {
  { layer.step(state, token).variance } -> std::convertible_to<typename L::Scalar>;
  { layer.step(state, token).log_evidence } -> std::convertible_to<typename L::Scalar>;
};

/// A probabilistic layer of one innovation a token: `step` also returns `.innovation_variance` and
/// `.innovation_norm2`, as `StepOutput` has them.
template <class L>
concept FilterLayer = ProbabilisticLayer<L> &&
    requires(const L layer, typename L::State state, const Token<typename L::Scalar> token) {
  { layer.step(state, token).innovation_variance } -> std::convertible_to<typename L::Scalar>;
  { layer.step(state, token).innovation_norm2 } -> std::convertible_to<typename L::Scalar>;
};

namespace detail {

/// Lets the layer refuse a state, if it checks states.
template <SequenceLayer L>
void check_state_of(const L& layer, const typename L::State& state) {
  if constexpr (requires { layer.check_state(state); }) layer.check_state(state);
}

}  // namespace detail
}  // namespace seqbayes
