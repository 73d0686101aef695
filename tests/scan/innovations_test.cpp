// Innovation variances and norms of a scan: in every form, against the filter's own equations.
#include <support/catch.hpp>

#include <laws/case.hpp>

#include <seqbayes/scan/scan.hpp>

namespace {

using Eigen::Dynamic;
using seqbayes::Execution;
using seqbayes::Index;
using Real = long double;
using RealMatrix = Eigen::Matrix<Real, Dynamic, Dynamic>;
using RealVector = Eigen::Matrix<Real, Dynamic, 1>;

/// s_t and |nu_t|^2 of the exact filter with scalar decay, by the equations in docs/mathematics.md.
struct Filter {
  RealMatrix covariance, memory;
  Real variance = 0, norm2 = 0;

  template <class Scalar>
  void step(const seqbayes::Token<Scalar>& token) {
    const auto wide = [](const auto& row) {
      return RealVector(row.vector().template cast<Real>());
    };
    const RealVector k = wide(token.key), v = wide(token.value);
    const Real decay = std::exp(Real(token.log_decay[0]));
    covariance *= decay * decay;
    covariance.diagonal() += RealVector::Constant(k.size(), Real(token.process_noise[0]));
    memory *= decay;
    const RealVector nu = v - memory.transpose() * k;
    variance = Real(token.observation_noise[0]) + k.dot(covariance * k);
    norm2 = nu.squaredNorm();
    const RealVector gain = covariance * k / variance;
    memory += gain * nu.transpose();
    covariance -= variance * gain * gain.transpose();
  }
};

template <class Layer>
void check_against_equations(const Layer& layer, double epsilon) {
  using Scalar = typename Layer::Scalar;
  constexpr Index length = 150;  // more than a tile of 128, and no whole groups of 4
  auto inputs = layer.inputs();
  inputs.process_noise = 1;
  inputs.covariance_log_decay = 0;
  const auto stream = laws::draw_stream(inputs, length, 5).template as<Scalar>();
  const auto x = stream.view();
  for (const Execution how : {Execution(), Execution::sequential(), Execution::chunked(7)}) {
    INFO("chunks of " << how.chunk());
    auto state = layer.initial_state();
    const auto out = seqbayes::scan(layer, state, x, how);
    REQUIRE(out.innovation_variance.size() == length);
    REQUIRE(out.innovation_norm2.size() == length);
    Filter filter{RealMatrix::Identity(layer.key_dim(), layer.key_dim()) *
                      Real(layer.options().prior_variance),
                  RealMatrix::Zero(layer.key_dim(), layer.value_dim())};
    for (Index t = 0; t < length; ++t) {
      INFO("token " << t);
      filter.step(x.token(t));
      CHECK(out.innovation_variance[t] == Approx(double(filter.variance)).epsilon(epsilon));
      // nu is a difference of values of order 1: its square is off by its length times epsilon
      CHECK(out.innovation_norm2[t] ==
            Approx(double(filter.norm2)).epsilon(epsilon).margin(epsilon));
    }
  }
}

TEST_CASE("A scan's innovations are those of the filter, whatever the form") {
  // 150 tokens of products of width 5, a few units each: below 3000 units
  const seqbayes::BayesianLayer<double> wide({.key_dim = 5, .value_dim = 3, .prior_variance = 2});
  check_against_equations(wide, 3000 * 1.1e-16);
  check_against_equations(seqbayes::BayesianLayer<double, 5, 3>({.prior_variance = 2}),
                          3000 * 1.1e-16);
  check_against_equations(seqbayes::BayesianLayer<float, 5, 8>({.prior_variance = 2}), 3000 * 6e-8);
}

TEST_CASE("A reset layer's innovations, and a token that observes nothing") {
  using Layer = seqbayes::GatedDeltaNet<double>;
  const Layer layer({.key_dim = 4, .value_dim = 2, .prior_variance = 1.5});
  auto stream = laws::draw_stream(layer.inputs(), 20, 6).as<double>();
  stream.fields.write_strength(3, 0) = 0;
  const auto x = stream.view();
  for (const Execution how : {Execution(), Execution::sequential()}) {
    auto state = layer.initial_state();
    const auto out = seqbayes::scan(layer, state, x, how);
    for (Index t = 0; t < 20; ++t) {
      const double beta = x.write_strength.row(t)[0];
      const double norm2 = x.key.row(t).vector().squaredNorm();
      // sigma_0^2 / beta, or sigma_0^2 |k|^2 where no filter has this gain
      const double want = beta > 0 ? 1.5 * (beta * norm2 > 1 ? norm2 : 1 / beta) : 0;
      CHECK(out.innovation_variance[t] == Approx(want).epsilon(1e-14).margin(0));
    }
    CHECK(out.innovation_norm2[0] == Approx(x.value.row(0).vector().squaredNorm()).epsilon(1e-15));
  }
}

TEST_CASE("Several writes a token have no innovation of the token") {
  using Layer = seqbayes::GatedDeltaProduct<double, 2>;
  static_assert(seqbayes::ProbabilisticLayer<Layer> && !seqbayes::FilterLayer<Layer>);
  static_assert(seqbayes::FilterLayer<seqbayes::DeltaNet<double>>);
  const Layer layer({.key_dim = 3, .value_dim = 2});
  const auto stream = laws::draw_stream(layer.inputs(), 5, 1).as<double>();
  auto state = layer.initial_state();
  CHECK(seqbayes::scan(layer, state, stream.view()).innovation_variance.size() == 0);
}

}  // namespace
