/// @file
/// A recurrent layer with its projections, short convolutions and gates: the token mixer of a
/// language model.
#pragma once

#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

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
  bool allow_neg_eigval = false;  ///< beta up to 2; a filter has no such beta.
  double norm_eps = 1e-6;
  // Of the Kalman rules:
  bool memory_decay = true;  ///< Whether the memory has a decay g of its own; else g = 0.
  Forgetting forgetting = Forgetting::dial;
  double forgetting_start = reset;  ///< rho = sigmoid(f), and f starts here; see `Mixer`.

  static constexpr double reset = 50;  ///< rho = 1 to all digits, in float and in double.

  [[nodiscard]] std::int64_t value_heads() const {
    return num_v_heads > 0 ? num_v_heads : num_heads;
  }
  [[nodiscard]] std::int64_t value_dim() const {
    return std::llround(static_cast<double>(head_dim) * expand_v);
  }
  /// @throws std::invalid_argument if there is no such mixer.
  void check() const {
    if (hidden_size <= 0 || head_dim <= 0 || num_heads <= 0 || conv_size < 0 ||
        !(std::abs(static_cast<double>(head_dim) * expand_v) <= 0x1p30) || value_dim() <= 0 ||
        value_heads() % num_heads != 0) {
      detail::fail(
          "mixer options: widths must be > 0 and below 2^30, value heads a multiple of the heads");
    }
    if (is_filter() && allow_neg_eigval) {
      detail::fail("mixer options: a filter has no write strength beyond 1 (allow_neg_eigval)");
    }
  }
  [[nodiscard]] bool is_filter() const { return rule >= Rule::diagonal_kalman; }
  [[nodiscard]] bool corrects() const { return rule > Rule::ssd; }
  [[nodiscard]] bool decays() const {
    return rule == Rule::ssd || rule == Rule::gated_delta_net || (is_filter() && memory_decay);
  }
};

/// What a mixer carries from token to token: tensors that own their memory, of the same size after
/// any number of tokens.
struct MixerState {
  State memory{};
  Tensor query{}, key{}, value{};  ///< The short convolutions' last inputs.
};

/// q, k, v = silu(conv(proj h)), with q and k of unit norm and q scaled by Dk^-1/2; beta =
/// sigmoid(b_proj h), g = -exp(A_log) dt with dt = softplus(a_proj h + dt_bias); the rule; then the
/// output gate o = rmsnorm(o) * silu(g_proj h), and o_proj. Up to here flash-linear-attention's
/// GatedDeltaNet, parameter by parameter. What a rule doesn't read it hasn't got: DeltaNet and
/// linear attention no a_proj, A_log and dt_bias; linear attention and SSD, which writes dt v, no
/// b_proj.
///
/// The Kalman rules keep a covariance P, in units of sigma_0^2 = 1 (the mean depends on ratios of
/// variances alone; with Student-t noise, whose outliers are large beside r and P, also on the
/// scale of the values). They read beta as the observation noise r = (1 - beta |k|^2) / beta, with
/// which the gain is beta k where P = I, and forget a share rho = sigmoid(f_proj h + f_bias) a
/// head:
///
///                 log_decay            covariance_log_decay      process_noise
///     dial        g                    ln(1 - rho) / 2           rho
///     tied        g + ln(1 - rho) / 2  none: that of the memory  1 - exp(2 log_decay)
///
/// Both keep P at I where nothing is written. f_proj starts at 0 and f_bias at `forgetting_start`:
/// dial at `reset` is, without Student-t noise, Gated DeltaNet to all digits, so a pretrained one
/// keeps its outputs; but it takes long to leave. About -5 is where learning from nothing starts
/// best, -4 (dial) and -7 (tied) from a pretrained Gated DeltaNet (docs/learning.md).
class MixerImpl : public ::torch::nn::Module {
 public:
  explicit MixerImpl(const MixerOptions& options) : options_(options) {
    options.check();
    const auto width = options.hidden_size, heads = options.value_heads();
    const auto keys = options.num_heads * options.head_dim, values = heads * options.value_dim();
    q_proj = register_module("q_proj", Linear(width, keys));
    k_proj = register_module("k_proj", Linear(width, keys));
    v_proj = register_module("v_proj", Linear(width, values));
    if (options.corrects()) b_proj = register_module("b_proj", Linear(width, heads));
    if (options.decays()) {
      a_proj = register_module("a_proj", Linear(width, heads));
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
    if (options.use_gate) g_proj = register_module("g_proj", Linear(width, values));
    o_norm = register_module("o_norm", RmsNorm(options.value_dim(), options.norm_eps));
    o_proj = register_module("o_proj", Linear(values, width));
    if (options.is_filter()) {
      f_proj = register_module("f_proj", Linear(width, heads));
      ::torch::nn::init::zeros_(f_proj->weight);
      f_bias = register_parameter("f_bias", ::torch::full({heads}, options.forgetting_start));
    }
  }

  /// h is [B, T, hidden_size], and so is the result. The state is advanced; if this throws, it is
  /// as it was. With a `mask` as in `Inputs`, padding has no trace in the state, and results there
  /// have no meaning.
  Tensor forward(const Tensor& h, MixerState& state, const Tensor& mask = {}) {
    MixerState next = state;
    Tensor o = mix(inputs(h, next, mask), next.memory);
    o = o_norm(o);
    if (options_.use_gate) o = o * ::torch::silu(g_proj(h)).reshape(o.sizes());
    state = std::move(next);
    return o_proj(o.flatten(2));
  }

  /// What the layer is fed: `Sequence`'s fields.
  Inputs inputs(const Tensor& h, MixerState& state, const Tensor& mask = {}) {
    constexpr double eps = 1e-6;
    const auto project = [&](Linear& proj, ShortConvolution& conv, Tensor& last,
                             std::int64_t width) {
      Tensor x = proj(h);
      x = conv.is_empty() ? ::torch::silu(x) : conv->forward(x, last, mask);
      return x.reshape({h.size(0), h.size(1), x.size(2) / width, width});
    };
    const auto shared = options_.value_heads() / options_.num_heads;
    Inputs x;
    x.mask = mask;
    const Tensor query = project(q_proj, q_conv1d, state.query, options_.head_dim);
    const Tensor key = project(k_proj, k_conv1d, state.key, options_.head_dim);
    x.value = project(v_proj, v_conv1d, state.value, options_.value_dim());
    const double scale = 1 / std::sqrt(static_cast<double>(options_.head_dim));
    x.query = unit(query, eps, scale);
    x.key = unit(key, eps);
    const Tensor dt = options_.decays() ? ::torch::softplus(a_proj(h) + dt_bias) : Tensor();
    x.log_decay = options_.decays() ? -A_log.exp() * dt
                                    : h.new_zeros({h.size(0), h.size(1), options_.value_heads()});
    if (options_.rule == Rule::ssd) x.value = x.value * dt.unsqueeze(3);
    if (!options_.corrects()) return x;
    const Tensor b = b_proj(h);
    if (!options_.is_filter()) {
      x.write_strength = ::torch::sigmoid(b);
      if (options_.allow_neg_eigval) x.write_strength = 2 * x.write_strength;
      return x;
    }
    // (1 - beta |k|^2) / beta = e^-b + 1 - |k|^2, of which no digit cancels; b > -60 for float.
    const Tensor rest = eps / (key.square().sum(-1) + eps);
    x.observation_noise =
        ::torch::exp(-b.clamp_min(-60)) + (shared == 1 ? rest : rest.repeat_interleave(shared, 2));
    const Tensor f = f_proj(h) + f_bias;
    const Tensor log_kept = -0.5 * ::torch::softplus(f);
    if (options_.forgetting == Forgetting::tied) {  // without its own, P decays as the memory
      x.log_decay = x.log_decay + log_kept;
      x.process_noise = -::torch::expm1(2 * x.log_decay);
    } else {
      x.covariance_log_decay = log_kept;
      x.process_noise = ::torch::sigmoid(f);
    }
    return x;
  }

  /// Runs the rule: [B, T, H, Dv].
  Tensor mix(const Inputs& x, State& memory) const {
    const auto run =
        x.query.scalar_type() == at::kDouble ? detail::run_rule<double> : detail::run_rule<float>;
    return run(options_.rule, memory, x);
  }

  /// The parameters that set what a filter forgets: they take a learning rate 5 times the others'.
  [[nodiscard]] std::vector<Tensor> forgetting_parameters() const {
    return options_.is_filter() ? std::vector<Tensor>{f_proj->weight, f_bias}
                                : std::vector<Tensor>{};
  }

  [[nodiscard]] const MixerOptions& options() const { return options_; }

  Linear q_proj{nullptr}, k_proj{nullptr}, v_proj{nullptr};
  Linear a_proj{nullptr}, b_proj{nullptr}, g_proj{nullptr}, o_proj{nullptr};
  ShortConvolution q_conv1d{nullptr}, k_conv1d{nullptr}, v_conv1d{nullptr};
  RmsNorm o_norm{nullptr};
  Tensor A_log, dt_bias;
  Linear f_proj{nullptr};
  Tensor f_bias;

 private:
  MixerOptions options_;
};
TORCH_MODULE(Mixer);

}  // namespace seqbayes::libtorch
