// Derivatives of one sequence over several workers, against the forward mode.
#include <seqbayes/segments/scan_vjp.hpp>

#include <gradient/equals_forward_mode.hpp>

namespace gradient::segments_gradient_test {

using seqbayes::Split;
using seqbayes::Threads;

template <class L>
void split_gradients_equal_forward_mode() {
  Setup<double> setup{3, 2, 1.25};
  setup.input_variance = 0.5;
  const L layer = make<L>(setup);
  for (const Hardship& hard : hardships()) {
    INFO(describe(layer) << ", " << hard.name);
    auto stream = draw_hard_stream(hard, 89, layer.inputs(), 7, 91);
    avoid_kink(stream.fields);
    const auto start = some_state(layer);
    const Loss<L> loss = draw_loss(layer, 7);
    CotangentOwner<double, L> cotangent;
    look_at(cotangent, loss);
    const auto want = forward_mode<L>(setup, start, stream, loss);
    for (const int pieces : {1, 2, 3, 5, 9}) {  // with 9, some have no token
      INFO(pieces << " pieces");
      check_parts(parts(scan_vjp(Threads{2}, Split{1, pieces}, layer, start, stream.view(),
                                 cotangent.view)),
                  want, double_bound);
    }
  }
}

TEMPLATE_TEST_CASE("split gradients: equal the forward mode", "[segments]",
                   seqbayes::GatedLinearAttention<double>, seqbayes::Retention<double>,
                   (laws::LatentFilter<double, laws::any, laws::any, seqbayes::ScalarDecay>),
                   seqbayes::GatedDeltaNet<double>, seqbayes::BayesianLayer<double>,
                   (seqbayes::BayesianLayer<double, laws::any, laws::any, seqbayes::ChannelDecay>),
                   seqbayes::Rwkv7<double>, (seqbayes::GatedDeltaProduct<double, 2>),
                   seqbayes::DiagonalKalmanDeltaNet<double>) {
  split_gradients_equal_forward_mode<TestType>();
}

TEST_CASE("split gradients: bad cotangents are refused", "[segments]") {
  using L = seqbayes::GatedDeltaNet<double>;
  const L layer = make<L>(Setup<double>{3, 2});
  const auto stream = draw_stream(layer.inputs(), 7, 91);
  seqbayes::Cotangent<L> cotangent;
  const Matrix<double> mean = Matrix<double>::Ones(6, 2);
  cotangent.mean = mean;
  CHECK_THROWS_WITH(
      scan_vjp(Threads{2}, Split{1, 3}, layer, layer.initial_state(), stream.view(), cotangent),
      Catch::Contains("cotangent.mean is 6 x 2"));
}

}  // namespace gradient::segments_gradient_test
