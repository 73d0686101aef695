// A layer with its input and states, ready to be timed.
#pragma once

#include <benchmark/benchmark.h>

#include <string>

#include "ceilings.hpp"
#include "cost.hpp"
#include "stream.hpp"

namespace seqbayes::benchmarks {

/// Bytes of states that steps go through in turn: more than the first cache, less than the second.
inline constexpr Index second_cache = 512 * 1024;

/// One layer over one stream of `length` tokens, whatever the layer's type.
class Run {
 public:
  Run() = default;
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;
  virtual ~Run() = default;

  /// The whole stream from the initial state; the mean alone, or all that the layer yields.
  virtual void scan_mean(Execution how = {}) = 0;
  virtual void scan() = 0;

  /// How many states fill the second cache.
  [[nodiscard]] virtual Index states_in_cache() const = 0;
  /// `length` steps, one after the other for each of `states` states in turn: as many heads.
  virtual void steps(Index states) = 0;
  virtual void mean_steps(Index states) = 0;
  /// Reads and writes the states in place, as often as `steps` does.
  virtual void read_and_write_states(Index states) = 0;
};

/// The layer's large matrices.
template <class State, class F>
void for_each_part(State& state, F&& f) {
  if constexpr (requires { state.mean; }) {
    f(state.mean);
    if constexpr (requires { state.covariance.data(); }) f(state.covariance);
  } else if constexpr (requires { state.precision; }) {
    f(state.precision);
    f(state.information);
  } else {
    f(state.key_moment);
    f(state.value_moment);
  }
}

template <SequenceLayer L>
class LayerRun : public Run {
  using Scalar = typename L::Scalar;
  using State = typename L::State;

 public:
  LayerRun(Index key_dim, Index value_dim, Index length)
      : layer_(options(key_dim, value_dim)),
        initial_(layer_.initial_state()),
        state_(initial_),
        stream_(shared_stream<Scalar>(length)),
        x_(stream_->sequence(layer_.inputs())) {}

  void scan_mean(Execution how) override {
    state_ = initial_;
    seqbayes::scan_mean(layer_, state_, x_, stream_->mean_output.mean, stream_->workspace, how);
    benchmark::ClobberMemory();
  }

  void scan() override {
    state_ = initial_;
    if constexpr (ProbabilisticLayer<L>) {
      seqbayes::scan(layer_, state_, x_, stream_->output, stream_->workspace);
    } else {
      seqbayes::scan(layer_, state_, x_, stream_->mean_output, stream_->workspace);
    }
    benchmark::ClobberMemory();
  }

  [[nodiscard]] Index states_in_cache() const override {
    Index bytes = 0;
    for_each_part(initial_,
                  [&](const auto& part) { bytes += part.size() * Index(sizeof(Scalar)); });
    return std::max<Index>(1, second_cache / bytes);
  }

  void steps(Index states) override {
    for_each_step(states, [this](State& state, const Token<Scalar>& token) {
      auto y = layer_.step(state, token);
      benchmark::DoNotOptimize(y);
    });
  }

  void mean_steps(Index states) override {
    for_each_step(states, [this](State& state, const Token<Scalar>& token) {
      if constexpr (requires { layer_.step_mean(state, token); }) {
        auto y = layer_.step_mean(state, token);
        benchmark::DoNotOptimize(y);
      } else {
        auto y = layer_.step(state, token);
        benchmark::DoNotOptimize(y);
      }
    });
  }

  void read_and_write_states(Index states) override {
    for_each_step(states, [](State& state, const Token<Scalar>&) {
      for_each_part(state, [](auto& part) { read_and_write(part.data(), part.size()); });
    });
  }

 private:
  static typename L::Options options(Index key_dim, Index value_dim) {
    typename L::Options options;
    options.key_dim = key_dim;
    options.value_dim = value_dim;
    if constexpr (requires { options.process_noise; }) {  // Kalman Linear Attention
      options.decay.setConstant(value_dim, key_dim, Scalar(0.98));
      options.process_noise.setConstant(value_dim, key_dim, Scalar(0.01));
    }
    return options;
  }

  template <class F>
  void for_each_step(Index states, F&& f) {
    if (static_cast<Index>(states_.size()) != states) {
      states_.assign(static_cast<std::size_t>(states), initial_);
    }
    std::size_t i = 0;
    for (Index t = 0; t < x_.length(); ++t) {
      f(states_[i], x_.token(t));
      if (++i == states_.size()) i = 0;
    }
  }

  L layer_;
  State initial_, state_;
  std::shared_ptr<Stream<Scalar>> stream_;
  Sequence<Scalar> x_;
  std::vector<State> states_;
};

/// What can be timed: a layer at its widths.
struct Case {
  std::string
      name;      ///< float/64x64/GatedDeltaNet; dynamic widths: float/64x64/GatedDeltaNet/dynamic
  double flops;  ///< A token; 0: not counted.
  bool has_variance;
  double (*peak)();
  std::function<std::unique_ptr<Run>(Index length)> make;
};

using Cases = std::vector<Case>;

/// Adds a layer of static widths, or of the dynamic ones given.
template <class L>
void add_case(Cases& cases, const std::string& layer, Index dk, Index dv) {
  using Scalar = typename L::Scalar;
  const bool is_dynamic = typename L::Options().key_dim == 0;
  std::string name = std::is_same_v<Scalar, float> ? "float/" : "double/";
  name += std::to_string(dk) + 'x' + std::to_string(dv) + '/' + layer;
  if (is_dynamic) name += "/dynamic";
  cases.push_back({name, CostOf<L>::value.flops(dk, dv), ProbabilisticLayer<L>, peak<Scalar>,
                   [=](Index length) { return std::make_unique<LayerRun<L>>(dk, dv, length); }});
}

}  // namespace seqbayes::benchmarks
