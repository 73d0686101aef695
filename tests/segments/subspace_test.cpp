// Keys that keep to a part of the space, and a noise far below the prior: what the tokens say grows
// with their number and 1 / r, and mustn't hide the prior where no key lies.
#include <seqbayes/segments/scan.hpp>

#include <laws/run.hpp>

namespace laws::segments_subspace_test {

/// `rank` random directions, in which all keys lie; queries lie anywhere.
Stream<double> in_subspace(const seqbayes::InputWidths& inputs, Index length, Index rank,
                           double noise, double scale) {
  auto stream = draw_stream(inputs, length, 41);
  const Index dk = stream.fields.key.cols();
  Draw draw(43);
  Matrix<double> basis(rank, dk), part(length, rank);
  for (double& entry : basis.reshaped()) entry = draw.normal();
  for (double& entry : part.reshaped()) entry = draw.normal();
  stream.fields.key = (part * basis).rowwise().normalized() * scale;
  stream.fields.query.rowwise().normalize();
  if (stream.fields.log_decay.size() > 0) stream.fields.log_decay.setZero();
  stream.fields.process_noise.setZero();
  stream.fields.observation_noise.setConstant(noise);
  return stream;
}

/// Largest differences of mean and variance, and of the evidence, from `want`.
struct Distance {
  double mean, variance, evidence;

  template <class Scalar>
  Distance(const seqbayes::Output<Scalar>& got, const seqbayes::Output<long double>& want)
      : mean(largest_difference(widen_matrix(got.mean), want.mean)),
        variance(largest_difference(widen_matrix(got.variance), want.variance)),
        evidence(std::abs(double(Real(got.log_evidence) - want.log_evidence))) {}
};

template <class Scalar>
void pieces_are_as_good_as_one_run(Index dk, Index rank, Index length, double noise, double scale) {
  INFO(dk << " channels, keys in " << rank << ", " << length << " tokens, noise " << noise
          << ", key size " << scale);
  const Setup<double> setup{dk, 3};
  const auto exact = make<seqbayes::BayesianLayer<long double>>(setup);
  const auto layer = make<seqbayes::BayesianLayer<Scalar>>(setup);
  const auto stream = in_subspace(layer.inputs(), length, rank, noise, scale);
  const auto x = stream.template as<Scalar>();
  auto long_state = exact.initial_state();
  // Of the numbers that the layer is given.
  const auto want = seqbayes::scan(exact, long_state, x.template as<long double>().view());
  auto state = layer.initial_state();
  const Distance one(seqbayes::scan(layer, state, x.view()), want);
  for (const int pieces : {2, 4, 7}) {
    INFO(pieces << " pieces");
    state = layer.initial_state();
    const Distance split(
        seqbayes::scan(seqbayes::Threads{2}, {.pieces = pieces}, layer, state, x.view()), want);
    // A few units of the largest mean (4), variance (1) and term of the evidence, beside what one
    // run is off by. The tokens' information J is summed in double (of float) and takes what is
    // smaller than its own unit from the prior's, 1.
    const double information = double(length) * scale * scale / (double(rank) * noise);
    const double unit = 100 * rounding_unit<Scalar>() + 4 * rounding_unit<double>() * information;
    CHECK(split.mean <= 4 * one.mean + 4 * unit);
    CHECK(split.variance <= 4 * one.variance + unit);
    CHECK(split.evidence <= 4 * one.evidence + unit * std::abs(double(want.log_evidence)));
  }
}

TEST_CASE("segments: keys in a subspace, in float", "[segments]") {
  for (const double noise : {1e-1, 1e-3, 1e-5}) {
    for (const double scale : {1.0, 8.0}) {
      if (noise < 1e-4 && scale > 1) continue;  // more than one run in float resolves
      pieces_are_as_good_as_one_run<float>(16, 12, 2048, noise, scale);
      pieces_are_as_good_as_one_run<float>(16, 16, 2048, noise, scale);
      pieces_are_as_good_as_one_run<float>(16, 2, 2048, noise, scale);
    }
  }
  pieces_are_as_good_as_one_run<float>(64, 40, 4096, 1e-3, 8);
  pieces_are_as_good_as_one_run<float>(64, 63, 4096, 1e-5, 1);
}

TEST_CASE("segments: keys in a subspace, in double", "[segments]") {
  for (const double noise : {1e-3, 1e-6, 1e-9, 1e-12}) {
    pieces_are_as_good_as_one_run<double>(16, 12, 2048, noise, 1);
    pieces_are_as_good_as_one_run<double>(16, 16, 2048, noise, 1e3);
  }
}

TEMPLATE_TEST_CASE("segments: a key of 0 with a noise that has no reciprocal", "[segments]", float,
                   double) {
  using Limits = std::numeric_limits<TestType>;
  const auto layer = make<seqbayes::BayesianLayer<TestType>>(Setup<double>{4, 3});
  auto x = draw_stream(layer.inputs(), 1000, 45).template as<TestType>();
  x.fields.key.row(500).setZero();
  x.fields.observation_noise(500, 0) = Limits::denorm_min() * 8;
  auto one = layer.initial_state(), state = one;
  const auto want = seqbayes::scan(layer, one, x.view());
  const auto got = seqbayes::scan(seqbayes::Threads{2}, {.pieces = 4}, layer, state, x.view());
  const double unit = 1e3 * rounding_unit<TestType>();
  CHECK(largest_difference(widen_matrix(got.mean), widen_matrix(want.mean)) < 10 * unit);
  CHECK(largest_difference(widen_matrix(got.variance), widen_matrix(want.variance)) < 10 * unit);
}

}  // namespace laws::segments_subspace_test
