/// @file
/// The vector-Jacobian product of `scan`: derivatives of a loss by all inputs of a run, from its
/// derivatives by the outputs.
#pragma once

#include <seqbayes/gradient/backward.hpp>
#include <seqbayes/gradient/information.hpp>
#include <seqbayes/gradient/several_writes.hpp>
#include <seqbayes/scan/threads.hpp>

namespace seqbayes {
namespace detail {

template <class L>
void check_vjp_call(const L& layer, const typename L::State& initial_state,
                    const Sequence<typename L::Scalar>& x, const Cotangent<L>& cotangent,
                    const Gradient<L>& gradient) {
  using Scalar = typename L::Scalar;
  check_call(layer, initial_state, x);
  check_cotangent(layer, x, cotangent);
  const MatrixView<Scalar> variance(cotangent.variance.data(), cotangent.variance.size(), 1);
  for_each_field(
      [&](const std::string& name, auto, const Matrix<Scalar>& to) {
        check_apart(layer, x, ("gradient." + name).c_str(), to.data(), to.size());
        if (shares_memory(to.data(), to.size(), cotangent.mean) ||
            shares_memory(to.data(), to.size(), variance)) {
          fail("gradient." + name + " shares memory with the cotangent");
        }
      },
      gradient);
}

template <class L>
void scan_vjp_of_checked(const L& layer, const typename L::State& initial_state,
                         const Sequence<typename L::Scalar>& x, const Cotangent<L>& cotangent,
                         Execution how, Gradient<L>& gradient) {
  make_gradient(layer, x, gradient);
  scan_vjp_checked(layer, initial_state, x, cotangent, how, gradient);
}

}  // namespace detail

/// `scan_vjp`, below, into `gradient`, whose matrices keep their memory if they are of the right
/// size. They may not share it with `x` or `cotangent`, which is refused.
template <SequenceLayer L>
void scan_vjp(const L& layer, const typename L::State& initial_state,
              const Sequence<typename L::Scalar>& x,
              const std::type_identity_t<Cotangent<L>>& cotangent, Gradient<L>& gradient,
              Execution how = {}) {
  detail::check_vjp_call(layer, initial_state, x, cotangent, gradient);
  detail::scan_vjp_of_checked(layer, initial_state, x, cotangent, how, gradient);
}

/// Derivatives of a loss by everything that a `scan` of `x` from `initial_state` reads, given its
/// derivatives by the results of that scan (docs/gradients.md).
///
/// The run is repeated forward, keeping the state at checkpoints, and then taken backward from
/// checkpoint to checkpoint. Recurrences are never inverted. Layers that `scan` runs in tiles go
/// back in tiles, with a checkpoint each: every 128 tokens, or `Execution::chunked(n)`. All others,
/// and all under `Execution::sequential()`, go back token by token, which keeps the states between
/// two checkpoints, too: a checkpoint every sqrt(T) tokens, or `Execution::chunked(n)`.
/// @throws std::invalid_argument on bad input (see `check_inputs`), and naming `cotangent.mean` and
/// so on where a cotangent has the wrong shape, isn't finite (of a state as far as its parts are
/// known: docs/writing-a-layer.md), or is of something that the layer
/// doesn't yield.
template <SequenceLayer L>
Gradient<L> scan_vjp(const L& layer, const typename L::State& initial_state,
                     const Sequence<typename L::Scalar>& x,
                     const std::type_identity_t<Cotangent<L>>& cotangent, Execution how = {}) {
  Gradient<L> gradient;
  scan_vjp(layer, initial_state, x, cotangent, gradient, how);
  return gradient;
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
              Execution how = {}) {
  const auto size = [](const auto& range) { return static_cast<Index>(std::ranges::size(range)); };
  const Index items = size(initial_states);
  if (size(inputs) != items || size(cotangents) != items || size(gradients) != items) {
    detail::fail("a batch needs one state, input, cotangent and gradient an item");
  }
  detail::for_each_item(
      executor, heads, items,
      [&](const auto& head, std::size_t i) {
        detail::check_vjp_call(head, initial_states[i], inputs[i], cotangents[i], gradients[i]);
      },
      [&](const auto& head, std::size_t i) {
        detail::scan_vjp_of_checked(head, initial_states[i], inputs[i], cotangents[i], how,
                                    gradients[i]);
      });
}

}  // namespace seqbayes
