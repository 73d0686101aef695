/// @file
/// One sequence over the ranks of an MPI communicator, consecutive pieces of it. Needs MPI, which
/// the caller initialises; not part of `seqbayes.hpp`.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include <seqbayes/adapters/mpi/ranks.hpp>
#include <seqbayes/segments/scan_vjp.hpp>

/// One sequence over the ranks of an MPI communicator.
namespace seqbayes::mpi {
namespace detail {

template <class L>
Package<typename L::Scalar> packed(const typename L::State& state) {
  Package<typename L::Scalar> package;
  package.put(state.mean);
  package.put(state.covariance);
  return package;
}
template <class L>
void unpack(Package<typename L::Scalar>& package, typename L::State& state) {
  package.take(state.mean);
  package.take(state.covariance);
}

/// `state` as rank `from` has it.
template <class L>
void broadcast_state(const Ranks& ranks, int from, typename L::State& state) {
  auto package = packed<L>(state);
  package.broadcast(ranks, from);
  unpack<L>(package, state);
}

/// Widths and the ratio of decays, then the segment's matrices.
template <class L>
Package<typename L::Scalar> packed(const Segment<L>& segment) {
  using Scalar = typename L::Scalar;
  Package<Scalar> package;
  package.put(static_cast<Scalar>(segment.offset.rows()));
  package.put(static_cast<Scalar>(segment.offset.cols()));
  package.put(segment.decay_ratio);
  Segment<L>::for_each_part(segment, [&](const auto& part) { package.put(part); });
  return package;
}
template <class L>
Segment<L> segment_of(const typename L::Scalar* numbers) {
  const auto key_dim = static_cast<Index>(numbers[0]), value_dim = static_cast<Index>(numbers[1]);
  Segment<L> segment;
  segment.decay_ratio = numbers[2];
  numbers += 3;
  Segment<L>::for_each_part(segment, [&](auto& part) {
    const bool of_values = &part == &segment.offset || &part == &segment.observation_values;
    part.resize(key_dim, of_values ? value_dim : key_dim);
    std::copy_n(numbers, part.size(), part.data());
    numbers += part.size();
  });
  return segment;
}

/// What MPI_Exscan composes with: `in` is of the lower ranks.
template <class L>
void combine_packed(void* in, void* inout, int*, MPI_Datatype*) {
  using Scalar = typename L::Scalar;
  auto both = packed(combine(segment_of<L>(static_cast<const Scalar*>(in)),
                             segment_of<L>(static_cast<const Scalar*>(inout))));
  std::memcpy(inout, both.data(), static_cast<std::size_t>(both.bytes()));
}

/// What forgets where it started: the segment of those who have run from the initial state.
template <class L>
Segment<L> constant_segment(const typename L::State& after) {
  const Index key_dim = after.mean.rows(), value_dim = after.mean.cols();
  Segment<L> segment;
  segment.transition.setZero(key_dim, key_dim);
  segment.offset = after.mean;
  if constexpr (Segment<L>::is_filter) {
    segment.covariance = after.covariance;
    segment.observation_rows.setZero(key_dim, key_dim);
    segment.observation_values.setZero(key_dim, value_dim);
  }
  return segment;
}

/// The state before each rank's tokens, but for the first rank, which gives its constant segment.
template <class L>
void states_before(const Ranks& ranks, const Segment<L>& mine, typename L::State& state) {
  auto package = packed(mine), before = package;
  MPI_Datatype type{};
  MPI_Op op{};
  MPI_Type_contiguous(package.bytes(), MPI_BYTE, &type);
  MPI_Type_commit(&type);
  MPI_Op_create(&combine_packed<L>, 0, &op);
  MPI_Exscan(package.data(), before.data(), 1, type, op, ranks.comm());
  MPI_Op_free(&op);
  MPI_Type_free(&type);
  if (ranks.rank() == 0) return;
  const Segment<L> all = segment_of<L>(before.data());
  state.mean = all.offset;
  if constexpr (Segment<L>::is_filter) state.covariance = all.covariance;
}

/// Scans that wait for each other: where tokens don't compose.
template <class L, class Run>
void in_turn(const Ranks& ranks, typename L::State& state, const Run& run) {
  ranks.together([&] {
    auto package = packed<L>(state);
    if (ranks.rank() > 0) {
      package.receive(ranks, ranks.rank() - 1);
      unpack<L>(package, state);
    }
    std::exception_ptr error;
    try {
      run();
      package = packed<L>(state);
    } catch (...) {
      error = std::current_exception();  // the next rank waits for a state, whatever it is
    }
    if (ranks.rank() < ranks.last()) package.send(ranks, ranks.rank() + 1);
    if (error) std::rethrow_exception(error);
  });
}

/// What each rank adds to a number, in their order.
template <class Scalar>
Scalar sum(const Ranks& ranks, const Scalar& mine) {
  std::vector<Scalar> all(static_cast<std::size_t>(ranks.last()) + 1);
  MPI_Allgather(&mine, sizeof(Scalar), MPI_BYTE, all.data(), sizeof(Scalar), MPI_BYTE,
                ranks.comm());
  CompensatedSum<Scalar> total;
  for (const Scalar& part : all) total += part;
  return total.value();
}

/// The rank's segment and, in `state`, where its tokens start. The first rank's segment is that of
/// all that it does, which `run` has to say: it leaves the state after its tokens in `state`.
template <class L, class Run>
Segment<L> start(const Ranks& ranks, const L& layer, const Sequence<typename L::Scalar>& x,
                 typename L::State& state, const Run& run) {
  Segment<L> segment;
  ranks.together([&] {
    if (ranks.rank() > 0) {
      segment = seqbayes::detail::summarise_checked(layer, x);
    } else {
      run();
      segment = constant_segment<L>(state);
    }
  });
  states_before(ranks, segment, state);
  return segment;
}

}  // namespace detail

/// Runs `layer` over one sequence of which each rank of `comm` has a piece, `x`, in the order of
/// the ranks; pieces may be empty. `state` is that before the first rank's tokens, on every rank,
/// and becomes that after the last rank's. Outputs are those of the rank's own tokens; the evidence
/// is the whole sequence's.
///
/// Every rank but the first summarises its piece and, when the summaries before it are composed,
/// scans it; the first has only to scan. Layers that aren't a `ComposableLayer`, and filters with a
/// `covariance_log_decay` by channel, run one rank after the other. The result is the same, bit by
/// bit, for the same pieces as far as MPI_Exscan composes in the same order.
/// @throws std::invalid_argument, on every rank, if any of them has bad input; states are then as
/// they were.
template <SequenceLayer L>
OutputOf<L> scan(MPI_Comm comm, const L& layer, typename L::State& state,
                 const Sequence<typename L::Scalar>& x, Execution how = {}) {
  const detail::Ranks ranks(comm);
  ranks.together([&] { seqbayes::detail::check_call(layer, state, x); });
  OutputOf<L> out;
  typename L::State own = state;
  const auto run = [&] { out = seqbayes::scan(layer, own, x, how); };
  const bool composes = ranks.all(seqbayes::detail::splits_in_time<L>(x));
  if constexpr (ComposableLayer<L>) {
    if (composes) {
      detail::start(ranks, layer, x, own, run);
      ranks.together([&] {
        if (ranks.rank() > 0) run();
      });
    }
  }
  if (!composes) detail::in_turn<L>(ranks, own, run);
  detail::broadcast_state<L>(ranks, ranks.last(), own);
  state = std::move(own);
  if constexpr (ProbabilisticLayer<L>) out.log_evidence = detail::sum(ranks, out.log_evidence);
  return out;
}

/// Derivatives of a loss with respect to everything that the `scan` above reads. The cotangents of
/// means and variances are those of the rank's own tokens, those of the evidence and of the final
/// state the same on every rank. Derivatives with respect to fields are those of the rank's own
/// tokens; those with respect to options and the initial state are the whole sequence's, on every
/// rank.
///
/// Each rank but the last takes its piece back twice (segments/scan_vjp.hpp).
/// @throws std::invalid_argument, on every rank, if any of them has bad input, or tokens that don't
/// compose.
template <ComposableLayer L>
Gradient<L> scan_vjp(MPI_Comm comm, const L& layer, const typename L::State& initial_state,
                     const Sequence<typename L::Scalar>& x,
                     const std::type_identity_t<Cotangent<L>>& cotangent, Execution how = {}) {
  static_assert(seqbayes::detail::places_options<L>,
                "seqbayes: a sequence over ranks has no derivatives with respect to options of a "
                "layer's own");
  const detail::Ranks ranks(comm);
  ranks.together([&] {
    seqbayes::detail::check_call(layer, initial_state, x);
    seqbayes::detail::check_cotangent(layer, x, cotangent);
    seqbayes::detail::check_composes(layer, x);
  });
  typename L::State state = initial_state;
  const Segment<L> segment =
      detail::start(ranks, layer, x, state, [&] { scan_mean(layer, state, x, how); });
  if (ranks.rank() == 0) state = initial_state;

  const bool is_first = ranks.rank() == 0, is_last = ranks.rank() == ranks.last();
  Gradient<L> gradient;
  Cotangent<L> own = cotangent;
  if (!is_last) own.state = std::nullopt;
  const auto back = [&] { gradient = seqbayes::scan_vjp(layer, state, x, own, how); };
  ranks.together([&] {
    if (!is_first || is_last) back();
  });
  // From the last rank to the first: what later tokens ask of the state after each rank's.
  ranks.together([&] {
    typename L::State later = state;
    if (!is_last) {
      auto package = detail::packed<L>(later);
      package.receive(ranks, ranks.rank() + 1);
      detail::unpack<L>(package, later);
      own.state = later;
    }
    if (is_first) return;
    typename L::State before = gradient.initial_state;
    if (!is_last) {
      advance_vjp(segment, state, later);
      before.mean += later.mean;
      if constexpr (Segment<L>::is_filter) before.covariance += later.covariance;
    }
    detail::packed<L>(before).send(ranks, ranks.rank() - 1);
  });
  ranks.together([&] {
    if (!is_last) back();
  });

  const auto initial_part = gradient.prior_variance - gradient.prior_variance_of_tokens;
  gradient.prior_variance_of_tokens = detail::sum(ranks, gradient.prior_variance_of_tokens);
  gradient.prior_variance =
      detail::sum(ranks, is_first ? initial_part : decltype(initial_part)(0)) +
      gradient.prior_variance_of_tokens;
  gradient.input_variance = detail::sum(ranks, gradient.input_variance);
  gradient.info_scale = detail::sum(ranks, gradient.info_scale);
  detail::broadcast_state<L>(ranks, 0, gradient.initial_state);
  return gradient;
}

}  // namespace seqbayes::mpi
