// A layer of each row and column of the grid in 50 digits.
#include <laws/derivatives.hpp>

namespace laws::multiprecision_test {

TEMPLATE_LIST_TEST_CASE("50 digits: layers equal the reference", "", Corners<Digits50>) {
  scalar_agrees_with_the_reference<TestType>();
}

TEMPLATE_LIST_TEST_CASE("50 digits are 50 digits", "", Corners<Digits50>) {
  Setup<double> setup{3, 2, 1.25};
  setup.input_variance = 0.5;
  const auto layer = make<TestType>(setup);
  INFO(describe(layer));
  const auto stream = draw_stream(layer.inputs(), 11, 79);
  const auto want = objective_of_reference<TestType>(setup, stream, Matrix<double>::Zero(3, 2),
                                                     draw_directions(stream, 3, 2), 0, 0);
  const auto x = stream.template as<Digits50>();
  for (const Execution how : {Execution::sequential(), Execution()}) {
    auto state = layer.initial_state();
    const Digits50 got = objective_of(layer, state, x.view(), how);
    CHECK(double(abs(got / want - 1)) < 1e-45);  // a few hundred roundings of 1e-50
  }
}

}  // namespace laws::multiprecision_test
