/// @file
/// One token of many heads at once.
#pragma once

#include <algorithm>
#include <cstddef>
#include <ranges>
#include <string>

#include <seqbayes/decoder/decoder.hpp>
#include <seqbayes/scan/threads.hpp>

namespace seqbayes {
namespace detail {

/// Heads that one task decodes, one after the other: few enough for all threads to have work,
/// enough that most heads are asked for before they are read.
inline constexpr Index heads_a_task = 8;

/// Refuses fields whose rows aren't shared by whole groups of `heads` heads.
template <class L>
void check_heads(const L& layer, const Sequence<typename L::Scalar>& x, Index heads) {
  for_each_field(
      [heads](const char* name, auto, const auto& field, const InputWidth& input) {
        if (input.width == 0 || (field.empty() && input.may_be_empty)) return;
        if (field.rows() > 0 && heads % field.rows() == 0 && input.accepts(field.cols())) return;
        fail(std::string(name) + " is " + shape(field.rows(), field.cols()) + ", expected " +
             expected_shape(heads, input) + ", or a row for each group of heads");
      },
      x, layer.inputs());
}

}  // namespace detail

/// Runs one token of each head of a layer: `decoders[h]` takes row h of each field and writes its
/// mean to row h of `mean`, which becomes H x Dv. A field may have fewer rows, H / g: row j is then
/// that of heads j g to j g + g - 1, as grouped queries and keys are. All heads have the same
/// widths. `executor` spreads them (see `Threads`); results are the same for any.
/// @throws std::invalid_argument if a field has another shape or its memory is the means'; values
/// aren't checked.
template <class Executor, class Decoders, class Scalar>
void decode(const Executor& executor, Decoders&& decoders, const Sequence<Scalar>& x,
            Matrix<Scalar>& mean) {
  const auto heads = static_cast<Index>(std::ranges::size(decoders));
  if (heads == 0) return mean.resize(0, mean.cols());
  const auto& layer = decoders[0].layer();
  detail::check_heads(layer, x, heads);
  for (const auto& decoder : decoders) {
    if (decoder.layer().key_dim() != layer.key_dim() ||
        decoder.layer().value_dim() != layer.value_dim()) {
      detail::fail("heads that are decoded in one call have the same widths");
    }
  }
  detail::check_output(layer, x, mean);  // before its memory may move
  mean.resize(heads, layer.value_dim());
  Fields<Index> group;  // heads that share a row; 0 of what isn't read
  for_each_field(
      [heads](auto, auto, const auto& field, Index& g, const InputWidth& input) {
        if (input.width > 0 && !field.empty()) g = heads / field.rows();
      },
      x, group, layer.inputs());
  const auto row = [&](Index h) {
    Token<Scalar> token;
    for_each_field(
        [h](auto, auto, const auto& field, const Index& g, auto& entries) {
          if (g > 0) entries = field.row(g == 1 ? h : h / g);
        },
        x, group, token);
    return token;
  };
  const Index tasks = (heads + detail::heads_a_task - 1) / detail::heads_a_task;
  detail::for_each_task(executor, tasks, [&](Index task) {
    const Index begin = task * detail::heads_a_task;
    const Index end = std::min(heads, begin + detail::heads_a_task);
    const auto head = [&](Index h) -> auto& { return decoders[std::size_t(h)].tokens_; };
    for (Index h = begin; h < end; ++h) {
      const void* next = nullptr;
      if (h + 2 < end) detail::prefetch(&head(h + 2), sizeof(head(h)));
      if (h + 1 < end) {
        head(h + 1).prefetch_pending();
        next = head(h + 1).data();
      }
      head(h).step(row(h), mean.data() + h * mean.cols(), head(begin).scratch_for(head(h)), next);
    }
  });
}

}  // namespace seqbayes
