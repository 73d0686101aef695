// The law: every derivative that scan_vjp yields equals the forward mode's, entry by entry, on
// every kind of hard stream.
#pragma once

#include "forward_mode.hpp"

namespace gradient {

using Execution = seqbayes::Execution;

/// `bound` is relative to the largest derivative of a field, or to 1.
inline void check_parts(const std::vector<Part>& got, const std::vector<Part>& want, double bound) {
  REQUIRE(got.size() == want.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    const long double error = difference(got[i], want[i]);
    INFO(want[i].name << ": largest derivative " << want[i].size() << ", error " << error);
    CHECK(error <= bound * (1 + want[i].size()));
  }
}

/// Derivatives are sums over 7 tokens of products of about ten factors, each with a rounding error
/// of 1e-16, and the hardest stream (noise 1e-6 beside a variance of 1) loses up to six digits in
/// differences: 1e-10 at worst. Measured: 1e-13.
inline constexpr double double_bound = 2e-12;

/// Halves keys with beta |k|^2 = 1 up to rounding, where reset variances have a kink.
inline void avoid_kink(seqbayes::Fields<Matrix<double>>& x) {
  const Index width = x.query.cols();
  for (Index i = 0; i < x.write_strength.size(); ++i) {  // each write has its key
    auto key = x.key.reshaped<Eigen::RowMajor>().segment(i * width, width);
    if (std::abs(x.write_strength.data()[i] * key.squaredNorm() - 1) < 1e-5) key *= 0.5;
  }
}

template <class L>
void gradients_equal_forward_mode(double bound = double_bound) {
  Setup<double> setup{3, 2, 1.25};
  setup.input_variance = 0.5;
  setup.info_scale = 1.5;
  const L layer = make<L>(setup);
  for (const Hardship& hard : hardships()) {
    for (const bool narrow : {false, true}) {
      INFO(describe(layer) << ", " << hard.name << (narrow ? ", narrow" : ""));
      auto stream = draw_hard_stream(hard, 89, layer.inputs(), 7, 91, narrow);
      avoid_kink(stream.fields);
      const auto start = some_state(layer);
      const Loss<L> loss = draw_loss(layer, 7);
      CotangentOwner<typename L::Scalar, L> cotangent;
      look_at(cotangent, loss);
      const auto x = stream.template as<typename L::Scalar>();
      const auto want = forward_mode<L>(setup, start, stream, loss);
      for (const Execution how :
           {Execution::sequential(), Execution(), Execution::chunked(3), Execution::chunked(4)}) {
        INFO("chunk " << how.chunk());
        check_parts(parts(seqbayes::scan_vjp(layer, start, x.view(), cotangent.view, how)), want,
                    bound);
      }
    }
  }
}

}  // namespace gradient
