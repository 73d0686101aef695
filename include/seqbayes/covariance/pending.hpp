/// @file
/// A covariance with tokens pending: those that came since it was last folded can be taken back.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>
#include <vector>

#include <seqbayes/covariance/policy.hpp>

namespace seqbayes {
namespace detail {

/// Of any policy: a copy of its state after each pending token.
template <class Policy, class Scalar, int Dk>
class PendingCopies {
  using State = typename Policy::template State<Scalar, Dk>;

 public:
  template <class Options>
  PendingCopies(const Options& options, Index capacity)
      : after_(std::size_t(capacity) + 1, Policy::initial(options)) {}

  void load(const State& state) {
    after_[0] = state;
    count_ = 0;
  }
  [[nodiscard]] State state() const { return after_[count_]; }

  template <class Options, class Decay, class Gain, class Scratch>
  void gain(const Options& options, const Token<Scalar>& token, const Decay& decay, Gain& gain,
            Scratch&, const void*) {
    after_[count_ + 1] = after_[count_];
    ++count_;
    Policy::template gain<Dk>(options, token, decay, after_[count_], gain);
  }
  template <class Scratch>
  void rollback(Index tokens, Scratch&) {
    count_ -= std::size_t(tokens);
  }
  template <class Scratch>
  void fold(Scratch&) {
    std::swap(after_[0], after_[count_]);
    count_ = 0;
  }
  [[nodiscard]] const void* data() const { return nullptr; }
  void prefetch_pending() const {}

 private:
  std::vector<State> after_;
  std::size_t count_ = 0;
};

template <class Policy, class Scalar, int Dk, class Storage>
struct PendingOf : std::type_identity<PendingCopies<Policy, Scalar, Dk>> {};
template <class Policy, class Scalar, int Dk, class Storage>
requires(NamesItself<Policy>&& requires {
  typename Policy::template Pending<Scalar, Dk, Storage>;
}) struct PendingOf<Policy, Scalar, Dk, Storage>
    : std::type_identity<typename Policy::template Pending<Scalar, Dk, Storage>> {
};

}  // namespace detail

/// The state of a policy with tokens pending: the policy's own `Pending<Scalar, Dk, Storage>`, or
/// copies. What one has:
///
/// - a constructor (options, capacity): at most so many tokens are pending; `load(state)`, nothing
///   pending; `state()`, after all tokens;
/// - `gain(options, token, decay, gain, scratch, next)`: as the policy's; memory at `next` is read
///   after it; `scratch` is a `detail::PendingScratch`, of which `decay` may be the first row;
/// - `rollback(tokens, scratch)`: exactly, and `fold(scratch)`: nothing is pending then;
/// - `data()`: what `gain` reads first, or null, and `prefetch_pending()`, which asks for the rest.
template <class Policy, class Scalar, int Dk, class Storage>
using PendingCovariance = typename detail::PendingOf<Policy, Scalar, Dk, Storage>::type;

}  // namespace seqbayes
