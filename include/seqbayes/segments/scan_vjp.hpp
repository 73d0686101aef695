/// @file
/// The derivatives of a scan of one sequence, over several workers.
///
/// Each piece is taken back twice: once for what its own outputs ask of the state that it starts
/// from, and, when `advance_vjp` has brought what later ones ask to its end, once for all.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include <seqbayes/gradient/scan_vjp.hpp>
#include <seqbayes/segments/scan.hpp>

namespace seqbayes {
namespace detail {

/// The part of a cotangent that lies with some of the tokens; none of the final state.
template <class L>
Cotangent<L> cotangent_of(const Cotangent<L>& all, Index first, Index count) {
  Cotangent<L> part;
  part.mean = all.mean.rows(first, count);
  if (!all.variance.empty()) part.variance = {all.variance.data() + first, count};
  part.log_evidence = all.log_evidence;
  return part;
}

/// Moves derivatives of tokens from the `first` on to their place.
template <class L>
void place_fields(Gradient<L>& part, Index first, Gradient<L>& all) {
  using Scalar = typename L::Scalar;
  for_each_field(
      [&](auto, auto, Matrix<Scalar>& from, Matrix<Scalar>& to) {
        if (from.cols() > 0 && from.rows() > 0) to.middleRows(first, from.rows()) = from;
        from.resize(0, 0);
      },
      part, all);
}
/// Adds derivatives with respect to options.
template <class L>
void add_options(const Gradient<L>& part, Gradient<L>& all) {
  all.prior_variance += part.prior_variance_of_tokens;
  all.prior_variance_of_tokens += part.prior_variance_of_tokens;
  all.input_variance += part.input_variance;
  all.info_scale += part.info_scale;
}

/// Whether the derivatives of a layer are those of its tokens and sums that `add_options` knows.
template <class L>
inline constexpr bool places_options = false;
template <ComposableLayer L>
inline constexpr bool places_options<L> = std::is_empty_v<OptionGradient<L>> && !requires {
  requires L::Decay::reads_option;
};
template <ComposableLayer Base, int Writes>
inline constexpr bool places_options<SeveralWrites<Base, Writes>> = places_options<Base>;

template <class L, class Executor>
Gradient<L> scan_vjp_pieces(const Executor& executor, int pieces, const L& layer,
                            const typename L::State& initial_state,
                            const Sequence<typename L::Scalar>& x, const Cotangent<L>& cotangent,
                            Execution how) {
  const auto count = static_cast<std::size_t>(pieces);
  const auto start = [&](Index i) {
    return x.length() / pieces * i + std::min<Index>(x.length() % pieces, i);
  };
  const auto tokens = [&](Index i) { return x.tokens(start(i), start(i + 1) - start(i)); };
  std::vector<Segment<L>> segments(count);
  std::vector<typename L::State> states(count, initial_state), dstates(count);
  std::vector<Gradient<L>> gradients(count);
  Gradient<L> gradient;
  reserve_gradient(layer, x, gradient);
  const auto back = [&](Index i, const std::optional<typename L::State>& dstate, bool final) {
    Cotangent<L> part = cotangent_of(cotangent, start(i), start(i + 1) - start(i));
    part.state = dstate;
    Gradient<L>& own = gradients[std::size_t(i)];
    own = scan_vjp(layer, states[std::size_t(i)], tokens(i), part, how);
    if (final) place_fields(own, start(i), gradient);
  };

  for_each_task(executor, pieces - 1,
                [&](Index i) { segments[std::size_t(i)] = summarise_checked(layer, tokens(i)); });
  Carried<L> carried(initial_state);
  for (std::size_t i = 1; i < count; ++i) {
    carried.advance(segments[i - 1]);
    carried.store(states[i]);
  }
  for_each_task(executor, pieces - 1, [&](Index i) {
    const bool last = i + 2 == pieces;
    back(i + 1, last ? cotangent.state : std::nullopt, last);
  });
  // dstates[i]: with respect to the state after piece i.
  for (std::size_t i = count - 1; i-- > 0;) {
    dstates[i] = gradients[i + 1].initial_state;
    if (i + 2 == count) continue;
    typename L::State later = dstates[i + 1];
    advance_vjp(segments[i + 1], states[i + 1], later);
    dstates[i].mean += later.mean;
    if constexpr (Segment<L>::is_filter) dstates[i].covariance += later.covariance;
  }
  for_each_task(executor, pieces - 1, [&](Index i) { back(i, dstates[std::size_t(i)], true); });

  for (const auto& part : gradients) add_options(part, gradient);
  gradient.prior_variance += gradients[0].prior_variance - gradients[0].prior_variance_of_tokens;
  gradient.initial_state = std::move(gradients[0].initial_state);
  return gradient;
}

}  // namespace detail

/// `scan_vjp` of one sequence in `pieces`, by the workers of `executor` (see `Threads`); what can't
/// be split so is run by one worker. Bit by bit the same for the same number of pieces.
/// @throws std::invalid_argument as `scan_vjp`.
template <class Executor, SequenceLayer L>
Gradient<L> scan_vjp(const Executor& executor, Split split, const L& layer,
                     const typename L::State& initial_state, const Sequence<typename L::Scalar>& x,
                     const std::type_identity_t<Cotangent<L>>& cotangent, Execution how = {}) {
  if constexpr (detail::places_options<L>) {
    if (split.pieces > 1 && detail::splits_in_time<L>(x)) {
      detail::check_call(layer, initial_state, x);
      detail::check_cotangent(layer, x, cotangent);
      return detail::scan_vjp_pieces(executor, split.pieces, layer, initial_state, x, cotangent,
                                     how);
    }
  }
  return scan_vjp(layer, initial_state, x, cotangent, how);
}

/// The same on `threads.count` threads, where it is faster than on one: from three on, as each
/// piece is summarised once and taken back twice.
template <SequenceLayer L>
Gradient<L> scan_vjp(Threads threads, const L& layer, const typename L::State& initial_state,
                     const Sequence<typename L::Scalar>& x,
                     const std::type_identity_t<Cotangent<L>>& cotangent, Execution how = {}) {
  const auto pieces = std::min<Index>(threads.count, x.length() / detail::shortest_piece);
  return scan_vjp(threads, Split{1, pieces < 3 ? 1 : int(pieces)}, layer, initial_state, x,
                  cotangent, how);
}

}  // namespace seqbayes
