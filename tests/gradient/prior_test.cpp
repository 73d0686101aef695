// The derivative by the option prior_variance, of which initial states are made.
#include "problem.hpp"

namespace gradient::prior_test {
namespace {

TEST_CASE("the prior variance of a run from the initial state", "[prior]") {
  const auto agrees = []<class L>(std::type_identity<L>) {
    Setup<double> setup{4, 3, 1.5};
    Problem<L> problem(9);
    problem.layer = make<L>(setup);
    problem.start = problem.layer.initial_state();
    // A difference over 1e-6 has a truncation error of about 1e-12 and a rounding error of 1e-10.
    const auto value = [&](double prior) {
      setup.prior_variance = prior;
      const auto layer = make<L>(setup);
      auto state = layer.initial_state();
      const auto out = seqbayes::scan(layer, state, problem.stream.view());
      double sum = (out.mean.array() * problem.loss.mean.array()).sum() +
                   out.variance.dot(problem.loss.variance.col(0)) +
                   out.log_evidence * problem.loss.log_evidence;
      sum += (state.mean.array() * problem.loss.state.mean.array()).sum();
      return sum;
    };
    auto cotangent = problem.cotangent.view;
    auto state = problem.layer.initial_state();  // no cotangent of the final covariance
    if constexpr (requires { state.covariance.setZero(); }) state.covariance.setZero();
    if constexpr (std::is_same_v<decltype(state.covariance), double>) state.covariance = 0;
    state.mean = problem.loss.state.mean;
    cotangent.state = state;
    const auto got =
        seqbayes::scan_vjp(problem.layer, problem.start, problem.stream.view(), cotangent);
    CHECK(got.prior_variance ==
          Approx((value(1.5 + 1e-6) - value(1.5 - 1e-6)) / 2e-6).epsilon(1e-7));
  };
  agrees(std::type_identity<seqbayes::GatedDeltaNet<double>>());
  agrees(std::type_identity<seqbayes::IsotropicKalmanDeltaNet<double>>());
  agrees(std::type_identity<seqbayes::BayesianLayer<double>>());
}

}  // namespace
}  // namespace gradient::prior_test
