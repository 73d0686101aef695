// A workspace holds no results: whatever ran in it before, a scan gives the numbers of a fresh one.
#include <algorithm>
#include <cmath>
#include <functional>
#include <random>
#include <utility>

#include <laws/layers.hpp>
#include <laws/run.hpp>

namespace {

using laws::any;
using laws::Stream;
using seqbayes::Index;
using seqbayes::Matrix;
using seqbayes::Workspace;

/// What a job left behind: numbers in a row.
template <class Scalar>
using Trace = std::vector<Scalar>;

template <class Scalar, class Kept>
void note(Trace<Scalar>& trace, const Kept& kept) {
  if constexpr (requires { kept.data(); }) {
    trace.insert(trace.end(), kept.data(), kept.data() + kept.size());
  } else if constexpr (std::is_same_v<Kept, Scalar>) {
    trace.push_back(kept);
  }
}

/// A layer over a sequence, twice: `scan`, and then `scan_mean` from the state that it left.
template <class Layer>
struct Job {
  using Scalar = typename Layer::Scalar;
  Layer layer;
  Stream<Scalar> stream;

  Trace<Scalar> operator()(Workspace<Scalar>& workspace) const {
    auto state = laws::some_state(layer);
    seqbayes::OutputOf<Layer> out;
    Matrix<Scalar> mean;
    seqbayes::scan(layer, state, stream.view(), out, workspace);
    seqbayes::scan_mean(layer, state, stream.view(), mean, workspace);
    Trace<Scalar> trace;
    note(trace, out.mean);
    note(trace, mean);
    note(trace, state.mean);
    note(trace, state.covariance);
    if constexpr (seqbayes::ProbabilisticLayer<Layer>) {
      note(trace, out.variance);
      note(trace, out.log_evidence);
    }
    return trace;
  }
};

template <class Scalar>
using Jobs = std::vector<std::function<Trace<Scalar>(Workspace<Scalar>&)>>;

template <class Layer>
void add(Jobs<typename Layer::Scalar>& jobs, Index key_dim, Index value_dim, Index length,
         double scale = 1) {
  const auto layer =
      laws::make<Layer>(laws::Setup<double>{.key_dim = key_dim, .value_dim = value_dim});
  auto stream = laws::draw_stream(layer.inputs(), length, std::uint64_t(length));
  stream.fields.query *= scale;
  stream.fields.key *= scale;
  stream.fields.value *= scale;
  jobs.push_back(Job<Layer>{layer, stream.template as<typename Layer::Scalar>()});
}

template <class S>
using Layers = laws::Join<laws::Corners<S>,
                          std::tuple<seqbayes::LinearAttention<S>, seqbayes::DeltaNet<S>,
                                     seqbayes::BayesianLayer<S, any, any, seqbayes::NoDecay>,
                                     seqbayes::BayesianLayer<S, any, any, seqbayes::ChannelDecay>,
                                     seqbayes::Comba<S>, seqbayes::GatedDeltaNet2<S>,
                                     seqbayes::PreconditionedGatedDeltaNet<S>, seqbayes::Rwkv7<S>>>;

/// Every layer small and short, small and long, wide and short, wide and long. The widths are no
/// multiples of a vector, the lengths none of a group or a tile.
template <class S>
Jobs<S> ordinary_jobs() {
  Jobs<S> jobs;
  const auto all = [&]<class... L>(std::tuple<L...>*) {
    (add<L>(jobs, 3, 5, 2), ...);
    (add<L>(jobs, 5, 3, 131), ...);
    (add<L>(jobs, 33, 70, 6), ...);
    (add<L>(jobs, 21, 19, 142), ...);
  };
  all(static_cast<Layers<S>*>(nullptr));
  return jobs;
}

/// Legal input so large that every buffer ends up with infinities and not-a-numbers. Wider and
/// longer than any ordinary job: all that those use has been spoiled.
template <class S>
Jobs<S> extreme_jobs() {
  Jobs<S> jobs;
  // No normal variate exceeds 9, so that every entry is still finite.
  const double huge = double(std::numeric_limits<S>::max()) / 16;
  const auto all = [&]<class... L>(std::tuple<L...>*) { (add<L>(jobs, 41, 83, 150, huge), ...); };
  all(static_cast<Layers<S>*>(nullptr));
  return jobs;
}

/// Whether all means are finite; the evidence of a flat prior is not.
template <class S>
bool is_finite(const Trace<S>& trace) {
  return std::all_of(trace.begin(), trace.end() - 1, [](S x) { return std::isfinite(x); });
}

template <class S>
std::vector<Trace<S>> run_fresh(const Jobs<S>& jobs) {
  std::vector<Trace<S>> traces;
  for (const auto& job : jobs) {
    Workspace<S> fresh;
    traces.push_back(job(fresh));
    REQUIRE(is_finite(traces.back()));
  }
  return traces;
}

TEMPLATE_TEST_CASE("Layers of all kinds and widths share a workspace in any order", "", float,
                   double) {
  const auto jobs = ordinary_jobs<TestType>();
  const auto want = run_fresh(jobs);
  std::vector<std::size_t> order(jobs.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::mt19937 engine(3);
  Workspace<TestType> shared;
  for (int round = 0; round < 5; ++round) {
    for (const std::size_t i : order) {
      INFO("round " << round << ", job " << i);
      CHECK(jobs[i](shared) == want[i]);
    }
    std::shuffle(order.begin(), order.end(), engine);
  }
}

TEMPLATE_TEST_CASE("Nothing of an overflow is left in a workspace", "", float, double) {
  const auto jobs = ordinary_jobs<TestType>();
  const auto want = run_fresh(jobs);
  const auto extreme = extreme_jobs<TestType>();
  for (std::size_t e = 0; e < extreme.size(); ++e) {
    Workspace<TestType> shared;
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      if (i % 4 != e % 4 && i % extreme.size() != e) continue;  // a quarter, and its own kind
      CHECK(!is_finite(extreme[e](shared)));
      INFO("extreme " << e << ", job " << i);
      CHECK(jobs[i](shared) == want[i]);
    }
  }
}

TEST_CASE("Outputs of another size are resized, those of the right size stay where they are") {
  using Layer = seqbayes::BayesianLayer<float>;
  const auto layer = laws::make<Layer>(laws::Setup<double>{.key_dim = 5, .value_dim = 3});
  const auto stream = laws::draw_stream(layer.inputs(), 20, 1).as<float>();
  auto want_state = layer.initial_state();
  const auto want = seqbayes::scan(layer, want_state, stream.view());

  Workspace<float> workspace;
  const std::pair<Index, Index> shapes[] = {{0, 0}, {20, 3}, {3, 20}, {20, 2}, {19, 3}, {60, 1}};
  for (const auto& [rows, cols] : shapes) {
    INFO(rows << " x " << cols);
    seqbayes::Output<float> out{Matrix<float>::Ones(rows, cols),
                                seqbayes::Vector<float>::Ones(rows + cols), -1};
    Matrix<float> mean = out.mean;
    const float* const place = mean.data();
    auto state = layer.initial_state();
    seqbayes::scan(layer, state, stream.view(), out, workspace);
    REQUIRE(out.mean.rows() == 20);
    REQUIRE(out.mean.cols() == 3);
    REQUIRE(out.variance.size() == 20);
    CHECK(out.mean == want.mean);
    CHECK(out.variance == want.variance);
    CHECK(out.log_evidence == want.log_evidence);
    state = layer.initial_state();
    seqbayes::scan_mean(layer, state, stream.view(), mean, workspace);
    REQUIRE(mean.rows() == 20);
    REQUIRE(mean.cols() == 3);
    CHECK((mean - want.mean).cwiseAbs().maxCoeff() <= 1e-5f);
    if (rows * cols == 60) CHECK(mean.data() == place);
  }
}

TEST_CASE("A scan that is refused leaves output, state and workspace usable") {
  using Layer = seqbayes::KimiDeltaAttention<float>;
  const auto layer = laws::make<Layer>(laws::Setup<double>{.key_dim = 5, .value_dim = 3});
  auto stream = laws::draw_stream(layer.inputs(), 20, 1).as<float>();
  const auto start = laws::some_state(layer);
  auto want_state = start;
  const auto want = seqbayes::scan(layer, want_state, stream.view());

  Workspace<float> workspace;
  seqbayes::Output<float> out{Matrix<float>::Ones(2, 2), {}, -1};
  auto state = start;
  const float decay = std::exchange(stream.fields.log_decay(19, 4), 1.0f);
  CHECK_THROWS_AS(seqbayes::scan(layer, state, stream.view(), out, workspace),
                  std::invalid_argument);
  CHECK(state == start);
  CHECK(out.mean == Matrix<float>::Ones(2, 2));
  CHECK(out.log_evidence == -1);

  stream.fields.log_decay(19, 4) = decay;
  seqbayes::scan(layer, state, stream.view(), out, workspace);
  CHECK(state == want_state);
  CHECK(out.mean == want.mean);
}

TEST_CASE("Workspaces at work are never lent twice, idle ones are lent again") {
  seqbayes::Workspaces<float> workspaces;
  const Workspace<float>* first = nullptr;
  workspaces.lend([&](auto& outer) {
    first = &outer;
    workspaces.lend([&](auto& inner) { CHECK(&inner != first); });
  });
  workspaces.lend([&](auto& again) { CHECK(&again == first); });
}

}  // namespace
