// What decoders refuse, their spans, heads and caches, and long streams.
#include <Eigen/Eigenvalues>
#include <filesystem>
#include <seqbayes/adapters/safetensors.hpp>

#include <laws/layers.hpp>
#include <laws/run.hpp>

namespace laws {
namespace {

using seqbayes::Decoder;
using Vector = seqbayes::Vector<float>;
using Delta = seqbayes::GatedDeltaNet<float>;
using Bayes = seqbayes::BayesianLayer<float>;

template <class Layer>
Stream<float> stream_for(const Layer& layer, Index length, std::uint64_t seed = 3) {
  return draw_stream(layer.inputs(), length, seed).template as<float>();
}

TEST_CASE("The contract's lines") {
  const Delta layer({.key_dim = 6, .value_dim = 4});
  auto state = layer.initial_state();
  const auto x = stream_for(layer, 9);
  Decoder decoder(layer, state, {.pending = 8});
  for (Index t = 0; t < 5; ++t) decoder.step(x.view().token(t));
  decoder.rollback(3);
  for (Index t = 0; t < 2; ++t) layer.step(state, x.view().token(t));
  const Delta::State now = decoder.state();
  CHECK((now.mean - state.mean).norm() <= 1e-6f);  // of order 1
  Decoder<Delta, Eigen::bfloat16> small(layer, state);
  CHECK(small.options().pending == 8);
  CHECK(decoder.pending() == 2);
  CHECK(decoder.layer().key_dim() == 6);
}

TEST_CASE("Decoders refuse what they can't do, and stay as they were") {
  const Delta layer({.key_dim = 6, .value_dim = 4});
  const auto state = layer.initial_state();
  const auto refuses = [](const auto& f) { CHECK_THROWS_AS(f(), std::invalid_argument); };
  for (const Index pending : {0, -1}) {
    refuses([&] { Decoder(layer, state, {.pending = pending}); });
  }
  refuses([&] { Decoder(layer, Delta({.key_dim = 4, .value_dim = 6}).initial_state()); });

  auto x = stream_for(layer, 20);
  Decoder decoder(layer, state, {.pending = 4});
  decoder.span(x.view().tokens(0, 3));
  const auto before = decoder.state();
  refuses([&] { decoder.rollback(4); });
  refuses([&] { decoder.rollback(-1); });
  x.fields.value(19, 1) = std::numeric_limits<float>::infinity();
  for (const Index count : {1, 4, 17}) {
    refuses([&] { decoder.span(x.view().tokens(20 - count, count)); });
  }
  auto short_of_one = x.view().tokens(0, 2);
  short_of_one.write_strength = {};
  refuses([&] { decoder.span(short_of_one); });
  refuses([&] { decoder.span(x.view().tokens(0, 2), x.fields.value); });
  CHECK(decoder.pending() == 3);
  CHECK(decoder.state() == before);
}

TEST_CASE("Spans equal steps: short ones can be taken back, long ones are folded in") {
  const Bayes layer({.key_dim = 24, .value_dim = 20});
  const auto x = stream_for(layer, 60);
  Decoder one(layer, layer.initial_state(), {.pending = 8});
  for (const Index count : {0, 8, 3, 6, 30, 8, 5}) {
    const Index at = 60 - count;
    Decoder other = one;
    const bool folds = one.pending() + count > 8;
    const Matrix<float> mean = one.span(x.view().tokens(at, count));
    CHECK(one.pending() == (count > 8 ? 0 : folds ? count : other.pending() + count));
    for (Index i = 0; i < count; ++i) {
      const auto want = other.step(x.view().token(at + i)).mean;
      CHECK((want - mean.row(i).transpose()).norm() <= 3e-5f);  // 60 tokens, means of order 1
    }
    CHECK((one.state().mean - other.state().mean).norm() <= 1e-5f);
  }
}

/// Ends a pass over all tasks before it begins the next, and starts with the last.
struct Backwards {
  template <class Task>
  void operator()(Index tasks, Task&& task) const {
    for (Index i = tasks; i-- > 0;) task(i);
  }
};

TEST_CASE("Heads in one call are decoders one by one, with keys shared by groups") {
  const Index heads = 24, groups = 6;
  const Bayes layer({.key_dim = 12, .value_dim = 10});
  const auto x = stream_for(layer, heads * 11);
  std::vector<Decoder<Bayes>> together, threads, apart;
  for (Index h = 0; h < heads; ++h) {
    apart.emplace_back(layer, some_state(layer, std::uint64_t(h)),
                       seqbayes::DecoderOptions{.pending = 1 + h % 5});
  }
  together = threads = apart;
  Matrix<float> mean, by_threads;
  const Matrix<float> unread = Matrix<float>::Constant(3 * heads, 1, NAN);
  for (Index t = 0; t < 11; ++t) {
    auto row = x.view().tokens(t * heads, heads);
    row.write_strength = unread;
    row.query = row.query.rows(0, groups);
    row.key = row.key.rows(0, groups);
    row.observation_noise = seqbayes::constant(0.5f, heads);
    seqbayes::decode(Backwards(), together, row, mean);
    seqbayes::decode(seqbayes::Threads{3}, threads, row, by_threads);
    CHECK(mean == by_threads);
    for (Index h = 0; h < heads; ++h) {
      auto token = row.token(0);
      seqbayes::for_each_field(
          [h](auto, auto, const auto& field, auto& entries) {
            if (!field.empty()) entries = field.row(field.rows() == 6 ? h / 4 : h);
          },
          row, token);
      CHECK(Vector(apart[std::size_t(h)].step(token).mean) == Vector(mean.row(h)));
    }
  }
  auto bad = x.view().tokens(0, heads);
  bad.key = bad.key.rows(0, 5);
  CHECK_THROWS_WITH(seqbayes::decode(Backwards(), together, bad, mean), Catch::Contains("key"));
  bad = x.view().tokens(0, heads);
  bad.query = {};
  CHECK_THROWS_AS(seqbayes::decode(Backwards(), together, bad, mean), std::invalid_argument);
  Matrix<float> both = Matrix<float>::Ones(heads / 4, 12);  // whose memory would move
  bad = x.view().tokens(0, heads);
  bad.query = both;
  CHECK_THROWS_WITH(seqbayes::decode(Backwards(), together, bad, both), Catch::Contains("query"));
  together.pop_back();
  together.emplace_back(Bayes({.key_dim = 12, .value_dim = 9}),
                        Bayes({.key_dim = 12, .value_dim = 9}).initial_state());
  CHECK_THROWS_AS(seqbayes::decode(Backwards(), together, x.view().tokens(0, heads), mean),
                  std::invalid_argument);
  together.clear();
  seqbayes::decode(Backwards(), together, x.view().tokens(0, 1), mean);
  CHECK(mean.rows() == 0);
}

TEST_CASE("A mean may go where the query lies") {
  const Delta layer({.key_dim = 5, .value_dim = 5});
  const auto x = stream_for(layer, 6);
  Decoder decoder(layer, some_state(layer));
  Decoder other = decoder;
  for (Index t = 0; t < 6; ++t) {
    auto token = x.view().token(t);
    Vector both = token.query.vector();
    const Vector want = other.step(token).mean;
    token.query = seqbayes::RowView<float>(both.data(), 5);
    decoder.step(token, both.data());
    CHECK(both == want);
  }
}

TEST_CASE("A head's NaN is not another's") {
  const Delta layer({.key_dim = 5, .value_dim = 3});
  const auto x = stream_for(layer, 2);
  auto bad = x.view();
  const Matrix<float> decay = (Matrix<float>(2, 1) << std::nanf(""), -0.5f).finished();
  bad.log_decay = decay;
  std::vector<Decoder<Delta>> heads(2, {layer, some_state(layer)});
  Decoder alone = heads[1];
  Matrix<float> mean;
  for (const auto& row : {bad, x.view()}) {
    seqbayes::decode(seqbayes::Threads{1}, heads, row, mean);
    const Vector want = alone.step(row.token(1)).mean;
    CHECK(want.allFinite());
    CHECK(Vector(mean.row(1)) == want);
  }
}

/// A prompt that was decoded elsewhere: its state, written and read, is where another goes on.
TEST_CASE("A prompt cache is a state in a file") {
  const Bayes layer({.key_dim = 12, .value_dim = 10});
  const auto x = stream_for(layer, 30);
  Decoder decoder(layer, layer.initial_state(), {.pending = 4});
  decoder.span(x.view().tokens(0, 21));
  for (Index t = 21; t < 24; ++t) decoder.step(x.view().token(t));
  const auto state = decoder.state();
  const auto path = std::filesystem::temp_directory_path() / "seqbayes_prompt.safetensors";
  std::vector<seqbayes::safetensors::Tensor> tensors;
  state.for_each_part([&](const char* name, const auto& part) {
    tensors.push_back(seqbayes::safetensors::view(
        name, {part.rows(), part.cols()}, std::span(part.data(), std::size_t(part.size()))));
  });
  seqbayes::safetensors::write(path, tensors);

  const auto file = seqbayes::safetensors::File::read(path);
  auto cached = layer.initial_state();
  cached.for_each_part([&](const char* name, const auto& part) {
    const auto numbers = seqbayes::safetensors::values<float>(file.at(name));
    std::copy(numbers.begin(), numbers.end(), const_cast<float*>(part.data()));
  });
  std::filesystem::remove(path);
  CHECK(cached == state);
  Decoder other(layer, cached, {.pending = 4}), same(layer, state, {.pending = 4});
  const Matrix<float> rest = other.span(x.view().tokens(24, 6));
  CHECK(rest == same.span(x.view().tokens(24, 6)));
  for (Index t = 24; t < 30; ++t) {
    const Vector want = decoder.step(x.view().token(t)).mean;
    CHECK((want - rest.row(t - 24).transpose()).norm() <= 1e-5f);
  }
}

/// Relative to the largest variance.
double least_eigenvalue(const Matrix<float>& covariance) {
  const Eigen::MatrixXd p = covariance.cast<double>();
  return Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>(p).eigenvalues().minCoeff() /
         p.diagonal().maxCoeff();
}

/// 20000 tokens in float with keys that repeat and resemble each other, against steps in double.
TEST_CASE("Long streams of repeated and correlated keys keep their digits") {
  const Index length = 20000, dk = 16, dv = 4;
  const Bayes layer({.key_dim = dk, .value_dim = dv});
  const seqbayes::BayesianLayer<double> exact({.key_dim = dk, .value_dim = dv});
  for (const double noise : {1e-4, 1e-2, 1.0}) {
    auto stream = draw_slow_stream(layer.inputs(), length, 5);
    Draw draw(9);
    auto& key = stream.fields.key;
    for (Index t = 0; t < length; ++t) {
      if (t >= 8) key.row(t) = key.row(draw.below(8));
      if (t >= 8 && draw.below(2) == 0) key.row(t) += 0.01 * key.row(t - 3);
      stream.fields.observation_noise(t, 0) = noise;
    }
    stream.fields.process_noise *= 1e-3;
    // What both read has to be the same.
    const auto narrow = stream.as<float>();
    const auto wide = narrow.as<double>();
    for (const Index pending : {1, 8, 32}) {
      auto state = layer.initial_state();
      auto truth = exact.initial_state();
      Decoder decoder(layer, state, {.pending = pending});
      double of_steps = 0, of_decoder = 0, least = 0;
      for (Index t = 0; t < length; ++t) {
        const auto token = narrow.view().token(t);
        const Vector got = decoder.step(token).mean, step = layer.step_mean(state, token).mean;
        const auto want = exact.step_mean(truth, wide.view().token(t)).mean;
        of_decoder += (got.cast<double>() - want).squaredNorm();
        of_steps += (step.cast<double>() - want).squaredNorm();
        if (t % 997 == 0) {
          const auto covariance = decoder.state().covariance;
          CHECK(covariance == covariance.transpose());
          least = std::min(least, least_eigenvalue(covariance));
        }
      }
      INFO("noise " << noise << ", pending " << pending << ": " << std::sqrt(of_decoder / length)
                    << ", steps " << std::sqrt(of_steps / length) << ", least eigenvalue "
                    << least);
      // The same mistakes are possible in both, at other tokens.
      CHECK(of_decoder <= 9 * of_steps + 1e-12 * double(length));
      CHECK(least >= -64 * 1.2e-7);  // some tens of rounding units, as resolution.hpp says
    }
  }
}

/// Decoder and steps, the worst difference of means and of the last states.
template <class Layer>
double difference(const Layer& layer, const Stream<typename Layer::Scalar>& x, Index pending) {
  auto state = layer.initial_state();
  Decoder decoder(layer, state, {.pending = pending});
  double worst = 0;
  for (Index t = 0; t < x.length(); ++t) {
    const auto want = layer.step(state, x.view().token(t)).mean;
    const double error = double((decoder.step(x.view().token(t)).mean - want).norm());
    if (!(error <= worst)) worst = error;
  }
  const double of_memory = double((decoder.state().mean - state.mean).norm());
  return of_memory <= worst ? worst : of_memory;
}

/// What is left of a variance along a key that is a channel is below the rounding of what was
/// there, and a step knows it to all digits: gains are 1/n at the n-th time, 1/2 for ever were that
/// lost.
TEST_CASE("What little is left along a channel is exact, as in steps") {
  const Bayes layer({.key_dim = 4, .value_dim = 3});
  auto x = stream_for(layer, 60);
  for (Index t = 0; t < 60; ++t) {
    x.fields.key.row(t).setZero();
    x.fields.key(t, t % 4) = 1;
    x.fields.query.row(t) = x.fields.key.row(t);
  }
  x.fields.log_decay.setZero();
  x.fields.process_noise.setZero();
  x.fields.observation_noise.setConstant(1e-6f);
  for (const Index pending : {1, 8, 32}) CHECK(difference(layer, x, pending) <= 1e-5);
}

/// Variances without what pending writes take of them would grow to e^320.
TEST_CASE("A covariance that grows from token to token stays finite") {
  const Bayes layer({.key_dim = 2, .value_dim = 3});
  auto x = stream_for(layer, 60);
  for (Index t = 0; t < 60; ++t) x.fields.key.row(t) << float(t % 2), float(1 - t % 2);
  x.fields.covariance_log_decay.setConstant(60, 1, 5);
  for (const Index pending : {1, 8, 32}) CHECK(difference(layer, x, pending) <= 1e-4);
}

/// One factor for each column of the memory.
struct ValueDecay : seqbayes::ScalarDecay {
  static constexpr auto width = seqbayes::DecayWidth::value_channel;
  template <class Options>
  static constexpr void add_inputs(InputWidths& inputs, const Options& options) {
    inputs.log_decay = options.value_dim;
  }
  template <class Scalar, class Options>
  static const auto& log_decay(const seqbayes::Token<Scalar>& token, const Options&) {
    return token.log_decay;
  }
};

TEST_CASE("Decays of value channels wait, too") {
  const seqbayes::Layer<double, any, any, seqbayes::AssociativeRegression, ValueDecay,
                        seqbayes::ResetCovariance>
      corrects({.key_dim = 12, .value_dim = 10});
  const seqbayes::Layer<double, any, any, seqbayes::DiagonalPlusLowRank, ValueDecay,
                        seqbayes::NoCovariance>
      replaces({.key_dim = 12, .value_dim = 10});
  for (const Index pending : {1, 5}) {
    auto x = draw_stream(corrects.inputs(), 40, 3);
    CHECK(difference(corrects, x, pending) <= 1e-13);  // means of order 1
    x = draw_stream(replaces.inputs(), 40, 3);
    CHECK(difference(replaces, x, pending) <= 1e-12);  // of order 10
  }
}

}  // namespace
}  // namespace laws
