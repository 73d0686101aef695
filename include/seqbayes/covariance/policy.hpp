/// @file
/// What the covariance policies share: the parameters of a layer, the gain, and the storage of
/// state.
///
/// A covariance policy is the second half of a filter (the *gain pass*): it sees keys, decay and
/// noises, never values, and yields the gain kappa_t and the innovation variance s_t of each token.
/// It is a struct of static members:
///
/// - `has_variance`: whether it has s_t and variance(), that is, whether it is a filter;
/// - `propagates`: whether gain() needs the covariance's decay, then given as Dk factors;
/// - `State<Scalar, Dk>`: what is kept of P between tokens;
/// - `Options<Scalar, Dk, Dv>`: the parameters of its layers;
/// - `add_inputs(InputWidths&, options)`: adds the fields it reads;
/// - `initial(options)` -> State, and `check(state, options)`, which throws;
/// - `gain<Dk>(options, token, decay, state, gain)` -> s_t: advances the state and writes the gain;
///   s_t = 0 stands for a token that observes nothing;
/// - `variance<Dk>(options, token, state)` -> q' P q after the write, if it has one;
/// - `log_innovation_variance(options, token, s)` -> ln s_t for the s_t > 0 that gain() returned,
///   if s_t may lie beyond the scalar's range.
///
/// docs/writing-a-layer.md has a complete one.
#pragma once

#include <limits>
#include <string>

#include <seqbayes/decay/decay.hpp>
#include <seqbayes/sequence/check.hpp>

namespace seqbayes {

/// Parameters of a layer that are constant in time. A layer ignores those it doesn't read.
template <class Scalar, int Dk, int Dv>
struct LayerOptions {
  /// Key width, > 0; given by the type unless that says `Eigen::Dynamic`.
  Index key_dim = Dk == Eigen::Dynamic ? 0 : Dk;
  Index value_dim = Dv == Eigen::Dynamic ? 0 : Dv;  ///< Value width, likewise.
  /// sigma_0^2 >= 0: the variance of each memory entry before the first token (every reset layer:
  /// before each token).
  Scalar prior_variance = Scalar(1);
  /// g <= 0 of `ConstantDecay`.
  Scalar log_decay = Scalar(0);
  /// tau > 0 of `LatentInput`: the prior variance of the latent input; infinity is a flat prior.
  Scalar input_variance = Scalar(std::numeric_limits<double>::infinity());
  /// `IsotropicCovariance` and `DiagonalCovariance`: the weight >= 0 of a key's information in the
  /// variance update. 1 keeps the average over directions (isotropic) or what a channel would learn
  /// if the others were known (diagonal).
  Scalar info_scale = Scalar(1);
};

/// What a layer without covariance keeps of it.
struct Empty {};

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
  static void check(Empty, const Options&) {}
};

/// State lies inside the object while it is small enough for a stack; beyond 64 KiB on the heap.
template <class Scalar, int Rows, int Cols>
inline constexpr bool is_inline =
    Rows != Eigen::Dynamic&& Cols !=
    Eigen::Dynamic&& std::size_t(Rows) * std::size_t(Cols) * sizeof(Scalar) <= std::size_t(64) *
                                                                                   1024;

template <class Scalar, int Rows, int Cols>
using StateMatrix = std::conditional_t<
    is_inline<Scalar, Rows, Cols>,
    Eigen::Matrix<Scalar, Rows, Cols, Cols == 1 ? Eigen::ColMajor : Eigen::RowMajor>,
    Matrix<Scalar>>;

/// A state matrix with the widths that the layer's type knows, wherever it is stored.
template <int Rows, int Cols, class Stored>
auto sized(Stored& stored) {
  using Sized = Eigen::Matrix<typename Stored::Scalar, Rows, Cols,
                              Cols == 1 ? Eigen::ColMajor : Eigen::RowMajor>;
  using Map = Eigen::Map<std::conditional_t<std::is_const_v<Stored>, const Sized, Sized>>;
  return Map(stored.data(), stored.rows(), stored.cols());
}

template <class Stored>
void check_state_shape(const char* name, const Stored& stored, Index rows, Index cols) {
  if (stored.rows() == rows && stored.cols() == cols) return;
  fail(std::string("state.") + name + " is " + shape(stored.rows(), stored.cols()) + ", expected " +
       shape(rows, cols));
}

/// The fields that every propagated covariance of the regression model reads.
constexpr void add_filter_inputs(InputWidths& inputs, InputWidth process_noise, Index key_dim) {
  inputs.process_noise = process_noise;
  inputs.observation_noise = 1;
  inputs.covariance_log_decay = InputWidth::one_or(key_dim).optional();
}

/// Calls f(name, part) for each matrix or scalar of what a state consists of, as far as it is
/// known: for the state itself, or for what its member for_each_part(f) says.
template <class Scalar, class Part, class F>
void for_each_part(const char* name, const Part& part, const F& f) {
  if constexpr (requires { part.for_each_part(f); }) {
    part.for_each_part(f);
  } else if constexpr (DenseExpression<Part> || std::is_same_v<Part, Scalar>) {
    f(name, part);
  }
}

template <class State>
bool equal(const State& a, const State& b) {
  if constexpr (std::is_same_v<State, Empty>) {
    return true;
  } else if constexpr (DenseExpression<State>) {
    return a.rows() == b.rows() && a.cols() == b.cols() && a.cwiseEqual(b).all();
  } else {
    return a == b;
  }
}

inline void check_width(const char* name, Index width, int known) {
  if (width <= 0 || (known != Eigen::Dynamic && width != known)) {
    fail(std::string("option ") + name + " is " + std::to_string(width) + ", expected " +
         (known == Eigen::Dynamic ? "a positive width" : std::to_string(known)));
  }
}

template <int Dk, int Dv, class Options>
void check_widths(const Options& options) {
  check_width("key_dim", options.key_dim, Dk);
  check_width("value_dim", options.value_dim, Dv);
}

template <class Scalar>
void check_option(const char* name, const Scalar& value, Domain domain) {
  if (!all_in_domain(Eigen::Array<Scalar, 1, 1>(value), domain)) {
    fail(std::string("option ") + name + " must be " + describe(domain));
  }
}

template <class Scalar, int Dk, int Dv>
void check_options(const LayerOptions<Scalar, Dk, Dv>& options) {
  check_widths<Dk, Dv>(options);
  check_option("prior_variance", options.prior_variance, Domain::non_negative);
  check_option("log_decay", options.log_decay, Domain::log_decay);
  check_option("info_scale", options.info_scale, Domain::non_negative);
  if (!(options.input_variance > Scalar(0))) fail("option input_variance must be > 0");
}

}  // namespace detail
}  // namespace seqbayes
