// A decay for each value channel, \bar S = S Diag(e^g), that depends on the data: the field
// `log_decay` is T x Dv. It goes with policies that propagate no covariance, and runs token by
// token.
#pragma once

#include <seqbayes/concepts.hpp>

struct ValueChannelDecay {
  using Self = ValueChannelDecay;
  static constexpr seqbayes::DecayWidth width = seqbayes::DecayWidth::value_channel;

  template <class Options>
  static void add_inputs(seqbayes::InputWidths& inputs, const Options& options) {
    inputs.log_decay = options.value_dim;
  }
  template <class Scalar, class Options>
  static const seqbayes::RowView<Scalar>& log_decay(const seqbayes::Token<Scalar>& token,
                                                    const Options&) {
    return token.log_decay;
  }
  template <class Scalar, class Options, class Entries, class OptionSums>
  static void log_decay_vjp(const seqbayes::Token<Scalar>&, const Options&, const Entries& dg,
                            seqbayes::TokenGradient<Scalar>& grad, OptionSums&) {
    grad.log_decay.add(dg);
  }
};

static_assert(seqbayes::DecayKind<ValueChannelDecay>);
