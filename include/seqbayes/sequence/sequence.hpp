/// @file
/// The inputs of every layer: one `Sequence` type, of which each layer reads the fields it needs.
#pragma once

#include <type_traits>

#include <seqbayes/sequence/view.hpp>

namespace seqbayes {

/// What a field may hold, checked at the entry of `scan`. `log_decay` is anything up to 0, minus
/// infinity included; `log_factor` anything but plus infinity and NaN.
enum class Domain { finite, non_negative, positive, log_decay, log_factor };

template <class T>
struct Fields;
/// One token: a row of each field.
template <class Scalar>
using Token = Fields<RowView<Scalar>>;
/// The tokens of a sequence: views of the caller's matrices, which have to outlive it. Unread
/// fields may stay empty.
template <class Scalar>
using Sequence = Fields<MatrixView<Scalar>>;

/// One entry of type `T` for each input field: of a `Sequence`, views of all its tokens, of a
/// `Token`, views of one, of `InputWidths`, what a layer reads. Shapes are for a sequence of T
/// tokens, key width Dk and value width Dv. With keys in units of K and values in units of V, write
/// strengths are in 1 / K^2, process noise in V^2 / K^2, observation noise in V^2; log decays are
/// natural logarithms.
template <class T>
struct Fields {
  T query{};           ///< T x Dk, already scaled by the caller.
  T key{};             ///< T x Dk.
  T value{};           ///< T x Dv.
  T log_decay{};       ///< g <= 0, T x 1 or T x Dk; the memory keeps e^g. Minus infinity is legal.
  T write_strength{};  ///< beta >= 0, T x 1.
  T process_noise{};   ///< omega >= 0, a variance added per token, T x 1 or T x Dk.
  T observation_noise{};     ///< r > 0, the variance of a value about its read, T x 1.
  T covariance_log_decay{};  ///< The covariance's own log decay, T x 1 or T x Dk; may exceed 0.
  T erase_key{};        ///< T x Dk: reads what is to be erased (Comba's p, RWKV-7's kk, DPLR's a).
  T erase_gate{};       ///< T x Dk: Gated DeltaNet-2's b, RWKV-7's a.
  T erase_write{};      ///< T x Dk: where what erase_key reads is added (DPLR's b).
  T value_gate{};       ///< T x Dv: Gated DeltaNet-2's w.
  T value_precision{};  ///< T x Dv: Kalman Linear Attention's lambda_v >= 0.
  T precondition_log_decay{};  ///< T x 1: log decay of the preconditioner's key statistics.
  T precondition_strength{};   ///< T x 1: weight of this key in them, >= 0.

  /// Of a sequence: its number of tokens, T.
  [[nodiscard]] Index length() const { return query.rows(); }
  /// Of a sequence: token t, without a copy; 0 <= t < length(). Of a constant field it is a view of
  /// this sequence, not of the caller's memory.
  [[nodiscard]] auto token(Index t) const;
  /// Of a sequence: tokens `first` to `first + count - 1`, without a copy.
  [[nodiscard]] Fields tokens(Index first, Index count) const;
};

/// Calls `f(name, domain, field of a, field of b, ...)` for each field. The only list of them but
/// for the members above.
template <class F, class... FieldSets>
constexpr void for_each_field(F&& f, FieldSets&&... sets) {
  f("query", Domain::finite, sets.query...);
  f("key", Domain::finite, sets.key...);
  f("value", Domain::finite, sets.value...);
  f("log_decay", Domain::log_decay, sets.log_decay...);
  f("write_strength", Domain::non_negative, sets.write_strength...);
  f("process_noise", Domain::non_negative, sets.process_noise...);
  f("observation_noise", Domain::positive, sets.observation_noise...);
  f("covariance_log_decay", Domain::log_factor, sets.covariance_log_decay...);
  f("erase_key", Domain::finite, sets.erase_key...);
  f("erase_gate", Domain::finite, sets.erase_gate...);
  f("erase_write", Domain::finite, sets.erase_write...);
  f("value_gate", Domain::finite, sets.value_gate...);
  f("value_precision", Domain::non_negative, sets.value_precision...);
  f("precondition_log_decay", Domain::log_decay, sets.precondition_log_decay...);
  f("precondition_strength", Domain::non_negative, sets.precondition_strength...);
}

template <class T>
auto Fields<T>::token(Index t) const {
  Fields<std::remove_cvref_t<decltype(query.row(t))>> token;
  for_each_field([t](auto, auto, const auto& all, auto& one) { one = all.row(t); }, *this, token);
  return token;
}

template <class T>
Fields<T> Fields<T>::tokens(Index first, Index count) const {
  Fields part;
  for_each_field([=](auto, auto, const auto& all, auto& some) { some = all.rows(first, count); },
                 *this, part);
  return part;
}

/// How many entries a token a layer reads of a field.
struct InputWidth {
  constexpr InputWidth() = default;
  constexpr InputWidth(Index entries) : width(entries) {}  // NOLINT(*-explicit-*)

  /// Either `entries` or one entry shared by all of them.
  static constexpr InputWidth one_or(Index entries) {
    InputWidth input(entries);
    input.or_one = true;
    return input;
  }
  /// The field may also stay empty.
  [[nodiscard]] constexpr InputWidth optional() const {
    InputWidth input = *this;
    input.may_be_empty = true;
    return input;
  }
  [[nodiscard]] constexpr bool accepts(Index cols) const {
    return cols == width || (or_one && cols == 1) || (may_be_empty && cols == 0);
  }

  Index width = 0;            ///< 0: the field is not read.
  bool or_one = false;        ///< One entry may stand for all.
  bool may_be_empty = false;  ///< The field may be missing.
};

/// What a layer reads: the return type of `inputs()`.
using InputWidths = Fields<InputWidth>;

}  // namespace seqbayes
