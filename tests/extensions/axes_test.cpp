// The three axes are open: a covariance, a decay and a design model of a user's own, written
// through public names alone (examples/axes), in tiles and with gradients as far as they offer
// them.
#include <ceres/jet.h>

#include <vector>

#include <seqbayes/seqbayes.hpp>

#include <laws/stream.hpp>
#include <support/catch.hpp>

#include "../../examples/axes/feature_map.hpp"
#include "../../examples/axes/low_rank_covariance.hpp"
#include "../../examples/axes/value_channel_decay.hpp"

namespace {

using laws::Draw;
using laws::Stream;
using seqbayes::Execution;
using seqbayes::Index;
using seqbayes::Matrix;
using seqbayes::Vector;
using Jet = ceres::Jet<double, 1>;

template <class S, int Dk = Eigen::Dynamic, int Dv = Eigen::Dynamic,
          class Decay = seqbayes::ScalarDecay>
using LowRank =
    seqbayes::Layer<S, Dk, Dv, seqbayes::AssociativeRegression, Decay, LowRankCovariance<2>>;
template <class S, int Dk = Eigen::Dynamic, int Dv = Eigen::Dynamic>
using ValueDecay = seqbayes::Layer<S, Dk, Dv, seqbayes::AssociativeRegression, ValueChannelDecay,
                                   seqbayes::ResetCovariance>;
template <class S, int Dk = Eigen::Dynamic, int Dv = Eigen::Dynamic>
using Feature =
    seqbayes::Layer<S, Dk, Dv, FeatureMap, seqbayes::ChannelDecay, seqbayes::ResetCovariance>;
template <class S>
using ChannelLowRank = LowRank<S, Eigen::Dynamic, Eigen::Dynamic, seqbayes::ChannelDecay>;
template <class S>
using DynamicLowRank = LowRank<S>;
template <class S>
using DynamicValueDecay = ValueDecay<S>;
template <class S>
using DynamicFeature = Feature<S>;

static_assert(seqbayes::runs_tiled<LowRank<float>> && seqbayes::runs_tiled<Feature<double>>);
static_assert(!seqbayes::runs_tiled<ValueDecay<float>> && !seqbayes::runs_tiled<LowRank<Jet>>);

constexpr Index dk = 4, dv = 3, length = 7;

template <class L>
L make(const Matrix<double>& weights = Matrix<double>::Identity(dk, dk) * 0.5) {
  typename L::Options options;
  options.key_dim = dk;
  options.value_dim = dv;
  if constexpr (L::has_variance) options.prior_variance = typename L::Scalar(1.25);
  if constexpr (requires { options.feature_map; }) {
    options.feature_map = weights.cast<typename L::Scalar>();
  }
  return L(options);
}

/// The loss of a run from the initial state: weights of all that a scan yields.
template <class L, class S = typename L::Scalar>
S loss(const L& layer, const Stream<S>& x, const Matrix<double>& weights) {
  auto state = layer.initial_state();
  const auto out = seqbayes::scan(layer, state, x.view(), Execution::sequential());
  S sum = out.mean.cwiseProduct(weights.leftCols(dv).cast<S>()).sum() +
          state.mean.cwiseProduct(weights.topLeftCorner(dk, dv).cast<S>()).sum();
  if constexpr (seqbayes::ProbabilisticLayer<L>) {
    sum += out.variance.dot(weights.col(dv).cast<S>()) + out.log_evidence * S(0.375);
  }
  return sum;
}

/// Every derivative of `scan_vjp` against a dual number in that entry.
template <template <class> class L>
void gradients_equal_forward_mode() {
  const Matrix<double> map =
      Matrix<double>::Identity(dk, dk) * 0.5 + Matrix<double>::Constant(dk, dk, 0.25);
  const auto layer = make<L<double>>(map);
  const auto stream = laws::draw_stream(layer.inputs(), length, 23);
  Draw draw(29);
  Matrix<double> weights(length, dv + 1);
  laws::draw_normal(weights, draw);
  const Matrix<double> dmean = weights.leftCols(dv);
  const Vector<double> dvariance = weights.col(dv);
  seqbayes::Cotangent<L<double>> c;
  c.mean = dmean;
  if constexpr (seqbayes::ProbabilisticLayer<L<double>>) {
    c.variance = dvariance;
    c.log_evidence = 0.375;
  }
  c.state = seqbayes::StepVjp<L<double>>::final_state(layer, {});
  c.state->mean = weights.topLeftCorner(dk, dv);

  for (const Execution how : {Execution::sequential(), Execution(), Execution::chunked(3)}) {
    INFO("chunk " << how.chunk());
    const auto got = seqbayes::scan_vjp(layer, layer.initial_state(), stream.view(), c, how);
    // Sums of some 7 * 12 products of order 1.
    const auto check = [](double value, double want) {
      CHECK(std::abs(value - want) <= 1e-12 * (1 + std::abs(want)));
    };
    const auto jets = make<L<Jet>>(map);
    auto dual = stream.template as<Jet>();
    int fields = 0;
    seqbayes::for_each_field(
        [&](const char* name, auto, const Matrix<double>& all, Matrix<Jet>& entries) {
          if (all.size() == 0) return;
          INFO(name);
          ++fields;
          REQUIRE(all.size() == entries.size());
          for (Index i = 0; i < all.size(); ++i) {
            entries.data()[i].v[0] = 1;
            check(all.data()[i], loss(jets, dual, weights).v[0]);
            entries.data()[i].v[0] = 0;
          }
        },
        static_cast<const seqbayes::Fields<Matrix<double>>&>(got), dual.fields);
    CHECK(fields >= 4);
    if constexpr (requires { got.options.feature_map; }) {
      for (Index i = 0; i < dk; ++i) {
        for (Index j = 0; j < dk; ++j) {
          auto options = jets.options();
          options.feature_map(i, j).v[0] = 1;
          check(got.options.feature_map(i, j), loss(L<Jet>(options), dual, weights).v[0]);
        }
      }
    }
    if constexpr (L<double>::has_variance) {
      auto options = jets.options();
      options.prior_variance.v[0] = 1;
      check(got.prior_variance, loss(L<Jet>(options), dual, weights).v[0]);
    }
  }
}

TEST_CASE("own axes: gradients equal forward mode") {
  SECTION("low rank plus diagonal") { gradients_equal_forward_mode<DynamicLowRank>(); }
  SECTION("low rank plus diagonal, by channel") { gradients_equal_forward_mode<ChannelLowRank>(); }
  SECTION("decay by value channel") { gradients_equal_forward_mode<DynamicValueDecay>(); }
  SECTION("feature map") { gradients_equal_forward_mode<DynamicFeature>(); }
}

/// Tiles and single tokens are the same recurrence, rounded differently: 150 tokens of entries of
/// order 1, each with some ten roundings.
template <class L>
void tiles_equal_steps() {
  const auto layer = make<L>();
  const auto stream = laws::draw_stream(layer.inputs(), 150, 31);
  auto state = layer.initial_state(), step_state = state;
  const auto got = seqbayes::scan(layer, state, stream.view());
  const auto want = seqbayes::scan(layer, step_state, stream.view(), Execution::sequential());
  CHECK((got.mean - want.mean).cwiseAbs().maxCoeff() <= 1e-13 * 150);
  CHECK((state.mean - step_state.mean).cwiseAbs().maxCoeff() <= 1e-13 * 150);
  CHECK(want.mean.cwiseAbs().maxCoeff() > 0.1);
  if constexpr (L::has_variance)
    CHECK(got.log_evidence == Approx(want.log_evidence).epsilon(1e-12));
}

TEST_CASE("own axes: tiles equal steps, of static and dynamic widths") {
  tiles_equal_steps<LowRank<double>>();
  tiles_equal_steps<LowRank<double, dk, dv>>();
  tiles_equal_steps<Feature<double>>();
  tiles_equal_steps<Feature<double, dk, dv>>();
  tiles_equal_steps<ValueDecay<double, dk, dv>>();
}

TEST_CASE("own axes: a covariance of low rank is the full one until it forgets") {
  const auto agree = [](Index tokens) {
    const auto low = make<LowRank<double>>();
    const auto full = make<seqbayes::BayesianLayer<double>>();
    const auto stream = laws::draw_stream(low.inputs(), tokens, 37);
    auto low_state = low.initial_state();
    auto full_state = full.initial_state();
    const auto a = seqbayes::scan(low, low_state, stream.view());
    const auto b = seqbayes::scan(full, full_state, stream.view());
    return (a.variance - b.variance).cwiseAbs().maxCoeff();
  };
  CHECK(agree(2) <= 1e-14);  // two writes of rank 2: rounding alone
  CHECK(agree(9) >= 1e-3);
}

TEST_CASE("own axes: a value channel that decays is a layer of its own") {
  const auto layer = make<ValueDecay<double>>();
  const auto stream = laws::draw_stream(layer.inputs(), 20, 41);
  auto state = layer.initial_state();
  const auto out = seqbayes::scan(layer, state, stream.view());
  for (Index j = 0; j < dv; ++j) {
    const seqbayes::GatedDeltaNet<double> one(
        {.key_dim = dk, .value_dim = 1, .prior_variance = 1.25});
    auto x = stream.view();
    const Matrix<double> value = stream.fields.value.col(j), decay = stream.fields.log_decay.col(j);
    x.value = value;
    x.log_decay = decay;
    auto one_state = one.initial_state();
    // 20 tokens of entries of order 1.
    CHECK((seqbayes::scan_mean(one, one_state, x) - out.mean.col(j)).cwiseAbs().maxCoeff() <=
          1e-13);
  }
}

TEST_CASE("a model that is no filter has the gain pass of its covariance, in groups, too") {
  using L = seqbayes::Layer<double, Eigen::Dynamic, Eigen::Dynamic, seqbayes::SeparateEraseKey,
                            seqbayes::ScalarDecay, seqbayes::FullCovariance>;
  static_assert(!seqbayes::ProbabilisticLayer<L> && seqbayes::GroupPolicy<L::Policy, double>);
  typename L::Options options;
  options.key_dim = dk;
  options.value_dim = dv;
  const L layer(options);
  const auto stream = laws::draw_stream(layer.inputs(), 150, 47);
  auto state = layer.initial_state(), step_state = state;
  const auto got = seqbayes::scan_mean(layer, state, stream.view());
  const auto want = seqbayes::scan_mean(layer, step_state, stream.view(), Execution::sequential());
  CHECK((got - want).cwiseAbs().maxCoeff() <= 1e-13 * 150);
  const seqbayes::BayesianLayer<double> filter(options);
  auto filter_state = filter.initial_state();
  seqbayes::scan(filter, filter_state, stream.view());
  CHECK((state.covariance - filter_state.covariance).cwiseAbs().maxCoeff() <= 1e-14);
}

/// A policy that is derived from one of the library's and has another gain.
struct Noisier : seqbayes::FullCovariance {
  template <int Dk, class Scalar, class Options, class Decay, class Stored, class Gain>
  static Scalar gain(const Options& options, const seqbayes::Token<Scalar>& token,
                     const Decay& decay, Stored& stored, Gain& gain) {
    seqbayes::Token<Scalar> noisier = token;
    const Scalar noise = 4 * token.observation_noise[0];
    noisier.observation_noise = {&noise, 1};
    return seqbayes::FullCovariance::gain<Dk>(options, noisier, decay, stored, gain);
  }
};
static_assert(!seqbayes::GroupPolicy<Noisier, double> && !seqbayes::DifferentiablePolicy<Noisier>);

TEST_CASE("a derived policy's own gain is what tiles use") {
  tiles_equal_steps<seqbayes::Layer<double, dk, dv, seqbayes::AssociativeRegression,
                                    seqbayes::ScalarDecay, Noisier>>();
}

/// A decay of the field that checks options, one with a single entry for all channels, and one that
/// reads an option of the model's.
struct Checked : seqbayes::ScalarDecay {
  using Self = Checked;
  static void check_options(const auto&) {}
};
struct OneForAll : seqbayes::ChannelDecay {
  using Self = OneForAll;
  template <class Scalar, class Options>
  static Vector<Scalar> log_decay(const seqbayes::Token<Scalar>& token, const Options&) {
    return Vector<Scalar>::Constant(1, token.log_decay[0]);
  }
};
struct ByFeature : seqbayes::ScalarDecay {
  template <class Scalar, class Options>
  static auto log_decay(const seqbayes::Token<Scalar>& token, const Options& options) {
    return Scalar(token.log_decay[0] * options.feature_map(0, 0));
  }
};

TEST_CASE("own decays: gradients, single entries, options of the model's") {
  using Known = seqbayes::GatedDeltaNet<double>;
  using Own = seqbayes::Layer<double, Eigen::Dynamic, Eigen::Dynamic,
                              seqbayes::AssociativeRegression, Checked, seqbayes::ResetCovariance>;
  const auto stream = laws::draw_stream(make<Known>().inputs(), 20, 53);
  const Matrix<double> dmean = Matrix<double>::Ones(20, dv);
  seqbayes::Cotangent<Own> c;
  seqbayes::Cotangent<Known> known_c;
  c.mean = known_c.mean = dmean;
  const Known known = make<Known>();
  const Own own = make<Own>();
  CHECK(seqbayes::scan_vjp(own, own.initial_state(), stream.view(), c).log_decay ==
        seqbayes::scan_vjp(known, known.initial_state(), stream.view(), known_c).log_decay);

  const auto mean = [&](const auto& layer, const auto& x, Execution how) {
    auto state = layer.initial_state();
    return seqbayes::scan_mean(layer, state, x, how);
  };
  using Single = seqbayes::Layer<double, dk, dv, seqbayes::AssociativeRegression, OneForAll,
                                 seqbayes::ResetCovariance>;
  const Single single = make<Single>();
  // 20 tokens of entries of order 1.
  for (const Execution how : {Execution::sequential(), Execution()}) {
    CHECK((mean(single, stream.view(), how) - mean(known, stream.view(), how))
              .cwiseAbs()
              .maxCoeff() <= 1e-13);
  }
  using Both = seqbayes::Layer<double, dk, dv, FeatureMap, ByFeature, seqbayes::ResetCovariance>;
  const Both both = make<Both>();
  CHECK((mean(both, stream.view(), {}) - mean(both, stream.view(), Execution::sequential()))
            .cwiseAbs()
            .maxCoeff() <= 1e-13);
}

/// A layer that is derived from one of the library's and steps differently.
struct Doubled : seqbayes::GatedDeltaNet<double> {
  using Base = seqbayes::GatedDeltaNet<double>;
  using Base::Base;
  auto step(State& state, const seqbayes::Token<double>& token) const {
    auto out = Base::step(state, token);
    out.mean *= 2;
    return out;
  }
  auto step_mean(State& state, const seqbayes::Token<double>& token) const {
    auto out = Base::step_mean(state, token);
    out.mean *= 2;
    return out;
  }
};
static_assert(!seqbayes::runs_tiled<Doubled>);

TEST_CASE("a derived layer's own step is what a scan runs") {
  const Doubled layer({.key_dim = dk, .value_dim = dv});
  const auto stream = laws::draw_stream(layer.inputs(), 20, 43);
  auto state = layer.initial_state(), base_state = state;
  const Matrix<double> got = seqbayes::scan_mean(layer, state, stream.view());
  const Matrix<double> once = seqbayes::scan_mean(
      static_cast<const Doubled::Base&>(layer), base_state, stream.view(), Execution::sequential());
  CHECK(got == 2 * once);
}

}  // namespace
