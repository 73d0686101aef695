/// @file
/// What `scan_vjp` takes and returns: cotangents of a scan's results, gradients of its inputs.
#pragma once

#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>

#include <seqbayes/sequence/check.hpp>
#include <seqbayes/sequence/concept.hpp>
#include <seqbayes/sequence/gradient_row.hpp>
#include <seqbayes/sequence/options.hpp>
#include <seqbayes/sequence/parts.hpp>

namespace seqbayes {

/// Derivatives of a loss with respect to the results of a scan. What is left empty counts as zero.
template <SequenceLayer L>
struct Cotangent {
  using Scalar = typename L::Scalar;
  MatrixView<Scalar> mean{};   ///< To the outputs, T x Dv.
  RowView<Scalar> variance{};  ///< To the retrieval variances, T entries; of filters only.
  Scalar log_evidence{};       ///< To the log evidence; of filters only.
  /// To the state after the last token, in the shape of the state. That of a full covariance is
  /// taken as symmetric: its antisymmetric part has no effect.
  std::optional<typename L::State> state{};
};

/// Derivatives with respect to options that are not the grid's, under their names; a layer that has
/// such specialises it, with `set_zero(layer)`, which gives them their shapes.
template <class L>
struct OptionGradient {
  void set_zero(const L&) {}
};

/// Derivatives of the loss with respect to the inputs of a scan: of each field that the layer
/// reads, a matrix in the shape of the input (one column where the input has one for all channels);
/// all other fields stay empty.
///
/// `log_decay` of a layer with `ConstantDecay` is 1 x 1, the derivative with respect to the option.
template <SequenceLayer L>
struct Gradient : Fields<Matrix<typename L::Scalar>>, LayerOptionGradient<typename L::Scalar> {
  /// To the state before the first token. That of a full covariance is symmetric: the change of the
  /// loss is the sum over all entries, so each off-diagonal pair counts twice.
  typename L::State initial_state;
  OptionGradient<L> options{};  ///< To options that are not the grid's.
};

namespace detail {

/// Refuses what the layer refuses of a state, and entries that aren't finite.
template <class L>
void check_state_cotangent(const L& layer, const typename L::State& state) {
  using Scalar = typename L::Scalar;
  try {
    check_state_of(layer, state);
  } catch (const std::invalid_argument& error) {
    std::string text = error.what();
    if (text.starts_with("seqbayes: ")) text.erase(0, text.find(' ') + 1);
    fail("cotangent.state: " + text);
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
