/// @file
/// Which layers run in tiles, and where a scan puts its results.
#pragma once

#include <type_traits>

#include <seqbayes/layers/several_writes.hpp>
#include <seqbayes/sequence/compensated_sum.hpp>

namespace seqbayes {

/// Whether `scan` runs a layer in tiles: exactly a `Layer` (a class derived from one may step
/// differently) of a native floating-point type, whose model makes one write a token, with a decay
/// of one factor or of key channels; or what is made of such layers: several writes a token, a
/// mixture by evidence, learned noise. Everything else runs token by token.
template <class L>
inline constexpr bool runs_tiled = false;
template <class Scalar, int Dk, int Dv, class Model, class Decay, class Covariance>
inline constexpr bool runs_tiled<Layer<Scalar, Dk, Dv, Model, Decay, Covariance>> =
    std::is_floating_point_v<Scalar>&& Model::write != Write::replace&& Decay::width !=
    DecayWidth::value_channel;
template <class Base, int Writes>
inline constexpr bool runs_tiled<SeveralWrites<Base, Writes>> = runs_tiled<Base>;

namespace detail {

/// Where a scan puts its results: T x Dv means without gaps, and, if not null, T variances, the log
/// evidence, T innovation variances and norms, and the log evidence of each token.
template <class Scalar>
struct Results {
  Scalar* mean = nullptr;
  Scalar* variance = nullptr;
  CompensatedSum<Scalar>* log_evidence = nullptr;
  Scalar* innovation_variance = nullptr;
  Scalar* innovation_norm2 = nullptr;
  Scalar* token_evidence = nullptr;
};

}  // namespace detail
}  // namespace seqbayes
