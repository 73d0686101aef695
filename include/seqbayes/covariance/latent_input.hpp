/// @file
/// The gain pass of the latent-input model: the evidence about an input says nothing about the
/// memory, so the gain is the key itself, shrunk if the input has a prior, whatever the covariance.
#pragma once

#include <cmath>
#include <type_traits>

#include <seqbayes/covariance/full.hpp>
#include <seqbayes/covariance/reset.hpp>

namespace seqbayes {

/// `NoCovariance` of `LatentInput`: the mean of linear attention, RetNet, Mamba-2/SSD and GLA.
struct UntrackedInput : detail::WithoutState {
  using Self = UntrackedInput;
  static constexpr OptionsRead reads{.input_variance = true};
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

  template <int Dk, class Options, class Scalar, class Decay, class OptionSums>
  static void gain_vjp(const Options& options, const Token<Scalar>& token, const Decay&, Empty,
                       GainCotangent<Scalar, Dk>& d, Empty&, TokenGradient<Scalar>& grad,
                       OptionSums& doptions) {
    const Scalar& tau = options.input_variance;
    if (!detail::is_finite(tau)) return grad.key.add(d.gain);
    const Scalar total = tau + token.observation_noise[0];
    const Scalar shrunk = tau / total;
    grad.key.add(d.gain * shrunk);
    const Scalar along = d.gain.dot(token.key.template vector<Dk>()) / total;
    grad.observation_noise.add_one(-along * shrunk);
    doptions.input_variance += along * (token.observation_noise[0] / total);
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

/// `FullCovariance` of `LatentInput`: P = D P D + rho k k' with rho = Var(u | v) = tau r / (tau +
/// r): it only grows with writes. The evidence of a value is N(0, tau + r) wherever the memory
/// stands, and improper (minus infinity) under a flat prior, tau = infinity.
struct AccumulatedCovariance {
  using Self = AccumulatedCovariance;
  static constexpr bool has_variance = true;
  static constexpr bool propagates = true;
  static constexpr bool composes = true;

  template <class Scalar, int Dk>
  using State = FullCovariance::State<Scalar, Dk>;
  template <class Scalar, int Dk, int Dv>
  using Options = LayerOptions<Scalar, Dk, Dv>;

  static constexpr OptionsRead reads{.prior_variance = true, .input_variance = true};
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
    auto p = sized<Dk, Dk>(stored);
    gain = token.key.template vector<Dk>() * Scalar(sqrt(rho));
    detail::decay_and_add_outer(p, decay, gain, Scalar(1));
    UntrackedInput::gain<Dk>(options, token, decay, Empty(), gain);
    return options.input_variance + r;
  }

  template <int Dk, class Scalar, class Options, class Stored>
  static Scalar variance(const Options& options, const Token<Scalar>& token, const Stored& stored) {
    return FullCovariance::variance<Dk>(options, token, stored);
  }

  template <class Options>
  static auto zero(const Options& options) {
    return FullCovariance::zero(options);
  }
  template <class Options, class Stored, class OptionSums>
  static void initial_vjp(const Options& options, const Stored& dstored, OptionSums& doptions) {
    FullCovariance::initial_vjp(options, dstored, doptions);
  }
  template <class Stored>
  static void symmetrise(Stored& stored) {
    FullCovariance::symmetrise(stored);
  }

  template <int Dk, class Options, class Scalar, class Stored, class OptionSums>
  static void gain_vjp(const Options& options, const Token<Scalar>& token,
                       const Vector<Scalar, Dk>& decay, const Stored& before,
                       GainCotangent<Scalar, Dk>& d, Stored& dstate, TokenGradient<Scalar>& grad,
                       OptionSums& doptions) {
    using Keys = Vector<Scalar, Dk>;
    const auto k = token.key.template vector<Dk>();
    const auto q = token.query.template vector<Dk>();
    const Scalar r = token.observation_noise[0];
    const Scalar keep = Scalar(1) / (Scalar(1) + r / options.input_variance);  // tau / (tau + r)
    auto dp = sized<Dk, Dk>(dstate);
    const Matrix<Scalar> decayed = decay.asDiagonal() * sized<Dk, Dk>(before) * decay.asDiagonal();

    dp += q.lazyProduct(q.transpose()) * d.variance;
    const Keys dpk = dp.lazyProduct(k);
    const Scalar rho = detail::input_variance_given_value(options.input_variance, r);
    const Keys pq = decayed.lazyProduct(q) + k * Scalar(rho * k.dot(q));
    grad.query.add(pq * Scalar(Scalar(2) * d.variance));
    grad.key.add(dpk * Scalar(Scalar(2) * rho));
    const Scalar ds = d.log_innovation_variance / (options.input_variance + r);
    grad.observation_noise.add_one(Scalar(k.dot(dpk) * keep) * keep + ds);
    const Scalar lost = rho / options.input_variance;  // r / (tau + r)
    doptions.input_variance += Scalar(k.dot(dpk) * lost) * lost + ds;
    Empty none;
    UntrackedInput::gain_vjp<Dk>(options, token, decay, none, d, none, grad, doptions);
    detail::predict_vjp(decayed, decay, dp, d);
  }
};

/// The gain pass that `LatentInput` has for a covariance.
template <class Covariance>
struct LatentInputPolicy {
  static_assert(!std::is_same_v<Covariance, Covariance>,
                "seqbayes: this design model has no such covariance. LatentInput takes "
                "NoCovariance or FullCovariance.");
};
template <>
struct LatentInputPolicy<NoCovariance> : std::type_identity<UntrackedInput> {};
template <>
struct LatentInputPolicy<FullCovariance> : std::type_identity<AccumulatedCovariance> {};

}  // namespace seqbayes
