// The library's layers run on one-hot values, so that the output holds the weight of every write.
#pragma once

#include <support/catch.hpp>

#include <boost/multiprecision/cpp_dec_float.hpp>
#include <cmath>
#include <vector>

#include <seqbayes/dynamics/repeated_writes.hpp>
#include <seqbayes/layers/grid.hpp>
#include <seqbayes/scan/scan.hpp>

namespace dynamics_test {

using seqbayes::Index;
using seqbayes::dynamics::AttentionRule;
using seqbayes::dynamics::Count;
using seqbayes::dynamics::FilterRule;
using seqbayes::dynamics::ResetRule;
using seqbayes::dynamics::Retrieval;
using Matrix = seqbayes::Matrix<double>;
using Vector = seqbayes::Vector<double>;
using Digits50 = boost::multiprecision::number<boost::multiprecision::cpp_dec_float<50>,
                                               boost::multiprecision::et_off>;

/// |got / want - 1|, and |got| where want is 0.
template <class A, class B>
double deviation(const A& got, const B& want) {
  using std::abs;
  if (want == B(0)) return static_cast<double>(abs(got));
  return static_cast<double>(abs(B(got) / want - B(1)));
}

/// What a readout consists of: the weight of each write, of the initial memory along the query, and
/// the variance that a filter claims (0 for others).
struct Readout {
  Vector writes;
  double initial = 0, variance = 0;
};

/// Writes one-hot values with the T rows of `key` and reads the last memory at `query`. Value
/// channel T starts as the query itself.
template <class Layer>
Readout read(const typename Layer::Options& options, const Matrix& key, const Vector& query,
             const seqbayes::Sequence<double>& fields) {
  const Index T = key.rows();
  typename Layer::Options sized = options;
  sized.key_dim = key.cols();
  sized.value_dim = T + 1;
  const Layer layer(sized);
  auto state = layer.initial_state();
  state.mean.col(T) = query / query.squaredNorm();
  Matrix value = Matrix::Zero(T, T + 1), queries = query.transpose().replicate(T, 1);
  value.leftCols(T).setIdentity();
  seqbayes::Sequence<double> x = fields;
  x.query = queries;
  x.key = key;
  x.value = value;
  Readout readout;
  seqbayes::Vector<double> last;
  for (Index t = 0; t < T; ++t) {
    const auto out = layer.step(state, x.token(t));
    last = out.mean;
    if constexpr (requires { out.variance; }) readout.variance = out.variance;
  }
  readout.writes = last.head(T);
  readout.initial = last[T];
  return readout;
}

/// A constant field for T tokens.
inline Matrix constant(Index T, double value) { return Matrix::Constant(T, 1, value); }

/// The Bayesian Layer; `inflation` is its covariance's own log decay, T x 1.
inline Readout read(const FilterRule<double>& rule, const Matrix& key, const Vector& query,
                    const Matrix& inflation = {}) {
  const Index T = key.rows();
  const Matrix g = constant(T, std::log(rule.decay)), w = constant(T, rule.process_noise),
               r = constant(T, rule.observation_noise);
  seqbayes::Sequence<double> x;
  x.log_decay = g;
  x.process_noise = w;
  x.observation_noise = r;
  if (inflation.size() > 0) x.covariance_log_decay = inflation;
  using Layer = seqbayes::BayesianLayer<double>;
  typename Layer::Options options;
  options.prior_variance = rule.prior_variance;
  return read<Layer>(options, key, query, x);
}

/// Gated DeltaNet; `rule.gain` is that of unit keys.
inline Readout read(const ResetRule<double>& rule, const Matrix& key, const Vector& query) {
  const Matrix g = constant(key.rows(), std::log(rule.decay)), b = constant(key.rows(), rule.gain);
  seqbayes::Sequence<double> x;
  x.log_decay = g;
  x.write_strength = b;
  return read<seqbayes::GatedDeltaNet<double>>({}, key, query, x);
}

/// SSD.
inline Readout read(const AttentionRule<double>& rule, const Matrix& key, const Vector& query) {
  const Matrix g = constant(key.rows(), std::log(rule.decay));
  seqbayes::Sequence<double> x;
  x.log_decay = g;
  return read<seqbayes::Ssd<double>>({}, key, query, x);
}

/// n rows of a unit key.
inline Matrix repeated(const Vector& key, Index n) { return key.transpose().replicate(n, 1); }

}  // namespace dynamics_test
