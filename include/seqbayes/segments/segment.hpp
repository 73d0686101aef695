/// @file
/// What a run of tokens does to any state that it may start from, as a few small matrices that
/// compose: the algebra of the parallel Kalman filter (Sarkka and Garcia-Fernandez 2021,
/// arXiv 1905.13002), for a matrix-valued state.
///
/// A segment takes a memory S (Dk x Dv) and, of layers that propagate one, a covariance P (Dk x Dk)
/// to
///
///     M  = (I + P J)^-1
///     S' = A M (S + P eta) + b
///     P' = A M P A' + C
///
/// Gains that don't see a covariance leave A and b alone: S' = A S + b. Where the covariance has a
/// decay of its own, c is the product of the memory's decays over the covariance's, and with
/// phi = max(1, c)
///
///     S' = A M ((c / phi) S + P eta) + b,    P' = A M P A' / phi^2 + C.
///
/// J and eta are what the tokens say of the start. They are kept as a root, J = R'R and eta = R'y,
/// an observation y = R S + noise of variance 1: J itself grows as T / r where keys lie, and its
/// rounding would hide the prior where they don't.
#pragma once

#include <Eigen/QR>
#include <type_traits>

#include <seqbayes/layers/layer.hpp>
#include <seqbayes/layers/several_writes.hpp>
#include <seqbayes/segments/conditioned.hpp>

namespace seqbayes {

namespace detail {

/// How the tokens of a layer compose.
enum class Composition { none, memory, filter };

template <class L>
inline constexpr Composition composition_of = Composition::none;
template <class Scalar, int Dk, int Dv, class Model, class Decay, class Covariance>
inline constexpr Composition composition_of<Layer<Scalar, Dk, Dv, Model, Decay, Covariance>> = [] {
  using L = Layer<Scalar, Dk, Dv, Model, Decay, Covariance>;
  using Policy = typename L::Policy;
  if (Decay::width == DecayWidth::value_channel) return Composition::none;
  if (std::is_same_v<decltype(L::State::covariance), Empty>) return Composition::memory;
  if constexpr (requires { Policy::composes; } && NamesItself<Policy>) {
    return Policy::composes ? Composition::filter : Composition::none;
  }
  return Composition::none;
}();
template <class Base, int Writes>
inline constexpr Composition composition_of<SeveralWrites<Base, Writes>> =
    composition_of<Base> == Composition::memory ? Composition::memory : Composition::none;

/// Products of small matrices, in the precision in which they cost little.
template <class Scalar>
using Wide = std::conditional_t<std::is_same_v<Scalar, float>, double, Scalar>;

}  // namespace detail

/// A layer whose tokens compose: of the grid and the delta family those that keep no covariance,
/// and the exact filters (`FullCovariance`). Diagonal, isotropic and preconditioned gains depend on
/// their state in a way that no small matrix sums up; a decay by value channel gives every column
/// of the memory an A of its own.
template <class L>
concept ComposableLayer = detail::composition_of<L>
!= detail::Composition::none;

/// What a run of tokens does to any state. Plain values; a default one belongs to no layer, that of
/// no tokens is `summarise(layer, x.tokens(0, 0))`.
template <ComposableLayer L>
struct Segment {
  using Scalar = typename L::Scalar;
  /// Whether it has the parts of a filter; without, they stay empty.
  static constexpr bool is_filter = detail::composition_of<L> == detail::Composition::filter;

  Matrix<Scalar> transition;          ///< A, Dk x Dk.
  Matrix<Scalar> offset;              ///< b, Dk x Dv: the memory that an empty one would become.
  Matrix<Scalar> covariance;          ///< C, Dk x Dk, symmetric: what a known memory would have.
  Matrix<Scalar> observation_rows;    ///< R, Dk x Dk: what the tokens see of the start.
  Matrix<Scalar> observation_values;  ///< y, Dk x Dv.

  Scalar decay_ratio{1};  ///< c.

  /// phi; c / phi = min(1, c).
  [[nodiscard]] detail::Wide<Scalar> frame() const {
    return decay_ratio > Scalar(1) ? detail::Wide<Scalar>(decay_ratio) : detail::Wide<Scalar>(1);
  }

  /// Calls f(part) for each matrix.
  template <class Self, class F>
  static void for_each_part(Self& segment, const F& f) {
    f(segment.transition);
    f(segment.offset);
    if constexpr (is_filter) {
      f(segment.covariance);
      f(segment.observation_rows);
      f(segment.observation_values);
    }
  }
};

namespace detail {

/// A ratio of decays, where it is as good as 0 or infinity as a number whose square is one, too.
template <class Scalar>
Scalar within_range(const Scalar& ratio) {
  const Scalar epsilon(Eigen::NumTraits<Scalar>::epsilon()), least = epsilon * epsilon;
  return ratio < least ? least : ratio > Scalar(1) / least ? Scalar(Scalar(1) / least) : ratio;
}

template <class Matrix>
auto wide(const Matrix& m) {
  using To = Wide<typename Matrix::Scalar>;
  return seqbayes::Matrix<To>(m.template cast<To>());
}
template <class Matrix>
void make_symmetric(Matrix& m) {
  m = Matrix((m + m.transpose()) * typename Matrix::Scalar(0.5));
}

/// A state between segments, in the wide type.
template <class L>
struct Carried {
  using To = Wide<typename L::Scalar>;
  Matrix<To> mean, covariance;

  explicit Carried(const typename L::State& state) : mean(wide(state.mean)) {
    if constexpr (Segment<L>::is_filter) covariance = nonnegative(wide(state.covariance));
  }
  void advance(const Segment<L>& segment) {
    const auto a = wide(segment.transition), b = wide(segment.offset);
    if constexpr (!Segment<L>::is_filter) {
      mean = Matrix<To>(a * mean + b);
    } else {
      const To phi = segment.frame(), alpha = To(segment.decay_ratio) / phi;
      const Conditioned<To> conditioned(covariance, wide(segment.observation_rows));
      mean = Matrix<To>(a * conditioned.mean(mean * alpha, wide(segment.observation_values)) + b);
      covariance = Matrix<To>(a * conditioned.covariance() * a.transpose() / (phi * phi) +
                              wide(segment.covariance));
      make_symmetric(covariance);
    }
  }
  void store(typename L::State& state) const {
    using Scalar = typename L::Scalar;
    state.mean = mean.template cast<Scalar>();
    if constexpr (Segment<L>::is_filter) state.covariance = covariance.template cast<Scalar>();
  }
};

}  // namespace detail

/// The segment of `first`'s tokens and then those of `later`, of one layer. Associative.
template <ComposableLayer L>
Segment<L> combine(const Segment<L>& first, const Segment<L>& later) {
  using Scalar = typename L::Scalar;
  using detail::wide;
  const auto a1 = wide(first.transition), a2 = wide(later.transition), b1 = wide(first.offset);
  Segment<L> both;
  const auto store = [](Matrix<Scalar>& to, const auto& x) { to = x.template cast<Scalar>(); };
  if constexpr (!Segment<L>::is_filter) {
    store(both.transition, a2 * a1);
    store(both.offset, a2 * b1 + wide(later.offset));
  } else {
    using To = detail::Wide<Scalar>;
    using Result = Matrix<To>;
    const auto c1 = wide(first.covariance), r2 = wide(later.observation_rows);
    const auto y2 = wide(later.observation_values);
    const To phi1 = first.frame(), phi2 = later.frame(), ratio2 = To(later.decay_ratio);
    const To ratio = To(first.decay_ratio) * ratio2, phi = ratio > To(1) ? ratio : To(1);
    const To alpha2 = ratio2 / phi2;
    both.decay_ratio = detail::within_range(Scalar(ratio));
    const detail::Conditioned<To> conditioned(detail::nonnegative<To>(c1), r2);
    store(both.transition, a2 * conditioned(a1) * (phi / (phi1 * phi2)));
    store(both.offset, a2 * conditioned.mean(b1 * alpha2, y2) + wide(later.offset));
    Result covariance =
        a2 * conditioned.covariance() * a2.transpose() / (phi2 * phi2) + wide(later.covariance);
    detail::make_symmetric(covariance);
    store(both.covariance, covariance);
    // What the later tokens say of the first start, with the noise of the tokens between, and what
    // the first do: 2 Dk rows, of which Householder reflections leave Dk.
    const Index dk = a1.rows();
    Result rows(2 * dk, dk), values(2 * dk, b1.cols());
    rows << wide(first.observation_rows), conditioned.whitened(r2 * a1) / phi1;
    values << wide(first.observation_values) * (ratio2 * phi1 / phi),
        conditioned.whitened(y2 - r2 * b1 * alpha2) * (phi2 / phi);
    const Eigen::HouseholderQR<Result> qr(rows);
    values.applyOnTheLeft(qr.householderQ().transpose());
    store(both.observation_rows,
          Result(qr.matrixQR().topRows(dk).template triangularView<Eigen::Upper>()));
    store(both.observation_values, values.topRows(dk));
  }
  return both;
}

/// Takes `state` to where scanning the segment's tokens would leave it.
/// @throws std::invalid_argument if the state has other widths than the layer.
template <ComposableLayer L>
void advance(const L& layer, const Segment<L>& segment, typename L::State& state) {
  layer.check_state(state);
  detail::Carried<L> carried(state);
  carried.advance(segment);
  carried.store(state);
}

/// `dstate`, the derivative of a loss with respect to the state that `advance` made of `before`,
/// becomes that with respect to `before`. With S+ = M (S + P eta),
///
///     dS = M' A' dS',   dP = M' A' dP' A M + sym(M' A' dS' (eta - J S+)')
///
/// but for the factors of c, as above.
///
/// That of a covariance is symmetric, as in `Gradient`.
template <ComposableLayer L>
void advance_vjp(const Segment<L>& segment, const typename L::State& before,
                 typename L::State& dstate) {
  using Scalar = typename L::Scalar;
  using detail::wide;
  const auto a = wide(segment.transition), dmean = wide(dstate.mean);
  if constexpr (!Segment<L>::is_filter) {
    dstate.mean = (a.transpose() * dmean).template cast<Scalar>();
  } else {
    using To = detail::Wide<Scalar>;
    using Result = Matrix<To>;
    const auto rows = wide(segment.observation_rows), values = wide(segment.observation_values);
    const detail::Conditioned<To> conditioned(detail::nonnegative(wide(before.covariance)), rows);
    const To phi = segment.frame(), alpha = To(segment.decay_ratio) / phi;
    const Result ds = conditioned.transposed(a.transpose() * dmean);
    const Result dp =
        conditioned.transposed(a.transpose() * wide(dstate.covariance) * a / (phi * phi));
    const Result start = conditioned.mean(wide(before.mean) * alpha, values);
    Result dcovariance = conditioned.transposed(dp.transpose());
    dcovariance += ds * (values - rows * start).transpose() * rows;
    detail::make_symmetric(dcovariance);
    dstate.mean = (ds * alpha).template cast<Scalar>();
    dstate.covariance = dcovariance.template cast<Scalar>();
  }
}

}  // namespace seqbayes
