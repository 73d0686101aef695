/// @file
/// Parameters of a layer that are constant in time, their checks, and derivatives with respect to
/// them.
#pragma once

#include <Eigen/Core>
#include <limits>
#include <string>
#include <type_traits>

#include <seqbayes/sequence/check.hpp>
#include <seqbayes/sequence/compensated_sum.hpp>

namespace seqbayes {

/// Parameters of the grid's layers. One that a layer doesn't read has to keep its default.
template <class Scalar, int Dk, int Dv>
struct LayerOptions {
  /// Key width, > 0; given by the type unless that says `Eigen::Dynamic`.
  Index key_dim = Dk == Eigen::Dynamic ? 0 : Dk;
  Index value_dim = Dv == Eigen::Dynamic ? 0 : Dv;  ///< Value width, likewise.
  /// sigma_0^2 >= 0: the variance of each memory entry before the first token (every reset layer:
  /// before each token).
  Scalar prior_variance = Scalar(1);
  /// g <= 0 of `ConstantDecay`.
  Scalar log_decay = Scalar(0);
  /// tau > 0 of `LatentInput`: the prior variance of the latent input; infinity is a flat prior.
  Scalar input_variance = Scalar(std::numeric_limits<double>::infinity());
  /// `IsotropicCovariance` and `DiagonalCovariance`: the weight >= 0 of a key's information in the
  /// variance update. 1 keeps the average over directions (isotropic) or what a channel would learn
  /// if the others were known (diagonal).
  Scalar info_scale = Scalar(1);
};

/// Which of them a policy, a decay or a layer reads.
struct OptionsRead {
  bool prior_variance = false, log_decay = false, input_variance = false, info_scale = false;
};

/// Derivatives of a loss with respect to the options of the grid's layers.
template <class Scalar>
struct LayerOptionGradient {
  /// The total for a run from `layer.initial_state()`: what the tokens take from it, and what the
  /// initial covariance does.
  Scalar prior_variance{};
  /// The tokens' part alone (of reset layers' variances and evidence): what a run from any other
  /// state adds.
  Scalar prior_variance_of_tokens{};
  Scalar input_variance{};  ///< 0 where it is infinite.
  Scalar info_scale{};
};

/// What tokens add to derivatives with respect to options. `own` is the layer's `OptionGradient`,
/// which decays, models and policies with options of their own add to.
template <class Scalar, class Own>
struct LayerOptionSums {
  explicit LayerOptionSums(Own& own_options) : own(own_options) {}

  CompensatedSum<Scalar> prior_variance{}, log_decay{}, input_variance{}, info_scale{};
  Own& own;
};

/// @throws std::invalid_argument unless `width` is positive and, if the type knows it, `known`.
inline void check_width(const char* name, Index width, int known) {
  if (width > 0 && (known == Eigen::Dynamic || width == known)) return;
  detail::fail(std::string("option ") + name + " is " + std::to_string(width) + ", expected " +
               (known > 0 ? std::to_string(known) : "a positive width"));
}

/// Both widths of a layer's options.
template <int Dk, int Dv, class Options>
void check_widths(const Options& options) {
  check_width("key_dim", options.key_dim, Dk);
  check_width("value_dim", options.value_dim, Dv);
}

/// @throws std::invalid_argument naming the option if `value` is out of its domain.
template <class Scalar>
void check_option(const char* name, const Scalar& value, Domain domain) {
  if (!detail::all_in_domain(Eigen::Array<Scalar, 1, 1>(value), domain)) {
    detail::fail(std::string("option ") + name + " must be " + detail::describe(domain));
  }
}

/// Checks widths and what a layer reads; what it doesn't read has to be left at its default.
/// @throws std::invalid_argument naming the option.
template <class Scalar, int Dk, int Dv>
void check_layer_options(const LayerOptions<Scalar, Dk, Dv>& options, OptionsRead reads) {
  check_widths<Dk, Dv>(options);
  check_option("prior_variance", options.prior_variance, Domain::non_negative);
  check_option("log_decay", options.log_decay, Domain::log_decay);
  check_option("info_scale", options.info_scale, Domain::non_negative);
  if (!(options.input_variance > Scalar(0))) detail::fail("option input_variance must be > 0");
  const LayerOptions<Scalar, Dk, Dv> unset;
  const auto unless_read = [](bool read, const char* name, const Scalar& value,
                              const Scalar& otherwise) {
    if (!read && value != otherwise) {
      detail::fail(std::string("option ") + name + " is not read by this layer");
    }
  };
  unless_read(reads.prior_variance, "prior_variance", options.prior_variance, unset.prior_variance);
  unless_read(reads.log_decay, "log_decay", options.log_decay, unset.log_decay);
  unless_read(reads.input_variance, "input_variance", options.input_variance, unset.input_variance);
  unless_read(reads.info_scale, "info_scale", options.info_scale, unset.info_scale);
}

namespace detail {

/// Whether a part of a layer speaks for itself, not for one that is derived from it.
template <class Part>
concept NamesItself = std::is_same_v<typename Part::Self, Part>;

}  // namespace detail
}  // namespace seqbayes
