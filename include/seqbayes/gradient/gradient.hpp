/// @file
/// What `scan_vjp` takes and returns: cotangents of a scan's results, gradients of its inputs.
#pragma once

#include <optional>
#include <string>

#include <seqbayes/covariance/policy.hpp>
#include <seqbayes/scan/concept.hpp>
#include <seqbayes/sequence/check.hpp>
#include <seqbayes/sequence/compensated_sum.hpp>

namespace seqbayes {

/// Derivatives of a loss by the results of a scan. What is left empty counts as zero.
template <SequenceLayer L>
struct Cotangent {
  using Scalar = typename L::Scalar;
  MatrixView<Scalar> mean;   ///< By the outputs, T x Dv.
  RowView<Scalar> variance;  ///< By the retrieval variances, T entries; of filters only.
  Scalar log_evidence{};     ///< By the log evidence; of filters only.
  /// By the state after the last token, in the shape of the state. That of a full covariance is
  /// taken as symmetric: its antisymmetric part has no effect.
  std::optional<typename L::State> state{};
};

/// Derivatives by the options of the grid's layers.
template <class Scalar>
struct LayerOptionGradient {
  /// By the option `prior_variance`, *at the given initial state*: what reset layers' variances and
  /// evidence take from it. `prior_variance_gradient` is the whole for runs from
  /// `layer.initial_state()`.
  Scalar prior_variance{};
  Scalar input_variance{};  ///< 0 where it is infinite.
  Scalar info_scale{};
};

/// The same while tokens add to it.
template <class Scalar>
using LayerOptionSums = LayerOptionGradient<CompensatedSum<Scalar>>;

/// Derivatives by options that are not the grid's, under their names; a layer that has such
/// specialises it, with `set_zero(layer)`, which gives them their shapes.
template <class L>
struct OptionGradient {
  void set_zero(const L&) {}
};

/// Derivatives of the loss by the inputs of a scan: of each field that the layer reads, a matrix in
/// the shape of the input (one column where the input has one for all channels); all other fields
/// stay empty.
///
/// `log_decay` of a layer with `ConstantDecay` is 1 x 1, the derivative by the option.
template <SequenceLayer L>
struct Gradient : Fields<Matrix<typename L::Scalar>>, LayerOptionGradient<typename L::Scalar> {
  /// By the state before the first token. That of a full covariance is symmetric: the change of the
  /// loss is the sum over all entries, so each off-diagonal pair counts twice.
  typename L::State initial_state;
  OptionGradient<L> options{};  ///< MesaNet's and Kalman Linear Attention's.
};

/// The derivative of the loss by the option `prior_variance` of a run that started from
/// `layer.initial_state()`, whose covariance is `prior_variance` times one of its own.
template <class L>
typename L::Scalar prior_variance_gradient(const L& layer, const Gradient<L>& gradient) {
  using Scalar = typename L::Scalar;
  typename L::Options unit = layer.options();
  unit.prior_variance = Scalar(1);
  const auto start = L(unit).initial_state();
  if constexpr (requires { start.covariance.size(); }) {
    return gradient.prior_variance +
           start.covariance.cwiseProduct(gradient.initial_state.covariance).sum();
  } else if constexpr (requires { Scalar(start.covariance); }) {
    return gradient.prior_variance + start.covariance * gradient.initial_state.covariance;
  } else {
    return gradient.prior_variance;
  }
}

namespace detail {

template <class Scalar>
void store(const LayerOptionSums<Scalar>& sums, LayerOptionGradient<Scalar>& gradient) {
  gradient = {sums.prior_variance.value(), sums.input_variance.value(), sums.info_scale.value()};
}

/// One token's row of one field's gradient. Empty where the layer doesn't read the field.
template <class Scalar>
class GradientRow {
 public:
  GradientRow() = default;
  GradientRow(Scalar* data, Index size) : data_(data), size_(size) {}

  /// Adds one derivative a channel; their sum if the field has one entry for all channels.
  template <class Entries>
  void add(const Entries& entries) {
    if (size_ == entries.size()) {
      Eigen::Map<Vector<Scalar, Entries::SizeAtCompileTime>>(data_, size_) += entries;
    } else if (size_ == 1) {
      data_[0] += entries.sum();
    }
  }
  /// Adds to a field of one entry.
  void add_one(const Scalar& entry) {
    if (size_ == 1) data_[0] += entry;
  }

 private:
  Scalar* data_ = nullptr;
  Index size_ = 0;
};

template <class Scalar>
using TokenGradient = Fields<GradientRow<Scalar>>;

/// Row t of each field.
template <class Scalar>
TokenGradient<Scalar> token_gradient(Fields<Matrix<Scalar>>& fields, Index t) {
  TokenGradient<Scalar> rows;
  for_each_field(
      [t](auto, auto, Matrix<Scalar>& all, GradientRow<Scalar>& one) {
        if (all.size() == 0) return;
        one = {all.data() + t * all.cols(), all.cols()};
      },
      fields, rows);
  return rows;
}

/// For a derivative by a log decay: nothing of what came before a decay of 0 has an effect, and no
/// rounding errors may stay. `decay` is one factor or Dk.
template <class Entries, class Decay>
void forget(Entries& along, const Decay& decay) {
  if constexpr (std::is_arithmetic_v<Decay>) {
    if (!(decay > Decay(0))) along.setZero();
  } else {
    for (Index i = 0; i < along.size(); ++i) {
      if (!(decay[i] > 0)) along[i] = 0;
    }
  }
}

/// Refuses what the layer refuses of a state, and entries that aren't finite.
template <class L>
void check_state_cotangent(const L& layer, const typename L::State& state) {
  using Scalar = typename L::Scalar;
  if constexpr (requires { layer.check_state(state); }) {
    try {
      layer.check_state(state);
    } catch (const std::invalid_argument& error) {
      std::string text = error.what();
      if (text.starts_with("seqbayes: ")) text.erase(0, text.find(' ') + 1);
      fail("cotangent.state: " + text);
    }
  }
  for_each_part<Scalar>("state", state, [](const std::string& name, const auto& part) {
    const bool finite = [&] {
      if constexpr (std::is_same_v<std::remove_cvref_t<decltype(part)>, Scalar>) {
        return is_finite(part);
      } else {
        return all_in_domain(part, Domain::finite);
      }
    }();
    if (!finite) fail("cotangent.state: " + name + " must be finite");
  });
}

template <class L>
void check_cotangent(const L& layer, const Sequence<typename L::Scalar>& x,
                     const Cotangent<L>& cotangent) {
  using Scalar = typename L::Scalar;
  const auto check = [&](const char* name, const MatrixView<Scalar>& view, Index width) {
    if (!view.empty()) check_field(name, Domain::finite, view, width, x.length());
  };
  check("cotangent.mean", cotangent.mean, layer.value_dim());
  const RowView<Scalar>& variance = cotangent.variance;
  if (!variance.empty()) {
    check("cotangent.variance", MatrixView<Scalar>(variance.data(), variance.size(), 1), 1);
  }
  if (!is_finite(cotangent.log_evidence)) fail("cotangent.log_evidence must be finite");
  if constexpr (!ProbabilisticLayer<L>) {
    if (!variance.empty()) fail("cotangent.variance is given, but this layer has no variance");
    if (cotangent.log_evidence != Scalar(0)) {
      fail("cotangent.log_evidence is given, but this layer has no evidence");
    }
  }
  if (cotangent.state) check_state_cotangent(layer, *cotangent.state);
}

}  // namespace detail
}  // namespace seqbayes
