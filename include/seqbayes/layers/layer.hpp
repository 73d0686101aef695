/// @file
/// A point of the grid *design model x decay x covariance* as a layer.
#pragma once

#include <Eigen/Core>
#include <cassert>
#include <type_traits>

#include <seqbayes/covariance/approximate.hpp>
#include <seqbayes/covariance/latent_input.hpp>
#include <seqbayes/covariance/preconditioned.hpp>
#include <seqbayes/covariance/reset.hpp>
#include <seqbayes/layers/memory_pass.hpp>
#include <seqbayes/sequence/concept.hpp>
#include <seqbayes/sequence/output.hpp>
#include <seqbayes/sequence/parts.hpp>

namespace seqbayes {

namespace detail {

/// The parts of a layer, each of which is what it should be.
template <class ModelType, class Decay, class Covariance>
struct Parts {
  static_assert(
      requires { typename OneParameter<ModelType::template Policy>; },
      "seqbayes: the first part of Layer<Scalar, Dk, Dv, Model, Decay, Covariance> is no "
      "design model; model/model.hpp says what one has (DesignModel).");
  using Model = ModelType;
  using Policy = typename Model::template Policy<Covariance>;
  static_assert(CovariancePolicy<Policy>,
                "seqbayes: the third part of Layer<Scalar, Dk, Dv, Model, Decay, Covariance> is no "
                "covariance policy; covariance/policy.hpp says what one has (CovariancePolicy).");
  using PolicyOptions = typename Policy::template Options<double, Eigen::Dynamic, Eigen::Dynamic>;
  static_assert(DesignModel<Model, PolicyOptions>,
                "seqbayes: the first part of Layer<Scalar, Dk, Dv, Model, Decay, Covariance> is no "
                "design model; model/model.hpp says what one has (DesignModel).");
  static_assert(
      DecayKind<Decay, SomeOptions<Model, PolicyOptions>>,
      "seqbayes: the second part of Layer<Scalar, Dk, Dv, Model, Decay, Covariance> is no "
      "kind of decay; decay/decay.hpp says what one has (DecayKind).");
  static_assert(!Policy::propagates || Decay::width != DecayWidth::value_channel,
                "seqbayes: a decay by value channel goes with policies that propagate no "
                "covariance: each value channel would have its own.");
};

}  // namespace detail

/// What a layer carries between tokens. Plain values: copy it to branch, keep it to resume.
template <class Scalar, int Dk, int Dv, class Covariance>
struct LayerState {
  StateMatrix<Scalar, Dk, Dv> mean;               ///< S, Dk x Dv: S' k answers the key k.
  [[no_unique_address]] Covariance covariance{};  ///< What is kept of P (Dk x Dk), see the policy.

  /// Calls f(name, part) for each matrix or scalar.
  template <class F>
  void for_each_part(const F& f) const {
    f("mean", mean);
    seqbayes::for_each_part<Scalar>("covariance", covariance, f);
  }
  friend bool operator==(const LayerState& a, const LayerState& b) {
    return detail::equal(a.mean, b.mean) && detail::equal(a.covariance, b.covariance);
  }
};

/// A recurrent layer: the exact (or, for an approximate covariance, reduced) filter of `Model` with
/// `Decay`. Key width `Dk` and value width `Dv` may be `Eigen::Dynamic`.
///
/// A layer holds parameters only, never state, so one object serves any number of sequences and
/// threads.
template <class ScalarType, int Dk, int Dv, class ModelType, class DecayType, class Covariance>
class Layer {
 public:
  using Scalar = ScalarType;
  using Model = typename detail::Parts<ModelType, DecayType, Covariance>::Model;
  using Decay = DecayType;
  using Policy =
      typename detail::Parts<ModelType, DecayType, Covariance>::Policy;  ///< The gain pass.
  static constexpr int key_width = Dk;
  static constexpr int value_width = Dv;
  using Options =
      typename detail::OptionsOf<Model, typename Policy::template Options<Scalar, Dk, Dv>>::type;
  using State = LayerState<Scalar, Dk, Dv, typename Policy::template State<Scalar, Dk>>;
  /// Whether the layer is a filter: `step` and `scan` yield variance and evidence beside the mean.
  static constexpr bool has_variance = Policy::has_variance;
  using Output = std::conditional_t<has_variance, StepOutput<Scalar, Dv>, StepMean<Scalar, Dv>>;
  /// Which of the `LayerOptions` it reads; none where its policy has options of its own.
  static constexpr OptionsRead reads = [] {
    OptionsRead read;
    if constexpr (requires { OptionsRead(Policy::reads); }) {
      read = Policy::reads;
      read.log_decay = detail::reads_option<Decay>;
    }
    return read;
  }();

  /// @throws std::invalid_argument naming the option that is out of its domain.
  explicit Layer(const Options& options = {}) : options_(options) {
    if constexpr (requires { Policy::check_options(options_); }) {
      Policy::check_options(options_);
    } else {
      check_layer_options(options_, reads);
    }
    if constexpr (requires { Model::check_options(options_); }) Model::check_options(options_);
  }

  [[nodiscard]] Index key_dim() const { return options_.key_dim; }
  [[nodiscard]] Index value_dim() const { return options_.value_dim; }
  [[nodiscard]] const Options& options() const { return options_; }

  /// The fields that this layer reads, and their widths.
  [[nodiscard]] InputWidths inputs() const {
    InputWidths inputs;
    inputs.query = inputs.key = key_dim();
    inputs.value = value_dim();
    Decay::add_inputs(inputs, options_);
    Policy::add_inputs(inputs, options_);
    Model::add_inputs(inputs, options_);
    return inputs;
  }

  /// An empty memory and the prior covariance.
  [[nodiscard]] State initial_state() const {
    State state{{}, Policy::initial(options_)};
    state.mean.setZero(key_dim(), value_dim());
    return state;
  }

  /// @throws std::invalid_argument if the state has other widths than the layer.
  void check_state(const State& state) const {
    check_state_shape("mean", state.mean, key_dim(), value_dim());
    Policy::check(state.covariance, options_);
  }

  /// Decays, writes and reads one token. Checks nothing but by debug assertions and, with static
  /// widths, never allocates; `scan` is the checked entrance.
  Output step(State& state, const Token<Scalar>& token) const {
    if constexpr (has_variance) {
      Output out;
      const auto [s, norm2] = write(state, token, out.mean);
      out.variance = Policy::template variance<Dk>(options_, token, state.covariance);
      out.log_evidence = detail::log_density<Policy>(options_, token, norm2, s, value_dim());
      out.innovation_variance = s;
      out.innovation_norm2 = norm2;
      return out;
    } else {
      return step_mean(state, token);
    }
  }

  /// `step` without variance and evidence.
  StepMean<Scalar, Dv> step_mean(State& state, const Token<Scalar>& token) const {
    StepMean<Scalar, Dv> out;
    write(state, token, out.mean);
    return out;
  }

 private:
  struct Innovation {
    Scalar variance;  ///< s_t
    Scalar norm2;     ///< |nu_t|^2
  };

  Innovation write(State& state, const Token<Scalar>& token, Vector<Scalar, Dv>& mean) const {
    assert(token.query.size() == key_dim() && token.key.size() == key_dim());
    assert(token.value.size() == value_dim());
    const auto decay = detail::decay_factor<Decay, Dk, Dv>(token, options_);
    Vector<Scalar, Dk> gain(key_dim());
    // The covariance meets the mean here, and nowhere else.
    const Scalar s = gain_of(state, token, decay, gain);
    auto memory = sized<Dk, Dv>(state.mean);
    mean.resize(value_dim());
    return {s, detail::write_and_read<Model>(memory, options_, decay, gain, token, mean)};
  }

  template <class Factor>
  Scalar gain_of(State& state, const Token<Scalar>& token, const Factor& decay,
                 Vector<Scalar, Dk>& gain) const {
    if constexpr (Policy::propagates) {
      const Vector<Scalar, Dk> factors = detail::covariance_decay<Dk>(token, decay, key_dim());
      return Policy::template gain<Dk>(options_, token, factors, state.covariance, gain);
    } else {
      return Policy::template gain<Dk>(options_, token, decay, state.covariance, gain);
    }
  }

  Options options_;
};

}  // namespace seqbayes
