// The law: on every kind of hard stream, a layer equals the reference, token by token and by
// `scan`.
#pragma once

#include <laws/layers.hpp>
#include <laws/run.hpp>

namespace laws {

template <class Layer>
void hard_streams_equal_the_reference() {
  for (const auto& [key_dim, value_dim] : shapes_of<Layer>({{5, 3}, {16, 8}, {1, 4}, {9, 1}})) {
    Setup<double> setup{key_dim, value_dim};
    const auto layer = make<Layer>(setup);
    for (const Hardship& hard : hardships()) {
      INFO(describe(layer) << ", " << hard.name);
      const auto stream = draw_hard_stream(hard, 11, layer.inputs(), 83, 3, key_dim == 5);
      const auto [x, start, want, bounds] = trial(layer, setup, stream);
      auto state = start;
      check_close(run(layer, state, x.view()), want, bounds);
      state = start;
      check_close(run_steps(layer, state, x.view()), want, bounds);
    }
  }
}

}  // namespace laws
