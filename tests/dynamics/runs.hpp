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

/// A constant field for T tokens.
inline Matrix constant(Index T, double value) { return Matrix::Constant(T, 1, value); }

using Fields = seqbayes::Fields<Matrix>;

/// What T tokens say of a rule; the gain is that of unit keys.
inline Fields fields(const FilterRule<double>& rule, Index T) {
  Fields x;
  x.log_decay = constant(T, std::log(rule.decay));
  x.process_noise = constant(T, rule.process_noise);
  x.observation_noise = constant(T, rule.observation_noise);
  return x;
}
inline Fields fields(const ResetRule<double>& rule, Index T) {
  Fields x;
  x.log_decay = constant(T, std::log(rule.decay));
  x.write_strength = constant(T, rule.gain);
  return x;
}
inline Fields fields(const AttentionRule<double>& rule, Index T) {
  Fields x;
  x.log_decay = constant(T, std::log(rule.decay));
  return x;
}

inline seqbayes::Sequence<double> view(const Fields& fields) {
  seqbayes::Sequence<double> x;
  seqbayes::for_each_field([](auto, auto, const auto& owner, auto& view) { view = owner; }, fields,
                           x);
  return x;
}

/// Writes one-hot values with the T rows of `key` and reads the last memory at `query`. Value
/// channel T starts as the query itself.
template <class Layer>
Readout read(typename Layer::Options options, const Matrix& key, const Vector& query, Fields x) {
  const Index T = key.rows();
  options.key_dim = key.cols();
  options.value_dim = T + 1;
  const Layer layer(options);
  auto state = layer.initial_state();
  state.mean.col(T) = query / query.squaredNorm();
  x.query = query.transpose().replicate(T, 1);
  x.key = key;
  x.value = Matrix::Identity(T, T + 1);
  Readout readout;
  seqbayes::Vector<double> last;
  for (Index t = 0; t < T; ++t) {
    const auto out = layer.step(state, view(x).token(t));
    last = out.mean;
    if constexpr (requires { out.variance; }) readout.variance = out.variance;
  }
  readout.writes = last.head(T);
  readout.initial = last[T];
  return readout;
}

/// The Bayesian Layer; `inflation` is its covariance's own log decay, T x 1.
inline Readout read(const FilterRule<double>& rule, const Matrix& key, const Vector& query,
                    const Matrix& inflation = {}) {
  Fields x = fields(rule, key.rows());
  x.covariance_log_decay = inflation;
  return read<seqbayes::BayesianLayer<double>>({.prior_variance = rule.prior_variance}, key, query,
                                               x);
}

/// Gated DeltaNet.
inline Readout read(const ResetRule<double>& rule, const Matrix& key, const Vector& query) {
  return read<seqbayes::GatedDeltaNet<double>>({}, key, query, fields(rule, key.rows()));
}

/// SSD.
inline Readout read(const AttentionRule<double>& rule, const Matrix& key, const Vector& query) {
  return read<seqbayes::Ssd<double>>({}, key, query, fields(rule, key.rows()));
}

/// n rows of a unit key.
inline Matrix repeated(const Vector& key, Index n) { return key.transpose().replicate(n, 1); }

}  // namespace dynamics_test
