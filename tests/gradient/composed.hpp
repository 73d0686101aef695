// Gradients of layers that are made of others, against forward mode.
#pragma once

#include <array>

#include "equals_forward_mode.hpp"

namespace gradient {

/// On every kind of hard stream. `options_of(type_identity<Layer>, -1)` yields the options for
/// any scalar.
template <class L, class OptionsOf>
void composed_gradients_equal_forward_mode(const OptionsOf& options_of,
                                           double bound = double_bound) {
  using Dual = Rebind<L, Jet>;
  const L layer(options_of(std::type_identity<L>(), -1));
  for (const Hardship& hard : hardships()) {
    INFO(hard.name);
    auto stream = draw_hard_stream(hard, 89, layer.inputs(), 7, 91);
    avoid_kink(stream.fields);
    const auto earlier = draw_stream(layer.inputs(), 3, 97).template as<typename L::Scalar>();
    auto start = layer.initial_state();
    seqbayes::scan(layer, start, earlier.view());
    const Loss<L> loss = draw_loss(layer, 7);
    CotangentOwner<typename L::Scalar, L> cotangent;
    look_at(cotangent, loss);
    const auto x = stream.template as<typename L::Scalar>();
    const auto want =
        forward_mode<L>(options_of(std::type_identity<Dual>(), -1), start, stream, loss);
    for (const Execution how : {Execution(), Execution::chunked(3)}) {
      check_parts(parts(seqbayes::scan_vjp(layer, start, x.view(), cotangent.view, how)), want,
                  bound);
    }
  }
}

/// Derivatives with respect to options, from the initial state: `got(gradient)[n]` against forward
/// mode along what `options_of(type_identity<Layer>, n)` adds to option n.
template <class L, class OptionsOf, class Got>
void options_equal_forward_mode(int count, const OptionsOf& options_of, const Got& got,
                                double bound = double_bound) {
  using Dual = Rebind<L, Jet>;
  const L layer(options_of(std::type_identity<L>(), -1));
  const auto stream = draw_stream(layer.inputs(), 7, 91);
  const auto x = stream.template as<typename L::Scalar>();
  const Loss<L> loss = draw_loss(layer, 7);
  CotangentOwner<typename L::Scalar, L> cotangent;
  look_at(cotangent, loss);
  const auto gradient = seqbayes::scan_vjp(layer, layer.initial_state(), x.view(), cotangent.view);
  for (int n = 0; n < count; ++n) {
    INFO("option " << n);
    DualRun<L> run(options_of(std::type_identity<Dual>(), n), layer.initial_state(), stream);
    run.start = Dual(run.options).initial_state();
    const long double want = run.slope(loss);
    CHECK(want != 0);
    CHECK(std::abs(got(gradient)[std::size_t(n)] - want) <= bound * (1 + std::abs(want)));
  }
}

/// A number, with a derivative of 1 where it is dual and `moves`.
template <class Scalar>
Scalar moving(double value, bool moves) {
  Scalar x(value);
  if constexpr (std::is_same_v<Scalar, Jet>) x.v[0] = moves ? 1 : 0;
  return x;
}

}  // namespace gradient
