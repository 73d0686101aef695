// A layer, something to run it on, and a loss.
#pragma once

#include "equals_forward_mode.hpp"

namespace gradient {

template <class L>
struct Problem {
  L layer;
  Stream<double> stream;
  typename L::State start;
  Loss<L> loss;
  CotangentOwner<double, L> cotangent;

  explicit Problem(Index length)
      : layer(make<L>(Setup<double>{4, 3})),
        stream(draw_stream(layer.inputs(), length, 93)),
        start(some_state(layer)),
        loss(draw_loss(layer, length)) {
    look_at(cotangent, loss);
  }
  [[nodiscard]] Gradient<L> run(Execution how = {}) const {
    return seqbayes::scan_vjp(layer, start, stream.view(), cotangent.view, how);
  }
};

}  // namespace gradient
