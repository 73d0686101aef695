// A model of the user's own whose rows are values that nobody keeps.
#include <laws/layers.hpp>
#include <laws/run.hpp>

namespace laws {

struct ByValue : seqbayes::AssociativeRegression {
  template <int Dk, class Scalar, class Options>
  static seqbayes::Vector<Scalar, Dk> prediction_key(const seqbayes::Token<Scalar>& token,
                                                     const Options&) {
    return token.key.template vector<Dk>() * Scalar(0.5);
  }
  template <int Dv, class Scalar, class Options>
  static seqbayes::Vector<Scalar, Dv> target(const seqbayes::Token<Scalar>& token, const Options&) {
    return token.value.template vector<Dv>() * Scalar(2);
  }
};

namespace {

TEST_CASE("A model may return its rows by value") {
  const seqbayes::Layer<double, 16, 32, ByValue, seqbayes::ScalarDecay, seqbayes::ResetCovariance>
      layer;
  const auto stream = draw_stream(layer.inputs(), 131, 37);
  auto state = layer.initial_state(), sequential_state = state;
  const auto got = seqbayes::scan_mean(layer, state, stream.view());
  const auto want =
      seqbayes::scan_mean(layer, sequential_state, stream.view(), Execution::sequential());
  // Outputs of order 10, sums of some hundred products each.
  CHECK((got - want).cwiseAbs().maxCoeff() <= 1e-12);
  CHECK((state.mean - sequential_state.mean).cwiseAbs().maxCoeff() <= 1e-12);
  CHECK(want.cwiseAbs().maxCoeff() >= 1);
}

}  // namespace
}  // namespace laws
