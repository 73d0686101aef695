// Runs a layer whose decay, write strength and noise are the same at every token.
#pragma once

#include <cmath>
#include <functional>
#include <random>
#include <type_traits>

#include <seqbayes/layers/grid.hpp>
#include <seqbayes/scan/scan.hpp>

namespace study {

using seqbayes::Index;
using Matrix = seqbayes::Matrix<double>;
using Vector = seqbayes::Vector<double>;

/// What the layers are told; each uses what it has a field for.
struct Settings {
  double prior_variance = 1, noise = 1, process_noise = 0, decay = 1, gain = 1;
};

/// The answers to one query after each token, T x Dv, from an empty memory.
using Answers =
    std::function<Matrix(const Settings&, const Matrix& key, const Matrix& value, const Vector&)>;

/// The outputs, T x Dv, and the memory after the last token, from an empty one.
struct Ran {
  Matrix output, memory;
};

template <class Layer>
Ran run(const Settings& settings, const Matrix& key, const Matrix& value, const Matrix& queries) {
  typename Layer::Options options;
  options.key_dim = key.cols();
  options.value_dim = value.cols();
  if constexpr (requires { requires Layer::reads.prior_variance; }) {
    options.prior_variance = settings.prior_variance;
  }
  if constexpr (requires { requires Layer::reads.log_decay; }) {
    options.log_decay = std::log(settings.decay);
  }
  const Layer layer(options);
  const seqbayes::InputWidths inputs = layer.inputs();
  const auto field = [&](const seqbayes::InputWidth& input, double number) {
    return Matrix(Matrix::Constant(key.rows(), input.width, number));
  };
  const Matrix log_decay = field(inputs.log_decay, std::log(settings.decay));
  const Matrix strength = field(inputs.write_strength, settings.gain);
  const Matrix process = field(inputs.process_noise, settings.process_noise);
  const Matrix noise = field(inputs.observation_noise, settings.noise);
  seqbayes::Sequence<double> x;
  x.query = queries;
  x.key = key;
  x.value = value;
  if (log_decay.size() > 0) x.log_decay = log_decay;
  if (strength.size() > 0) x.write_strength = strength;
  if (process.size() > 0) x.process_noise = process;
  if (noise.size() > 0) x.observation_noise = noise;
  auto state = layer.initial_state();
  Ran ran{seqbayes::scan_mean(layer, state, x), {}};
  ran.memory = state.mean;
  return ran;
}

template <class Layer>
Matrix answers(const Settings& settings, const Matrix& key, const Matrix& value,
               const Vector& query) {
  return run<Layer>(settings, key, value, query.transpose().replicate(key.rows(), 1)).output;
}

/// Normal draws.
class Draw {
 public:
  explicit Draw(unsigned seed) : engine_(seed) {}
  Matrix normal(Index rows, Index columns) {
    return Matrix::NullaryExpr(rows, columns, [&] { return normal_(engine_); });
  }
  Vector unit(Index size) { return Vector(normal(size, 1).col(0).normalized()); }

 private:
  std::mt19937_64 engine_;
  std::normal_distribution<double> normal_;
};

}  // namespace study
