/// @file
/// The vector-Jacobian product of `scan`: derivatives of a loss by all inputs of a run, from its
/// derivatives by the outputs.
#pragma once

#include <seqbayes/gradient/backward.hpp>
#include <seqbayes/gradient/several_writes.hpp>
#include <seqbayes/scan/threads.hpp>

namespace seqbayes {
namespace detail {

template <class L>
void check_vjp_call(const L& layer, const typename L::State& initial_state,
                    const Sequence<typename L::Scalar>& x, const Cotangent<L>& cotangent,
                    Index checkpoint_interval) {
  check_call(layer, initial_state, x);
  check_cotangent(layer, x, cotangent);
  if (checkpoint_interval < 0) fail("the checkpoint interval must be >= 0");
}

template <class L>
Gradient<L> scan_vjp_of_checked(const L& layer, const typename L::State& initial_state,
                                const Sequence<typename L::Scalar>& x,
                                const Cotangent<L>& cotangent, Index checkpoint_interval) {
  Gradient<L> gradient;
  make_gradient(layer, x, gradient);
  const Index interval =
      checkpoint_interval > 0 ? checkpoint_interval : default_checkpoint_interval(x.length());
  scan_vjp_checked(layer, initial_state, x, cotangent, interval, gradient);
  return gradient;
}

}  // namespace detail

/// Derivatives of a loss by everything that a `scan` of `x` from `initial_state` reads, given its
/// derivatives by the results of that scan (docs/gradients.md).
///
/// The run is repeated forward, keeping the state every `checkpoint_interval` tokens (0: about
/// sqrt(T)), and then taken backward from checkpoint to checkpoint; `checkpoint_interval` states
/// more are kept at a time. Recurrences are never inverted.
/// @throws std::invalid_argument on bad input (see `check_inputs`), and naming `cotangent.mean` and
/// so on where a cotangent has the wrong shape, isn't finite, or is of something that the layer
/// doesn't yield.
template <SequenceLayer L>
Gradient<L> scan_vjp(const L& layer, const typename L::State& initial_state,
                     const Sequence<typename L::Scalar>& x,
                     const std::type_identity_t<Cotangent<L>>& cotangent,
                     Index checkpoint_interval = 0) {
  detail::check_vjp_call(layer, initial_state, x, cotangent, checkpoint_interval);
  return detail::scan_vjp_of_checked(layer, initial_state, x, cotangent, checkpoint_interval);
}

/// The same for item i = 0, 1, ... of a batch, as in `scan`: `heads[i % heads.size()]` from
/// `initial_states[i]` over `inputs[i]`, with `cotangents[i]`, into `gradients[i]`. Results are the
/// same, bit by bit, for any executor.
/// @throws std::invalid_argument on bad input, before any gradient is touched.
template <class Executor, std::ranges::random_access_range Heads,
          std::ranges::random_access_range States, std::ranges::random_access_range Inputs,
          std::ranges::random_access_range Cotangents, std::ranges::random_access_range Gradients>
requires SequenceLayer<std::ranges::range_value_t<Heads>>
void scan_vjp(const Executor& executor, const Heads& heads, const States& initial_states,
              const Inputs& inputs, const Cotangents& cotangents, Gradients&& gradients,
              Index checkpoint_interval = 0) {
  const auto size = [](const auto& range) { return static_cast<Index>(std::ranges::size(range)); };
  const Index items = size(initial_states);
  if (size(inputs) != items || size(cotangents) != items || size(gradients) != items) {
    detail::fail("a batch needs one state, input, cotangent and gradient an item");
  }
  detail::for_each_item(
      executor, heads, items,
      [&](const auto& head, std::size_t i) {
        detail::check_vjp_call(head, initial_states[i], inputs[i], cotangents[i],
                               checkpoint_interval);
      },
      [&](const auto& head, std::size_t i) {
        gradients[i] = detail::scan_vjp_of_checked(head, initial_states[i], inputs[i],
                                                   cotangents[i], checkpoint_interval);
      });
}

}  // namespace seqbayes
