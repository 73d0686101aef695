/// @file
/// Segments in which the covariance decays otherwise than the memory.
///
/// Where the covariance decays by e_t and the memory by d_t, with c_t = prod_{u<=t} d_u / e_u, what
/// starts from S = I decays by e_t if the segment's c <= 1 and by d_t otherwise, so that neither it
/// nor its weights overflow; with ell_t, nu_t and s_t as in summarise.hpp,
///
///     c <= 1:  J = sum ell_t ell_t' / s_t,             eta = - sum ell_t nu_t' (c / c_t) / s_t
///     c > 1:   J = sum ell_t ell_t' / (c_t^2 s_t),     eta = - sum ell_t nu_t' / (c_t^2 s_t).
#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

#include <seqbayes/segments/segment.hpp>

namespace seqbayes::detail {

/// Whether tokens with these decays compose: where the covariance's own is one number a token, and
/// so is the memory's.
template <class L>
bool composes(const Sequence<typename L::Scalar>& x) {
  if constexpr (Segment<L>::is_filter) {
    if (x.covariance_log_decay.empty()) return true;
    return L::Decay::width != DecayWidth::key_channel && x.covariance_log_decay.cols() == 1;
  }
  return true;
}

/// The covariance's own decay beside the memory's, for the tokens of a segment; nothing if it has
/// none.
template <class L>
class OwnDecay {
  using Scalar = typename L::Scalar;

 public:
  OwnDecay(const L& layer, const Sequence<Scalar>& x) {
    using std::exp;
    if (!Segment<L>::is_filter || x.covariance_log_decay.empty()) return;
    const auto length = static_cast<std::size_t>(x.length());
    std::vector<Scalar> ratio(length);
    decay_.resize(length);
    for (std::size_t t = 0; t < length; ++t) {
      const Token<Scalar> token = x.token(Index(t));
      Scalar memory(1);
      if constexpr (L::Decay::width == DecayWidth::one) {
        memory = exp(L::Decay::log_decay(token, layer.options()));
      }
      decay_[t] = exp(token.covariance_log_decay[0]);
      ratio[t] = memory == decay_[t] ? Scalar(1) : Scalar(memory / decay_[t]);
      ratio_ = within_range(ratio_ * ratio[t]);
    }
    // 1 / c_t^2, or c / c_t.
    weights_.resize(length);
    Scalar product(1);
    for (std::size_t i = 0; i < length; ++i) {
      if (is_faster()) {
        product = within_range(product * ratio[i]);
        weights_[i] = Scalar(1) / (product * product);
      } else {
        weights_[length - 1 - i] = product;
        product = within_range(product * ratio[length - 1 - i]);
      }
    }
  }

  /// c.
  [[nodiscard]] const Scalar& ratio() const { return ratio_; }
  /// Whether the start decays by the covariance's decay.
  [[nodiscard]] bool of_start() const { return !decay_.empty() && !is_faster(); }
  [[nodiscard]] const Scalar& decay(Index t) const { return decay_[std::size_t(t)]; }
  /// Of token t in J and in eta.
  [[nodiscard]] Scalar of_information(Index t) const {
    return decay_.empty() || !is_faster() ? Scalar(1) : weights_[std::size_t(t)];
  }
  [[nodiscard]] Scalar of_mean(Index t) const {
    return decay_.empty() ? Scalar(1) : weights_[std::size_t(t)];
  }

 private:
  /// Whether the covariance forgets more than the memory.
  [[nodiscard]] bool is_faster() const { return ratio_ > Scalar(1); }

  Scalar ratio_{1};
  std::vector<Scalar> decay_, weights_;
};

}  // namespace seqbayes::detail
