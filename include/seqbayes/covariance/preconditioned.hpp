/// @file
/// A running second moment of the keys preconditions the gain: Preconditioned DeltaNet (Tumma et
/// al. 2026, arXiv 2604.21100).
#pragma once

#include <Eigen/Core>
#include <cmath>

#include <seqbayes/covariance/policy.hpp>

namespace seqbayes {

/// Parameters of a preconditioned layer; the defaults are those of flash-linear-attention.
template <class Scalar, int Dk, int Dv>
struct PreconditionedOptions {
  Index key_dim = Dk == Eigen::Dynamic ? 0 : Dk;    ///< > 0.
  Index value_dim = Dv == Eigen::Dynamic ? 0 : Dv;  ///< > 0.
  Scalar epsilon = Scalar(1e-6);                    ///< Added to the second moment, > 0.
  Scalar base = Scalar(1.5);        ///< The preconditioner lies between 1 / base and base, > 0.
  Scalar log_scale = Scalar(-0.2);  ///< Log second moment at which the preconditioner is 1.
};

/// The gain is beta m * k with m = base^(-u / (1 + |u|)), u = ln(A + epsilon) - log_scale, and the
/// second moment A_t = e^{h_t} A_{t-1} + b_t k_t * k_t (elementwise; h and b are the fields
/// `precondition_log_decay` and `precondition_strength`). What is kept as `state.covariance` is A.
/// It is no filter: it has neither variance nor evidence.
struct PreconditionedReset {
  using Self = PreconditionedReset;
  static constexpr bool has_variance = false;
  static constexpr bool propagates = false;

  template <class Scalar, int Dk>
  using State = StateMatrix<Scalar, Dk, 1>;
  template <class Scalar, int Dk, int Dv>
  using Options = PreconditionedOptions<Scalar, Dk, Dv>;

  template <class Scalar, int Dk, int Dv>
  static void check_options(const PreconditionedOptions<Scalar, Dk, Dv>& options) {
    check_widths<Dk, Dv>(options);
    check_option("epsilon", options.epsilon, Domain::positive);
    check_option("base", options.base, Domain::positive);
    check_option("log_scale", options.log_scale, Domain::finite);
  }
  template <class Options>
  static constexpr void add_inputs(InputWidths& inputs, const Options&) {
    inputs.write_strength = 1;
    inputs.precondition_log_decay = 1;
    inputs.precondition_strength = 1;
  }

  template <class Scalar, int Dk, int Dv>
  static State<Scalar, Dk> initial(const Options<Scalar, Dk, Dv>& options) {
    return State<Scalar, Dk>::Zero(options.key_dim);
  }
  template <class Options>
  static auto zero(const Options& options) {
    return initial(options);
  }
  template <class Stored, class Options>
  static void check(const Stored& stored, const Options& options) {
    check_state_shape("covariance", stored, options.key_dim, 1);
  }

  template <int Dk, class Scalar, class Options, class Decay, class Stored, class Gain>
  static Scalar gain(const Options& options, const Token<Scalar>& token, const Decay&,
                     Stored& stored, Gain& gain) {
    using std::exp;
    using std::log;
    const auto k = token.key.template vector<Dk>().array();
    auto moment = sized<Dk, 1>(stored);
    moment.array() *= Scalar(exp(token.precondition_log_decay[0]));
    moment.array() += token.precondition_strength[0] * k.square();

    const Scalar log_base = log(options.base);
    gain = (moment.array() + options.epsilon).log() - options.log_scale;  // u
    const auto u = gain.array();
    gain = token.write_strength[0] * (-u / (u.abs() + Scalar(1)) * log_base).exp() * k;
    return Scalar(0);
  }

  template <int Dk, class Options, class Scalar, class Decay, class Stored, class OptionSums>
  static void gain_vjp(const Options& options, const Token<Scalar>& token, const Decay&,
                       const Stored& before, GainCotangent<Scalar, Dk>& d, Stored& dstate,
                       TokenGradient<Scalar>& grad, OptionSums&) {
    using std::exp;
    using std::log;
    using Keys = Eigen::Array<Scalar, Dk, 1>;
    const Keys k = token.key.template vector<Dk>().array();
    const Scalar beta = token.write_strength[0];
    const Scalar strength = token.precondition_strength[0];
    const Scalar factor = exp(token.precondition_log_decay[0]);
    const Keys decayed = sized<Dk, 1>(before).array() * factor;
    const Keys moment = decayed + strength * k * k + options.epsilon;
    const Keys u = moment.log() - options.log_scale;
    const Keys size = u.abs() + Scalar(1);
    const Scalar log_base = log(options.base);
    const Keys f = (-u / size * log_base).exp();

    auto dmoment = sized<Dk, 1>(dstate);
    dmoment.array() -= d.gain.array() * k * f * beta * log_base / size.square() / moment;
    grad.write_strength.add_one((d.gain.array() * k * f).sum());
    grad.key.add(
        (d.gain.array() * f * beta + dmoment.array() * k * Scalar(Scalar(2) * strength)).matrix());
    grad.precondition_strength.add_one((dmoment.array() * k * k).sum());
    grad.precondition_log_decay.add_one((dmoment.array() * decayed).sum());
    dmoment *= factor;
  }
};

}  // namespace seqbayes
