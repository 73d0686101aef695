/// @file
/// A filter that learns the common scale of all its variances while it reads.
///
/// All variances of the design model are in units of an unknown sigma^2 ~ IG(a, b), inverse gamma.
/// The gain doesn't depend on it, and each token that observes n = Dv values updates it exactly:
///
///   nu ~ t with 2 a degrees of freedom and squared scale s b / a,
///   a <- a + n / 2,   b <- b + |nu|^2 / (2 s).
#pragma once

#include <algorithm>
#include <utility>

#include <seqbayes/layers/student_t_density.hpp>
#include <seqbayes/scan/scan.hpp>

namespace seqbayes {

namespace detail {

template <class L>
inline constexpr bool is_grid_layer = false;
template <class Scalar, int Dk, int Dv, class Model, class Decay, class Covariance>
inline constexpr bool is_grid_layer<Layer<Scalar, Dk, Dv, Model, Decay, Covariance>> = true;

}  // namespace detail

/// A filter of the grid with unknown noise (West and Harrison 1997, Bayesian Forecasting and
/// Dynamic Models, 4.5): prior variance, process noise and observation noise that it reads are in
/// units of sigma^2, which has an inverse gamma prior. Means are the filter's. In float a count of
/// values ends at 2^24: take double for longer streams.
template <FilterLayer FilterType>
class LearnedNoise {
  static_assert(detail::is_grid_layer<FilterType>,
                "seqbayes: LearnedNoise takes a filter of the grid, Layer<...>: its gain must not "
                "depend on the scale of the noise");

 public:
  using Filter = FilterType;
  using Scalar = typename Filter::Scalar;
  static constexpr int value_width = Filter::value_width;

  struct Options {
    Filter filter;
    /// a > 1 and b > 0 before the first token: the expectation of sigma^2 is b / (a - 1), and its
    /// standard deviation that / sqrt(a - 2).
    Scalar prior_shape = Scalar(2), prior_scale = Scalar(1);
  };

  struct State {
    typename Filter::State filter;  ///< Its covariance is in units of sigma^2.
    Scalar shape, scale;            ///< a and b, given all tokens so far.

    /// Calls f(name, part) for each matrix or scalar.
    template <class F>
    void for_each_part(const F& f) const {
      filter.for_each_part(f);
      f("shape", shape);
      f("scale", scale);
    }
    friend bool operator==(const State& a, const State& b) {
      return a.filter == b.filter && a.shape == b.shape && a.scale == b.scale;
    }
  };

  /// `log_evidence` is that of a t, `variance` and `innovation_variance` the expected variance and
  /// the squared scale s b / a of it.
  using Step = StepOutput<Scalar, value_width>;

  /// @throws std::invalid_argument naming the option that is out of its domain.
  explicit LearnedNoise(Options options) : options_(std::move(options)) {
    if (!(options_.prior_shape > Scalar(1)) || !detail::is_finite(options_.prior_shape)) {
      detail::fail("option prior_shape must be finite and > 1");
    }
    check_option("prior_scale", options_.prior_scale, Domain::positive);
  }

  [[nodiscard]] const Filter& filter() const { return options_.filter; }
  [[nodiscard]] Index key_dim() const { return filter().key_dim(); }
  [[nodiscard]] Index value_dim() const { return filter().value_dim(); }
  [[nodiscard]] const Options& options() const { return options_; }
  [[nodiscard]] InputWidths inputs() const { return filter().inputs(); }

  [[nodiscard]] State initial_state() const {
    return {filter().initial_state(), options_.prior_shape, options_.prior_scale};
  }
  /// @throws std::invalid_argument if the filter refuses its part.
  void check_state(const State& state) const { filter().check_state(state.filter); }

  Step step(State& state, const Token<Scalar>& token) const {
    Step out = filter().step(state.filter, token);
    learn(state.shape, state.scale, out);
    return out;
  }

  /// What the filter says of a token, with the noise that is known before (its evidence) and after
  /// it (its variance). `out` may be any type with these members of a `StepOutput`.
  template <class Out>
  void learn(Scalar& a, Scalar& b, Out& out) const {
    const Scalar s = out.innovation_variance;
    out.log_evidence = Scalar(0);
    if (detail::observes(s)) {
      out.innovation_variance = s * b / a;
      out.log_evidence =
          detail::log_student_t(a, out.innovation_variance, out.innovation_norm2, value_dim());
      a += Scalar(double(value_dim()) / 2);
      b += out.innovation_norm2 / (Scalar(2) * s);
    }
    out.variance *= b / (a - Scalar(1));
  }

 private:
  Options options_;
};

template <class Filter>
inline constexpr bool runs_tiled<LearnedNoise<Filter>> = runs_tiled<Filter>;

namespace detail {

/// The filter's tiles; then the noise, token by token.
template <bool probabilistic, class Filter>
void run_tiles(const LearnedNoise<Filter>& layer, typename LearnedNoise<Filter>::State& state,
               const Sequence<typename Filter::Scalar>& x, Index tile,
               Workspace<typename Filter::Scalar>& workspace,
               const Results<typename Filter::Scalar>& out) {
  using Scalar = typename Filter::Scalar;
  const Index tokens = std::min(tile == 0 ? default_tile : tile, std::max<Index>(1, x.length()));
  Buffer<Scalar> scratch = workspace.take_parts();
  Scalar* const variance = scratch.reserve(3 * tokens);
  Scalar *const s = variance + tokens, *const norm2 = s + tokens;
  for (Index first = 0; first < x.length(); first += tokens) {
    const Index count = std::min(tokens, x.length() - first);
    CompensatedSum<Scalar> unused;
    run_tiles<true>(layer.filter(), state.filter, x.tokens(first, count), tokens, workspace,
                    {out.mean + first * layer.value_dim(), variance, &unused, s, norm2});
    for (Index t = 0; t < count; ++t) {
      StepOutput<Scalar, 0> y{{}, variance[t], {}, s[t], norm2[t]};
      layer.learn(state.shape, state.scale, y);
      if constexpr (probabilistic) {
        out.variance[first + t] = y.variance;
        *out.log_evidence += y.log_evidence;
        if (out.token_evidence) out.token_evidence[first + t] = y.log_evidence;
        if (!out.innovation_variance) continue;
        out.innovation_variance[first + t] = y.innovation_variance;
        out.innovation_norm2[first + t] = y.innovation_norm2;
      }
    }
  }
  workspace.of_parts.push_back(std::move(scratch));
}

}  // namespace detail
}  // namespace seqbayes
