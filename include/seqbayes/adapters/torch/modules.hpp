/// @file
/// What surrounds a recurrent layer in a language model: norms, short convolution, MLP. Parameters
/// have the names and shapes of flash-linear-attention's.
#pragma once

#include <Eigen/Core>

#include <ATen/Dispatch.h>
#include <torch/nn/functional/activation.h>
#include <torch/nn/init.h>
#include <torch/nn/module.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/pimpl.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include <seqbayes/adapters/torch/tensors.hpp>

namespace seqbayes::libtorch {

namespace detail {

/// Whether x [1, 1, ...] is one token and, as all that it meets, plain memory of which libtorch
/// records nothing. A loop is faster then: calls of libtorch's operators cost more than their
/// arithmetic, and its matrix products pack the whole matrix first.
template <class... Tensors>
bool is_one_token(const Tensor& x, const Tensors&... others) {
  const auto is_plain = [&x](const Tensor& y) {
    return y.device().is_cpu() && y.layout() == at::kStrided && y.is_contiguous() && !y.is_neg() &&
           !y._is_zerotensor() && y.scalar_type() == x.scalar_type();
  };
  return !at::GradMode::is_enabled() && x.dim() >= 3 && x.size(0) == 1 && x.size(1) == 1 &&
         (x.scalar_type() == at::kFloat || x.scalar_type() == at::kDouble) && is_plain(x) &&
         (is_plain(others) && ...);
}

/// The last dimension's rows.
template <class Scalar>
auto rows(const Tensor& x) {
  using Rows = Eigen::Array<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const auto width = x.size(-1);
  return Eigen::Map<Rows>(x.data_ptr<Scalar>(), width > 0 ? x.numel() / width : 0, width);
}

}  // namespace detail

/// A linear map without bias.
class LinearImpl : public ::torch::nn::LinearImpl {
 public:
  LinearImpl(std::int64_t inputs, std::int64_t outputs)
      : ::torch::nn::LinearImpl(::torch::nn::LinearOptions(inputs, outputs).bias(false)) {}
  Tensor forward(const Tensor& x) { return product(x, weight); }

  /// x W'. Of one token row by row: what takes time is to fetch W, and it comes fastest in order.
  static Tensor product(const Tensor& x, const Tensor& weight) {
    if (x.size(-1) != weight.size(1) || !detail::is_one_token(x, weight) || x.dim() != 3) {
      return ::torch::linear(x, weight);
    }
    const Tensor y = ::torch::empty({1, 1, weight.size(0)}, x.options());
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "linear", [&] {
      const auto from = detail::rows<scalar_t>(x), w = detail::rows<scalar_t>(weight);
      auto to = detail::rows<scalar_t>(y);
      for (Index i = 0; i < w.rows(); ++i) to(i) = w.row(i).matrix().dot(from.row(0).matrix());
    });
    return y;
  }
};
TORCH_MODULE(Linear);

/// x / sqrt(mean x^2 + eps) * weight over the last dimension.
class RmsNormImpl : public ::torch::nn::Module {
 public:
  explicit RmsNormImpl(std::int64_t width, double eps = 1e-6) : eps_(eps) {
    weight = register_parameter("weight", ::torch::ones({width}));
  }
  Tensor forward(const Tensor& x) const {
    if (x.size(-1) != weight.size(0) || !detail::is_one_token(x, weight)) {
      return x * ::torch::rsqrt(x.square().mean(-1, true) + eps_) * weight;
    }
    const Tensor y = ::torch::empty_like(x);
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "rms_norm", [&] {
      const auto from = detail::rows<scalar_t>(x), scale = detail::rows<scalar_t>(weight);
      auto to = detail::rows<scalar_t>(y);
      for (Index i = 0; i < from.rows(); ++i) {
        const auto size = std::sqrt(from.row(i).square().mean() + scalar_t(eps_));
        to.row(i) = from.row(i) / size * scale.row(0);
      }
    });
    return y;
  }
  Tensor weight;

 private:
  double eps_;
};
TORCH_MODULE(RmsNorm);

/// scale x / sqrt(|x|^2 + eps) over the last dimension.
inline Tensor unit(const Tensor& x, double eps, double scale = 1) {
  if (!detail::is_one_token(x)) return x * ::torch::rsqrt(x.square().sum(-1, true) + eps) * scale;
  const Tensor y = ::torch::empty_like(x);
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "unit", [&] {
    const auto from = detail::rows<scalar_t>(x);
    auto to = detail::rows<scalar_t>(y);
    for (Index i = 0; i < from.rows(); ++i) {
      to.row(i) =
          from.row(i) * (scalar_t(scale) / std::sqrt(from.row(i).square().sum() + scalar_t(eps)));
    }
  });
  return y;
}

/// Causal depthwise convolution over time, then SiLU:
/// y_t = silu(sum_i weight[:, 0, i] * x_{t - W + 1 + i}).
class ShortConvolutionImpl : public ::torch::nn::Module {
 public:
  ShortConvolutionImpl(std::int64_t width, std::int64_t taps) {
    const double bound = 1 / std::sqrt(static_cast<double>(taps));  // as torch::nn::Conv1d
    weight = register_parameter("weight", ::torch::empty({width, 1, taps}).uniform_(-bound, bound));
  }
  /// x is [B, T, width]. `last`, [B, W - 1, width], holds the inputs before x, zeros if undefined,
  /// and is advanced: to a tensor that owns them alone, whatever the length of x. Of tokens that
  /// `mask` excludes (see `Inputs`) nothing is left in it, and results have no meaning.
  /// @throws std::invalid_argument if `last` has another shape or dtype, or `mask` gaps.
  Tensor forward(const Tensor& x, Tensor& last, const Tensor& mask = {}) const {
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
    if (mask.defined() && length > 0) return of_tokens(x, last, mask);
    if (detail::is_one_token(x, last, weight)) return of_one_token(x, last);
    const Tensor all = ::torch::cat({last, x}, 1);
    last = all.slice(1, length).clone();
    Tensor sum = all.slice(1, 0, length) * weight.select(2, 0).squeeze(1);
    for (std::int64_t i = 1; i < taps; ++i) {
      sum = sum + all.slice(1, i, i + length) * weight.select(2, i).squeeze(1);
    }
    return ::torch::silu(sum);
  }
  Tensor weight;

 private:
  /// The tokens of each sequence alone, moved to its start and back.
  [[nodiscard]] Tensor of_tokens(const Tensor& x, Tensor& last, const Tensor& mask) const {
    const auto length = x.size(1);
    const detail::Spans spans(mask, x.size(0), length);
    const auto column = [&](const std::vector<Index>& entries) {
      return ::torch::tensor(at::ArrayRef<Index>(entries)).unsqueeze(1).to(x.device());
    };
    const auto take = [](const Tensor& from, const Tensor& steps) {
      return from.gather(1, steps.unsqueeze(2).expand({-1, -1, from.size(2)}));
    };
    const auto steps = [&](std::int64_t count) {
      return ::torch::arange(count, at::TensorOptions(at::kLong).device(x.device()));
    };
    const Tensor first = column(spans.first);
    const Tensor tokens = take(x, (steps(length) + first).clamp_max(length - 1));
    const Tensor before = last;
    const Tensor y = forward(tokens, last);
    last = take(::torch::cat({before, tokens}, 1), column(spans.count) + steps(last.size(1)));
    return take(y, (steps(length) - first).clamp_min(0));
  }
  [[nodiscard]] Tensor of_one_token(const Tensor& x, Tensor& last) const {
    const Tensor y = ::torch::empty_like(x), next = ::torch::empty_like(last);
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "short_convolution", [&] {
      const auto now = detail::rows<scalar_t>(x), before = detail::rows<scalar_t>(last);
      const auto w = detail::rows<scalar_t>(weight);  // width x taps
      auto sum = detail::rows<scalar_t>(y), after = detail::rows<scalar_t>(next);
      const Index kept = before.rows();
      sum = now * w.col(kept).transpose();
      for (Index i = 0; i < kept; ++i) {
        sum += before.row(i) * w.col(i).transpose();
        after.row(i) = i + 1 < kept ? before.row(i + 1) : now.row(0);
      }
      sum = sum / (1 + (-sum).exp());
    });
    last = next;
    return y;
  }
};
TORCH_MODULE(ShortConvolution);

/// SwiGLU: down(silu(gate x) * up x).
class MlpImpl : public ::torch::nn::Module {
 public:
  MlpImpl(std::int64_t width, std::int64_t inner)
      : gate_proj(register_module("gate_proj", Linear(width, inner))),
        up_proj(register_module("up_proj", Linear(width, inner))),
        down_proj(register_module("down_proj", Linear(inner, width))) {}
  Tensor forward(const Tensor& x) { return down_proj(::torch::silu(gate_proj(x)) * up_proj(x)); }
  Linear gate_proj, up_proj, down_proj;
};
TORCH_MODULE(Mlp);

}  // namespace seqbayes::libtorch
