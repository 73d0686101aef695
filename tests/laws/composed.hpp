// A layer that is made of others in all three ways, for the laws that hold whatever a layer is made
// of; its numbers are tested in tests/layers.
#pragma once

#include <laws/layers.hpp>
#include <laws/run.hpp>

namespace laws {

/// A mixture of learned and of Student-t noise.
template <class S, int Dk = any, int Dv = any>
using Composed =
    seqbayes::EvidenceMixture<seqbayes::LearnedNoise<seqbayes::GatedDeltaNet<S, Dk, Dv>>,
                              seqbayes::StudentT<seqbayes::BayesianLayer<S, Dk, Dv>>>;

template <class... Layers>
std::string describe(const seqbayes::EvidenceMixture<Layers...>& layer) {
  return "mixture of " + std::to_string(sizeof...(Layers)) + ", " +
         std::to_string(layer.key_dim()) + " x " + std::to_string(layer.value_dim());
}

namespace detail {

/// All numbers of a state, as the memory of a run.
template <class State>
void note_parts(Run<Real>& run, const State& state) {
  std::vector<Real> all;
  state.for_each_part([&](const auto&, const auto& part) {
    if constexpr (requires { part.rows(); }) {
      for (const auto& entry : part.reshaped()) all.push_back(widen(entry));
    } else {
      all.push_back(widen(part));
    }
  });
  run.memory = Eigen::Map<const Matrix<Real>>(all.data(), Index(all.size()), 1);
}

}  // namespace detail

template <class Filter>
struct Case<seqbayes::LearnedNoise<Filter>> {
  using Layer = seqbayes::LearnedNoise<Filter>;

  template <class Number>
  static Layer make(const Setup<Number>& setup) {
    return Layer({.filter = laws::make<Filter>(setup)});
  }
  static auto some_state(const Layer& layer, Draw& draw) {
    using S = typename Layer::Scalar;
    return typename Layer::State{Case<Filter>::some_state(layer.filter(), draw), S(3), S(1.5)};
  }
};

template <class Filter>
struct Case<seqbayes::StudentT<Filter>> {
  using Layer = seqbayes::StudentT<Filter>;

  template <class Number>
  static Layer make(const Setup<Number>& setup) {
    return Layer({.filter = laws::make<Filter>(setup)});
  }
  static auto some_state(const Layer& layer, Draw& draw) {
    return Case<Filter>::some_state(layer.filter(), draw);
  }
};

template <class... Layers>
struct Case<seqbayes::EvidenceMixture<Layers...>> {
  using Layer = seqbayes::EvidenceMixture<Layers...>;

  template <class Number>
  static Layer make(const Setup<Number>& setup) {
    return Layer({.layers = {laws::make<Layers>(setup)...}, .switching_rate = 0.125f});
  }
  static auto some_state(const Layer& layer, Draw& draw) {
    auto state = layer.initial_state();
    layer.for_each_layer([&](auto i, const auto& one) {
      using Part = std::remove_cvref_t<decltype(one)>;
      std::get<i>(state.layers) = Case<Part>::some_state(one, draw);
      state.log_weight[i] = -typename Layer::Scalar(i + 1);
    });
    return state;
  }
  static void note_state(Run<Real>& run, const typename Layer::State& state) {
    detail::note_parts(run, state);
  }
};

}  // namespace laws
