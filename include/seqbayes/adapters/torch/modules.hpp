/// @file
/// What surrounds a recurrent layer in a language model: norms, short convolution, MLP. Parameters
/// have the names and shapes of flash-linear-attention's.
#pragma once

#include <torch/nn/functional/activation.h>
#include <torch/nn/init.h>
#include <torch/nn/module.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/pimpl.h>

#include <cmath>

#include <seqbayes/adapters/torch/tensors.hpp>

namespace seqbayes::libtorch {

/// A linear map without bias.
inline ::torch::nn::Linear linear(std::int64_t inputs, std::int64_t outputs) {
  return ::torch::nn::Linear(::torch::nn::LinearOptions(inputs, outputs).bias(false));
}

/// x / sqrt(mean x^2 + eps) * weight over the last dimension.
class RmsNormImpl : public ::torch::nn::Module {
 public:
  explicit RmsNormImpl(std::int64_t width, double eps = 1e-6) : eps_(eps) {
    weight = register_parameter("weight", ::torch::ones({width}));
  }
  Tensor forward(const Tensor& x) const {
    return x * ::torch::rsqrt(x.square().mean(-1, true) + eps_) * weight;
  }
  Tensor weight;

 private:
  double eps_;
};
TORCH_MODULE(RmsNorm);

/// Causal depthwise convolution over time, then SiLU:
/// y_t = silu(sum_i weight[:, 0, i] * x_{t - W + 1 + i}).
class ShortConvolutionImpl : public ::torch::nn::Module {
 public:
  ShortConvolutionImpl(std::int64_t width, std::int64_t taps) {
    const double bound = 1 / std::sqrt(static_cast<double>(taps));  // as torch::nn::Conv1d
    weight = register_parameter("weight", ::torch::empty({width, 1, taps}).uniform_(-bound, bound));
  }
  /// x is [B, T, width]. `last`, [B, W - 1, width], holds the inputs before x, zeros if undefined,
  /// and is advanced: to a tensor that owns them alone, whatever the length of x.
  /// @throws std::invalid_argument if `last` has another shape or dtype.
  Tensor forward(const Tensor& x, Tensor& last) const {
    const auto taps = weight.size(2), length = x.size(1);
    const std::vector<std::int64_t> expected = {x.size(0), taps - 1, x.size(2)};
    if (!last.defined()) last = x.new_zeros(expected);
    if (last.sizes() != expected || last.scalar_type() != x.scalar_type()) {
      const auto text = [](at::ScalarType type, at::IntArrayRef sizes) {
        return std::string(at::toString(type)) + " " + detail::shape(sizes);
      };
      detail::fail("a short convolution's state is " + text(last.scalar_type(), last.sizes()) +
                   ", expected " + text(x.scalar_type(), expected));
    }
    const Tensor all = ::torch::cat({last, x}, 1);
    last = all.slice(1, length).clone();
    Tensor sum = all.slice(1, 0, length) * weight.select(2, 0).squeeze(1);
    for (std::int64_t i = 1; i < taps; ++i) {
      sum = sum + all.slice(1, i, i + length) * weight.select(2, i).squeeze(1);
    }
    return ::torch::silu(sum);
  }
  Tensor weight;
};
TORCH_MODULE(ShortConvolution);

/// SwiGLU: down(silu(gate x) * up x).
class MlpImpl : public ::torch::nn::Module {
 public:
  MlpImpl(std::int64_t width, std::int64_t inner)
      : gate_proj(register_module("gate_proj", linear(width, inner))),
        up_proj(register_module("up_proj", linear(width, inner))),
        down_proj(register_module("down_proj", linear(inner, width))) {}
  Tensor forward(const Tensor& x) { return down_proj(::torch::silu(gate_proj(x)) * up_proj(x)); }
  ::torch::nn::Linear gate_proj, up_proj, down_proj;
};
TORCH_MODULE(Mlp);

}  // namespace seqbayes::libtorch
