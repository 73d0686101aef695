// A layer of each row and column of the grid with Eigen's dual numbers.
#include <Eigen/Core>
#include <unsupported/Eigen/AutoDiff>

#include <laws/derivatives.hpp>

namespace laws::autodiff_test {
namespace {

using Dual = Eigen::AutoDiffScalar<Eigen::Vector2d>;

TEMPLATE_LIST_TEST_CASE("AutoDiffScalar: values agree with the reference", "", Corners<Dual>) {
  scalar_agrees_with_the_reference<TestType>();
}

TEMPLATE_LIST_TEST_CASE("AutoDiffScalar: derivatives agree with differences", "", Corners<Dual>) {
  derivatives_agree_with_differences<TestType>(
      [](double value, double d0, double d1) { return Dual(value, Eigen::Vector2d(d0, d1)); },
      [](const Dual& x, int i) { return x.derivatives()[i]; });
}

}  // namespace
}  // namespace laws::autodiff_test
