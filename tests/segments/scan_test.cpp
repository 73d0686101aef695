// One sequence over several workers: what a scan by one yields, for any split.
#include <seqbayes/segments/scan.hpp>

#include <laws/layers.hpp>
#include <laws/run.hpp>

namespace laws::segments_scan_test {

using seqbayes::Split;
using seqbayes::Threads;

template <class Layer, class Executor>
Run<Real> run_split(const Executor& executor, Split split, const Layer& layer,
                    typename Layer::State state,
                    const seqbayes::Sequence<typename Layer::Scalar>& x) {
  const auto out = scan(executor, split, layer, state, x);
  return noted<Layer>(out, state);
}

/// Runs tasks from the last to the first, on one thread.
struct Backwards {
  template <class Task>
  void operator()(Index tasks, const Task& task) const {
    for (Index i = tasks; i-- > 0;) task(i);
  }
};

const std::vector<Split> splits = {{1, 1}, {1, 2}, {1, 3}, {1, 6}, {2, 1}, {3, 1}, {100, 1}};

/// Layers that compose, and one of each kind that does not.
template <class S, int Dk = any, int Dv = any>
using Layers =
    Join<Corners<S, Dk, Dv>,
         std::tuple<seqbayes::LinearAttention<S, Dk, Dv>, seqbayes::Retention<S, Dk, Dv>,
                    seqbayes::GatedDeltaNet2<S, Dk, Dv>, seqbayes::GatedDeltaProduct<S, 2, Dk, Dv>,
                    seqbayes::PreconditionedGatedDeltaNet<S, Dk, Dv>, seqbayes::Rwkv7<S, Dk, Dv>>>;

TEMPLATE_LIST_TEST_CASE("split scan: equals the reference, whoever runs it", "[segments]",
                        Layers<double>) {
  Setup<double> setup{5, 37, 1.25};
  setup.input_variance = 0.5;
  const auto layer = make<TestType>(setup);
  for (const Hardship& hard : hardships()) {
    INFO(describe(layer) << ", " << hard.name);
    const auto stream = draw_hard_stream(hard, 41, layer.inputs(), 29, 42);
    const auto [x, start, want, bounds] = trial(layer, setup, stream);
    for (const Split split : splits) {
      INFO(split.columns << " groups of columns, " << split.pieces << " pieces");
      const auto got = run_split(Threads{2}, split, layer, start, x.view());
      check_close(got, want, bounds);
      check_equal(run_split(Backwards(), split, layer, start, x.view()), got);
    }
  }
}

TEMPLATE_TEST_CASE("split scan: layers of static widths", "[segments]",
                   (seqbayes::BayesianLayer<float, 8, 40>),
                   (seqbayes::GatedDeltaNet<float, 8, 40>)) {
  const Setup<double> setup{8, 40};
  const auto layer = make<TestType>(setup);
  const auto stream = draw_stream(layer.inputs(), 700, 44);
  const auto [x, start, want, bounds] = trial(layer, setup, stream);
  for (const Split split : splits) {
    check_close(run_split(Threads{2}, split, layer, start, x.view()), want, bounds);
  }
}

TEST_CASE("split scan: innovations are those of one scan", "[segments]") {
  using Layer = seqbayes::BayesianLayer<double>;
  const auto layer = make<Layer>(Setup<double>{4, 20});
  const auto stream = draw_stream(layer.inputs(), 300, 45);
  auto state = some_state(layer);
  const auto start = state;
  const auto want = scan(layer, state, stream.view());
  for (const Split split : splits) {
    state = start;
    const auto got = scan(Threads{2}, split, layer, state, stream.view());
    // Sums of squares of 20 channels, of which each has the error of its memory.
    CHECK((got.innovation_variance - want.innovation_variance).norm() <
          1e-13 * want.innovation_variance.norm());
    CHECK((got.innovation_norm2 - want.innovation_norm2).norm() <
          1e-13 * want.innovation_norm2.norm());
  }
}

// A group of columns holds the results of so many tokens only.
TEST_CASE("split scan: longer than a run of columns", "[segments]") {
  using Layer = seqbayes::GatedDeltaNet<float>;
  const auto layer = make<Layer>(Setup<double>{4, 40});
  const auto x = draw_stream(layer.inputs(), seqbayes::detail::column_run + 70, 48).as<float>();
  auto whole = layer.initial_state(), split = whole;
  const auto want = scan(layer, whole, x.view());
  seqbayes::Output<float> got;
  scan(Threads{2}, Split{2, 1}, layer, split, x.view(), got);
  // Columns don't meet: the same operations.
  CHECK(got.mean == want.mean);
  CHECK(split == whole);
  CHECK(got.variance == want.variance);
  CHECK(got.log_evidence == Approx(want.log_evidence).epsilon(1e-6));
  got.mean = x.fields.value;
  seqbayes::Sequence<float> own = x.view();
  own.value = got.mean;
  CHECK_THROWS_WITH(scan(Threads{2}, Split{1, 3}, layer, split, own, got),
                    Catch::Contains("out.mean shares memory with value"));
  own.value = x.fields.value;
  own.write_strength = got.innovation_variance;
  CHECK_THROWS_WITH(scan(Threads{2}, Split{2, 1}, layer, split, own, got),
                    Catch::Contains("out.innovation_variance shares memory with write_strength"));
}

// In units of 1e16 of values: what pieces know of the start is near 1 / sigma^2 = 1e-32.
TEST_CASE("split scan: large units of values", "[segments]") {
  const Index length = 768;
  for (const float unit : {1e-16f, 1.0f, 1e16f}) {
    INFO("unit " << unit);
    const seqbayes::BayesianLayer<float> layer(
        {.key_dim = 1, .value_dim = 1, .prior_variance = unit * unit});
    const Matrix<float> key = Matrix<float>::Ones(length, 1), value = key * unit;
    seqbayes::Sequence<float> x{.query = key, .key = key, .value = value};
    x.log_decay = x.process_noise = seqbayes::constant(0.0f, length);
    x.observation_noise = seqbayes::constant(unit * unit, length);
    auto state = layer.initial_state();
    const auto out = scan(Threads{1}, Split{1, 3}, layer, state, x);
    // n values of noise sigma^2 beside the prior: mean n / (n + 1), variance sigma^2 / (n + 1);
    // 1e-5 is some roundings of each of the tokens, at random.
    CHECK(state.mean(0, 0) / unit == Approx(768.0 / 769).epsilon(1e-5));
    CHECK(state.covariance(0, 0) / unit / unit == Approx(1.0 / 769).epsilon(1e-4));
    CHECK(out.mean(400, 0) / unit == Approx(401.0 / 402).epsilon(1e-5));
  }
}

TEST_CASE("split scan: several writes of a filter don't compose") {
  using Layer = seqbayes::SeveralWrites<seqbayes::BayesianLayer<double>, 2>;
  CHECK_FALSE(seqbayes::ComposableLayer<Layer>);
}

TEST_CASE("split scan: bad input is refused and leaves the state as it was", "[segments]") {
  using Layer = seqbayes::GatedDeltaNet<double>;
  const auto layer = make<Layer>(Setup<double>{4, 40});
  const auto good = draw_stream(layer.inputs(), 40, 46);
  const auto start = some_state(layer);
  const auto refuses = [&](const auto& stream, const std::string& field, const std::string& what) {
    for (const Split split : splits) {
      INFO(split.columns << " groups of columns, " << split.pieces << " pieces");
      auto state = start;
      CHECK_THROWS_WITH(scan(Threads{2}, split, layer, state, stream.view()),
                        Catch::Contains("seqbayes: " + field + " (40 x") && Catch::Contains(what));
      CHECK(state == start);
    }
  };
  for (const Index row : {0, 13, 37}) {
    auto bad = good;
    bad.fields.key(row, 1) = infinity;
    refuses(bad, "key", "row " + std::to_string(row) + ":");
    bad = good;
    bad.fields.value(row, 39) = infinity;
    refuses(bad, "value", "row " + std::to_string(row) + ":");
  }
  auto narrow = good;
  narrow.fields.value.conservativeResize(40, 39);
  auto state = start;
  for (const Split split : splits) {
    CHECK_THROWS_WITH(scan(Threads{2}, split, layer, state, narrow.view()),
                      Catch::Contains("value is 40 x 39, expected 40 x 40"));
  }
  CHECK(state == start);
}

TEST_CASE("split scan: columns where that suffices, else pieces, else neither", "[segments]") {
  const auto split_of = [](const auto& layer, Index length, int workers) {
    using Scalar = typename std::remove_cvref_t<decltype(layer)>::Scalar;
    const auto x = draw_stream(layer.inputs(), length, 47).template as<Scalar>();
    return split_for(layer, x.view(), workers);
  };
  const Index lanes = seqbayes::detail::sweep_lanes<float>;
  const auto full = make<seqbayes::BayesianLayer<float>>(Setup<double>{8, 4 * lanes});
  const auto reset = make<seqbayes::GatedDeltaNet<float>>(Setup<double>{8, 4 * lanes});
  const auto diagonal = make<seqbayes::DiagonalKalmanDeltaNet<float>>(Setup<double>{8, lanes});
  CHECK(split_of(full, 5000, 1).columns == 1);
  CHECK(split_of(full, 5000, 1).pieces == 1);
  CHECK(split_of(reset, 5000, 4).columns == 4);  // 6.5 / (0.5 + 6 / 4): 3.3 times as fast
  CHECK(split_of(reset, 5000, 4).pieces == 1);
  CHECK(split_of(reset, 9000, 16).columns == 1);  // 7 times in pieces
  CHECK(split_of(full, 9000, 16).pieces == 17);
  CHECK(split_of(full, 5000, 2).pieces == 3);
  CHECK(split_of(full, 5000, 2).columns == 1);  // each group would have the gain pass of all
  CHECK(split_of(full, 100, 16).pieces == 1);   // too short for pieces
  CHECK(split_of(full, 100, 16).columns == 1);
  CHECK(split_of(diagonal, 9000, 16).columns == 1);  // neither composes nor has other columns
  CHECK(split_of(diagonal, 9000, 16).pieces == 1);
}

// Columns of a model that mixes value channels can't be told apart; one with options of its own has
// no narrower sister.
struct Normalised : seqbayes::AssociativeRegression {
  template <int Dv, class Scalar, class Options>
  static seqbayes::Vector<Scalar, Dv> target(const seqbayes::Token<Scalar>& token, const Options&) {
    return token.value.template vector<Dv>().normalized();
  }
};
struct Amplified : seqbayes::AssociativeRegression {
  template <class PolicyOptions>
  struct Options : PolicyOptions {
    double gain = 2;
  };
  template <int Dv, class Scalar, class Options>
  static seqbayes::Vector<Scalar, Dv> target(const seqbayes::Token<Scalar>& token,
                                             const Options& options) {
    return token.value.template vector<Dv>() * Scalar(options.gain);
  }
};

TEMPLATE_TEST_CASE("split scan: a user's model keeps its columns together", "[segments]",
                   Normalised, Amplified) {
  using Layer =
      seqbayes::Layer<double, any, any, TestType, seqbayes::NoDecay, seqbayes::ResetCovariance>;
  typename Layer::Options options;
  options.key_dim = 4;
  options.value_dim = 64;
  const Layer layer(options);
  const auto stream = draw_stream(layer.inputs(), 300, 51);
  auto one = layer.initial_state(), split = one;
  const auto want = run(layer, one, stream.view());
  const auto out = seqbayes::scan(seqbayes::Threads{2}, layer, split, stream.view());
  check_equal(noted<Layer>(out, split), want);
  split = layer.initial_state();
  const auto asked =
      seqbayes::scan(seqbayes::Threads{2}, {.columns = 2}, layer, split, stream.view());
  check_equal(noted<Layer>(asked, split), want);
}

}  // namespace laws::segments_scan_test
