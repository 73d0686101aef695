// Tiles in which single tokens forget nearly all of the covariance: those go back one by one, the
// others in groups.
#include "equals_forward_mode.hpp"

namespace gradient::forgetting_test {

template <class L>
void same_as_token_by_token(double bound) {
  const L layer = make<L>(Setup<double>{4, 3});
  auto stream = draw_stream(layer.inputs(), 300, 93);
  auto& own = stream.fields.covariance_log_decay;
  for (const Index width : {1, 4}) {
    own.setConstant(300, width, -0.01);
    for (const Index t : {0, 60, 61, 130, 255, 299}) own(t, width - 1) = t == 61 ? -infinity : -5;
    const auto x = stream.template as<typename L::Scalar>();
    const Loss<L> loss = draw_loss(layer, 300);
    CotangentOwner<typename L::Scalar, L> cotangent;
    look_at(cotangent, loss);
    const auto start = some_state(layer);
    const auto want =
        seqbayes::scan_vjp(layer, start, x.view(), cotangent.view, Execution::sequential());
    for (const Execution how : {Execution(), Execution::chunked(50), Execution::chunked(300)}) {
      INFO(describe(layer) << ", chunk " << how.chunk() << ", width " << width);
      check_parts(parts(seqbayes::scan_vjp(layer, start, x.view(), cotangent.view, how)),
                  parts(want), bound);
    }
  }
}

TEST_CASE("gradient: single tokens that forget the covariance", "[gradient]") {
  // Sums of at most 100 tokens that are remembered, of ten factors each.
  same_as_token_by_token<seqbayes::BayesianLayer<double>>(1e-12);
  same_as_token_by_token<seqbayes::BayesianLayer<float>>(1e-4);
}

}  // namespace gradient::forgetting_test
