/// @file
/// One sequence over several workers: columns of the memory side by side, or pieces of the
/// sequence.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include <seqbayes/scan/threads.hpp>
#include <seqbayes/segments/summarise.hpp>

namespace seqbayes {

/// How one sequence is spread. The result is the same, bit by bit, for the same split, whoever runs
/// it; splits differ by rounding.
struct Split {
  int columns = 1;  ///< Groups of value columns, each with a gain pass of its own.
  int pieces = 1;   ///< Of the sequence, each run from where summaries say that it starts.
};

/// Whether each entry of a model's target depends on the same entry of `value` and `value_gate`
/// alone, so that columns of the memory may be run apart. Say so of a model of your own by a
/// specialisation.
template <class Model>
inline constexpr bool targets_by_column = false;
template <>
inline constexpr bool targets_by_column<LatentInput> = true;
template <>
inline constexpr bool targets_by_column<AssociativeRegression> = true;
template <>
inline constexpr bool targets_by_column<SeparateEraseKey> = true;
template <>
inline constexpr bool targets_by_column<GatedErase> = true;
template <>
inline constexpr bool targets_by_column<DiagonalPlusLowRank> = true;
template <>
inline constexpr bool targets_by_column<GatedRemoval> = true;

namespace detail {

template <class L>
struct Narrow;
/// The layer for fewer value columns.
template <class Scalar, int Dk, int Dv, class Model, class Decay, class Covariance>
struct Narrow<Layer<Scalar, Dk, Dv, Model, Decay, Covariance>> {
  using type = Layer<Scalar, Dk, Eigen::Dynamic, Model, Decay, Covariance>;
  static constexpr bool possible =
      targets_by_column<Model> && Decay::width != DecayWidth::value_channel &&
      std::is_same_v<typename type::Options, LayerOptions<Scalar, Dk, Eigen::Dynamic>>;
  static type of(const LayerOptions<Scalar, Dk, Dv>& all, Index columns) {
    LayerOptions<Scalar, Dk, Eigen::Dynamic> options;
    options.key_dim = all.key_dim;
    options.value_dim = columns;
    options.prior_variance = all.prior_variance;
    options.log_decay = all.log_decay;
    options.input_variance = all.input_variance;
    options.info_scale = all.info_scale;
    return type(options);
  }
};

template <class L>
concept SplitsColumns = requires {
  requires Narrow<L>::possible;
};

/// Tokens; shorter pieces cost more to summarise and to start than they save.
inline constexpr Index shortest_piece = 256;

/// Whether the tokens of this sequence compose.
template <class L>
bool splits_in_time(const Sequence<typename L::Scalar>& x) {
  if constexpr (ComposableLayer<L>) {
    return composes<L>(x);
  }
  return false;
}

/// Where piece i begins. The first, for which nobody has to wait, is half as long again as the
/// others, as a summary costs about one and a half scans.
inline Index start_of_piece(Index length, int pieces, int i) {
  return i == 0 || pieces == 1 ? length * i : length * (2 * i + 1) / (2 * pieces + 1);
}

/// Calls run(), which checks what it reads. If it throws, all of `x` is checked, so that the
/// message names rows of `x`.
template <class L, class Run>
void check_by_parts(const L& layer, const typename L::State& state,
                    const Sequence<typename L::Scalar>& x, const Run& run) {
  check_state_of(layer, state);
  check_shapes(layer.inputs(), x);
  try {
    run();
  } catch (const std::invalid_argument&) {
    check_inputs(layer, x);
    throw;
  }
}

/// In pieces, each into its own rows of `out`, and checked by who runs it.
template <class L, class Executor>
void scan_pieces(const Executor& executor, int pieces, const L& layer, typename L::State& state,
                 const Sequence<typename L::Scalar>& x, OutputOf<L>& out, Execution how) {
  using Scalar = typename L::Scalar;
  constexpr bool probabilistic = ProbabilisticLayer<L>;
  const auto count = static_cast<std::size_t>(pieces);
  std::vector<typename L::State> states(count, state);
  std::vector<Segment<L>> segments(count);
  std::vector<CompensatedSum<Scalar>> evidence(count);
  const auto start = [&](Index i) { return start_of_piece(x.length(), pieces, int(i)); };
  const auto tokens = [&](Index i) { return x.tokens(start(i), start(i + 1) - start(i)); };
  const auto run_piece = [&](Index i) {
    const Index at = start(i);
    if (i == 0 || i + 1 == pieces) check_inputs(layer, tokens(i));
    Results<Scalar> results{out.mean.data() + at * layer.value_dim()};
    if constexpr (probabilistic) {
      results.variance = out.variance.data() + at;
      results.log_evidence = &evidence[std::size_t(i)];
      if constexpr (FilterLayer<L>) {
        results.innovation_variance = out.innovation_variance.data() + at;
        results.innovation_norm2 = out.innovation_norm2.data() + at;
      }
    }
    Workspace<Scalar> workspace;
    run<probabilistic>(layer, states[std::size_t(i)], tokens(i), how, workspace, results);
  };
  reserve_output(layer, x.length(), out);
  for_each_task(executor, std::max(1, pieces - 1), [&](Index i) {
    if (i == 0) return run_piece(0);
    check_inputs(layer, tokens(i));
    segments[std::size_t(i)] = summarise_checked(layer, tokens(i));
  });
  // Where each piece starts: the second where the first, which has run, ends.
  states[1] = states[0];
  Carried<L> carried(states[0]);
  for (std::size_t i = 2; i < count; ++i) {
    carried.advance(segments[i - 1]);
    carried.store(states[i]);
  }
  for_each_task(executor, pieces - 1, [&](Index i) { run_piece(i + 1); });
  state = states.back();
  if constexpr (probabilistic) {
    CompensatedSum<Scalar> sum;
    for (const auto& part : evidence) sum += part.value();
    out.log_evidence = sum.value();
  }
}

/// Tokens whose means a group of columns holds before they go to their place.
inline constexpr Index column_run = 16 * default_tile;

/// What a group of columns yields beside its means and gains.
template <class State, class Scalar>
struct ColumnGroup {
  State state;
  Vector<Scalar> variance, innovation_variance, innovation_norm2;  ///< Of filters; T each.
  Scalar log_evidence{};
};

/// In groups of columns, each checked by who runs it.
template <SplitsColumns L, class Executor>
void scan_columns(const Executor& executor, int groups, const L& layer, typename L::State& state,
                  const Sequence<typename L::Scalar>& x, OutputOf<L>& out, Execution how) {
  using Scalar = typename L::Scalar;
  using Part = typename Narrow<L>::type;
  constexpr bool probabilistic = ProbabilisticLayer<L>;
  const Index dv = layer.value_dim(), unit = sweep_lanes<Scalar>;
  const Index width = round_up((dv + groups - 1) / groups, unit);
  const Index count = (dv + width - 1) / width;
  std::vector<ColumnGroup<typename Part::State, Scalar>> results{std::size_t(count)};
  reserve_output(layer, x.length(), out);
  for_each_task(executor, count, [&](Index i) {
    const Index first = i * width, columns = std::min(width, dv - first);
    const Part part = Narrow<L>::of(layer.options(), columns);
    Sequence<Scalar> narrow = x;
    for (auto* field : {&narrow.value, &narrow.value_gate}) {
      if (field->cols() == dv && dv > 1) {
        *field = {field->data() + first, field->rows(), columns, field->row_stride()};
      }
    }
    check_inputs(part, narrow);
    auto& group = results[std::size_t(i)];
    group.state.mean = state.mean.middleCols(first, columns);
    group.state.covariance = state.covariance;
    if constexpr (probabilistic) {
      for (auto* row : {&group.variance, &group.innovation_variance, &group.innovation_norm2}) {
        row->resize(x.length());
      }
    }
    Matrix<Scalar> mean(std::min(x.length(), column_run), columns);
    CompensatedSum<Scalar> log_evidence;
    Workspace<Scalar> workspace;
    for (Index at = 0; at < x.length(); at += column_run) {
      const Index tokens = std::min(column_run, x.length() - at);
      Results<Scalar> to{mean.data()};
      if constexpr (probabilistic) {
        to = {mean.data(), group.variance.data() + at, &log_evidence,
              group.innovation_variance.data() + at, group.innovation_norm2.data() + at};
      }
      run<probabilistic>(part, group.state, narrow.tokens(at, tokens), how, workspace, to);
      out.mean.block(at, first, tokens, columns) = mean.topRows(tokens);
    }
    group.log_evidence = log_evidence.value();
  });
  for (Index i = 0; i < count; ++i) {
    const auto& end = results[std::size_t(i)].state.mean;
    state.mean.middleCols(i * width, end.cols()) = end;
  }
  state.covariance = results[0].state.covariance;
  if constexpr (probabilistic) {
    out.variance = results[0].variance;
    out.innovation_variance = results[0].innovation_variance;
    out.innovation_norm2.setZero();
    CompensatedSum<Scalar> sum;
    for (const auto& group : results) {
      out.innovation_norm2 += group.innovation_norm2;
      sum += group.log_evidence;
    }
    out.log_evidence = sum.value();
  }
}

}  // namespace detail

/// The fastest split of a sequence for `workers` (docs/scale.md): columns where gains cost little
/// beside the memory, pieces where those are faster, or neither.
template <SequenceLayer L>
Split split_for(const L& layer, const Sequence<typename L::Scalar>& x, int workers) {
  Split best;
  double speed = 1;
  if constexpr (detail::SplitsColumns<L>) {
    const Index lanes = detail::sweep_lanes<typename L::Scalar>;
    const auto groups = std::min<Index>(workers, (layer.value_dim() + lanes - 1) / lanes);
    const auto covariance = layer.initial_state().covariance;
    Index kept = 0;
    if constexpr (requires { covariance.size(); }) kept = covariance.size();
    if (groups > 1 && kept <= layer.key_dim()) {
      speed = 6.5 / (0.5 + 6.0 / double(groups));  // flops of gains and memory, in Dk^2 a token
      best = {int(groups), 1};
    }
  }
  if (workers > 1 && detail::splits_in_time<L>(x)) {
    const auto pieces = std::min<Index>(workers + 1, x.length() / detail::shortest_piece - 1);
    if (pieces > 2 && (double(pieces) + 0.5) / 2.5 > speed) best = {1, int(pieces)};
  }
  return best;
}

/// Runs `layer` over one sequence, as `scan` does, on the workers of `executor` (see `Threads`): in
/// pieces, if more than one is asked for and its tokens compose, else in groups of columns. What
/// can't be split so is run by one worker. `out` keeps its memory if it is of the right size.
/// @throws std::invalid_argument on bad input, and if `out` shares memory with it; the state is
/// then as it was, `out` unspecified.
template <class Executor, SequenceLayer L>
void scan(const Executor& executor, Split split, const L& layer, typename L::State& state,
          const Sequence<typename L::Scalar>& x, OutputOf<L>& out, Execution how = {}) {
  detail::check_output(layer, x, out);
  if constexpr (ComposableLayer<L>) {
    if (split.pieces > 1 && detail::splits_in_time<L>(x)) {
      return detail::check_by_parts(layer, state, x, [&] {
        detail::scan_pieces(executor, split.pieces, layer, state, x, out, how);
      });
    }
  }
  if constexpr (detail::SplitsColumns<L>) {
    if (split.columns > 1) {
      return detail::check_by_parts(layer, state, x, [&] {
        detail::scan_columns(executor, split.columns, layer, state, x, out, how);
      });
    }
  }
  Workspace<typename L::Scalar> workspace;
  scan(layer, state, x, out, workspace, how);
}

/// As above; returns the output.
template <class Executor, SequenceLayer L>
OutputOf<L> scan(const Executor& executor, Split split, const L& layer, typename L::State& state,
                 const Sequence<typename L::Scalar>& x, Execution how = {}) {
  OutputOf<L> out;
  scan(executor, split, layer, state, x, out, how);
  return out;
}

/// Runs `layer` over one sequence on `threads.count` threads, split as `split_for` says.
/// @throws std::invalid_argument on bad input; the state is then as it was.
template <SequenceLayer L>
OutputOf<L> scan(Threads threads, const L& layer, typename L::State& state,
                 const Sequence<typename L::Scalar>& x, Execution how = {}) {
  return scan(threads, split_for(layer, x, threads.count), layer, state, x, how);
}

}  // namespace seqbayes
