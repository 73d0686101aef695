/// @file
/// The gain pass of the latent-input model: the evidence about an input says nothing about the
/// memory, so the gain is the key itself, shrunk if the input has a prior, whatever the covariance.
#pragma once

#include <seqbayes/covariance/full.hpp>

namespace seqbayes {

/// No covariance is kept: the mean of linear attention, RetNet, Mamba-2/SSD and GLA.
struct UntrackedInput : detail::WithoutState {
  template <class Options>
  static void add_inputs(InputWidths& inputs, const Options& options) {
    if (detail::is_finite(options.input_variance)) inputs.observation_noise = 1;
  }

  /// k E[u | v] / v = k tau / (tau + r).
  template <int Dk, class Scalar, class Options, class Decay, class Gain>
  static Scalar gain(const Options& options, const Token<Scalar>& token, const Decay&, Empty,
                     Gain& gain) {
    gain = token.key.template vector<Dk>();
    if (const Scalar& tau = options.input_variance; detail::is_finite(tau)) {
      gain *= Scalar(tau / (tau + token.observation_noise[0]));
    }
    return Scalar(0);
  }
};

namespace detail {

/// Var(u | v) = tau r / (tau + r), also where that sum or product has no number; tau may be
/// infinite.
template <class Scalar>
Scalar input_variance_given_value(const Scalar& tau, const Scalar& r) {
  return tau < r ? Scalar(tau / (Scalar(1) + tau / r)) : Scalar(r / (Scalar(1) + r / tau));
}

}  // namespace detail

/// P = D P D + rho k k' with rho = Var(u | v) = tau r / (tau + r): it only grows with writes. The
/// evidence of a value is N(0, tau + r) wherever the memory stands, and improper (minus infinity)
/// under a flat prior, tau = infinity.
struct AccumulatedCovariance {
  static constexpr bool has_variance = true;
  static constexpr bool propagates = true;

  template <class Scalar, int Dk>
  using State = FullCovariance::State<Scalar, Dk>;
  template <class Scalar, int Dk, int Dv>
  using Options = LayerOptions<Scalar, Dk, Dv>;

  template <class Options>
  static void add_inputs(InputWidths& inputs, const Options& options) {
    inputs.observation_noise = 1;
    inputs.covariance_log_decay = InputWidth::one_or(options.key_dim).optional();
  }

  template <class Options>
  static auto initial(const Options& options) {
    return FullCovariance::initial(options);
  }
  template <class Stored, class Options>
  static void check(const Stored& stored, const Options& options) {
    FullCovariance::check(stored, options);
  }

  template <int Dk, class Scalar, class Options, class Decay, class Stored, class Gain>
  static Scalar gain(const Options& options, const Token<Scalar>& token, const Decay& decay,
                     Stored& stored, Gain& gain) {
    using std::sqrt;
    const Scalar r = token.observation_noise[0];
    const Scalar rho = detail::input_variance_given_value(options.input_variance, r);
    auto p = detail::sized<Dk, Dk>(stored);
    gain = token.key.template vector<Dk>() * Scalar(sqrt(rho));
    detail::decay_and_add_outer(p, decay, gain, Scalar(1));
    UntrackedInput::gain<Dk>(options, token, decay, Empty(), gain);
    return options.input_variance + r;
  }

  template <int Dk, class Scalar, class Options, class Stored>
  static Scalar variance(const Options& options, const Token<Scalar>& token, const Stored& stored) {
    return FullCovariance::variance<Dk>(options, token, stored);
  }
};

}  // namespace seqbayes
