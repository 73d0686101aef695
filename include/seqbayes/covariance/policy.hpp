/// @file
/// The third axis of the grid: what a filter keeps of its covariance. The concept of a covariance
/// policy, and what policies share.
#pragma once

#include <Eigen/Core>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <numbers>
#include <string>
#include <type_traits>

#include <seqbayes/sequence/gradient_row.hpp>
#include <seqbayes/sequence/options.hpp>

namespace seqbayes {

/// A covariance policy is the second half of a filter, the *gain pass*: it sees keys, decay and
/// noises, never values, and yields the gain kappa_t and the innovation variance s_t of each token.
/// It is a struct of static members:
///
/// - `has_variance`: whether it has s_t and variance(), that is, whether it is a filter;
/// - `propagates`: whether gain() needs the covariance's decay, then given as Dk factors;
/// - `State<Scalar, Dk>`: what is kept of P between tokens, comparable by ==; `Empty` for nothing;
/// - `Options<Scalar, Dk, Dv>`: the parameters of its layers, with `key_dim` and `value_dim`. If
///   `LayerOptions` will do, `reads`, an `OptionsRead`, says which of them it reads; if not,
///   `check_options(options)` throws where one is out of its domain;
/// - `add_inputs(inputs, options)`: adds the fields that it reads;
/// - `initial(options)` -> State, and `check(state, options)`, which throws if it has other widths;
/// - `gain<Dk>(options, token, decay, state, gain)` -> s_t: advances the state and writes the Dk
///   entries of the gain; s_t = 0 stands for a token that observes nothing. `decay` and `gain` are
///   Eigen vectors or maps;
/// - `variance<Dk>(options, token, state)` -> q' P q after the write, if it is a filter.
///
/// Used if they are there:
///
/// - `log_innovation_variance(options, token, s)` -> ln s_t for the s_t > 0 that gain() returned,
///   if s_t may lie beyond the scalar's range;
/// - `composes` = true, with `Self`, which names the struct itself: its state is the covariance of
///   an exact filter, so that runs of tokens sum up to a `Segment` (segments/segment.hpp);
/// - `Pending<Scalar, Dk, Storage>`, with `Self`: what a `Decoder` keeps of it, instead of copies
///   of the state, one for each pending token (covariance/pending.hpp);
/// - what `scan_vjp` takes, see `DifferentiablePolicy`;
/// - what runs many tokens at once, see `GroupPolicy`. Without it a tile's gain pass runs token by
///   token, and only its memory pass in groups.
///
/// docs/writing-a-layer.md has a complete one.
template <class P>
concept CovariancePolicy = requires(
    InputWidths& inputs, const Token<double>& token, const Eigen::Map<Vector<double>>& decay,
    typename P::template State<double, Eigen::Dynamic>& state,
    const typename P::template Options<double, Eigen::Dynamic, Eigen::Dynamic>& options,
    Eigen::Map<Vector<double>>& gain) {
  { P::has_variance } -> std::convertible_to<bool>;
  { P::propagates } -> std::convertible_to<bool>;
  { options.key_dim } -> std::convertible_to<Index>;
  { options.value_dim } -> std::convertible_to<Index>;
  requires requires { P::check_options(options); } || requires {
    OptionsRead(P::reads);
  };
  P::add_inputs(inputs, options);
  {
    P::initial(options)
    } -> std::convertible_to<typename P::template State<double, Eigen::Dynamic>>;
  P::check(state, options);
  {
    P::template gain<Eigen::Dynamic>(options, token, decay, state, gain)
    } -> std::convertible_to<double>;
}
&&(!P::has_variance ||
   requires(const Token<double>& token,
            const typename P::template State<double, Eigen::Dynamic>& state,
            const typename P::template Options<double, Eigen::Dynamic, Eigen::Dynamic>& options) {
     { P::template variance<Eigen::Dynamic>(options, token, state) } -> std::convertible_to<double>;
   });

/// What a layer without covariance keeps of it.
struct Empty {
  friend bool operator==(Empty, Empty) { return true; }
};

/// Derivatives of a loss with respect to what a gain pass yields, and results for what is no field.
template <class Scalar, int Dk>
struct GainCotangent {
  Vector<Scalar, Dk> gain;           ///< With respect to kappa.
  Scalar log_innovation_variance{};  ///< To ln s: s itself may be beyond the scalar's range.
  Scalar variance{};                 ///< To q' P q.
  /// Result: with respect to the covariance's log decay, a channel each; of policies that
  /// propagate.
  Vector<Scalar, Dk> dlog_decay;
};

/// A policy with derivatives:
///
/// - `gain_vjp<Dk>(options, token, decay, before, d, dstate, grad, doptions)`: one token backwards.
///   `decay` holds Dk factors, `before` is the state before the token, `d` a `GainCotangent`,
///   `dstate` the derivative with respect to the state after the token and, on return, to `before`.
///   Derivatives with respect to fields are added to `grad`, a `TokenGradient`, those with respect
///   to options to `doptions`, `LayerOptionSums`;
/// - `zero(options)`: a State of derivatives that are zero;
/// - `Self`: names the struct itself. What is derived from it has neither gradients nor a group
/// form
///   before it has its own, since a `gain` that it changes has others;
/// - `symmetrise(state)`, if entries of a state of derivatives stand for the same number twice;
/// - `initial_vjp(options, dstate, doptions)`, if `initial` reads options: adds the derivatives
///   with respect to those, given that with respect to the initial state.
template <class P>
concept DifferentiablePolicy = CovariancePolicy<P> && detail::NamesItself<P> &&
    requires(const Token<double>& token, const Vector<double>& decay,
             typename P::template State<double, Eigen::Dynamic>& state,
             const typename P::template Options<double, Eigen::Dynamic, Eigen::Dynamic>& options,
             GainCotangent<double, Eigen::Dynamic>& d, TokenGradient<double>& grad,
             LayerOptionSums<double, const Empty>& doptions) {
  P::template gain_vjp<Eigen::Dynamic>(options, token, decay, state, d, state, grad, doptions);
  { P::zero(options) } -> std::convertible_to<typename P::template State<double, Eigen::Dynamic>>;
};

/// Has the gain of a filter's policy, and no variance: for models that are no filters.
template <class Policy>
struct WithoutVariance : Policy {
  using Self = std::conditional_t<detail::NamesItself<Policy>, WithoutVariance, void>;
  static constexpr bool has_variance = false;
};

namespace detail {

template <class Scalar, int Rows, int Cols>
inline constexpr bool is_inline =
    Rows != Eigen::Dynamic&& Cols !=
    Eigen::Dynamic&& std::size_t(Rows) * std::size_t(Cols) * sizeof(Scalar) <= std::size_t(64) *
                                                                                   1024;

}  // namespace detail

/// A state's matrix, row-major; of a single column, a vector. It lies inside the object while it is
/// small enough for a stack, up to 64 KiB, and beyond on the heap.
template <class Scalar, int Rows, int Cols>
using StateMatrix = std::conditional_t<
    Cols == 1, Vector<Scalar, detail::is_inline<Scalar, Rows, Cols> ? Rows : Eigen::Dynamic>,
    std::conditional_t<detail::is_inline<Scalar, Rows, Cols>,
                       Eigen::Matrix<Scalar, Rows, Cols, Cols == 1 ? 0 : Eigen::RowMajor>,
                       Matrix<Scalar>>>;

/// A state's matrix with the widths that the layer's type knows, wherever it is stored.
template <int Rows, int Cols, class Stored>
auto sized(Stored& stored) {
  using Sized = Eigen::Matrix<typename Stored::Scalar, Rows, Cols,
                              Cols == 1 ? Eigen::ColMajor : Eigen::RowMajor>;
  using Map = Eigen::Map<std::conditional_t<std::is_const_v<Stored>, const Sized, Sized>>;
  return Map(stored.data(), stored.rows(), stored.cols());
}

/// @throws std::invalid_argument naming `state.name` if it is not rows x cols.
template <class Stored>
void check_state_shape(const char* name, const Stored& stored, Index rows, Index cols) {
  if (stored.rows() == rows && stored.cols() == cols) return;
  detail::fail(std::string("state.") + name + " is " + detail::shape(stored.rows(), stored.cols()) +
               ", expected " + detail::shape(rows, cols));
}

/// The fields that every propagated covariance of the regression model reads.
constexpr void add_filter_inputs(InputWidths& inputs, InputWidth process_noise, Index key_dim) {
  inputs.process_noise = process_noise;
  inputs.observation_noise = 1;
  inputs.covariance_log_decay = InputWidth::one_or(key_dim).optional();
}

/// x += a field of width 1 or Dk.
template <int Dk, class Entries, class Scalar>
void add_field(Entries&& x, const RowView<Scalar>& field) {
  if (field.size() == 1) {
    x.array() += field[0];
  } else {
    x += field.template vector<Dk>();
  }
}

/// x += field * y, for a field of width 1 or Dk.
template <int Dk, class Entries, class Scalar, class Y>
void add_scaled_field(Entries& x, const RowView<Scalar>& field, const Y& y) {
  if (field.size() == 1) {
    x += y * field[0];
  } else {
    x += field.template vector<Dk>().cwiseProduct(y);
  }
}

namespace detail {

/// What policies share that keep nothing between tokens.
struct WithoutState {
  static constexpr bool has_variance = false;
  static constexpr bool propagates = false;

  template <class Scalar, int Dk>
  using State = Empty;
  template <class Scalar, int Dk, int Dv>
  using Options = LayerOptions<Scalar, Dk, Dv>;

  template <class Options>
  static Empty initial(const Options&) {
    return {};
  }
  template <class Options>
  static Empty zero(const Options&) {
    return {};
  }
  template <class Options>
  static void check(Empty, const Options&) {}
};

template <class Scalar>
Scalar log_two_pi() {
  using std::acos;
  using std::log;
  if constexpr (std::is_floating_point_v<Scalar>) {
    return std::log(2 * std::numbers::pi_v<Scalar>);
  } else {
    return log(Scalar(Scalar(4) * acos(Scalar(0))));
  }
}

/// ln s_t of a policy, from the s_t > 0 that its gain pass returned.
template <class Policy, class Scalar, class Options>
Scalar log_innovation_variance(const Options& options, const Token<Scalar>& token,
                               const Scalar& s) {
  using std::log;
  if constexpr (requires { Policy::log_innovation_variance(options, token, s); }) {
    return Policy::log_innovation_variance(options, token, s);
  } else {
    return log(s);
  }
}

/// log N(nu; 0, s I_n) of a token, from |nu|^2. s = 0 stands for a token that observes nothing and
/// adds nothing.
template <class Policy, class Scalar, class Options>
Scalar log_density(const Options& options, const Token<Scalar>& token, const Scalar& norm2,
                   const Scalar& s, Index n) {
  if (!(s > Scalar(0))) return Scalar(0);
  const Scalar width = Scalar(static_cast<double>(n));
  const Scalar log_s = log_innovation_variance<Policy>(options, token, s);
  return Scalar(-0.5) * (norm2 / s + width * (log_s + log_two_pi<Scalar>()));
}

}  // namespace detail
}  // namespace seqbayes
