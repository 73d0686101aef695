// A design model whose prediction is read by a learned feature map of the key, e = tanh(W k), with
// W (Dk x Dk) among the layer's options. No filter is known that has its gain, so the layer has the
// gain of its covariance policy and no variance.
#pragma once

#include <seqbayes/concepts.hpp>
#include <seqbayes/gradient/gradient.hpp>
#include <seqbayes/layers/layer.hpp>

struct FeatureMap : seqbayes::AssociativeRegression {
  using Self = FeatureMap;
  template <class Covariance>
  using Policy = seqbayes::WithoutVariance<Covariance>;

  template <class PolicyOptions>
  struct Options : PolicyOptions {
    seqbayes::Matrix<decltype(PolicyOptions::prior_variance)> feature_map;  // W
  };
  template <class Options>
  static void check_options(const Options& options) {
    const auto& w = options.feature_map;
    if (w.rows() != options.key_dim || w.cols() != options.key_dim) {
      throw std::invalid_argument("option feature_map must be Dk x Dk");
    }
  }

  template <int Dk, class Scalar, class Options>
  static seqbayes::Vector<Scalar, Dk> prediction_key(const seqbayes::Token<Scalar>& token,
                                                     const Options& options) {
    return options.feature_map.lazyProduct(token.key.template vector<Dk>()).array().tanh().matrix();
  }
  // de passes through the slope 1 - e^2.
  template <class Scalar, class Options, class De, class OptionSums>
  static void prediction_key_vjp(const seqbayes::Token<Scalar>& token, const Options& options,
                                 const De& de, seqbayes::TokenGradient<Scalar>& grad,
                                 OptionSums& doptions) {
    constexpr int Dk = De::SizeAtCompileTime;
    using Keys = seqbayes::Vector<Scalar, Dk>;
    const Keys e = prediction_key<Dk>(token, options);
    const Keys slope = (de.array() * (Scalar(1) - e.array().square())).matrix();
    doptions.own.feature_map += slope * token.key.template vector<Dk>().transpose();
    grad.key.add(Keys(options.feature_map.transpose() * slope));
  }
};

// Derivatives with respect to W, as gradient.options.feature_map.
template <class Scalar, int Dk, int Dv, class Decay, class Covariance>
struct seqbayes::OptionGradient<seqbayes::Layer<Scalar, Dk, Dv, FeatureMap, Decay, Covariance>> {
  seqbayes::Matrix<Scalar> feature_map;

  template <class L>
  void set_zero(const L& layer) {
    feature_map.setZero(layer.key_dim(), layer.key_dim());
  }
};

static_assert(seqbayes::DesignModel<FeatureMap>);
