/// @file
/// A recurrent layer with its projections, short convolutions and gates: the token mixer of a
/// language model.
#pragma once

#include <seqbayes/adapters/torch/modules.hpp>
#include <seqbayes/adapters/torch/rule.hpp>

namespace seqbayes::libtorch {

/// Named as in flash-linear-attention's configuration.
struct MixerOptions {
  Rule rule = Rule::gated_delta_net;
  std::int64_t hidden_size = 0;
  std::int64_t num_heads = 1;
  std::int64_t num_v_heads = 0;   ///< A multiple of num_heads, which then share keys; 0: num_heads.
  std::int64_t head_dim = 64;     ///< Key width Dk.
  double expand_v = 1;            ///< Value width over key width.
  std::int64_t conv_size = 4;     ///< Taps of the short convolutions; 0: none.
  bool use_gate = true;           ///< Whether the output is gated.
  bool allow_neg_eigval = false;  ///< beta up to 2; a Kalman rule has no such beta.
  double norm_eps = 1e-6;

  [[nodiscard]] std::int64_t value_heads() const {
    return num_v_heads > 0 ? num_v_heads : num_heads;
  }
  [[nodiscard]] std::int64_t value_dim() const {
    return std::int64_t(static_cast<double>(head_dim) * expand_v);
  }
  [[nodiscard]] bool is_filter() const {
    return rule == Rule::diagonal_kalman || rule == Rule::bayesian;
  }
};

/// What a mixer carries from token to token: tensors that own their memory, of the same size after
/// any number of tokens.
struct MixerState {
  State memory;
  Tensor query, key, value;  ///< The short convolutions' last inputs.
};

/// q, k, v = silu(conv(proj h)), with q and k of unit norm and q scaled by Dk^-1/2; beta =
/// sigmoid(b_proj h), g = -exp(A_log) softplus(a_proj h + dt_bias); the rule; then the output gate
/// o = rmsnorm(o) * silu(g_proj h), and o_proj. Up to here flash-linear-attention's GatedDeltaNet
/// (without a_proj, A_log and dt_bias: DeltaNet), parameter by parameter.
///
/// The Kalman rules keep a covariance, in units of sigma_0^2 = 1 (the mean depends on ratios of
/// variances alone), and read beta as the observation noise r of a reset layer with that gain:
///
///     covariance_log_decay = g + ln(1 - rho) / 2      rho = 1 - kept, a number a head
///     process_noise        = rho exp(log_process_noise + w_proj h)
///     observation_noise    = (1 - beta |k|^2) / beta exp(log_observation_noise)
///
/// Their own parameters start at rho = 1 to all digits (kept = 1e-20), log_process_noise = 0,
/// w_proj = 0 and log_observation_noise = 0: the covariance is reset before every write, so a
/// pretrained Gated DeltaNet keeps its outputs. From there all of them are free; rho = 0 with no
/// process noise is the exact filter. `kept` is reflected at 0 and 1, and enters through D^2 = kept
/// e^2g, by which the loss has a derivative at 0 (by the log decay it has none).
class MixerImpl : public ::torch::nn::Module {
 public:
  explicit MixerImpl(const MixerOptions& options) : options_(options) {
    const auto width = options.hidden_size, heads = options.value_heads();
    if (width <= 0 || options.head_dim <= 0 || options.num_heads <= 0 || options.value_dim() <= 0 ||
        heads % options.num_heads != 0) {
      detail::fail("mixer options: widths must be > 0, value heads a multiple of the heads");
    }
    if (options.is_filter() && options.allow_neg_eigval) {
      detail::fail("mixer options: a filter has no write strength beyond 1 (allow_neg_eigval)");
    }
    const auto keys = options.num_heads * options.head_dim, values = heads * options.value_dim();
    q_proj = register_module("q_proj", linear(width, keys));
    k_proj = register_module("k_proj", linear(width, keys));
    v_proj = register_module("v_proj", linear(width, values));
    b_proj = register_module("b_proj", linear(width, heads));
    if (options.rule != Rule::delta_net) {
      a_proj = register_module("a_proj", linear(width, heads));
      // As Mamba-2: decay rates A in (0, 16), time steps from 0.001 to 0.1.
      A_log = register_parameter("A_log", ::torch::empty({heads}).uniform_(1e-3, 16).log());
      const Tensor dt = ::torch::empty({heads}).uniform_(std::log(1e-3), std::log(0.1)).exp();
      dt_bias = register_parameter("dt_bias", dt + ::torch::log(-::torch::expm1(-dt)));
    }
    if (options.conv_size > 0) {
      q_conv1d = register_module("q_conv1d", ShortConvolution(keys, options.conv_size));
      k_conv1d = register_module("k_conv1d", ShortConvolution(keys, options.conv_size));
      v_conv1d = register_module("v_conv1d", ShortConvolution(values, options.conv_size));
    }
    if (options.use_gate) g_proj = register_module("g_proj", linear(width, values));
    o_norm = register_module("o_norm", RmsNorm(options.value_dim(), options.norm_eps));
    o_proj = register_module("o_proj", linear(values, width));
    if (options.is_filter()) {
      w_proj = register_module("w_proj", linear(width, heads));
      ::torch::nn::init::zeros_(w_proj->weight);
      kept = register_parameter("kept", ::torch::full({heads}, smallest));
      log_process_noise = register_parameter("log_process_noise", ::torch::zeros({heads}));
      log_observation_noise = register_parameter("log_observation_noise", ::torch::zeros({heads}));
    }
  }

  /// h is [B, T, hidden_size], and so is the result. The state is advanced; if this throws, it is
  /// as it was.
  Tensor forward(const Tensor& h, MixerState& state) {
    MixerState next = state;
    Tensor o = mix(inputs(h, next), next.memory);
    o = o_norm(o);
    if (options_.use_gate) o = o * ::torch::silu(g_proj(h)).reshape(o.sizes());
    state = std::move(next);
    return o_proj(o.flatten(2));
  }

  /// What the layer is fed: `Sequence`'s fields.
  Inputs inputs(const Tensor& h, MixerState& state) {
    constexpr double eps = 1e-6;
    const auto project = [&](::torch::nn::Linear& proj, ShortConvolution& conv, Tensor& last,
                             std::int64_t width) {
      Tensor x = proj(h);
      x = conv.is_empty() ? ::torch::silu(x) : conv->forward(x, last);
      return x.reshape({h.size(0), h.size(1), x.size(2) / width, width});
    };
    const auto shared = options_.value_heads() / options_.num_heads;
    const auto to_value_heads = [shared](const Tensor& x) {
      return shared == 1 ? x : x.repeat_interleave(shared, 2);
    };
    Inputs x;
    const Tensor query = project(q_proj, q_conv1d, state.query, options_.head_dim);
    const Tensor key = project(k_proj, k_conv1d, state.key, options_.head_dim);
    x.value = project(v_proj, v_conv1d, state.value, options_.value_dim());
    const Tensor norm2 = key.square().sum(-1, true) + eps;
    const double scale = 1 / std::sqrt(static_cast<double>(options_.head_dim));
    x.query = to_value_heads(query * ::torch::rsqrt(query.square().sum(-1, true) + eps) * scale);
    x.key = to_value_heads(key * ::torch::rsqrt(norm2));
    const Tensor b = b_proj(h);
    x.log_decay = options_.rule == Rule::delta_net
                      ? ::torch::zeros_like(b)
                      : -A_log.exp() * ::torch::softplus(a_proj(h) + dt_bias);
    if (!options_.is_filter()) {
      x.write_strength = ::torch::sigmoid(b) * (options_.allow_neg_eigval ? 2 : 1);
      return x;
    }
    // (1 - beta |k|^2) / beta = e^-b + 1 - |k|^2, of which no digit cancels; b > -60 for float.
    const Tensor rest = to_value_heads(eps / norm2).squeeze(3);
    x.observation_noise = (::torch::exp(-b.clamp_min(-60)) + rest) * log_observation_noise.exp();
    const Tensor fraction = ::torch::minimum(kept.abs(), 2 - kept.abs());
    x.covariance_log_decay = x.log_decay + 0.5 * ::torch::log(fraction + smallest);
    x.process_noise = (1 - fraction) * ::torch::exp(log_process_noise + w_proj(h));
    return x;
  }

  /// Runs the rule: [B, T, H, Dv].
  Tensor mix(const Inputs& x, State& memory) const {
    const auto run =
        x.query.scalar_type() == at::kDouble ? detail::run_rule<double> : detail::run_rule<float>;
    return run(options_.rule, memory, x);
  }

  [[nodiscard]] const MixerOptions& options() const { return options_; }

  ::torch::nn::Linear q_proj{nullptr}, k_proj{nullptr}, v_proj{nullptr};
  ::torch::nn::Linear a_proj{nullptr}, b_proj{nullptr}, g_proj{nullptr}, o_proj{nullptr};
  ShortConvolution q_conv1d{nullptr}, k_conv1d{nullptr}, v_conv1d{nullptr};
  RmsNorm o_norm{nullptr};
  Tensor A_log, dt_bias;
  ::torch::nn::Linear w_proj{nullptr};
  Tensor kept, log_process_noise, log_observation_noise;

 private:
  // Beside 1 it is nothing, in float and in double, and it has a logarithm.
  static constexpr double smallest = 1e-20;

  MixerOptions options_;
};
TORCH_MODULE(Mixer);

}  // namespace seqbayes::libtorch
