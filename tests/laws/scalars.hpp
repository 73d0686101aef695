// The law of other scalar types: each layer runs through `step` and `scan` with them and agrees
// with the reference.
#pragma once

#include <laws/layers.hpp>
#include <laws/run.hpp>

namespace laws {

/// Whatever its precision, a layer agrees with the reference to that of long double or its own.
template <class Layer>
void scalar_agrees_with_the_reference() {
  using Scalar = typename Layer::Scalar;
  Setup<double> setup{3, 2, 1.25};
  setup.input_variance = 0.5;
  const auto layer = make<Layer>(setup);
  for (const Hardship& hard : hardships()) {
    INFO(describe(layer) << ", " << hard.name);
    const auto stream = draw_hard_stream(hard, 73, layer.inputs(), 29, 75);
    const auto [x, start, want, bounds] = trial(layer, setup, stream, compared_unit<Scalar>());
    auto state = start;
    check_close(run_steps(layer, state, x.view()), want, bounds);
    for (const Execution how : {Execution(), Execution::chunked(5)}) {
      state = start;
      check_close(run(layer, state, x.view(), how), want, bounds);
    }
  }
}

}  // namespace laws
