// Flops that a layer needs for a token: what the fractions of the peak are counted in.
#pragma once

#include <seqbayes/seqbayes.hpp>

namespace seqbayes::benchmarks {

/// In units of Dk Dv for the memory pass, of Dk^2 for the gain pass; what is of order Dk + Dv isn't
/// counted.
///
///     memory   read o = S' q                          2
///              write S += w y'                        2
///              predict S' e, where a write corrects   2
///              the second write u (S' e)' of DPLR     2
///              decay a channel, S = Diag(a) S         1
///     gain     full covariance: P k                   2
///              full covariance: P -= c c'             2
///
/// A decay that is the same for all channels is one factor beside S or P, so it costs nothing. Nor
/// are the variances counted: q' P q is extra work of those scans that ask for it.
struct Cost {
  double memory = 0;
  double gain = 0;

  [[nodiscard]] double flops(Index dk, Index dv) const {
    const auto k = static_cast<double>(dk);
    return memory * k * static_cast<double>(dv) + gain * k * k;
  }
};

template <class Model, class Decay, class Covariance>
constexpr Cost grid_cost() {
  Cost cost{4, 0};
  if (Model::write == Write::correct) cost.memory += 2;
  if (Model::write == Write::replace) cost.memory += 4;
  if (std::is_same_v<Decay, ChannelDecay>) cost.memory += 1;
  if (std::is_same_v<Covariance, FullCovariance>) cost.gain = 4;
  return cost;
}

/// Layers that run token by token, outside the grid, have no count.
template <class L>
struct CostOf {
  static constexpr Cost value{};
};

template <class Scalar, int Dk, int Dv, class Model, class Decay, class Covariance>
struct CostOf<Layer<Scalar, Dk, Dv, Model, Decay, Covariance>> {
  static constexpr Cost value = grid_cost<Model, Decay, Covariance>();
};

/// Of `Writes` writes a token, all but the first decay nothing and only the last is read.
template <class Base, int Writes>
struct CostOf<SeveralWrites<Base, Writes>> {
  static constexpr Cost value{CostOf<Base>::value.memory + 4.0 * (Writes - 1), 0};
};

}  // namespace seqbayes::benchmarks
