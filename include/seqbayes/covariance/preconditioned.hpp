/// @file
/// A running second moment of the keys preconditions the gain: Preconditioned DeltaNet (Tumma et
/// al. 2026, arXiv 2604.21100).
#pragma once

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

namespace detail {

template <class Scalar, int Dk, int Dv>
void check_options(const PreconditionedOptions<Scalar, Dk, Dv>& options) {
  check_widths<Dk, Dv>(options);
  check_option("epsilon", options.epsilon, Domain::positive);
  check_option("base", options.base, Domain::positive);
  check_option("log_scale", options.log_scale, Domain::finite);
}

}  // namespace detail

/// The gain is beta m * k with m = base^(-u / (1 + |u|)), u = ln(A + epsilon) - log_scale, and the
/// second moment A_t = e^{h_t} A_{t-1} + b_t k_t * k_t (elementwise; h and b are the fields
/// `precondition_log_decay` and `precondition_strength`). What is kept as `state.covariance` is A.
/// It is no filter: it has neither variance nor evidence.
struct PreconditionedReset {
  static constexpr bool has_variance = false;
  static constexpr bool propagates = false;

  template <class Scalar, int Dk>
  using State = detail::StateMatrix<Scalar, Dk, 1>;
  template <class Scalar, int Dk, int Dv>
  using Options = PreconditionedOptions<Scalar, Dk, Dv>;

  template <class Options>
  static constexpr void add_inputs(InputWidths& inputs, const Options&) {
    inputs.write_strength = 1;
    inputs.precondition_log_decay = 1;
    inputs.precondition_strength = 1;
  }

  template <class Scalar, int Dk, int Dv>
  static State<Scalar, Dk> initial(const Options<Scalar, Dk, Dv>& options) {
    return State<Scalar, Dk>::Zero(options.key_dim, 1);
  }
  template <class Stored, class Options>
  static void check(const Stored& stored, const Options& options) {
    detail::check_state_shape("covariance", stored, options.key_dim, 1);
  }

  template <int Dk, class Scalar, class Options, class Decay, class Stored, class Gain>
  static Scalar gain(const Options& options, const Token<Scalar>& token, const Decay&,
                     Stored& stored, Gain& gain) {
    using std::exp;
    using std::log;
    const auto k = token.key.template vector<Dk>().array();
    auto moment = detail::sized<Dk, 1>(stored);
    moment.array() *= Scalar(exp(token.precondition_log_decay[0]));
    moment.array() += token.precondition_strength[0] * k.square();

    const Scalar log_base = log(options.base);
    gain = (moment.array() + options.epsilon).log() - options.log_scale;  // u
    const auto u = gain.array();
    gain = token.write_strength[0] * (-u / (u.abs() + Scalar(1)) * log_base).exp() * k;
    return Scalar(0);
  }
};

}  // namespace seqbayes
