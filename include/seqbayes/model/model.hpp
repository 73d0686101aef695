/// @file
/// The first axis of the grid, what is assumed about memory: the concept of a design model, and its
/// points with their derivatives.
///
/// Memory S (Dk x Dv) answers a key by S' k. After the decay, \bar S = D S, every model makes one
/// write, as exact filtering makes of what it assumes,
///
///     add       S = \bar S + w y'                          (nothing is predicted)
///     correct   S = \bar S + w (y - \bar S' e)'            (y is compared with what e reads)
///     replace   S = \bar S + u (S_{t-1}' e)' + w y'        (e reads before the decay)
///
/// with the gain w from the covariance policy. See docs/mathematics.md and the papers named below.
#pragma once

#include <Eigen/Core>
#include <concepts>
#include <type_traits>

#include <seqbayes/sequence/gradient_row.hpp>
#include <seqbayes/sequence/options.hpp>

namespace seqbayes {

/// The writes above.
enum class Write { add, correct, replace };

template <class Covariance>
struct LatentInputPolicy;  // covariance/latent_input.hpp
template <class Policy>
struct WithoutVariance;  // covariance/policy.hpp

namespace detail {

/// The options of a model's layers: those of its policy, or what the model makes of them.
template <class Model, class PolicyOptions>
struct OptionsOf : std::type_identity<PolicyOptions> {};
template <class Model, class PolicyOptions>
requires requires { typename Model::template Options<PolicyOptions>; }
struct OptionsOf<Model, PolicyOptions>
    : std::type_identity<typename Model::template Options<PolicyOptions>> {};

template <template <class> class>
struct OneParameter {};

template <class Model, class PolicyOptions>
using SomeOptions = typename OptionsOf<Model, PolicyOptions>::type;

}  // namespace detail

/// A design model: a struct of static members. Vectors are Eigen expressions.
///
/// - `write`: one of the writes above;
/// - `Policy<Covariance>`: the gain pass that the model has for a covariance of the grid;
/// - `add_inputs(inputs, options)`: adds the fields that it reads beside query, key and value;
/// - `target<Dv>(token, options)`: y;
/// - `prediction_key<Dk>(token, options)`: e, of `correct` and `replace`;
/// - `write_key<Dk>(token, options)`: u, of `replace`.
///
/// Used if they are there:
///
/// - `Options<PolicyOptions>`: the options of its layers, derived from those of the policy, and
///   `check_options(options)`, which throws;
/// - `target_vjp`, `prediction_key_vjp`, `write_key_vjp`, each `(token, options, d, grad,
///   doptions)`, for gradients: add what the derivative d with respect to the vector gives to those
///   of the token's fields (`TokenGradient`) and of the options (`LayerOptionSums`);
/// - `Self`, with those: names the struct itself.
///
/// Derive from a model that is here to change a part of it; docs/writing-a-layer.md does. What is
/// derived has no gradients before it has its own `Self`, since vectors that it changes have other
/// derivatives. `PolicyOptions` are the options of its layers' policy.
template <class M, class PolicyOptions = LayerOptions<double, Eigen::Dynamic, Eigen::Dynamic>>
concept DesignModel = requires(InputWidths& inputs, const Token<double>& token,
                               const detail::SomeOptions<M, PolicyOptions>& options) {
  { M::write } -> std::convertible_to<Write>;
  typename detail::OneParameter<M::template Policy>;
  M::add_inputs(inputs, options);
  M::template target<Eigen::Dynamic>(token, options);
}
&&(M::write == Write::add ||
   requires(const Token<double>& token, const detail::SomeOptions<M, PolicyOptions>& options) {
     M::template prediction_key<Eigen::Dynamic>(token, options);
   }) &&
    (M::write != Write::replace ||
     requires(const Token<double>& token, const detail::SomeOptions<M, PolicyOptions>& options) {
       M::template write_key<Eigen::Dynamic>(token, options);
     });

/// A: memory is driven by a latent input that is itself observed, S_t = D_t S_{t-1} + k_t u_t', v =
/// u + noise.
struct LatentInput {
  using Self = LatentInput;
  static constexpr Write write = Write::add;
  template <class Covariance>
  using Policy = typename LatentInputPolicy<Covariance>::type;

  template <class Options>
  static constexpr void add_inputs(InputWidths&, const Options&) {}

  template <int Dv, class Scalar, class Options>
  static auto target(const Token<Scalar>& token, const Options&) {
    return token.value.template vector<Dv>();
  }
  template <class Scalar, class Options, class Dy, class OptionSums>
  static void target_vjp(const Token<Scalar>&, const Options&, const Dy& dy,
                         TokenGradient<Scalar>& grad, OptionSums&) {
    grad.value.add(dy);
  }
};

/// B: memory is an unknown regression matrix and the value a noisy read of it,
/// S_t = D_t S_{t-1} + W_t, v = S' k + noise.
struct AssociativeRegression : LatentInput {
  using Self = AssociativeRegression;
  static constexpr Write write = Write::correct;
  template <class Covariance>
  using Policy = Covariance;

  template <int Dk, class Scalar, class Options>
  static auto prediction_key(const Token<Scalar>& token, const Options&) {
    return token.key.template vector<Dk>();
  }
  template <class Scalar, class Options, class De, class OptionSums>
  static void prediction_key_vjp(const Token<Scalar>&, const Options&, const De& de,
                                 TokenGradient<Scalar>& grad, OptionSums&) {
    grad.key.add(de);
  }
};

/// Comba (Hu et al. 2025, arXiv 2506.02475): the prediction is read by its own key, e =
/// `erase_key`. With this and all that follow, no filter is known that has such a gain, so there is
/// no variance and no evidence.
struct SeparateEraseKey : AssociativeRegression {
  using Self = SeparateEraseKey;
  template <class Covariance>
  using Policy = WithoutVariance<Covariance>;

  template <class Options>
  static constexpr void add_inputs(InputWidths& inputs, const Options& options) {
    inputs.erase_key = options.key_dim;
  }
  template <int Dk, class Scalar, class Options>
  static auto prediction_key(const Token<Scalar>& token, const Options&) {
    return token.erase_key.template vector<Dk>();
  }
  template <class Scalar, class Options, class De, class OptionSums>
  static void prediction_key_vjp(const Token<Scalar>&, const Options&, const De& de,
                                 TokenGradient<Scalar>& grad, OptionSums&) {
    grad.erase_key.add(de);
  }
};

/// Gated DeltaNet-2 (Hatamizadeh et al. 2026, arXiv 2605.22791): key channels of the prediction are
/// gated by `erase_gate`, e = b * k, and the channels of the value by `value_gate`, y = w * v.
struct GatedErase : SeparateEraseKey {
  using Self = GatedErase;
  template <class Options>
  static constexpr void add_inputs(InputWidths& inputs, const Options& options) {
    inputs.erase_gate = options.key_dim;
    inputs.value_gate = options.value_dim;
  }
  template <int Dk, class Scalar, class Options>
  static auto prediction_key(const Token<Scalar>& token, const Options&) {
    return token.erase_gate.template vector<Dk>().cwiseProduct(token.key.template vector<Dk>());
  }
  template <class Scalar, class Options, class De, class OptionSums>
  static void prediction_key_vjp(const Token<Scalar>& token, const Options&, const De& de,
                                 TokenGradient<Scalar>& grad, OptionSums&) {
    constexpr int Dk = De::SizeAtCompileTime;
    grad.key.add(de.cwiseProduct(token.erase_gate.template vector<Dk>()));
    grad.erase_gate.add(de.cwiseProduct(token.key.template vector<Dk>()));
  }
  template <int Dv, class Scalar, class Options>
  static auto target(const Token<Scalar>& token, const Options&) {
    return token.value_gate.template vector<Dv>().cwiseProduct(token.value.template vector<Dv>());
  }
  template <class Scalar, class Options, class Dy, class OptionSums>
  static void target_vjp(const Token<Scalar>& token, const Options&, const Dy& dy,
                         TokenGradient<Scalar>& grad, OptionSums&) {
    constexpr int Dv = Dy::SizeAtCompileTime;
    grad.value.add(dy.cwiseProduct(token.value_gate.template vector<Dv>()));
    grad.value_gate.add(dy.cwiseProduct(token.value.template vector<Dv>()));
  }
};

/// Diagonal plus low rank (DPLR): S_t = D_t S_{t-1} + b_t (S_{t-1}' a_t)' + k_t v_t', with a =
/// `erase_key` and b = `erase_write`.
struct DiagonalPlusLowRank : SeparateEraseKey {
  using Self = DiagonalPlusLowRank;
  static constexpr Write write = Write::replace;

  template <class Options>
  static constexpr void add_inputs(InputWidths& inputs, const Options& options) {
    inputs.erase_key = options.key_dim;
    inputs.erase_write = options.key_dim;
  }
  template <int Dk, class Scalar, class Options>
  static auto write_key(const Token<Scalar>& token, const Options&) {
    return token.erase_write.template vector<Dk>();
  }
  template <class Scalar, class Options, class Du, class OptionSums>
  static void write_key_vjp(const Token<Scalar>&, const Options&, const Du& du,
                            TokenGradient<Scalar>& grad, OptionSums&) {
    grad.erase_write.add(du);
  }
};

/// RWKV-7 (Peng et al. 2025, arXiv 2503.14456): DPLR that removes what the unit vector kk =
/// `erase_key` reads, with the in-context learning rate a = `erase_gate`: u = -kk * a.
struct GatedRemoval : DiagonalPlusLowRank {
  using Self = GatedRemoval;
  template <class Options>
  static constexpr void add_inputs(InputWidths& inputs, const Options& options) {
    inputs.erase_key = options.key_dim;
    inputs.erase_gate = options.key_dim;
  }
  template <int Dk, class Scalar, class Options>
  static auto write_key(const Token<Scalar>& token, const Options&) {
    return -token.erase_key.template vector<Dk>().cwiseProduct(
        token.erase_gate.template vector<Dk>());
  }
  template <class Scalar, class Options, class Du, class OptionSums>
  static void write_key_vjp(const Token<Scalar>& token, const Options&, const Du& du,
                            TokenGradient<Scalar>& grad, OptionSums&) {
    constexpr int Dk = Du::SizeAtCompileTime;
    grad.erase_key.add(-du.cwiseProduct(token.erase_gate.template vector<Dk>()));
    grad.erase_gate.add(-du.cwiseProduct(token.erase_key.template vector<Dk>()));
  }
};

}  // namespace seqbayes
