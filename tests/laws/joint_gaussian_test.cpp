// A filter with the whole covariance is exact: its log evidence is the density of all values at
// once, and what it retrieves is the mean and variance of memory given the values so far. The joint
// Gaussian is built here from the state-space model, without any recursion over tokens.
#include <Eigen/Cholesky>

#include <laws/layers.hpp>
#include <laws/run.hpp>

namespace laws::joint_gaussian_test {
namespace {

using Vec = seqbayes::Vector<Real>;

/// The model of one value channel in terms of independent causes z ~ N(mean, covariance): the
/// memory before the first token, then what each token adds to it. Values are A z + noise, reads B
/// z.
struct Linear {
  Matrix<Real> covariance;  ///< of z
  Matrix<Real> values;      ///< A, T x causes
  Matrix<Real> reads;       ///< B, T x causes
};

Vec decay_at(const Recipe& recipe, const Setup<double>& setup, const Stream<double>& x, Index t) {
  const Index dk = setup.key_dim;
  if (recipe.decay == Decay::none) return Vec::Ones(dk);
  if (recipe.decay == Decay::constant) return Vec::Constant(dk, std::exp(Real(setup.log_decay)));
  Vec decay(dk);
  for (Index i = 0; i < dk; ++i) {
    decay[i] = std::exp(Real(x.fields.log_decay(t, x.fields.log_decay.cols() == 1 ? 0 : i)));
  }
  return decay;
}

/// S_t as a linear map of the causes, Dk x causes: rows decay, and every token adds causes of its
/// own.
Linear model(const Recipe& recipe, const Setup<double>& setup, const Stream<double>& x,
             const Matrix<Real>& start) {
  const Index dk = setup.key_dim, length = x.length();
  const bool latent = recipe.design == Design::latent_input;
  const Index a_token = latent ? 1 : dk;
  const Index causes = dk + length * a_token;
  Linear linear{Matrix<Real>::Zero(causes, causes), Matrix<Real>::Zero(length, causes),
                Matrix<Real>::Zero(length, causes)};
  linear.covariance.topLeftCorner(dk, dk) = start;
  Matrix<Real> memory = Matrix<Real>::Zero(dk, causes);
  memory.leftCols(dk).setIdentity();
  for (Index t = 0; t < length; ++t) {
    const Vec key = x.fields.key.row(t).cast<Real>();
    const Index first = dk + t * a_token;
    memory = decay_at(recipe, setup, x, t).asDiagonal() * memory;
    if (latent) {  // S += k u', the value is u + noise
      memory.col(first) += key;
      linear.covariance(first, first) = setup.input_variance;
      linear.values(t, first) = 1;
    } else {  // S += W, the value is S' k + noise
      memory.middleCols(first, dk).setIdentity();
      for (Index i = 0; i < dk; ++i) {
        const Index column = x.fields.process_noise.cols() == 1 ? 0 : i;
        linear.covariance(first + i, first + i) = x.fields.process_noise(t, column);
      }
      linear.values.row(t) = key.transpose() * memory;
    }
    linear.reads.row(t) = x.fields.query.row(t).cast<Real>() * memory;
  }
  return linear;
}

/// What the filter should say of one stream, from the state `start`.
Run<Real> joint_gaussian(const Recipe& recipe, const Setup<double>& setup, const Stream<double>& x,
                         const Run<Real>& start) {
  const Index dk = setup.key_dim, dv = setup.value_dim, length = x.length();
  const Linear linear = model(recipe, setup, x, start.covariance);
  const Index causes = linear.covariance.rows();
  Matrix<Real> mean = Matrix<Real>::Zero(causes, dv);
  mean.topRows(dk) = start.memory;
  const Matrix<Real> noise = x.fields.observation_noise.cast<Real>().col(0).asDiagonal();
  const Matrix<Real> of_values =
      linear.values * linear.covariance * linear.values.transpose() + noise;
  const Matrix<Real> with_reads = linear.values * linear.covariance * linear.reads.transpose();
  const Matrix<Real> of_reads = linear.reads * linear.covariance * linear.reads.transpose();
  const Matrix<Real> surprise = x.fields.value.cast<Real>() - linear.values * mean;

  Run<Real> want;
  want.mean = linear.reads * mean;
  want.variance.resize(length, 1);
  for (Index t = 0; t < length; ++t) {  // given the values up to t
    const Eigen::LLT<Matrix<Real>> factor(of_values.topLeftCorner(t + 1, t + 1));
    const Vec cross = with_reads.col(t).head(t + 1);
    const Vec weights = factor.solve(cross);
    want.mean.row(t) += weights.transpose() * surprise.topRows(t + 1);
    want.variance(t, 0) = of_reads(t, t) - weights.dot(cross);
  }
  const Eigen::LLT<Matrix<Real>> factor(of_values);
  const Matrix<Real> white = factor.matrixL().solve(surprise);
  const Vec pivots = factor.matrixLLT().diagonal();
  const Real two_pi = 8 * std::atan(Real(1));
  want.evidence = -white.squaredNorm() / 2 -
                  Real(dv) * (pivots.array().log().sum() + Real(length) * std::log(two_pi) / 2);
  return want;
}

using seqbayes::BayesianLayer;
using seqbayes::ChannelDecay;
using seqbayes::ConstantDecay;
using seqbayes::NoDecay;
using Filters = std::tuple<BayesianLayer<double, any, any, NoDecay>, BayesianLayer<double>,
                           BayesianLayer<double, any, any, ChannelDecay>, BayesianLayer<float>,
                           LatentFilter<double, any, any, ConstantDecay>,
                           LatentFilter<double, any, any, ChannelDecay>,
                           LatentFilter<float, any, any, ChannelDecay>>;

TEMPLATE_LIST_TEST_CASE("A filter is the joint Gaussian of its model", "", Filters) {
  for (const auto& [key_dim, value_dim] : {Shape{1, 1}, Shape{3, 2}, Shape{6, 3}}) {
    Setup<double> setup{key_dim, value_dim, 1.5};
    setup.input_variance = 0.75;
    const auto layer = make<TestType>(setup);
    INFO(describe(layer));
    auto stream = draw_stream(layer.inputs(), 21, 31, key_dim == 3);
    for (Index t = 0; t < 21; ++t) {  // noises of all sizes
      stream.fields.observation_noise(t, 0) = std::ldexp(1.0, int(t % 7) - 4);
    }
    stream.fields.key.row(4).setZero();
    stream.fields.key.row(9) = stream.fields.key.row(8);
    const auto start = some_state(layer);
    Run<Real> at_start;
    Case<TestType>::note_state(at_start, start);
    Run<Real> want = joint_gaussian(recipe_of<TestType>, setup, stream, at_start);
    // The bound is that of rounding in the filter; the Gaussian is in long double. Its scales come
    // from the reference.
    const auto filtered = reference_for(layer, setup, start, stream);
    const Bounds bounds = rounding_bounds(filtered, rounding_unit<typename TestType::Scalar>());
    want.memory = filtered.run.memory;
    want.covariance = filtered.run.covariance;
    const auto x = stream.template as<typename TestType::Scalar>();
    for (const Execution how : {Execution::sequential(), Execution(), Execution::chunked(5)}) {
      auto state = start;
      check_close(run(layer, state, x.view(), how), want, bounds);
    }
  }
}

/// Nothing is known of the input, so no value is more likely than another.
TEST_CASE("A flat prior on the latent input has no evidence") {
  const auto layer = make<LatentFilter<double, any, any, ChannelDecay>>(Setup<double>{3, 2});
  const auto stream = draw_stream(layer.inputs(), 9, 33);
  for (const Execution how : {Execution::sequential(), Execution()}) {
    auto state = layer.initial_state();
    const auto out = seqbayes::scan(layer, state, stream.view(), how);
    CHECK(out.log_evidence == -infinity);
    CHECK(out.mean.allFinite());
    CHECK(out.variance.allFinite());
  }
}

}  // namespace
}  // namespace laws::joint_gaussian_test
