// What holds of scan_vjp beside its numbers: checkpoints, hand-over, short runs.
#include "problem.hpp"

namespace gradient::properties_test {
namespace {

using Some = std::tuple<seqbayes::GatedLinearAttention<double>, seqbayes::GatedDeltaNet<double>,
                        seqbayes::BayesianLayer<double, any, any, seqbayes::ChannelDecay>>;

/// The largest difference of two gradients, against 1 or the largest entry of the field.
template <class L>
double difference(const Gradient<L>& a, const Gradient<L>& b) {
  double largest = std::abs(a.prior_variance - b.prior_variance);
  const auto compare = [&](const Matrix<double>& x, const Matrix<double>& y) {
    REQUIRE(x.rows() == y.rows());
    REQUIRE(x.cols() == y.cols());
    if (x.size() == 0) return;
    const double size = std::max(1.0, x.cwiseAbs().maxCoeff());
    largest = std::max(largest, (x - y).cwiseAbs().maxCoeff() / size);
    REQUIRE(x.allFinite());
  };
  seqbayes::for_each_field([&](auto, auto, const auto& x, const auto& y) { compare(x, y); }, a, b);
  compare(a.initial_state.mean, b.initial_state.mean);
  if constexpr (requires { a.initial_state.covariance.size(); }) {
    compare(a.initial_state.covariance, b.initial_state.covariance);
  }
  return largest;
}

TEMPLATE_LIST_TEST_CASE("any distance of checkpoints gives the same gradient", "", Some) {
  const Problem<TestType> problem(37);
  const auto want = problem.run();
  // Where a run is cut changes the grouping of its sums at most: rounding of 37 tokens.
  for (const Index tokens : {1, 2, 3, 5, 8, 16, 36, 37, 38, 1000}) {
    CHECK(difference(problem.run(Execution::chunked(tokens)), want) < 1e-13);
  }
}

TEMPLATE_LIST_TEST_CASE("the gradient of a run is that of its parts, handed over", "", Some) {
  using L = TestType;
  const Problem<L> problem(23);
  const auto want = problem.run();
  const auto x = problem.stream.view();
  for (const Index split : {0, 1, 9, 22, 23}) {
    auto middle = problem.start;
    if (split > 0) seqbayes::scan_mean(problem.layer, middle, x.tokens(0, split));
    auto second = problem.cotangent.view;
    auto first = second;
    first.mean = second.mean.rows(0, split);
    second.mean = second.mean.rows(split, 23 - split);
    if (!second.variance.empty()) {
      const double* data = second.variance.data();
      first.variance = {data, split};
      second.variance = {data + split, 23 - split};
    }
    auto got = seqbayes::scan_vjp(problem.layer, middle, x.tokens(split, 23 - split), second);
    first.state = got.initial_state;
    auto part = seqbayes::scan_vjp(problem.layer, problem.start, x.tokens(0, split), first);
    part.prior_variance += got.prior_variance_of_tokens;
    seqbayes::for_each_field(
        [&](auto, auto, Matrix<double>& head, const Matrix<double>& tail) {
          Matrix<double> both(head.rows() + tail.rows(), tail.cols());
          if (head.rows() > 0) both.topRows(head.rows()) = head;
          both.bottomRows(tail.rows()) = tail;
          head = both;
        },
        part, got);
    CHECK(difference(part, want) < 1e-13);
  }
}

TEMPLATE_LIST_TEST_CASE("no token: the final state's cotangent is the initial state's", "", Some) {
  Problem<TestType> problem(0);
  const auto got = problem.run();
  CHECK(got.initial_state == problem.loss.state);
  CHECK(got.query.size() == 0);
  problem.cotangent.view.state.reset();
  const auto none = problem.run();
  CHECK(none.initial_state.mean.isZero(0));
  CHECK(none.initial_state.mean.rows() == 4);
}

TEMPLATE_LIST_TEST_CASE("one token equals forward mode", "", Some) {
  const Problem<TestType> problem(1);
  for (const Execution how : {Execution(), Execution::sequential()}) {
    check_parts(
        parts(problem.run(how)),
        forward_mode<TestType>(Setup<double>{4, 3}, problem.start, problem.stream, problem.loss),
        double_bound);
  }
}

TEMPLATE_LIST_TEST_CASE("what a cotangent leaves empty counts as zero", "", Some) {
  using L = TestType;
  Problem<L> problem(9);
  problem.loss.mean.setZero();
  problem.loss.variance.setZero();
  problem.loss.log_evidence = 0;
  look_at(problem.cotangent, problem.loss);
  const auto want = problem.run();
  problem.cotangent.view = Cotangent<L>{};
  problem.cotangent.view.state = problem.loss.state;
  CHECK(difference(problem.run(), want) == 0);
  problem.cotangent.view.state.reset();
  const auto zero = problem.run();
  CHECK(zero.key.isZero(0));
  CHECK(zero.initial_state.mean.isZero(0));
}

}  // namespace
}  // namespace gradient::properties_test
