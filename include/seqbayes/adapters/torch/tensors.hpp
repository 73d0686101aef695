/// @file
/// Layers' inputs, states and results as libtorch tensors: what is shared by torch/scan.hpp's
/// functions.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <ranges>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include <seqbayes/adapters/torch/spans.hpp>
#include <seqbayes/seqbayes.hpp>

namespace seqbayes::libtorch {

/// B sequences of T tokens and H heads. Each field is [B, T, H, width], or [B, T, H]
/// where the width is 1, with the names and widths of `Sequence`; fields that the layer doesn't
/// read may stay undefined. One head is viewed where it lies, whatever the strides of B, T and H
/// are; a field is copied only if its last dimension is not contiguous, or if its numbers are not
/// in memory (lazily negated), or not on the CPU, where scans run. B, T and H may be 0.
///
/// H is the number of value heads. A field may have fewer, a whole part of H, each for as many
/// neighbouring ones: keys of grouped value heads are viewed, not repeated.
struct Inputs : Fields<Tensor> {
  /// [B, T], bool: the tokens of each sequence, one run of them, with what is false before or
  /// behind it as padding. That has no trace in states, evidence and derivatives, and its results
  /// are 0. Undefined: all are tokens.
  Tensor mask{};
};

/// The state of B x H layers. Undefined tensors stand for the layers' initial state. What a scan
/// returns owns its memory, all of it and nothing else; what it is given stays as it is.
struct State {
  Tensor mean{};  ///< [B, H, Dk, Dv].
  /// [B, H, Dk, Dk], [B, H, Dk] or [B, H], or undefined: what the layer keeps.
  Tensor covariance{};
};

namespace detail {

template <class Scalar>
constexpr auto dtype = c10::CppTypeToScalarType<Scalar>::value;

/// A dense tensor of another device, on the CPU, where scans run; libtorch records the way there.
/// All others stay as they are, for `check_readable`.
inline Tensor on_cpu(const Tensor& tensor) {
  const bool moves = !tensor.device().is_cpu() && !tensor.is_meta() &&
                     tensor.layout() == at::kStrided && !tensor.is_nested();
  return moves ? tensor.to(at::kCPU) : tensor;
}

template <class Scalar>
void check_readable(const std::string& name, const Tensor& tensor) {
  if (!tensor.device().is_cpu() || tensor.layout() != at::kStrided || tensor.is_nested()) {
    fail(name + " must be a dense tensor on the CPU");
  }
  if (tensor.scalar_type() != dtype<Scalar>) {
    fail(name + " is " + at::toString(tensor.scalar_type()) + ", the layer's scalar " +
         at::toString(dtype<Scalar>));
  }
}

/// The tensor with its numbers in memory: what is read through a pointer comes through here first.
/// A tensor that only stands for its numbers is copied: the negative bit (of `imag(conj(z))`) means
/// that memory holds them negated, and zeros in backward may have no memory.
template <class Scalar>
Tensor readable(const std::string& name, const Tensor& tensor) {
  check_readable<Scalar>(name, tensor);
  return tensor._is_zerotensor() ? ::torch::zeros(tensor.sizes(), dtype<Scalar>)
                                 : tensor.resolve_neg();
}

/// B sequences of H heads; item b H + h is head h of sequence b.
struct Extents {
  Index sequences = 0, length = 0, heads = 0;
  [[nodiscard]] Index items() const { return sequences * heads; }
};

/// Views of every item's fields, and the tensors that they look at.
template <class L>
class Batch {
 public:
  using Scalar = typename L::Scalar;

  Batch(const L& layer, const Inputs& x)
      : extents_(extents_of(x)), spans_(x.mask, extents_.sequences, extents_.length) {
    sequences_.resize(std::size_t(extents_.items()));
    for_each_field(
        [&](const char* name, auto, const Tensor& given, Tensor& rows, const InputWidth& input) {
          if (given.defined() && input.width > 0) rows = as_rows(name, given);
        },
        x, tensors_, layer.inputs());
    for (Index i = 0; i < extents_.items(); ++i) {
      for_each_field(
          [&](auto, auto, const Tensor& rows, MatrixView<Scalar>& view) {
            if (rows.defined()) view = item(rows, i);
          },
          tensors_, sequences_[std::size_t(i)]);
    }
    if (extents_.items() == 0) check_widths(layer);
  }

  [[nodiscard]] const Extents& extents() const { return extents_; }
  [[nodiscard]] const std::vector<Sequence<Scalar>>& sequences() const { return sequences_; }
  /// The fields that the layer reads, [B, T, H, width].
  [[nodiscard]] const Inputs& fields() const { return tensors_; }

  /// The tokens of item i in a tensor [B, T, heads, width] whose last dimension is contiguous.
  [[nodiscard]] MatrixView<Scalar> item(const Tensor& rows, Index i) const {
    return {data(rows, i), count(i), rows.size(3), rows.stride(1)};
  }
  /// The same, to be written.
  [[nodiscard]] auto item_rows(const Tensor& rows, Index i) const {
    return Eigen::Map<Matrix<Scalar>, 0, Eigen::OuterStride<>>(
        data(rows, i), count(i), rows.size(3), Eigen::OuterStride<>(rows.stride(1)));
  }
  [[nodiscard]] Index first(Index i) const { return spans_.first[sequence(i)]; }
  [[nodiscard]] Index count(Index i) const { return spans_.count[sequence(i)]; }

  /// A tensor [B, T, H, width] or [B, T, H] in the form that `item` takes.
  [[nodiscard]] Tensor as_rows(const std::string& name, const Tensor& given) const {
    const Tensor plain = readable<Scalar>(name, given);
    const auto [sequences, length, heads] = extents_;
    const bool fits = (given.dim() == 3 || given.dim() == 4) && given.size(0) == sequences &&
                      given.size(1) == length;
    const Index own = fits ? given.size(2) : 0;
    if (!fits || (own != heads && (own == 0 || heads % own != 0))) {
      fail(name + " is " + shape(given.sizes()) + ", expected [" + std::to_string(sequences) +
           ", " + std::to_string(length) + ", " + std::to_string(heads) + ", width]" +
           (fits ? " or a whole part of the heads" : ""));
    }
    const Tensor rows = plain.dim() == 3 ? plain.unsqueeze(3) : plain;
    return rows.size(3) <= 1 || rows.stride(3) == 1 ? rows : rows.contiguous();
  }

 private:
  static Extents extents_of(const Inputs& x) {
    if (!x.query.defined() || readable<Scalar>("query", x.query).dim() != 4) {
      fail("query must be [B, T, H, Dk]");
    }
    const bool grouped = x.value.defined() && x.value.dim() >= 3;
    return {x.query.size(0), x.query.size(1), grouped ? x.value.size(2) : x.query.size(2)};
  }
  [[nodiscard]] std::size_t sequence(Index i) const { return std::size_t(i / extents_.heads); }
  [[nodiscard]] Scalar* data(const Tensor& rows, Index i) const {
    if (rows.numel() == 0) return rows.data_ptr<Scalar>();
    const Index b = i / extents_.heads, h = i % extents_.heads * rows.size(2) / extents_.heads;
    return rows.data_ptr<Scalar>() + b * rows.stride(0) + first(i) * rows.stride(1) +
           h * rows.stride(2);
  }

  /// Without items nobody else checks them: as of no tokens.
  void check_widths(const L& layer) const {
    Sequence<Scalar> none;
    for_each_field(
        [](auto, auto, const Tensor& rows, MatrixView<Scalar>& view) {
          if (rows.defined()) view = {nullptr, 0, rows.size(3)};
        },
        tensors_, none);
    check_inputs(layer, none);
  }

  Extents extents_;
  Spans spans_;
  Inputs tensors_;
  std::vector<Sequence<Scalar>> sequences_;
};

using Shape = std::vector<std::int64_t>;

/// The type of what a layer keeps of its covariance; where its widths are known by a policy, for a
/// static width: a diagonal is a column then, and a matrix is none.
template <class L>
struct CovarianceOf : std::type_identity<decltype(L::State::covariance)> {};
template <class L>
requires requires { typename L::Policy::template State<typename L::Scalar, 2>; }
struct CovarianceOf<L>
    : std::type_identity<typename L::Policy::template State<typename L::Scalar, 2>> {};

template <class Part>
inline constexpr bool is_column = requires {
  requires Part::ColsAtCompileTime == 1;
};

/// The extents of a matrix, of a column alone, or none of a number.
template <class Part>
Shape part_shape(const Part& part, bool column) {
  if constexpr (requires { part.rows(); }) {
    return column ? Shape{part.rows()} : Shape{part.rows(), part.cols()};
  } else {
    return {};
  }
}

inline Shape per_item(const Extents& extents, const Shape& shape) {
  Shape all = {extents.sequences, extents.heads};
  all.insert(all.end(), shape.begin(), shape.end());
  return all;
}

/// The numbers of a part of a state, row by row.
auto numbers(auto& part) {
  if constexpr (requires { part.data(); }) {
    return std::span(part.data(), std::size_t(part.size()));
  } else {
    return std::span(&part, 1);
  }
}

/// Reads [B, H, shape...] into one part of each item's state. An undefined tensor leaves it as it
/// is.
template <class Scalar, class Items, class Member>
void unpack(const std::string& name, const Tensor& tensor, const Extents& extents,
            const Shape& shape, Items& items, Member member) {
  if (!tensor.defined()) return;
  const Tensor plain = readable<Scalar>(name, tensor).contiguous();
  const Shape expected = per_item(extents, shape);
  if (plain.sizes() != expected) {
    fail(name + " is " + detail::shape(plain.sizes()) + ", expected " + detail::shape(expected));
  }
  const Scalar* from = plain.template data_ptr<Scalar>();
  for (auto& item : items) {
    const auto to = numbers(item.*member);
    std::copy_n(from, to.size(), to.begin());
    from += to.size();
  }
}

/// One part of each item's state as [B, H, shape...].
template <class Scalar, class Items, class Member>
Tensor pack(const Extents& extents, const Shape& shape, const Items& items, Member member) {
  const Tensor tensor = ::torch::empty(per_item(extents, shape), dtype<Scalar>);
  Scalar* to = tensor.data_ptr<Scalar>();
  for (const auto& item : items) to = std::ranges::copy(numbers(item.*member), to).out;
  return tensor;
}

/// Calls `f(name, tensor of the state, shape, member)` for each part that the layer keeps.
template <class L, class F>
void for_each_part(const L& layer, State& state, F&& f) {
  const auto like = layer.initial_state();
  f(".mean", state.mean, part_shape(like.mean, false), &L::State::mean);
  if constexpr (!std::is_same_v<decltype(L::State::covariance), Empty>) {
    f(".covariance", state.covariance,
      part_shape(like.covariance, is_column<typename CovarianceOf<L>::type>),
      &L::State::covariance);
  }
}

/// Reads the parts that are defined into the items' states.
template <class L>
void unpack_state(const L& layer, const std::string& name, State state, const Extents& extents,
                  std::vector<typename L::State>& states) {
  for_each_part(layer, state,
                [&](const char* part, Tensor& tensor, const Shape& shape, auto member) {
                  unpack<typename L::Scalar>(name + part, tensor, extents, shape, states, member);
                });
}

/// The items' states; undefined what the layer doesn't keep.
template <class L>
State pack_state(const L& layer, const Extents& extents,
                 const std::vector<typename L::State>& states) {
  State state;
  for_each_part(layer, state, [&](auto, Tensor& tensor, const Shape& shape, auto member) {
    tensor = pack<typename L::Scalar>(extents, shape, states, member);
  });
  return state;
}

}  // namespace detail
}  // namespace seqbayes::libtorch
