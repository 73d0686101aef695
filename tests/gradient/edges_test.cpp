// Gradients where the forward pass takes a branch: a write that isn't resolved, improper evidence,
// tokens that observe nothing.
#include "equals_forward_mode.hpp"

namespace gradient::edges_test {
namespace {

template <class L>
void check_against_forward_mode(const Setup<double>& setup, const typename L::State& start,
                                const Stream<double>& stream, const Loss<L>& loss) {
  CotangentOwner<double, L> cotangent;
  look_at(cotangent, loss);
  const auto want = forward_mode<L>(setup, start, stream, loss);
  for (const Execution how : {Execution(), Execution::sequential()}) {
    check_parts(
        parts(seqbayes::scan_vjp(make<L>(setup), start, stream.view(), cotangent.view, how)), want,
        double_bound);
  }
}

/// P k = 0 to the last bit, and remains so: the write isn't resolved, and moves nothing but by what
/// rounding leaves along k.
TEST_CASE(
    "a key along which nothing is left to learn: the derivative of a write that isn't resolved") {
  using L = seqbayes::BayesianLayer<double>;
  const Setup<double> setup{3, 2};
  const L layer = make<L>(setup);
  auto stream = draw_stream(layer.inputs(), 4, 97);
  auto& x = stream.fields;
  x.key.row(0) << 0.5, 0.5, 0;
  x.log_decay(0, 0) = 0;
  x.process_noise.row(0).setZero();
  auto start = some_state(layer);
  start.covariance << 0.5, -0.5, 0, -0.5, 0.5, 0, 0, 0, 1;
  check_against_forward_mode<L>(setup, start, stream, draw_loss(layer, 4));
  auto state = start;
  const auto first = stream.view();
  layer.step(state, first.token(0));
  CHECK(state.covariance == start.covariance);
}

TEST_CASE("a flat prior of the input: the evidence is minus infinity, its derivatives are zero") {
  using L = LatentFilter<double, any, any, seqbayes::ScalarDecay>;
  const Setup<double> setup{3, 2};
  const L layer = make<L>(setup);
  const auto stream = draw_stream(layer.inputs(), 5, 99);
  auto loss = draw_loss(layer, 5);
  const auto gradient = [&](double evidence) {
    loss.log_evidence = evidence;
    CotangentOwner<double, L> cotangent;
    look_at(cotangent, loss);
    return seqbayes::scan_vjp(layer, some_state(layer), stream.view(), cotangent.view);
  };
  const auto with = gradient(1), without = gradient(0);
  CHECK(with.value == without.value);
  CHECK(with.observation_noise == without.observation_noise);
  CHECK(with.key.allFinite());
  check_against_forward_mode<L>(setup, some_state(layer), stream, loss);
}

TEST_CASE("without prior variance a reset layer's tokens observe nothing") {
  using L = seqbayes::GatedDeltaNet<double>;
  Setup<double> setup{3, 2};
  setup.prior_variance = 0;
  const L layer = make<L>(setup);
  const auto stream = draw_stream(layer.inputs(), 5, 101);
  const auto loss = draw_loss(layer, 5);
  CotangentOwner<double, L> cotangent;
  look_at(cotangent, loss);
  const auto got = seqbayes::scan_vjp(layer, layer.initial_state(), stream.view(), cotangent.view);
  CHECK(got.key.allFinite());
  CHECK(std::isfinite(got.prior_variance));
}

TEST_CASE("of a final covariance's cotangent the symmetric part counts") {
  using L = seqbayes::BayesianLayer<double>;
  const L layer = make<L>(Setup<double>{3, 2});
  const auto stream = draw_stream(layer.inputs(), 5, 103);
  const auto gradient = [&](double antisymmetric) {
    Cotangent<L> cotangent;
    auto state = layer.initial_state();
    state.covariance(0, 1) += antisymmetric;
    state.covariance(1, 0) -= antisymmetric;
    cotangent.state = state;
    return seqbayes::scan_vjp(layer, some_state(layer), stream.view(), cotangent);
  };
  CHECK((gradient(0.5).key - gradient(0).key).isZero(0));
  const auto p = gradient(0.5).initial_state.covariance;
  CHECK(p == p.transpose());
}

TEST_CASE(
    "a covariance that forgets all but e^-46: the derivative is as small and has its digits") {
  using L = seqbayes::BayesianLayer<double>;
  const L layer = make<L>(Setup<double>{3, 2});
  auto stream = draw_stream(layer.inputs(), 9, 107);
  stream.fields.covariance_log_decay.setConstant(9, 1, -23);
  CotangentOwner<double, L> cotangent;
  const auto loss = draw_loss(layer, 9);
  look_at(cotangent, loss);
  const auto gradient = [&](Execution how) {
    return seqbayes::scan_vjp(layer, some_state(layer), stream.view(), cotangent.view, how)
        .covariance_log_decay;
  };
  const auto got = gradient({}), want = gradient(Execution::sequential());
  for (Index t = 0; t < 9; ++t) {
    CHECK(want(t, 0) != 0);
    // Sums that may cancel; 1e-16 of the other derivatives, of order one, would be 1e4 of this one.
    CHECK(got(t, 0) == Approx(want(t, 0)).epsilon(1e-9).margin(0));
  }
}

}  // namespace
}  // namespace gradient::edges_test
