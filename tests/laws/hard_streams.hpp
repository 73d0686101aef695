// The law: on every kind of hard stream, a layer equals the reference, token by token and by
// `scan`.
#pragma once

#include <laws/layers.hpp>
#include <laws/run.hpp>

namespace laws {

template <class Layer>
void hard_streams_equal_the_reference() {
  using Scalar = typename Layer::Scalar;
  for (const auto& [key_dim, value_dim] : shapes_of<Layer>({{5, 3}, {16, 8}, {1, 4}, {9, 1}})) {
    Setup<double> setup{key_dim, value_dim};
    const auto layer = make<Layer>(setup);
    for (const Hardship& hard : hardships()) {
      INFO(describe(layer) << ", " << hard.name);
      Draw draw(11);
      auto stream = draw_stream(layer.inputs(), 83, 3, key_dim == 5);
      hard.apply(stream.fields, layer.inputs(), draw);
      const auto x = stream.template as<Scalar>();
      const auto start = some_state(layer);
      const auto want = reference_for(layer, setup, start, stream);
      const Bounds bounds = rounding_bounds(want, rounding_unit<Scalar>());
      auto state = start;
      check_close(run(layer, state, x.view()), want.run, bounds);
      state = start;
      check_close(run_steps(layer, state, x.view()), want.run, bounds);
    }
  }
}

}  // namespace laws
