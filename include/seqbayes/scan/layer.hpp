/// @file
/// A point of the grid *design model x decay x covariance* as a layer.
#pragma once

#include <cassert>

#include <seqbayes/covariance/approximate.hpp>
#include <seqbayes/covariance/latent_input.hpp>
#include <seqbayes/covariance/preconditioned.hpp>
#include <seqbayes/covariance/reset.hpp>
#include <seqbayes/memory/memory.hpp>
#include <seqbayes/scan/output.hpp>

namespace seqbayes {

/// The covariance policy of a model: which combinations exist. Specialise it to add one.
template <class Model, class Covariance>
struct GainPass {
  static_assert(
      !std::is_same_v<Model, Model>,
      "seqbayes: this design model has no such covariance. LatentInput takes NoCovariance or "
      "FullCovariance; AssociativeRegression takes ResetCovariance, IsotropicCovariance, "
      "DiagonalCovariance, FullCovariance or PreconditionedReset.");
};
template <>
struct GainPass<LatentInput, NoCovariance> : std::type_identity<UntrackedInput> {};
template <>
struct GainPass<LatentInput, FullCovariance> : std::type_identity<AccumulatedCovariance> {};
template <>
struct GainPass<AssociativeRegression, ResetCovariance> : std::type_identity<ResetCovariance> {};
template <>
struct GainPass<AssociativeRegression, IsotropicCovariance>
    : std::type_identity<IsotropicCovariance> {};
template <>
struct GainPass<AssociativeRegression, DiagonalCovariance>
    : std::type_identity<DiagonalCovariance> {};
template <>
struct GainPass<AssociativeRegression, FullCovariance> : std::type_identity<FullCovariance> {};
template <>
struct GainPass<AssociativeRegression, PreconditionedReset>
    : std::type_identity<PreconditionedReset> {};

/// Has the gain of a filter's policy, and no variance: for models that are no filters.
template <class Policy>
struct WithoutVariance : Policy {
  static constexpr bool has_variance = false;
};

/// Comba, Gated DeltaNet-2, DPLR and RWKV-7 bring their own gain; no filter is known behind them.
template <>
struct GainPass<SeparateEraseKey, ResetCovariance>
    : std::type_identity<WithoutVariance<ResetCovariance>> {};
template <>
struct GainPass<GatedErase, NoCovariance> : std::type_identity<NoCovariance> {};
template <>
struct GainPass<DiagonalPlusLowRank, NoCovariance> : std::type_identity<NoCovariance> {};
template <>
struct GainPass<GatedRemoval, NoCovariance> : std::type_identity<NoCovariance> {};

/// What a layer carries between tokens. Plain values: copy it to branch, keep it to resume.
template <class Scalar, int Dk, int Dv, class Covariance>
struct LayerState {
  detail::StateMatrix<Scalar, Dk, Dv> mean;       ///< S, Dk x Dv: S' k answers the key k.
  [[no_unique_address]] Covariance covariance{};  ///< What is kept of P (Dk x Dk), see the policy.

  /// Calls f(name, part) for each matrix or scalar.
  template <class F>
  void for_each_part(const F& f) const {
    f("mean", mean);
    detail::for_each_part<Scalar>("covariance", covariance, f);
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
  using Model = ModelType;
  using Decay = DecayType;
  using Policy = typename GainPass<Model, Covariance>::type;  ///< The gain pass.
  static constexpr int key_width = Dk;
  static constexpr int value_width = Dv;
  using Options = typename Policy::template Options<Scalar, Dk, Dv>;
  using State = LayerState<Scalar, Dk, Dv, typename Policy::template State<Scalar, Dk>>;
  /// Whether the layer is a filter: `step` and `scan` yield variance and evidence beside the mean.
  static constexpr bool has_variance = Policy::has_variance;

  /// @throws std::invalid_argument naming the option that is out of its domain.
  explicit Layer(const Options& options = {}) : options_(options) {
    detail::check_options(options_);
  }

  [[nodiscard]] Index key_dim() const { return options_.key_dim; }
  [[nodiscard]] Index value_dim() const { return options_.value_dim; }
  [[nodiscard]] const Options& options() const { return options_; }

  /// The fields that this layer reads, and their widths.
  [[nodiscard]] InputWidths inputs() const {
    InputWidths inputs;
    inputs.query = inputs.key = key_dim();
    inputs.value = value_dim();
    inputs.log_decay = Decay::input(key_dim());
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
    detail::check_state_shape("mean", state.mean, key_dim(), value_dim());
    Policy::check(state.covariance, options_);
  }

  /// Decays, writes and reads one token. Checks nothing but by debug assertions and, with static
  /// widths, never allocates; `scan` is the checked entrance.
  auto step(State& state, const Token<Scalar>& token) const {
    if constexpr (has_variance) {
      StepOutput<Scalar, Dv> out;
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
    const auto decay = detail::decay_factor<Decay, Dk>(token, options_);
    Vector<Scalar, Dk> gain(key_dim());
    // The covariance meets the mean here, and nowhere else.
    const Scalar s = gain_of(state, token, decay, gain);
    auto memory = detail::sized<Dk, Dv>(state.mean);
    mean.resize(value_dim());
    return {s, detail::write_and_read<Model>(memory, decay, gain, token, mean)};
  }

  template <class Factor>
  Scalar gain_of(State& state, const Token<Scalar>& token, const Factor& decay,
                 Vector<Scalar, Dk>& gain) const {
    if constexpr (Policy::propagates) {
      const Vector<Scalar, Dk> spread = detail::covariance_decay<Dk>(token, decay, key_dim());
      return Policy::template gain<Dk>(options_, token, spread, state.covariance, gain);
    } else {
      return Policy::template gain<Dk>(options_, token, decay, state.covariance, gain);
    }
  }

  Options options_;
};

}  // namespace seqbayes
