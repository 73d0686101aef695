// What a float covariance resolves: a memory is written over and over under keys that span a
// subspace, and read at them, in float and in double (docs/mathematics.md, "What floats resolve").
//
// Prints one line a stream, with the largest error of a read at the last 2000 keys.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>

#include <seqbayes/seqbayes.hpp>

namespace {

using seqbayes::Index;
using seqbayes::Matrix;

/// v = W'k + sqrt(r) noise, W' and noise of variance 1; one value channel.
struct Stream {
  const char* name;
  Index width, keys, length;
  double noise;          ///< r
  double norm = 1;       ///< |k|
  double prior = 1;      ///< sigma_0^2
  double cosine = 0;     ///< Of two keys, if they are a cluster.
  double log_decay = 0;  ///< g
};

/// Of the last 2000 reads, in arithmetic of `Scalar`.
template <class Scalar>
double largest_error(const Stream& stream) {
  std::mt19937_64 engine(1);
  std::normal_distribution<double> normal;
  const auto draw = [&](Index rows, Index cols) {
    Matrix<double> m(rows, cols);
    for (Index i = 0; i < m.size(); ++i) m.data()[i] = normal(engine);
    return m;
  };
  const double own = std::sqrt(1 - stream.cosine * stream.cosine);
  Matrix<double> keys = draw(stream.keys, stream.width);
  keys.rowwise().normalize();
  keys *= own;
  keys.rowwise() += (stream.cosine * draw(1, stream.width).normalized()).row(0);
  keys *= stream.norm;
  Matrix<double> law = draw(stream.width, 1);

  typename seqbayes::BayesianLayer<Scalar>::Options options;
  options.key_dim = stream.width;
  options.value_dim = 1;
  options.prior_variance = Scalar(stream.prior);
  const seqbayes::BayesianLayer<Scalar> layer(options);
  auto state = layer.initial_state();
  const Index piece = 1000;
  Matrix<Scalar> key(piece, stream.width), value(piece, 1);
  const Matrix<Scalar> noise = Matrix<Scalar>::Constant(piece, 1, Scalar(stream.noise));
  const Matrix<Scalar> log_decay = Matrix<Scalar>::Constant(piece, 1, Scalar(stream.log_decay));
  const Matrix<Scalar> no_process_noise = Matrix<Scalar>::Zero(piece, 1);
  seqbayes::Sequence<Scalar> x;
  x.query = x.key = key;
  x.value = value;
  x.log_decay = log_decay;
  x.observation_noise = noise;
  x.process_noise = no_process_noise;
  double error = 0;
  for (Index t = 0; t < stream.length; t += piece) {
    Matrix<double> exact(piece, 1);
    for (Index i = 0; i < piece; ++i) {
      const Index j = static_cast<Index>(engine() % static_cast<std::uint64_t>(stream.keys));
      law *= std::exp(stream.log_decay);
      key.row(i) = keys.row(j).cast<Scalar>();
      exact(i, 0) = (keys.row(j) * law)(0, 0);
      value(i, 0) = Scalar(exact(i, 0) + std::sqrt(stream.noise) * normal(engine));
    }
    const Matrix<Scalar> read = seqbayes::scan_mean(layer, state, x);
    if (t + 2 * piece < stream.length) continue;
    error = std::max(error, (read.template cast<double>() - exact).cwiseAbs().maxCoeff());
  }
  return error;
}

}  // namespace

int main() {
  const Stream streams[] = {
      {"63 keys in 64 dimensions, r 1e-3", 64, 63, 1'000'000, 1e-3},
      {"15 keys in 16 dimensions, r 1e-4", 16, 15, 1'000'000, 1e-4},
      {"63 keys, r 1e-5", 64, 63, 300'000, 1e-5},
      {"63 keys, r 0.1", 64, 63, 500'000, 0.1},
      {"40 keys of norm 8, r 1e-6", 64, 40, 100'000, 1e-6, 8},
      {"63 keys, r 1e-4, prior 1e4", 64, 63, 300'000, 1e-4, 1, 1e4},
      {"63 keys of cosine 0.99, r 1e-6", 64, 63, 100'000, 1e-6, 1, 1, std::sqrt(0.99)},
      {"8 keys in 16 dimensions, r 1e-8", 16, 8, 100'000, 1e-8},
      {"63 keys, r 1e-3, decay 1 - 1e-6", 64, 63, 300'000, 1e-3, 1, 1, 0, -1e-6},
  };
  std::printf("%-36s %9s %9s %9s\n", "stream", "tokens", "float", "double");
  for (const Stream& stream : streams) {
    std::printf("%-36s %9td %9.1e %9.1e\n", stream.name, stream.length,
                largest_error<float>(stream), largest_error<double>(stream));
    std::fflush(stdout);
  }
}
