// Gradients of the layers that keep information: MesaNet and Kalman Linear Attention.
#include "equals_forward_mode.hpp"

#include <laws/information.hpp>

namespace gradient::information_test {
namespace {

using InDouble = InformationLayers<double, 3, 2>;

TEMPLATE_LIST_TEST_CASE("information layers: gradients equal forward mode", "", InDouble) {
  gradients_equal_forward_mode<TestType>();
}

using InFloat = InformationLayers<float>;
TEMPLATE_LIST_TEST_CASE("float, dynamic widths: gradients of information layers equal forward mode",
                        "", InFloat) {
  // As in double, but for an error of 6e-8 an operation.
  gradients_equal_forward_mode<TestType>(2e-5);
}

struct Both {
  std::vector<Part> got, want;
};

/// `options_of(type_identity<Layer>)` yields the options for any scalar.
template <class L, class OptionsOf>
Both of_options(const OptionsOf& options_of, const typename L::State& start,
                const Stream<double>& stream) {
  using Dual = Rebind<L, Jet>;
  const L layer(options_of(std::type_identity<L>()));
  const Loss<L> loss = draw_loss(layer, stream.length());
  CotangentOwner<typename L::Scalar, L> cotangent;
  look_at(cotangent, loss);
  const auto x = stream.as<typename L::Scalar>();
  return {parts(seqbayes::scan_vjp(layer, start, x.view(), cotangent.view)),
          forward_mode<L>(options_of(std::type_identity<Dual>()), start, stream, loss)};
}

TEMPLATE_TEST_CASE("MesaNet with hardly any ridge, where keys span no space", "", float, double) {
  using L = seqbayes::MesaNet<TestType, 3, 2>;
  constexpr bool is_float = std::is_same_v<TestType, float>;
  const double ridge = is_float ? 0x1p-10 : 0x1p-30;
  const auto options = [=]<class M>(std::type_identity<M>) {
    using Ridge = decltype(typename M::Options{}.ridge);
    return typename M::Options{.ridge = Ridge::Constant(3, typename M::Scalar(ridge))};
  };
  const L layer(options(std::type_identity<L>()));
  // The matrix to be solved has a trace of 7, and so a condition of at most 7 / ridge. The largest
  // derivatives have two solves in them, each off by about Dk = 3 units times the condition.
  const double bound = 2 * 3 * 7 * double(std::numeric_limits<TestType>::epsilon()) / ridge;
  for (const int distinct : {1, 2, 0}) {  // 0: zero keys between repeated ones
    INFO("distinct keys " << distinct);
    auto stream = draw_stream(layer.inputs(), 7, 109);
    auto& key = stream.fields.key;
    for (Index t = 0; t < 7; ++t) {
      key.row(t) = key.row(distinct == 2 ? t % 2 : 0).eval();
      if (distinct == 0 && t % 2 == 1) key.row(t).setZero();
    }
    const auto [got, want] = of_options<L>(options, layer.initial_state(), stream);
    check_parts(got, want, bound);
  }
}

TEMPLATE_TEST_CASE("Kalman Linear Attention where decays, noises and writes are extreme", "", float,
                   double) {
  using L = seqbayes::KalmanLinearAttention<TestType, 3, 2>;
  for (const bool prior : {false, true}) {
    for (const double floor : {0x1p-40, 0.09375}) {
      INFO("decode from prior " << prior << ", floor " << floor);
      const auto options = [=]<class M>(std::type_identity<M>) {
        using S = typename M::Scalar;
        typename M::Options made;
        made.decay.resize(2, 3);
        made.decay << S(1), S(0.5), S(0), S(0x1p-20), S(1), S(1.25);
        made.process_noise.resize(2, 3);
        made.process_noise << S(0), S(0.0625), S(0.125), S(0x1p-20), S(1024), S(0);
        made.decode_from_prior = prior;
        made.floor = S(floor);
        return made;
      };
      const L layer(options(std::type_identity<L>()));
      auto stream = draw_stream(layer.inputs(), 9, 113);
      auto& x = stream.fields;
      for (Index t = 2; t < 9; t += 3) x.key.row(t).setZero();
      x.key.row(4) = x.key.row(3);
      cycle(x.value_precision, {1, 1e-6, 0, 1e4, 0.5});
      // Products of quotients have a few units each, whatever their size (1e-4 to 1e11 here); sums
      // over tokens and channels that cancel lose up to three digits more.
      const double bound = 2048 * double(std::numeric_limits<TestType>::epsilon());
      const auto [got, want] = of_options<L>(options, some_state(layer), stream);
      REQUIRE(got.size() == want.size());
      for (std::size_t i = 0; i < want.size(); ++i) {
        REQUIRE(got[i].entries.size() == want[i].entries.size());
        for (std::size_t j = 0; j < want[i].entries.size(); ++j) {
          const long double entry = want[i].entries[j];
          INFO(want[i].name << ", entry " << j << ": " << got[i].entries[j] << ", not " << entry);
          CHECK(std::abs(got[i].entries[j] - entry) <= bound * std::abs(entry));
        }
      }
    }
  }
}

template <class L>
struct Run {
  Setup<double> setup{3, 2};
  L layer = make<L>(setup);
  Stream<double> stream = draw_stream(layer.inputs(), 23, 127);
  typename L::State start = some_state(layer);
  Loss<L> loss = draw_loss(layer, 23);
  CotangentOwner<double, L> cotangent;
  Run() { look_at(cotangent, loss); }
};

TEMPLATE_LIST_TEST_CASE("information layers: any distance of checkpoints, the same bits", "",
                        InDouble) {
  using L = TestType;
  const Run<L> run;
  Gradient<L> gradient;
  const auto with = [&](Execution how) {  // memory is used again
    seqbayes::scan_vjp(run.layer, run.start, run.stream.view(), run.cotangent.view, gradient, how);
    return parts(gradient);
  };
  const auto want = with({});
  for (const Index tokens : {1, 2, 5, 22, 23, 1000}) {
    check_parts(with(Execution::chunked(tokens)), want, 0);
  }
}

TEMPLATE_LIST_TEST_CASE("information layers: the gradient of a run is that of its parts", "",
                        InDouble) {
  using L = TestType;
  const Run<L> run;
  const auto x = run.stream.view();
  const auto want = seqbayes::scan_vjp(run.layer, run.start, x, run.cotangent.view);
  for (const Index split : {0, 1, 9, 23}) {
    auto middle = run.start;
    if (split > 0) seqbayes::scan_mean(run.layer, middle, x.tokens(0, split));
    Cotangent<L> first = run.cotangent.view, second = first;
    first.mean = second.mean.rows(0, split);
    second.mean = second.mean.rows(split, 23 - split);
    auto tail = seqbayes::scan_vjp(run.layer, middle, x.tokens(split, 23 - split), second);
    first.state = tail.initial_state;
    auto got = seqbayes::scan_vjp(run.layer, run.start, x.tokens(0, split), first);
    seqbayes::for_each_field(
        [&](auto, auto, Matrix<double>& head, const Matrix<double>& rest) {
          if (rest.cols() == 0) return;
          Matrix<double> both(23, rest.cols());
          both << head, rest;
          head = both;
        },
        got, tail);
    if constexpr (requires { got.options.ridge; }) {
      got.options.ridge += tail.options.ridge;
    } else {
      got.options.decay += tail.options.decay;
      got.options.process_noise += tail.options.process_noise;
    }
    // The same sums, grouped otherwise: rounding of 23 tokens.
    check_parts(parts(got), parts(want), 1e-14);
  }
}

TEST_CASE("MesaNet: derivatives through what is not resolved are NaN, all others are right") {
  using L = seqbayes::MesaNet<double, 3, 2>;
  const L layer({.ridge = Eigen::Vector3d::Constant(0x1p-50)});
  auto stream = draw_stream(layer.inputs(), 7, 109);
  // Up to token 2 keys leave a direction out.
  auto loss = draw_loss(layer, 7);
  const auto gradient = [&] {
    CotangentOwner<double, L> cotangent;
    look_at(cotangent, loss);
    return seqbayes::scan_vjp(layer, layer.initial_state(), stream.view(), cotangent.view);
  };
  CHECK(gradient().key.array().isNaN().any());
  CHECK(gradient().options.ridge.array().isNaN().all());
  loss.mean.topRows(3).setZero();
  const auto got = parts(gradient());
  using Dual = Rebind<L, Jet>;
  const auto want =
      forward_mode<L>(Dual::Options{.ridge = Dual::Options{}.ridge.Constant(3, Jet(0x1p-50))},
                      layer.initial_state(), stream, loss);
  // Ill-conditioned tokens are left out; the others' sums have a condition of some 1e3.
  check_parts(got, want, 1e-11);
}

TEST_CASE("MesaNet: a key moment's derivative is symmetric, its cotangent taken so") {
  using L = seqbayes::MesaNet<double, 3, 2>;
  Run<L> run;
  const auto gradient = [&] {
    return seqbayes::scan_vjp(run.layer, run.start, run.stream.view(), run.cotangent.view);
  };
  const auto want = gradient();
  CHECK(want.initial_state.key_moment == want.initial_state.key_moment.transpose());
  run.cotangent.view.state->key_moment(0, 1) += 0.5;
  run.cotangent.view.state->key_moment(1, 0) -= 0.5;
  // a + 1/2 and b - 1/2 round before their mean is taken.
  check_parts(parts(gradient()), parts(want), 1e-14);
}

TEMPLATE_LIST_TEST_CASE("information layers: what a cotangent leaves empty counts as zero", "",
                        InDouble) {
  const Run<TestType> run;
  const auto got = parts(seqbayes::scan_vjp(run.layer, run.start, run.stream.view(), {}));
  for (const Part& part : got) {
    INFO(part.name);
    CHECK(part.size() == 0);
    const bool of_grid = part.name.find(' ') != std::string::npos && part.entries.size() == 1;
    CHECK((of_grid || part.entries.size() > 2));
  }
}

}  // namespace
}  // namespace gradient::information_test
