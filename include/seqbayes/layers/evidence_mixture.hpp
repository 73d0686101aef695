/// @file
/// Layers side by side, weighted by how probable each finds the values: a hidden Markov model over
/// layers.
///
///   pi_i = (1 - h) w_i + h / K,   w_i <- pi_i p_i / p,   p = sum_i pi_i p_i
///
/// with p_i the density of the token's values by layer i, K layers and a switching rate h.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include <seqbayes/scan/scan.hpp>

namespace seqbayes {

namespace detail {

template <class F, std::size_t... I>
void for_each_index(std::index_sequence<I...>, const F& f) {
  (f(std::integral_constant<std::size_t, I>()), ...);
}

/// Number of value channels that a layer's type knows.
template <class L>
inline constexpr int value_width_of =
    std::remove_cvref_t<decltype(std::declval<const L&>()
                                     .step(std::declval<typename L::State&>(),
                                           std::declval<const Token<typename L::Scalar>&>())
                                     .mean)>::RowsAtCompileTime;

/// What two layers that both read a field accept of it.
inline InputWidth common_width(const char* name, const InputWidth& a, const InputWidth& b) {
  if (a.width == 0 || b.width == 0) return a.width == 0 ? b : a;
  InputWidth both = a;
  both.may_be_empty = a.may_be_empty && b.may_be_empty;
  both.or_one = a.or_one && b.or_one;
  if (a.width == b.width) return both;
  both.width = 1;
  if (!a.accepts(1) || !b.accepts(1)) {
    fail(std::string("the layers of a mixture read ") + name + " of " + std::to_string(a.width) +
         " and of " + std::to_string(b.width) + " entries");
  }
  return both;
}

}  // namespace detail

/// A mixture of probabilistic layers by evidence: each token goes through all of them, and each
/// weighs what probability it has given to the values so far. The data may switch from one layer to
/// any other at a rate of h a token (the interacting multiple models of Blom and Bar-Shalom 1988,
/// but each layer keeps its own memory). It reads what any of its layers reads.
template <ProbabilisticLayer First, ProbabilisticLayer... Rest>
class EvidenceMixture {
 public:
  using Scalar = typename First::Scalar;
  static_assert((std::is_same_v<Scalar, typename Rest::Scalar> && ...),
                "seqbayes: the layers of a mixture have one scalar type");
  static constexpr int layers = 1 + sizeof...(Rest);
  static constexpr int value_width = detail::value_width_of<First>;
  using Weights = Vector<Scalar, layers>;

  struct Options {
    std::tuple<First, Rest...> layers;
    /// h in [0, 1). With 0 one layer is right throughout: the evidence is then at most ln K below
    /// that of the best. With more, a layer whose weight has vanished comes back.
    Scalar switching_rate = Scalar(0);
  };

  struct State {
    std::tuple<typename First::State, typename Rest::State...> layers;
    Weights log_weight;  ///< ln w_i, given all tokens so far.

    /// Calls f(name, part) for each matrix or scalar.
    template <class F>
    void for_each_part(const F& f) const {
      std::apply(
          [&](const auto&... part) { (seqbayes::for_each_part<Scalar>("layers", part, f), ...); },
          layers);
      f("log_weight", log_weight);
    }
    friend bool operator==(const State& a, const State& b) {
      return a.layers == b.layers && detail::equal(a.log_weight, b.log_weight);
    }
  };

  /// What the layers say of one token, a column or entry each.
  struct Opinions {
    Eigen::Matrix<Scalar, value_width, layers> mean;
    Weights variance, log_evidence;
  };

  struct Step {
    Vector<Scalar, value_width> mean;  ///< sum_i w_i mean_i
    Scalar variance;      ///< sum_i w_i (variance_i + |mean_i - mean|^2 / Dv), per value channel.
    Scalar log_evidence;  ///< ln sum_i pi_i p_i
  };

  /// @throws std::invalid_argument naming the option that is out of its domain, or the field of
  /// which layers need different widths.
  explicit EvidenceMixture(Options options) : options_(std::move(options)) {
    const Scalar& h = options_.switching_rate;
    if (!(h >= Scalar(0) && h < Scalar(1))) {
      detail::fail("option switching_rate must be >= 0 and < 1");
    }
    for_each_layer([&](auto, const auto& layer) {
      if (layer.key_dim() != key_dim() || layer.value_dim() != value_dim()) {
        detail::fail("option layers: the layers of a mixture have the same key and value widths");
      }
      for_each_field([](const char* name, auto, InputWidth& all,
                        const InputWidth& one) { all = detail::common_width(name, all, one); },
                     inputs_, layer.inputs());
    });
  }

  template <std::size_t i>
  [[nodiscard]] const auto& layer() const {
    return std::get<i>(options_.layers);
  }
  /// Calls f(i, layer i), i a std::integral_constant.
  template <class F>
  void for_each_layer(const F& f) const {
    detail::for_each_index(std::make_index_sequence<layers>(),
                           [&](auto i) { f(i, std::get<i>(options_.layers)); });
  }

  [[nodiscard]] Index key_dim() const { return layer<0>().key_dim(); }
  [[nodiscard]] Index value_dim() const { return layer<0>().value_dim(); }
  [[nodiscard]] const Options& options() const { return options_; }
  [[nodiscard]] InputWidths inputs() const { return inputs_; }

  /// All layers equally probable, each in its initial state.
  [[nodiscard]] State initial_state() const {
    using std::log;
    return std::apply(
        [](const auto&... layer) {
          return State{{layer.initial_state()...}, Weights::Constant(-log(Scalar(double(layers))))};
        },
        options_.layers);
  }

  /// @throws std::invalid_argument if a layer refuses its part.
  void check_state(const State& state) const {
    for_each_layer([&](auto i, const auto& layer) {
      detail::check_state_of(layer, std::get<i>(state.layers));
    });
  }

  Step step(State& state, const Token<Scalar>& token) const {
    Step out;
    combine(opinions(state, token), state.log_weight, out);
    return out;
  }

  /// Advances the layers, not the weights.
  Opinions opinions(State& state, const Token<Scalar>& token) const {
    Opinions all;
    all.mean.resize(value_dim(), layers);
    for_each_layer([&](auto i, const auto& layer) {
      const auto y = layer.step(std::get<i>(state.layers), token);
      all.mean.col(i) = y.mean;
      all.variance[i] = y.variance;
      all.log_evidence[i] = y.log_evidence;
    });
    return all;
  }

  /// Weighs the layers by what they say of a token, and mixes them.
  void combine(const Opinions& all, Weights& log_weight, Step& out) const {
    using std::exp;
    out.log_evidence = reweigh(all.log_evidence, log_weight);
    out.mean.setZero(value_dim());
    Weights weight;
    for (int i = 0; i < layers; ++i) weight[i] = exp(log_weight[i]);
    // What a layer without weight says may be NaN.
    const auto is_heard = [&](int i) { return weight[i] > Scalar(0); };
    for (int i = 0; i < layers; ++i) {
      if (is_heard(i)) out.mean += all.mean.col(i) * weight[i];
    }
    out.variance = Scalar(0);
    const Scalar width = Scalar(double(value_dim()));
    for (int i = 0; i < layers; ++i) {
      if (!is_heard(i)) continue;
      const Scalar apart = (all.mean.col(i) - out.mean).squaredNorm();
      out.variance += weight[i] * (all.variance[i] + apart / width);
    }
  }

  /// pi_i from ln w_i of the token before, h > 0.
  [[nodiscard]] Scalar prior_weight(const Scalar& log_weight) const {
    using std::exp;
    const Scalar& h = options_.switching_rate;
    return (Scalar(1) - h) * exp(log_weight) + h / Scalar(double(layers));
  }

 private:
  /// Bayes' rule in logarithms; returns ln p.
  Scalar reweigh(const Weights& log_evidence, Weights& log_weight) const {
    using std::exp;
    using std::log;
    if (options_.switching_rate > Scalar(0)) {
      for (int i = 0; i < layers; ++i) log_weight[i] = log(prior_weight(log_weight[i]));
    }
    Weights joint = log_weight + log_evidence;
    for (Scalar& j : joint) {  // one that broke down at an overflow says nothing for itself
      if (!(j == j)) j = Scalar(-std::numeric_limits<double>::infinity());
    }
    Scalar top = joint[0];
    for (int i = 1; i < layers; ++i) {
      if (joint[i] > top) top = joint[i];
    }
    if (!detail::is_finite(top)) return top;  // impossible by every layer: nothing is learned
    Scalar sum(0);
    for (int i = 0; i < layers; ++i) sum += exp(Scalar(joint[i] - top));
    const Scalar evidence = top + log(sum);
    for (int i = 0; i < layers; ++i) log_weight[i] = joint[i] - evidence;
    return evidence;
  }

  Options options_;
  InputWidths inputs_;
};

/// In tiles if any of its layers does.
template <class... Layers>
inline constexpr bool runs_tiled<EvidenceMixture<Layers...>> = (runs_tiled<Layers> || ...);

namespace detail {

/// Each layer runs over a tile in its own way; then the tile is mixed token by token.
template <bool probabilistic, class... Layers>
void run_tiles(const EvidenceMixture<Layers...>& layer,
               typename EvidenceMixture<Layers...>::State& state,
               const Sequence<typename EvidenceMixture<Layers...>::Scalar>& x, Index tile,
               Workspace<typename EvidenceMixture<Layers...>::Scalar>& workspace,
               const Results<typename EvidenceMixture<Layers...>::Scalar>& out) {
  using L = EvidenceMixture<Layers...>;
  using Scalar = typename L::Scalar;
  const Index dv = layer.value_dim();
  const Index tokens = std::min(tile == 0 ? default_tile : tile, std::max<Index>(1, x.length()));
  Buffer<Scalar> scratch = workspace.take_parts();
  Scalar* const own = scratch.reserve(L::layers * tokens * (dv + 4));
  // Of layer i: means, then four numbers a token.
  const auto means = [=](Index i) { return own + i * tokens * (dv + 4); };
  const auto numbers = [=](Index i, Index which) { return means(i) + tokens * (dv + which); };
  typename L::Opinions all;
  typename L::Step y;
  all.mean.resize(dv, L::layers);
  for (Index first = 0; first < x.length(); first += tokens) {
    const Index count = std::min(tokens, x.length() - first);
    const Sequence<Scalar> part = x.tokens(first, count);
    layer.for_each_layer([&](auto i, const auto& one) {
      CompensatedSum<Scalar> sum;
      run<true>(one, std::get<i>(state.layers), part, Execution::chunked(tokens), workspace,
                {means(i), numbers(i, 0), &sum, numbers(i, 1), numbers(i, 2), numbers(i, 3)});
    });
    for (Index t = 0; t < count; ++t) {
      for (Index i = 0; i < L::layers; ++i) {
        all.mean.col(i) = Eigen::Map<const Vector<Scalar>>(means(i) + t * dv, dv);
        all.variance[i] = numbers(i, 0)[t];
        all.log_evidence[i] = numbers(i, 3)[t];
      }
      layer.combine(all, state.log_weight, y);
      std::copy_n(y.mean.data(), dv, out.mean + (first + t) * dv);
      if constexpr (probabilistic) {
        out.variance[first + t] = y.variance;
        *out.log_evidence += y.log_evidence;
        if (out.token_evidence) out.token_evidence[first + t] = y.log_evidence;
      }
    }
  }
  workspace.of_parts.push_back(std::move(scratch));
}

}  // namespace detail
}  // namespace seqbayes
