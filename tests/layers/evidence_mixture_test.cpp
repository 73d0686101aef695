// Mixtures by evidence: against all paths through the layers, one by one, and in what they are for.
#include <support/catch.hpp>

#include <cmath>
#include <limits>
#include <vector>

#include <laws/stream.hpp>

namespace layers::evidence_mixture_test {
namespace {

using laws::Draw;
using seqbayes::Execution;
using seqbayes::Index;
using seqbayes::Matrix;
using Filter = seqbayes::BayesianLayer<double, 3, 2>;
using Reset = seqbayes::GatedDeltaNet<double, 3, 2>;
using Mixture = seqbayes::EvidenceMixture<Filter, Reset, Filter>;

Mixture mixture(double rate) {
  return Mixture({.layers = {Filter({.prior_variance = 1}), Reset({.prior_variance = 0.5}),
                             Filter({.prior_variance = 4})},
                  .switching_rate = rate});
}

/// What each layer says by itself, a row a token.
struct Apart {
  Matrix<double> log_evidence, variance;
  std::vector<Matrix<double>> mean;
};

Apart run_apart(const Mixture& layer, const seqbayes::Sequence<double>& x) {
  Apart out{Matrix<double>(x.length(), 3), Matrix<double>(x.length(), 3), {}};
  layer.for_each_layer([&](auto i, const auto& one) {
    auto state = one.initial_state();
    out.mean.emplace_back(x.length(), 2);
    for (Index t = 0; t < x.length(); ++t) {
      const auto y = one.step(state, x.token(t));
      out.log_evidence(t, Index(i)) = y.log_evidence;
      out.variance(t, Index(i)) = y.variance;
      out.mean.back().row(t) = y.mean.transpose();
    }
  });
  return out;
}

TEST_CASE("A mixture's weights and evidence are those of all paths through its layers") {
  constexpr Index T = 6;
  const double rate = GENERATE(0.0, 0.25);
  const Mixture layer = mixture(rate);
  const auto stream = laws::draw_stream(layer.inputs(), T, 3);
  const Apart apart = run_apart(layer, stream.view());
  auto state = layer.initial_state();
  double before = 1;
  for (Index t = 0, paths = 3; t < T; ++t, paths *= 3) {
    const auto y = layer.step(state, stream.view().token(t));
    double total = 0, ending_in[3] = {};
    for (Index path = 0; path < paths; ++path) {
      double p = 1.0 / 3;
      Index last = -1;
      for (Index i = 0, digits = path; i <= t; ++i, digits /= 3) {
        const Index now = digits % 3;
        if (last >= 0) p *= rate / 3 + (now == last ? 1 - rate : 0);
        p *= std::exp(apart.log_evidence(i, now));
        last = now;
      }
      total += p;
      ending_in[last] += p;
    }
    // 729 products of 12 factors, exponentials of numbers up to 10: some 100 units
    CHECK(y.log_evidence == Approx(std::log(total / before)).epsilon(1e-13).margin(1e-13));
    before = total;
    double square = 0;
    Eigen::RowVector2d mean(0, 0);
    for (int i = 0; i < 3; ++i) {
      const double w = ending_in[i] / total;
      CHECK(std::exp(state.log_weight[i]) == Approx(w).epsilon(1e-13));
      const auto row = apart.mean[std::size_t(i)].row(t);
      mean += w * row;
      square += w * (apart.variance(t, i) + row.squaredNorm() / 2);
    }
    CHECK((y.mean.transpose() - mean).norm() < 1e-13);
    CHECK(y.variance == Approx(square - mean.squaredNorm() / 2).epsilon(1e-12));
  }
}

TEST_CASE("Without switching the evidence is within ln K of the best layer's") {
  const Mixture layer = mixture(0);
  for (const std::uint64_t seed : {1u, 2u, 3u, 4u}) {
    const auto stream = laws::draw_stream(layer.inputs(), 400, seed);
    auto state = layer.initial_state();
    const double evidence = seqbayes::scan(layer, state, stream.view()).log_evidence;
    const double best = run_apart(layer, stream.view()).log_evidence.colwise().sum().maxCoeff();
    // sums of 400 terms of order 10
    CHECK(evidence >= best - std::log(3.0) - 1e-11);
    CHECK(evidence <= best + 1e-11);
  }
}

template <class L>
void tiles_equal_steps(const L& layer, Index length) {
  const auto stream = laws::draw_stream(layer.inputs(), length, 7);
  auto by_step = layer.initial_state();
  const auto want = seqbayes::scan(layer, by_step, stream.view(), Execution::sequential());
  for (const Execution how : {Execution(), Execution::chunked(5)}) {
    auto state = layer.initial_state();
    const auto got = seqbayes::scan(layer, state, stream.view(), how);
    // Rounding of a few hundred tokens; weights see the evidence of all of them.
    CHECK((got.mean - want.mean).cwiseAbs().maxCoeff() < 1e-11);
    CHECK((got.variance - want.variance).cwiseAbs().maxCoeff() < 1e-11);
    CHECK(got.log_evidence == Approx(want.log_evidence).epsilon(1e-12));
    CHECK((state.log_weight - by_step.log_weight).cwiseAbs().maxCoeff() < 1e-10);
    auto again = layer.initial_state();
    CHECK(seqbayes::scan_mean(layer, again, stream.view(), how) == got.mean);
    CHECK(again == state);
  }
}

TEST_CASE("A mixture's tiles equal its steps") {
  static_assert(seqbayes::runs_tiled<Mixture> && !seqbayes::FilterLayer<Mixture>);
  tiles_equal_steps(mixture(0.05), 300);
  using Nested = seqbayes::EvidenceMixture<Mixture, Filter>;
  tiles_equal_steps(Nested({.layers = {mixture(0.1), Filter()}, .switching_rate = 0.1}), 150);
}

TEST_CASE("A mixture of one layer is that layer, of several writes a token, too") {
  using Product = seqbayes::GatedDeltaProduct<double, 2, 3, 2>;
  const Product layer;
  const seqbayes::EvidenceMixture<Product> one({.layers = {layer}});
  const auto stream = laws::draw_stream(layer.inputs(), 150, 9);
  auto state = layer.initial_state();
  auto of_one = one.initial_state();
  const auto want = seqbayes::scan(layer, state, stream.view());
  const auto got = seqbayes::scan(one, of_one, stream.view());
  // The same but for tiles of other lengths.
  CHECK((got.mean - want.mean).cwiseAbs().maxCoeff() < 1e-12);
  CHECK(got.log_evidence == Approx(want.log_evidence).epsilon(1e-13));
  tiles_equal_steps(one, 150);
}

TEST_CASE("A mixture's state can be handed over") {
  const Mixture layer = mixture(0.1);
  const auto stream = laws::draw_stream(layer.inputs(), 100, 11);
  auto whole = layer.initial_state(), parts = whole;
  const auto x = stream.view();
  const auto sequential = Execution::sequential();
  const auto want = seqbayes::scan(layer, whole, x, sequential);
  seqbayes::scan(layer, parts, x.tokens(0, 37), sequential);
  const auto kept = parts;
  CHECK(seqbayes::scan(layer, parts, x.tokens(37, 63), sequential).mean ==
        want.mean.bottomRows(63));
  CHECK(parts == whole);
  CHECK_FALSE(kept == whole);
}

/// Which tokens' keys are answered by one memory for long, and which by a new one each time.
struct Regimes {
  static constexpr Index length = 200, phases = 4;
  laws::Stream<double> stream;

  explicit Regimes(const seqbayes::InputWidths& inputs, std::uint64_t seed)
      : stream(laws::draw_stream(inputs, phases * length, seed, true)) {
    constexpr double noise = 0.1, drift = 0.01;
    auto& x = stream.fields;
    x.log_decay.setZero();
    x.observation_noise.setConstant(noise);
    x.process_noise.setConstant(drift);
    x.write_strength.setConstant(1 / (1 + noise));  // of keys of norm 1 and unit prior variance
    Draw draw(seed + 1);
    Matrix<double> memory(3, 2), errors(phases * length, 2);
    laws::draw_normal(errors, draw);
    for (Index t = 0; t < x.key.rows(); ++t) {
      Matrix<double> change(3, 2);
      laws::draw_normal(change, draw);
      const bool anew = t % length == 0 || (t / length) % 2 == 1;
      memory = anew ? change : Matrix<double>(memory + std::sqrt(drift) * change);
      x.value.row(t) = x.key.row(t) * memory + std::sqrt(noise) * errors.row(t);
    }
  }
};

// A weight is at least h / K = 1/200, so a layer has 5.3 nats to make up. Where memory is new at
// every token, the filter's s is about 0.25 and the square of its error a channel 1.1 or more: the
// reset gains 2 nats or more a token, with a standard deviation of 4: 10 tokens. Where memory
// drifts again, the filter needs some 15 tokens until it has forgotten, then gains 1.5 nats a
// token: 40 tokens.
TEST_CASE("A mixture of a filter and a reset follows a change of regime") {
  using L = seqbayes::EvidenceMixture<Filter, Reset>;
  const L layer({.layers = {Filter(), Reset()}, .switching_rate = 0.01});
  for (const std::uint64_t seed : {1u, 2u, 3u}) {
    INFO("seed " << seed);
    const Regimes data(layer.inputs(), seed);
    const auto x = data.stream.view();
    auto state = layer.initial_state();
    double mean_weight[Regimes::phases] = {};
    for (Index t = 0; t < x.length(); ++t) {
      layer.step(state, x.token(t));
      const Index phase = t / Regimes::length, into = t % Regimes::length;
      const double weight = std::exp(state.log_weight[phase % 2]);  // of the layer that is right
      const Index allowed = phase % 2 == 1 ? 10 : 40;
      if (into >= allowed) mean_weight[phase] += weight / double(Regimes::length - allowed);
    }
    for (const double weight : mean_weight) CHECK(weight > 0.9);
    // It is better than either: a mixture that follows knows what neither layer does.
    auto mixed = layer.initial_state();
    auto filter = layer.layer<0>().initial_state();
    auto reset = layer.layer<1>().initial_state();
    const double evidence = seqbayes::scan(layer, mixed, x).log_evidence;
    CHECK(evidence > seqbayes::scan(layer.layer<0>(), filter, x).log_evidence + 100);
    CHECK(evidence > seqbayes::scan(layer.layer<1>(), reset, x).log_evidence + 100);
  }
}

TEST_CASE("A layer whose weight has vanished comes back if the data may switch") {
  const Mixture layer = mixture(0.01);
  const auto stream = laws::draw_stream(layer.inputs(), 1, 13);
  auto state = layer.initial_state();
  state.log_weight << 0, -1e5, -std::numeric_limits<double>::infinity();
  const auto y = layer.step(state, stream.view().token(0));
  CHECK(std::isfinite(y.log_evidence));
  CHECK(state.log_weight.minCoeff() > -100);
}

TEST_CASE("A layer that breaks down is no longer heard, whichever it is") {
  const auto layer = mixture(0);
  for (const int broken : {0, 1}) {
    const int sound = 1 - broken;
    auto all = decltype(layer)::Opinions();
    all.mean.setOnes();
    all.variance.setOnes();
    all.log_evidence.setConstant(-INFINITY);
    all.mean.col(broken).setConstant(NAN);
    all.variance[sound] = 3;
    all.variance[broken] = INFINITY;
    all.log_evidence[sound] = -1;
    all.log_evidence[broken] = NAN;
    auto state = layer.initial_state();
    decltype(layer)::Step out;
    layer.combine(all, state.log_weight, out);
    CHECK(state.log_weight[sound] == 0);
    CHECK(state.log_weight[broken] == -INFINITY);
    CHECK(out.mean == seqbayes::Vector<double>::Ones(2));
    CHECK(out.variance == 3);
    CHECK(out.log_evidence == Approx(-1 - std::log(double(all.variance.size()))));
  }
}

TEST_CASE("A mixture refuses options that make no sense") {
  const auto with_rate = [](double rate) { return mixture(rate); };
  CHECK_THROWS_WITH(with_rate(1), containing("switching_rate"));
  CHECK_THROWS_WITH(with_rate(-0.1), containing("switching_rate"));
  CHECK_THROWS_WITH(with_rate(std::nan("")), containing("switching_rate"));
  using Wide = seqbayes::BayesianLayer<double>;
  using Pair = seqbayes::EvidenceMixture<Wide, Wide>;
  const Wide one({.key_dim = 3, .value_dim = 2}), other({.key_dim = 4, .value_dim = 2});
  CHECK_THROWS_WITH(Pair({.layers = {one, other}}), containing("option layers"));
  using Product = seqbayes::GatedDeltaProduct<double, 2, 3, 2>;
  using Uneven = seqbayes::EvidenceMixture<Product, Reset>;
  CHECK_THROWS_WITH(Uneven({.layers = {Product(), Reset()}}), containing("key of 6 and of 3"));
  // A decay of one factor and one of channels have one factor in common.
  using Channels = seqbayes::DiagonalKalmanDeltaNet<double, 3, 2>;
  const seqbayes::EvidenceMixture<Filter, Channels> mixed({.layers = {Filter(), Channels()}});
  CHECK(mixed.inputs().log_decay.accepts(1));
  CHECK_FALSE(mixed.inputs().log_decay.accepts(3));
}

}  // namespace
}  // namespace layers::evidence_mixture_test
