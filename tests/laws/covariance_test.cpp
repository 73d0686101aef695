// Laws of what is kept of the covariance: symmetric, positive semidefinite, shrinking with evidence
// at the rate that Bayes says.
#include <Eigen/Eigenvalues>

#include <laws/layers.hpp>
#include <laws/run.hpp>

namespace laws::covariance_test {
namespace {

double least_eigenvalue(const Matrix<Real>& p) {
  return double(
      Eigen::SelfAdjointEigenSolver<Matrix<Real>>(p, Eigen::EigenvaluesOnly).eigenvalues()[0]);
}

/// Runs token by token and looks at the covariance after each.
template <class Layer, class Look>
void watch(const Layer& layer, const Stream<double>& stream, Execution how, const Look& look) {
  const auto x = stream.template as<typename Layer::Scalar>();
  auto state = some_state(layer);
  const Index step = how.chunk() == 1 ? 1 : 13;
  for (Index t = 0; t < stream.length(); t += step) {
    scan(layer, state, x.view().tokens(t, std::min(step, stream.length() - t)), how);
    look(widen_kept(state.covariance));
  }
}

template <class Layer, class Law>
void on_hard_streams(const Law& law) {
  for (const auto& [key_dim, value_dim] :
       shapes_of<Layer>({{1, 1}, {5, 2}, {9, 2}, {16, 2}, {33, 2}})) {
    const auto layer = make<Layer>(Setup<double>{key_dim, value_dim});
    for (const Hardship& hard : hardships()) {
      INFO(describe(layer) << ", " << hard.name);
      const auto stream = draw_hard_stream(hard, 23, layer.inputs(), 79, 25, key_dim == 9);
      for (const Execution how : {Execution::sequential(), Execution(), Execution::chunked(5)}) {
        law(layer, stream, how);
      }
    }
  }
}

using seqbayes::BayesianLayer;
using seqbayes::ChannelDecay;
using Bayesian = std::tuple<BayesianLayer<float>, BayesianLayer<float, any, any, ChannelDecay>,
                            BayesianLayer<double, any, any, ChannelDecay>>;
using FullCovariances =
    Join<Bayesian,
         std::tuple<BayesianLayer<float, 9, 4>, LatentFilter<float, any, any, ChannelDecay>>>;

TEMPLATE_LIST_TEST_CASE("A full covariance stays symmetric, bit by bit", "", FullCovariances) {
  on_hard_streams<TestType>([](const auto& layer, const auto& stream, Execution how) {
    bool symmetric = true;
    watch(layer, stream, how,
          [&](const Matrix<Real>& p) { symmetric = symmetric && p == p.transpose(); });
    CHECK(symmetric);
  });
}

/// Each token rounds P off by units of its largest entries so far (decay shrinks old errors as it
/// shrinks P), and where that matters writes leave as much. So one unit of the largest trace so
/// far, whatever the number of tokens.
TEMPLATE_LIST_TEST_CASE("A full covariance stays positive semidefinite", "", FullCovariances) {
  using Scalar = typename TestType::Scalar;
  on_hard_streams<TestType>([](const auto& layer, const auto& stream, Execution how) {
    double trace = 0, least = infinity;
    watch(layer, stream, how, [&](const Matrix<Real>& p) {
      trace = std::max(trace, double(p.trace()));
      least = std::min(least, least_eigenvalue(p) / trace);
    });
    CHECK(least / rounding_unit<Scalar>() >= -1);
  });
}

using Approximations = Join<KalmanDeltaNets<float>, KalmanDeltaNets<double>>;

TEMPLATE_LIST_TEST_CASE("Approximate variances are never negative", "", Approximations) {
  on_hard_streams<TestType>([](const auto& layer, const auto& stream, Execution how) {
    double least = infinity;
    watch(layer, stream, how,
          [&](const Matrix<Real>& p) { least = std::min(least, double(p.minCoeff())); });
    CHECK(least >= 0);
  });
}

/// n tokens with one key and one-hot values: the value of token t has its own channel, so the mean
/// shows the weight of each write.
template <class Layer>
void check_gain_decay(const Layer& layer, const Setup<double>& setup, const Matrix<double>& key,
                      double noise) {
  constexpr bool is_subtracted = recipe_of<Layer>.kept == Kept::full;
  using Scalar = typename Layer::Scalar;
  const Index writes = layer.value_dim();
  auto stream = draw_stream(layer.inputs(), writes, 27);
  auto& x = stream.fields;
  x.key.rowwise() = key.row(0);
  x.query = x.key;
  x.value.setIdentity();
  x.log_decay.setZero();
  x.process_noise.setZero();
  x.observation_noise.setConstant(noise);
  const auto typed = stream.template as<Scalar>();
  const double norm2 = key.squaredNorm();
  const double lambda = noise / (norm2 * setup.prior_variance);
  // P falls from sigma_0^2 to r / (n |k|^2) along the key by subtractions, which round off units of
  // sigma_0^2 and keep back two: relative to what is left n / lambda units, and this for each
  // write.
  const double n = double(writes);
  const double unit = rounding_unit<Scalar>();
  const double bound = n * (1 + (is_subtracted ? 3 * n / lambda : 0)) + double(layer.key_dim());
  for (const Execution how : {Execution::sequential(), Execution(), Execution::chunked(5)}) {
    auto state = layer.initial_state();
    const Run<Real> got = run(layer, state, typed.view(), how);
    double own = 0, last = 0, variance = 0;  // largest relative errors
    for (Index t = 0; t < writes; ++t) {
      const double count = double(t + 1);
      own = std::max(own, std::abs(double(got.mean(t, t)) * (count + lambda) - 1));
      last = std::max(last, std::abs(double(got.mean(writes - 1, t)) * (n + lambda) - 1));
      variance =
          std::max(variance, std::abs(double(got.variance(t, 0)) * (count + lambda) / noise - 1));
    }
    CHECK(own / unit <= bound);       // k' kappa_n = 1 / (n + lambda)
    CHECK(last / unit <= bound);      // every write ends with the same weight
    CHECK(variance / unit <= bound);  // k' P_n k = r / (n + lambda)
  }
}

using Propagating = Join<Bayesian, Approximations>;

/// R1.1 of Bayesian filtering with one key: 1/p adds up, so the gain falls as 1 / (n + lambda).
TEMPLATE_LIST_TEST_CASE("The gain of a repeated key falls as 1 / (n + lambda)", "", Propagating) {
  constexpr Kept kept = recipe_of<TestType>.kept;
  const Index widths[] = {1, 4, 16};
  for (const Index key_dim : widths) {
    // One variance for all directions knows R1.1 in one dimension, or with the information along
    // the key; a diagonal knows it for keys along an axis.
    Setup<double> setup{key_dim, 40, 2.0};
    Matrix<double> key = Matrix<double>::Zero(1, key_dim);
    if (kept == Kept::isotropic) setup.info_scale = double(key_dim);
    if (kept == Kept::diagonal) {
      key(0, key_dim / 2) = 1.5;
    } else {
      Draw draw(29);
      draw_normal(key, draw);
    }
    const auto layer = make<TestType>(setup);
    INFO(describe(layer));
    check_gain_decay(layer, setup, key, 0.75);
    check_gain_decay(layer, setup, key, 64);
  }
}

}  // namespace
}  // namespace laws::covariance_test
