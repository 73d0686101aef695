// Gradients of a mixture of a filter and a reset, with and without switching.
#include "composed.hpp"

namespace gradient::evidence_mixture_test {
namespace {

using L = seqbayes::EvidenceMixture<seqbayes::BayesianLayer<double, 3, 2>,
                                    seqbayes::GatedDeltaNet<double, 3, 2>>;

/// Option 0 is the rate, 1 and 2 the prior variances.
auto options_with(double rate) {
  return [=]<class M>(std::type_identity<M>, int n) {
    using Scalar = typename M::Scalar;
    using Layers = decltype(M::Options::layers);
    using First = std::tuple_element_t<0, Layers>;
    using Second = std::tuple_element_t<1, Layers>;
    return typename M::Options{.layers = {First({.prior_variance = moving<Scalar>(1.25, n == 1)}),
                                          Second({.prior_variance = moving<Scalar>(0.75, n == 2)})},
                               .switching_rate = moving<Scalar>(rate, n == 0)};
  };
}

// Evidence differs between the layers by up to 1e6 on the stream of noise 1e-6, and weights are
// exponentials of it: they keep ten digits, and so do their derivatives, relative to the largest of
// 1e12 that this stream has anyway. Elsewhere as for the layers themselves.
TEST_CASE("A mixture's gradients equal forward mode") {
  composed_gradients_equal_forward_mode<L>(options_with(0.125), 1e-10);
}
TEST_CASE("A mixture's gradients equal forward mode without switching") {
  composed_gradients_equal_forward_mode<L>(options_with(0), 1e-10);
}
TEST_CASE("A mixture's gradients with respect to its options equal forward mode") {
  options_equal_forward_mode<L>(3, options_with(0.125), [](const auto& gradient) {
    const auto& [rate, layers] = gradient.options;
    return std::array{rate, std::get<0>(layers).prior_variance.value(),
                      std::get<1>(layers).prior_variance.value()};
  });
}

}  // namespace
}  // namespace gradient::evidence_mixture_test
