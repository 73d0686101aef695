/// @file
/// Reset or full covariance: which of the two explains a stream better, and with which noises.
#pragma once

#include <Eigen/Core>
#include <cmath>
#include <type_traits>

#include <seqbayes/inference/noise_fit.hpp>
#include <seqbayes/inference/sample.hpp>
#include <seqbayes/layers/grid.hpp>

namespace seqbayes::dynamics {

/// What `choose_regime` finds.
template <class Scalar>
struct RegimeChoice {
  NoiseFit<Scalar> reset;  ///< r and sigma_0^2 of the reset filter.
  NoiseFit<Scalar> full;   ///< r, omega and sigma_0^2 of the exact filter.
  /// Log evidence of `full` less that of `reset`, each at its best levels, in nats. The levels
  /// are fitted to the same values, so that the one level that `full` has more (omega) is worth
  /// some nats by itself: (ln n) / 2 by the Bayesian information criterion, n values.
  Scalar margin{};
  /// Standard error of the margin over streams like this one (Vuong 1989): the tokens' differences
  /// of log evidence are taken for independent.
  Scalar margin_error{};

  /// The regime with more evidence.
  [[nodiscard]] Regime regime() const { return margin > Scalar(0) ? Regime::full : Regime::reset; }
  [[nodiscard]] const NoiseFit<Scalar>& best() const {
    return regime() == Regime::full ? full : reset;
  }
  /// Whether the margin is two standard errors or more.
  [[nodiscard]] bool is_clear() const {
    return margin * margin >= Scalar(4) * margin_error * margin_error;
  }
};

/// Compares the reset and the full covariance on a stream of one head: what is the log evidence of
/// each at the noise levels that suit it best?
///
/// With write strengths in the stream and no observation noise, the noise of each token is
/// what these stand for, times a fitted level (see `NoisyStream`); `reset` is then the layer that
/// they were recorded from if its r / sigma_0^2 is 1. Without either the noise is constant.
/// @param x as for `fit_noise`
/// @throws std::invalid_argument as `fit_noise`
template <class Scalar>
RegimeChoice<Scalar> choose_regime(const Sequence<Scalar>& x) {
  using std::sqrt;
  constexpr int any = Eigen::Dynamic;
  using Reset = KimiDeltaAttention<Scalar>;
  using Full = BayesianLayer<Scalar, any, any, ChannelDecay>;
  const detail::StreamInOwnUnits<Scalar> own(x);
  RegimeChoice<Scalar> choice{detail::fit_in_own_units<Reset>(own, Fitted::levels),
                              detail::fit_in_own_units<Full>(own, Fitted::levels)};
  const auto by_token = [&]<class L>(std::type_identity<L>, const NoiseFit<Scalar>& fit) {
    NoisyStream<L> stream(own.sequence());
    return innovations(stream.layer(fit.levels, x.value.cols()), stream.at(fit.levels))
        .log_evidence;
  };
  const Vector<Scalar> difference = by_token(std::type_identity<Full>{}, choice.full) -
                                    by_token(std::type_identity<Reset>{}, choice.reset);
  const Scalar length = Scalar(static_cast<double>(difference.size()));
  choice.margin = choice.full.log_evidence - choice.reset.log_evidence;
  const Scalar mean = difference.sum() / length;
  choice.margin_error = sqrt((difference.array() - mean).matrix().squaredNorm());
  choice.reset = detail::to_callers_units(own, choice.reset);
  choice.full = detail::to_callers_units(own, choice.full);
  return choice;
}

}  // namespace seqbayes::dynamics
