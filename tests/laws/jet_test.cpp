// A layer of each row and column of the grid with Ceres' dual numbers.
#include <ceres/jet.h>

#include <laws/derivatives.hpp>

namespace laws::jet_test {
namespace {

using Jet = ceres::Jet<double, 2>;

TEMPLATE_LIST_TEST_CASE("Jet: values agree with the reference", "", Corners<Jet>) {
  scalar_agrees_with_the_reference<TestType>();
}

TEMPLATE_LIST_TEST_CASE("Jet: derivatives agree with differences in 50 digits", "", Corners<Jet>) {
  derivatives_agree_with_differences<TestType>(
      [](double value, double d0, double d1) { return Jet(value, Eigen::Vector2d(d0, d1)); },
      [](const Jet& x, int i) { return x.v[i]; });
}

}  // namespace
}  // namespace laws::jet_test
