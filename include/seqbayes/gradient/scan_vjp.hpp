/// @file
/// The vector-Jacobian product of `scan`: derivatives of a loss with respect to all inputs of a
/// run, from those to its outputs.
#pragma once

#include <cstddef>
#include <ranges>
#include <string>
#include <type_traits>

#include <seqbayes/gradient/backward.hpp>
#include <seqbayes/gradient/evidence_mixture.hpp>
#include <seqbayes/gradient/information.hpp>
#include <seqbayes/gradient/learned_noise.hpp>
#include <seqbayes/gradient/several_writes.hpp>
#include <seqbayes/gradient/student_t.hpp>
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
  const InputWidths inputs = layer.inputs();
  const MatrixView<Scalar> variance(cotangent.variance.data(), cotangent.variance.size(), 1);
  for_each_field(
      [&](const char* name, auto, const Matrix<Scalar>& to) {
        check_apart<Scalar>(inputs, x, "gradient.", name, to.data(), to.size());
        if (shares_memory(to.data(), to.size(), cotangent.mean) ||
            shares_memory(to.data(), to.size(), variance)) {
          fail(std::string("gradient.") + name + " shares memory with the cotangent");
        }
      },
      gradient);
}

}  // namespace detail

/// Scratch memory for one `scan_vjp` at a time, so that repeated ones don't allocate what grows
/// with the sequence: checkpoints, gains, passes. Grows to what the largest needs and keeps it; not
/// to be shared by threads. Holds no results between calls. What is in it is the library's own.
template <SequenceLayer L>
struct GradientWorkspace {
  detail::VjpScratch<L> scratch;
};

/// `scan_vjp`, below, into `gradient`, whose matrices keep their memory if they are of the right
/// size. They may not share it with `x` or `cotangent`, which is refused.
template <SequenceLayer L>
void scan_vjp(const L& layer, const typename L::State& initial_state,
              const Sequence<typename L::Scalar>& x,
              const std::type_identity_t<Cotangent<L>>& cotangent, Gradient<L>& gradient,
              GradientWorkspace<L>& workspace, Execution how = {}) {
  detail::check_vjp_call(layer, initial_state, x, cotangent, gradient);
  detail::make_gradient(layer, x, gradient);
  detail::scan_vjp_checked(layer, initial_state, x, cotangent, how, workspace.scratch, gradient);
}

/// The same, with a workspace of its own.
template <SequenceLayer L>
void scan_vjp(const L& layer, const typename L::State& initial_state,
              const Sequence<typename L::Scalar>& x,
              const std::type_identity_t<Cotangent<L>>& cotangent, Gradient<L>& gradient,
              Execution how = {}) {
  GradientWorkspace<L> workspace;
  scan_vjp(layer, initial_state, x, cotangent, gradient, workspace, how);
}

/// Derivatives of a loss with respect to everything that a `scan` of `x` from `initial_state`
/// reads, given those to the results of that scan (docs/gradients.md).
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
        using L = std::remove_cvref_t<decltype(head)>;
        GradientWorkspace<L> workspace;
        detail::make_gradient(head, inputs[i], gradients[i]);
        detail::scan_vjp_checked(head, initial_states[i], inputs[i], cotangents[i], how,
                                 workspace.scratch, gradients[i]);
      });
}

}  // namespace seqbayes
