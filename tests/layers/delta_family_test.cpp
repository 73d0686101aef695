// The wider delta family by its identities: where two layers are the same recurrence, they give the
// same numbers.
#include <Eigen/LU>
#include <cmath>
#include <limits>
#include <random>
#include <seqbayes/seqbayes.hpp>

#include "support/catch.hpp"

using seqbayes::Index;
using seqbayes::Matrix;
using seqbayes::Sequence;

namespace delta_family_test {
namespace {

constexpr int length = 40;
constexpr int dk = 5;
constexpr int dv = 3;

/// Two recurrences that differ in the order of their operations drift apart by a few roundings a
/// token, some up and some down, of entries of size 1: one unit a token is ample.
template <class Scalar>
constexpr double tolerance = length* double(std::numeric_limits<Scalar>::epsilon());

template <class Scalar>
Matrix<Scalar> uniform(Index rows, Index cols, double low, double high, unsigned seed) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<double> draw(low, high);
  Matrix<Scalar> all(rows, cols);
  for (Scalar& entry : all.reshaped()) entry = Scalar(draw(engine));
  return all;
}

/// Unit keys and what every layer reads. Ordinary but awkward tokens are among them: a zero key, no
/// write, and a memory that is wiped, wholly (token 20) or in one channel (token 24).
template <class Scalar>
struct Stream {
  Matrix<Scalar> query = uniform<Scalar>(length, dk, -1, 1, 1);
  Matrix<Scalar> key = uniform<Scalar>(length, dk, -1, 1, 2).rowwise().normalized();
  Matrix<Scalar> value = uniform<Scalar>(length, dv, -1, 1, 3);
  Matrix<Scalar> scalar_decay = uniform<Scalar>(length, 1, -0.5, 0, 4);
  Matrix<Scalar> channel_decay = uniform<Scalar>(length, dk, -0.5, 0, 5);
  Matrix<Scalar> write_strength = uniform<Scalar>(length, 1, 0, 1, 6);
  Matrix<Scalar> erase_key = uniform<Scalar>(length, dk, -1, 1, 7).rowwise().normalized();
  Matrix<Scalar> erase_gate = uniform<Scalar>(length, dk, 0, 1, 8);

  Stream() {
    key.row(11).setZero();
    write_strength(13) = 0;
    scalar_decay(20) = channel_decay(24, 2) = -std::numeric_limits<Scalar>::infinity();
    channel_decay.row(20).setConstant(-std::numeric_limits<Scalar>::infinity());
  }

  [[nodiscard]] Sequence<Scalar> sequence(const Matrix<Scalar>& log_decay) const {
    Sequence<Scalar> x;
    x.query = query;
    x.key = key;
    x.value = value;
    x.log_decay = log_decay;
    x.write_strength = write_strength;
    return x;
  }
};

/// A layer of dynamic widths, whose scan is compiled elsewhere (seqbayes::instances).
template <class L>
L make() {
  return L({.key_dim = dk, .value_dim = dv});
}

/// max |a - b| / max(1, max |b|); not a number stays one, and fails every comparison.
template <class A, class B>
double deviation(const A& a, const B& b) {
  REQUIRE(a.rows() == b.rows());
  REQUIRE(a.cols() == b.cols());
  const Eigen::MatrixXd difference = a.template cast<double>() - b.template cast<double>();
  const double size = std::max(1.0, double(b.cwiseAbs().maxCoeff()));
  return difference.template lpNorm<Eigen::Infinity>() / size + 0 * difference.sum();
}

/// Both layers give the same mean and memory and, where both have them, variance and evidence.
template <class A, class B, class Scalar>
void check_same(const A& a, const Sequence<Scalar>& xa, const B& b, const Sequence<Scalar>& xb) {
  auto state_a = a.initial_state();
  auto state_b = b.initial_state();
  state_a.mean = state_b.mean = uniform<Scalar>(dk, dv, -1, 1, 9);
  const auto out_a = seqbayes::scan(a, state_a, xa);
  const auto out_b = seqbayes::scan(b, state_b, xb);
  CHECK(deviation(out_a.mean, out_b.mean) <= tolerance<Scalar>);
  CHECK(deviation(state_a.mean, state_b.mean) <= tolerance<Scalar>);
  if constexpr (requires { out_a.variance, out_b.variance; }) {
    CHECK(deviation(out_a.variance, out_b.variance) <= tolerance<Scalar>);
    const double scale = std::abs(double(out_b.log_evidence));
    CHECK(std::abs(double(out_a.log_evidence - out_b.log_evidence)) <= tolerance<Scalar> * scale);
  }
}

}  // namespace

TEMPLATE_TEST_CASE("Gated DeltaProduct with one write is Gated DeltaNet", "", float, double) {
  const Stream<TestType> stream;
  const auto x = stream.sequence(stream.scalar_decay);
  check_same(make<seqbayes::GatedDeltaProduct<TestType, 1>>(), x,
             make<seqbayes::GatedDeltaNet<TestType>>(), x);
}

TEMPLATE_TEST_CASE("Gated DeltaProduct with two writes is Gated DeltaNet read every second token",
                   "", float, double) {
  const Stream<TestType> stream;
  Matrix<TestType> every_token = stream.scalar_decay;
  for (Index t = 1; t < length; t += 2) every_token(t) = 0;  // the second write doesn't decay
  const auto one_by_one = stream.sequence(every_token);
  const auto delta_net = make<seqbayes::GatedDeltaNet<TestType>>();
  auto expected_state = delta_net.initial_state();
  const auto expected = seqbayes::scan(delta_net, expected_state, one_by_one);

  constexpr int half = length / 2;
  using seqbayes::MatrixView;
  Sequence<TestType> in_pairs;
  in_pairs.query = MatrixView<TestType>(stream.query.data() + dk, half, dk, 2 * dk);
  in_pairs.key = MatrixView<TestType>(stream.key.data(), half, 2 * dk);
  in_pairs.value = MatrixView<TestType>(stream.value.data(), half, 2 * dv);
  in_pairs.write_strength = MatrixView<TestType>(stream.write_strength.data(), half, 2);
  in_pairs.log_decay = MatrixView<TestType>(every_token.data(), half, 1, 2);
  const auto product = make<seqbayes::GatedDeltaProduct<TestType, 2>>();
  auto state = product.initial_state();
  const auto out = seqbayes::scan(product, state, in_pairs);

  CHECK(deviation(state.mean, expected_state.mean) <= tolerance<TestType>);
  for (Index t = 0; t < half; ++t) {
    CHECK(deviation(out.mean.row(t), expected.mean.row(2 * t + 1)) <= tolerance<TestType>);
    CHECK(std::abs(out.variance[t] - expected.variance[2 * t + 1]) <= tolerance<TestType>);
  }
  CHECK(std::abs(out.log_evidence - expected.log_evidence) <=
        tolerance<TestType> * std::abs(expected.log_evidence));
}

TEMPLATE_TEST_CASE("Comba that erases by its write key is Gated DeltaNet", "", float, double) {
  const Stream<TestType> stream;
  const auto x = stream.sequence(stream.scalar_decay);
  auto comba = x;
  comba.erase_key = stream.key;
  check_same(make<seqbayes::Comba<TestType>>(), comba, make<seqbayes::GatedDeltaNet<TestType>>(),
             x);
}

TEMPLATE_TEST_CASE("DPLR with a = -e^g k, b = beta k and write key beta k is KDA", "", float,
                   double) {
  const Stream<TestType> stream;
  const auto x = stream.sequence(stream.channel_decay);
  const Matrix<TestType> a =
      -(stream.channel_decay.unaryExpr([](TestType g) { return std::exp(g); })
            .cwiseProduct(stream.key));
  const Matrix<TestType> b = stream.write_strength.col(0).asDiagonal() * stream.key;
  auto dplr = x;
  dplr.key = dplr.erase_write = b;
  dplr.erase_key = a;
  check_same(make<seqbayes::Dplr<TestType>>(), dplr, make<seqbayes::KimiDeltaAttention<TestType>>(),
             x);
}

TEMPLATE_TEST_CASE("RWKV-7 is DPLR with a = -kk and b = kk * a_gate", "", float, double) {
  const Stream<TestType> stream;
  auto rwkv = stream.sequence(stream.channel_decay);
  rwkv.erase_key = stream.erase_key;
  rwkv.erase_gate = stream.erase_gate;
  const Matrix<TestType> a = -stream.erase_key;
  const Matrix<TestType> b = stream.erase_key.cwiseProduct(stream.erase_gate);
  auto dplr = stream.sequence(stream.channel_decay);
  dplr.erase_key = a;
  dplr.erase_write = b;
  check_same(make<seqbayes::Rwkv7<TestType>>(), rwkv, make<seqbayes::Dplr<TestType>>(), dplr);
}

TEMPLATE_TEST_CASE("Gated DeltaNet-2 whose gates are all beta is KDA", "", float, double) {
  Stream<TestType> stream;
  if (GENERATE(false, true)) stream.write_strength.setOnes();  // open gates
  const auto x = stream.sequence(stream.channel_decay);
  const Matrix<TestType> erase_gate = stream.write_strength.replicate(1, dk);
  const Matrix<TestType> value_gate = stream.write_strength.replicate(1, dv);
  auto gated = x;
  gated.erase_gate = erase_gate;
  gated.value_gate = value_gate;
  check_same(make<seqbayes::GatedDeltaNet2<TestType>>(), gated,
             make<seqbayes::KimiDeltaAttention<TestType>>(), x);
}

TEMPLATE_TEST_CASE("A preconditioner of base 1 leaves Gated DeltaNet as it is", "", float, double) {
  const Stream<TestType> stream;
  const auto x = stream.sequence(stream.scalar_decay);
  auto preconditioned = x;
  preconditioned.precondition_log_decay = stream.scalar_decay;
  preconditioned.precondition_strength = stream.write_strength;
  check_same(
      seqbayes::PreconditionedGatedDeltaNet<TestType>({.key_dim = dk, .value_dim = dv, .base = 1}),
      preconditioned, make<seqbayes::GatedDeltaNet<TestType>>(), x);
}

TEMPLATE_TEST_CASE("MesaNet without decay is the Bayesian Layer's mean", "", float, double) {
  const Stream<TestType> stream;
  const TestType prior_variance = TestType(1.5);
  const TestType r = TestType(0.3);
  const Matrix<TestType> ones = Matrix<TestType>::Ones(length, 1);
  const Matrix<TestType> zeros = Matrix<TestType>::Zero(length, 1);
  const Matrix<TestType> noise = r * ones;
  auto x = stream.sequence(zeros);
  x.write_strength = ones;
  x.observation_noise = noise;
  x.process_noise = zeros;

  const seqbayes::MesaNet<TestType> mesa(
      {.key_dim = dk,
       .value_dim = dv,
       .ridge = seqbayes::Vector<TestType>::Constant(dk, r / prior_variance)});
  const seqbayes::BayesianLayer<TestType> bayes(
      {.key_dim = dk, .value_dim = dv, .prior_variance = prior_variance});
  auto mesa_state = mesa.initial_state();
  auto state = bayes.initial_state();
  const auto from_precision = seqbayes::scan_mean(mesa, mesa_state, x);
  const auto from_covariance = seqbayes::scan_mean(bayes, state, x);
  // The solve is as exact as K + ridge is well conditioned: with these keys its condition number
  // stays below 11.
  CHECK(deviation(from_precision, from_covariance) <= 11 * tolerance<TestType>);
  // P = r (K + ridge)^{-1}
  Eigen::MatrixXd precision = mesa_state.key_moment.template cast<double>() / double(r);
  precision.diagonal().array() += 1 / double(prior_variance);
  CHECK(deviation(state.covariance, precision.inverse().eval()) <= tolerance<TestType>);
}

TEMPLATE_TEST_CASE("Kalman Linear Attention with one key channel is the scalar filter", "", float,
                   double) {
  const Stream<TestType> stream;
  const TestType decay = TestType(0.9);
  const TestType process_noise = TestType(0.05);
  const Matrix<TestType> precision = uniform<TestType>(length, 1, 0.5, 4, 10);
  const Matrix<TestType> precisions = precision.replicate(1, dv);
  const Matrix<TestType> r = precision.cwiseInverse();
  const Matrix<TestType> omega = Matrix<TestType>::Constant(length, 1, process_noise);
  const Matrix<TestType> g = Matrix<TestType>::Constant(length, 1, std::log(decay));
  const Matrix<TestType> query = stream.query.leftCols(1);
  const Matrix<TestType> key = stream.key.leftCols(1);
  auto x = stream.sequence(g);
  x.query = query;
  x.key = key;
  x.value_precision = precisions;
  x.observation_noise = r;
  x.process_noise = omega;

  typename seqbayes::KalmanLinearAttention<TestType, 1, dv>::Options options;
  options.decay.setConstant(decay);
  options.process_noise.setConstant(process_noise);
  options.floor = TestType(1e-30);  // the scalar filter learns nothing from a zero key
  const seqbayes::KalmanLinearAttention<TestType, 1, dv> attention(options);
  const seqbayes::BayesianLayer<TestType, 1, dv> full;
  const seqbayes::IsotropicKalmanDeltaNet<TestType, 1, dv> isotropic;
  const seqbayes::DiagonalKalmanDeltaNet<TestType, 1, dv> diagonal;
  auto state = attention.initial_state();
  auto full_state = full.initial_state();
  auto isotropic_state = isotropic.initial_state();
  auto diagonal_state = diagonal.initial_state();
  for (Index t = 0; t < length; ++t) {
    const auto out = attention.step(state, x.token(t));
    const auto check = [&](const auto& filter) {
      CHECK(deviation(out.mean, filter.mean) <= tolerance<TestType>);
      CHECK((out.variance.array() - filter.variance).abs().maxCoeff() <= tolerance<TestType>);
    };
    check(full.step(full_state, x.token(t)));
    check(isotropic.step(isotropic_state, x.token(t)));
    check(diagonal.step(diagonal_state, x.token(t)));
  }
}

TEMPLATE_TEST_CASE("ssd_scan is Mamba-2's recurrence", "", float, double) {
  const Stream<TestType> stream;
  const Matrix<TestType> dt = uniform<TestType>(length, 1, 0, 1, 11);
  const seqbayes::Mamba2Inputs<TestType> in{stream.value, dt,           TestType(-0.7),
                                            stream.key,   stream.query, TestType(0.4)};
  const auto layer = make<seqbayes::Ssd<TestType>>();
  auto state = layer.initial_state();
  state.mean = uniform<TestType>(dk, dv, -1, 1, 12);
  Eigen::MatrixXd h = state.mean.transpose().template cast<double>();
  const Matrix<TestType> y = seqbayes::ssd_scan(layer, state, in);

  Eigen::MatrixXd expected(length, dv);
  for (Index t = 0; t < length; ++t) {
    for (Index m = 0; m < dv; ++m) {
      expected(t, m) = double(in.D) * double(stream.value(t, m));
      for (Index s = 0; s < dk; ++s) {
        h(m, s) *= std::exp(double(in.A) * double(dt(t)));
        h(m, s) += double(dt(t)) * double(stream.value(t, m)) * double(stream.key(t, s));
        expected(t, m) += h(m, s) * double(stream.query(t, s));
      }
    }
  }
  CHECK(deviation(y, expected) <= tolerance<TestType>);
  CHECK(deviation(state.mean, h.transpose()) <= tolerance<TestType>);
}

}  // namespace delta_family_test
