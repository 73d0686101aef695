// Which layers the laws are checked for.
#pragma once

#include <tuple>

#include <laws/recipe.hpp>

namespace laws {

template <class... Lists>
using Join = decltype(std::tuple_cat(std::declval<Lists>()...));

namespace detail {

template <class Layer, class S>
struct RebindOf;
template <class From, int Dk, int Dv, class Model, class D, class Covariance, class S>
struct RebindOf<seqbayes::Layer<From, Dk, Dv, Model, D, Covariance>, S> {
  using type = seqbayes::Layer<S, Dk, Dv, Model, D, Covariance>;
};
template <class Base, int Writes, class S>
struct RebindOf<seqbayes::SeveralWrites<Base, Writes>, S> {
  using type = seqbayes::SeveralWrites<typename RebindOf<Base, S>::type, Writes>;
};

template <class From, int Dk, int Dv, class S>
struct RebindOf<seqbayes::MesaNet<From, Dk, Dv>, S> {
  using type = seqbayes::MesaNet<S, Dk, Dv>;
};
template <class From, int Dk, int Dv, class S>
struct RebindOf<seqbayes::KalmanLinearAttention<From, Dk, Dv>, S> {
  using type = seqbayes::KalmanLinearAttention<S, Dk, Dv>;
};

template <class... Layers, class S>
struct RebindOf<seqbayes::EvidenceMixture<Layers...>, S> {
  using type = seqbayes::EvidenceMixture<typename RebindOf<Layers, S>::type...>;
};

template <class Filter, class S>
struct RebindOf<seqbayes::LearnedNoise<Filter>, S> {
  using type = seqbayes::LearnedNoise<typename RebindOf<Filter, S>::type>;
};
template <class Filter, class S>
struct RebindOf<seqbayes::StudentT<Filter>, S> {
  using type = seqbayes::StudentT<typename RebindOf<Filter, S>::type>;
};

}  // namespace detail

/// The same layer of another scalar.
template <class Layer, class S>
using Rebind = typename detail::RebindOf<Layer, S>::type;

/// LatentInput that also carries its covariance: a filter with the mean of the latent-input layers.
template <class S, int Dk, int Dv, class Decay>
using LatentFilter =
    seqbayes::Layer<S, Dk, Dv, seqbayes::LatentInput, Decay, seqbayes::FullCovariance>;

inline constexpr int any = Eigen::Dynamic;

template <class S, int Dk = any, int Dv = any>
using LatentMeans = std::tuple<seqbayes::LinearAttention<S, Dk, Dv>, seqbayes::Retention<S, Dk, Dv>,
                               seqbayes::Ssd<S, Dk, Dv>, seqbayes::GatedLinearAttention<S, Dk, Dv>>;

template <class S, int Dk = any, int Dv = any>
using LatentFilters = std::tuple<LatentFilter<S, Dk, Dv, seqbayes::NoDecay>,
                                 LatentFilter<S, Dk, Dv, seqbayes::ConstantDecay>,
                                 LatentFilter<S, Dk, Dv, seqbayes::ScalarDecay>,
                                 LatentFilter<S, Dk, Dv, seqbayes::ChannelDecay>>;

template <class S, int Dk = any, int Dv = any>
using ResetLayers = std::tuple<seqbayes::DeltaNet<S, Dk, Dv>, seqbayes::GatedDeltaNet<S, Dk, Dv>,
                               seqbayes::KimiDeltaAttention<S, Dk, Dv>>;

template <class S, int Dk = any, int Dv = any>
using KalmanDeltaNets = std::tuple<seqbayes::IsotropicKalmanDeltaNet<S, Dk, Dv>,
                                   seqbayes::DiagonalKalmanDeltaNet<S, Dk, Dv>>;

template <class S, int Dk = any, int Dv = any>
using BayesianLayers = std::tuple<seqbayes::BayesianLayer<S, Dk, Dv, seqbayes::NoDecay>,
                                  seqbayes::BayesianLayer<S, Dk, Dv, seqbayes::ScalarDecay>,
                                  seqbayes::BayesianLayer<S, Dk, Dv, seqbayes::ChannelDecay>>;

/// The regression model's layers.
template <class S, int Dk = any, int Dv = any>
using Regressions =
    Join<ResetLayers<S, Dk, Dv>, KalmanDeltaNets<S, Dk, Dv>, BayesianLayers<S, Dk, Dv>>;

/// Every point of the grid that has a name, and the latent-input filters.
template <class S, int Dk = any, int Dv = any>
using Grid = Join<LatentMeans<S, Dk, Dv>, LatentFilters<S, Dk, Dv>, Regressions<S, Dk, Dv>>;

/// One layer of each row and column of the grid: enough where the law lies in shared code.
template <class S, int Dk = any, int Dv = any>
using Corners =
    std::tuple<seqbayes::GatedLinearAttention<S, Dk, Dv>,
               LatentFilter<S, Dk, Dv, seqbayes::ScalarDecay>, seqbayes::GatedDeltaNet<S, Dk, Dv>,
               seqbayes::KimiDeltaAttention<S, Dk, Dv>,
               seqbayes::IsotropicKalmanDeltaNet<S, Dk, Dv>,
               seqbayes::DiagonalKalmanDeltaNet<S, Dk, Dv>, seqbayes::BayesianLayer<S, Dk, Dv>>;

/// Relatives of the delta rule outside the grid.
template <class S, int Dk = any, int Dv = any>
using DeltaFamily = std::tuple<seqbayes::Comba<S, Dk, Dv>, seqbayes::GatedDeltaNet2<S, Dk, Dv>,
                               seqbayes::GatedDeltaProduct<S, 2, Dk, Dv>,
                               seqbayes::PreconditionedGatedDeltaNet<S, Dk, Dv>,
                               seqbayes::Dplr<S, Dk, Dv>, seqbayes::Rwkv7<S, Dk, Dv>>;

}  // namespace laws
