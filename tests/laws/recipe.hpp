// What a layer type is, as plain data, and how to make one: the reference reads the data, never the
// type's code.
#pragma once

#include <string>
#include <type_traits>
#include <utility>

#include <laws/stream.hpp>

namespace laws {

enum class Design {
  latent_input,
  regression,
  separate_erase_key,
  gated_erase,
  diagonal_plus_low_rank,
  gated_removal,
  moments,   // MesaNet
  entrywise  // Kalman Linear Attention
};
enum class Decay { none, constant, field };
enum class Kept { nothing, reset, preconditioned, isotropic, diagonal, full };

/// The parameters of every layer; each takes what it knows.
template <class Real>
struct Setup {
  Index key_dim = 0;
  Index value_dim = 0;
  Real prior_variance = Real(1);
  Real log_decay = Real(-0.125);
  Real input_variance = Real(infinity);
  Real info_scale = Real(1);

  template <class Other>
  [[nodiscard]] Setup<Other> as() const {
    return {
        key_dim,          value_dim, Other(prior_variance), Other(log_decay), Other(input_variance),
        Other(info_scale)};
  }
};

struct Recipe {
  Design design = Design::regression;
  Decay decay = Decay::none;
  Kept kept = Kept::nothing;
  int writes = 1;  ///< A token.
};

namespace detail {

template <class T>
inline constexpr bool unknown = false;

template <class Model>
constexpr Design design_of() {
  if constexpr (std::is_same_v<Model, seqbayes::LatentInput>) {
    return Design::latent_input;
  } else if constexpr (std::is_same_v<Model, seqbayes::AssociativeRegression>) {
    return Design::regression;
  } else if constexpr (std::is_same_v<Model, seqbayes::SeparateEraseKey>) {
    return Design::separate_erase_key;
  } else if constexpr (std::is_same_v<Model, seqbayes::GatedErase>) {
    return Design::gated_erase;
  } else if constexpr (std::is_same_v<Model, seqbayes::DiagonalPlusLowRank>) {
    return Design::diagonal_plus_low_rank;
  } else if constexpr (std::is_same_v<Model, seqbayes::GatedRemoval>) {
    return Design::gated_removal;
  } else {
    static_assert(unknown<Model>, "the reference has no such model");
  }
}

template <class Policy>
constexpr Kept kept_of() {
  if constexpr (std::is_same_v<Policy, seqbayes::NoCovariance>) {
    return Kept::nothing;
  } else if constexpr (std::is_same_v<Policy, seqbayes::ResetCovariance>) {
    return Kept::reset;
  } else if constexpr (std::is_same_v<Policy, seqbayes::PreconditionedReset>) {
    return Kept::preconditioned;
  } else if constexpr (std::is_same_v<Policy, seqbayes::IsotropicCovariance>) {
    return Kept::isotropic;
  } else if constexpr (std::is_same_v<Policy, seqbayes::DiagonalCovariance>) {
    return Kept::diagonal;
  } else if constexpr (std::is_same_v<Policy, seqbayes::FullCovariance>) {
    return Kept::full;
  } else {
    static_assert(unknown<Policy>, "the reference has no such covariance");
  }
}

template <class Policy>
constexpr Decay decay_of() {
  if (std::is_same_v<Policy, seqbayes::NoDecay>) return Decay::none;
  if (std::is_same_v<Policy, seqbayes::ConstantDecay>) return Decay::constant;
  return Decay::field;
}

template <class Layer>
struct RecipeOf;
template <class S, int Dk, int Dv, class Model, class D, class Covariance>
struct RecipeOf<seqbayes::Layer<S, Dk, Dv, Model, D, Covariance>> {
  static constexpr Recipe value{design_of<Model>(), decay_of<D>(), kept_of<Covariance>(), 1};
};
template <class Base, int Writes>
struct RecipeOf<seqbayes::SeveralWrites<Base, Writes>> {
  static constexpr Recipe value{Design::regression, Decay::field, Kept::reset, Writes};
};

}  // namespace detail

template <class Layer>
inline constexpr Recipe recipe_of = detail::RecipeOf<Layer>::value;

using Shape = std::pair<Index, Index>;  // Key width, value width.

/// Whether the type fixes the widths. Both or neither, in this suite.
template <class Layer>
bool has_static_widths() {
  if constexpr (requires(typename Layer::Options options) { options.key_dim; }) {
    return typename Layer::Options{}.key_dim != 0;
  } else {
    return Layer::value_width != Eigen::Dynamic;
  }
}

/// The shapes to run a layer with: its own if its type has one.
template <class Layer>
std::vector<Shape> shapes_of(std::vector<Shape> for_dynamic) {
  const typename Layer::Options options;
  if (has_static_widths<Layer>()) return {{options.key_dim, options.value_dim}};
  return for_dynamic;
}

inline std::string describe(const Recipe& recipe, Index key_dim, Index value_dim) {
  const char* designs[] = {
      "latent input",  "regression", "separate erase key", "gated erase", "diagonal plus low rank",
      "gated removal", "moments",    "entrywise"};
  const char* decays[] = {"no", "constant", "field"};
  const char* kept[] = {"none", "reset", "preconditioned", "isotropic", "diagonal", "full"};
  return std::string(designs[int(recipe.design)]) + ", decay: " + decays[int(recipe.decay)] +
         ", covariance: " + kept[int(recipe.kept)] + ", writes " + std::to_string(recipe.writes) +
         ", " + std::to_string(key_dim) + " x " + std::to_string(value_dim);
}

template <class Layer>
std::string describe(const Layer& layer) {
  return describe(recipe_of<Layer>, layer.key_dim(), layer.value_dim()) + ", " +
         std::to_string(sizeof(typename Layer::Scalar)) + " bytes, " +
         (has_static_widths<Layer>() ? "static" : "dynamic");
}

}  // namespace laws
