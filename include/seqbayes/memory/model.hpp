/// @file
/// The design models: what is assumed about memory, as the write that exact filtering makes of it.
///
/// Memory S (Dk x Dv) answers a key by S' k. After the decay, \bar S = D S, every model makes one
/// write
///
///     add       S = \bar S + w y'                          (nothing is predicted)
///     correct   S = \bar S + w (y - \bar S' e)'            (y is compared with what e reads)
///     replace   S = \bar S + u (S_{t-1}' e)' + w y'        (e reads before the decay)
///
/// with the gain w from the covariance policy. A model says which write, what reads (e) and what is
/// written (y); see docs/mathematics.md and the papers named below.
#pragma once

#include <seqbayes/sequence/sequence.hpp>

namespace seqbayes {

/// The writes above: `add` needs of a model written(), `correct` also erase(), `replace` also
/// erase_write(). Each takes a token and returns a vector expression of Dv or Dk entries.
enum class Write { add, correct, replace };

/// A: memory is driven by a latent input that is itself observed, S_t = D_t S_{t-1} + k_t u_t', v =
/// u + noise.
struct LatentInput {
  static constexpr Write write = Write::add;

  template <class Options>
  static constexpr void add_inputs(InputWidths&, const Options&) {}

  template <int Dv, class Scalar>
  static auto written(const Token<Scalar>& token) {
    return token.value.template vector<Dv>();
  }
};

/// B: memory is an unknown regression matrix and the value a noisy read of it,
/// S_t = D_t S_{t-1} + W_t, v = S' k + noise.
struct AssociativeRegression {
  static constexpr Write write = Write::correct;

  template <class Options>
  static constexpr void add_inputs(InputWidths&, const Options&) {}

  template <int Dk, class Scalar>
  static auto erase(const Token<Scalar>& token) {
    return token.key.template vector<Dk>();
  }
  template <int Dv, class Scalar>
  static auto written(const Token<Scalar>& token) {
    return token.value.template vector<Dv>();
  }
};

/// Comba (Hu et al. 2025, arXiv 2506.02475): the prediction is read by its own key, e =
/// `erase_key`.
struct SeparateEraseKey : AssociativeRegression {
  template <class Options>
  static constexpr void add_inputs(InputWidths& inputs, const Options& options) {
    inputs.erase_key = options.key_dim;
  }
  template <int Dk, class Scalar>
  static auto erase(const Token<Scalar>& token) {
    return token.erase_key.template vector<Dk>();
  }
};

/// Gated DeltaNet-2 (Hatamizadeh et al. 2026, arXiv 2605.22791): key channels of the prediction are
/// gated by `erase_gate`, e = b * k, and the channels of the value by `value_gate`, y = w * v.
struct GatedErase : AssociativeRegression {
  template <class Options>
  static constexpr void add_inputs(InputWidths& inputs, const Options& options) {
    inputs.erase_gate = options.key_dim;
    inputs.value_gate = options.value_dim;
  }
  template <int Dk, class Scalar>
  static auto erase(const Token<Scalar>& token) {
    return token.erase_gate.template vector<Dk>().cwiseProduct(token.key.template vector<Dk>());
  }
  template <int Dv, class Scalar>
  static auto written(const Token<Scalar>& token) {
    return token.value_gate.template vector<Dv>().cwiseProduct(token.value.template vector<Dv>());
  }
};

/// Diagonal plus low rank (DPLR): S_t = D_t S_{t-1} + b_t (S_{t-1}' a_t)' + k_t v_t', with a =
/// `erase_key` and b = `erase_write`.
struct DiagonalPlusLowRank : AssociativeRegression {
  static constexpr Write write = Write::replace;

  template <class Options>
  static constexpr void add_inputs(InputWidths& inputs, const Options& options) {
    inputs.erase_key = options.key_dim;
    inputs.erase_write = options.key_dim;
  }
  template <int Dk, class Scalar>
  static auto erase(const Token<Scalar>& token) {
    return token.erase_key.template vector<Dk>();
  }
  template <int Dk, class Scalar>
  static auto erase_write(const Token<Scalar>& token) {
    return token.erase_write.template vector<Dk>();
  }
};

/// RWKV-7 (Peng et al. 2025, arXiv 2503.14456): DPLR that removes what the unit vector kk =
/// `erase_key` reads, with the in-context learning rate a = `erase_gate`: u = -kk * a.
struct GatedRemoval : DiagonalPlusLowRank {
  template <class Options>
  static constexpr void add_inputs(InputWidths& inputs, const Options& options) {
    inputs.erase_key = options.key_dim;
    inputs.erase_gate = options.key_dim;
  }
  template <int Dk, class Scalar>
  static auto erase_write(const Token<Scalar>& token) {
    return -token.erase_key.template vector<Dk>().cwiseProduct(
        token.erase_gate.template vector<Dk>());
  }
};

}  // namespace seqbayes
