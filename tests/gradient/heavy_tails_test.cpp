// Gradients of learned noise and of Student-t noise, alone and in a mixture.
#include "composed.hpp"

namespace gradient::heavy_tails_test {
namespace {

using Full = seqbayes::BayesianLayer<double, 3, 2>;
using Diagonal = seqbayes::DiagonalKalmanDeltaNet<double, 3, 2>;
using Learned = seqbayes::LearnedNoise<Full>;
using Robust = seqbayes::StudentT<Diagonal>;

template <class Scalar>
auto learned_options(int n) {
  using Filter = Rebind<Full, Scalar>;
  return typename seqbayes::LearnedNoise<Filter>::Options{
      Filter({.prior_variance = moving<Scalar>(1.25, n == 0)}), moving<Scalar>(1.5, n == 1),
      moving<Scalar>(0.75, n == 2)};
}
template <class Scalar>
auto robust_options(int n) {
  using Filter = Rebind<Diagonal, Scalar>;
  return typename seqbayes::StudentT<Filter>::Options{
      Filter({.prior_variance = moving<Scalar>(1.25, n == 0)}), moving<Scalar>(3, n == 1)};
}

// The stream of noise 1e-6 has |nu|^2 / s of 1e6, which goes through some more quotients than in a
// filter: 1e-16 times 1e6 and ten factors for each of 7 tokens, relative to the largest derivative.
constexpr double bound = 1e-10;

TEST_CASE("Gradients of learned noise equal forward mode") {
  const auto options = []<class M>(std::type_identity<M>, int n) {
    return learned_options<typename M::Scalar>(n);
  };
  composed_gradients_equal_forward_mode<Learned>(options, bound);
  options_equal_forward_mode<Learned>(3, options, [](const auto& gradient) {
    const auto& [filter, shape, scale] = gradient.options;
    return std::array{filter.prior_variance.value(), shape, scale};
  });
}

TEST_CASE("Gradients of Student-t noise equal forward mode") {
  const auto options = []<class M>(std::type_identity<M>, int n) {
    return robust_options<typename M::Scalar>(n);
  };
  composed_gradients_equal_forward_mode<Robust>(options, bound);
  options_equal_forward_mode<Robust>(2, options, [](const auto& gradient) {
    const auto& [filter, degrees] = gradient.options;
    return std::array{filter.prior_variance.value(), degrees.value()};
  });
}

TEST_CASE("Gradients of Student-t noise of a learned scale equal forward mode") {
  using Both = seqbayes::StudentT<Learned>;
  const auto options = []<class M>(std::type_identity<M>, int n) {
    using Scalar = typename M::Scalar;
    return typename M::Options{typename M::Filter(learned_options<Scalar>(n)),
                               moving<Scalar>(3, n == 3)};
  };
  composed_gradients_equal_forward_mode<Both>(options, bound);
  options_equal_forward_mode<Both>(4, options, [](const auto& gradient) {
    const auto& [filter, shape, scale] = gradient.options.filter.options;
    return std::array{filter.prior_variance.value(), shape, scale,
                      gradient.options.degrees_of_freedom.value()};
  });
}

TEST_CASE("Gradients of a mixture of learned and Student-t noise equal forward mode") {
  using Mixture = seqbayes::EvidenceMixture<Learned, Robust>;
  const auto options = []<class M>(std::type_identity<M>, int n) {
    using Scalar = typename M::Scalar;
    using First = std::tuple_element_t<0, decltype(M::Options::layers)>;
    using Second = std::tuple_element_t<1, decltype(M::Options::layers)>;
    return typename M::Options{
        .layers = {First(learned_options<Scalar>(n)), Second(robust_options<Scalar>(n - 3))},
        .switching_rate = moving<Scalar>(0.1, n == 5)};
  };
  options_equal_forward_mode<Mixture>(6, options, [](const auto& gradient) {
    const auto& [rate, layers] = gradient.options;
    const auto& [filter, shape, scale] = std::get<0>(layers).options;
    const auto& [of_robust, degrees] = std::get<1>(layers).options;
    return std::array{filter.prior_variance.value(),    shape,           scale,
                      of_robust.prior_variance.value(), degrees.value(), rate};
  });
}

}  // namespace
}  // namespace gradient::heavy_tails_test
