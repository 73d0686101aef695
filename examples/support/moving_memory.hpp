// A memory that moves, read with noise: streams whose truth is known.
#pragma once

#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <vector>

#include "constant_fields.hpp"

namespace study {

using seqbayes::Sequence;

/// How memory and value of one token come about. A new memory has entries of N(0, 1).
struct Law {
  double drift = 0.01;                     ///< Variance that each entry of memory gains.
  double changes = 0;                      ///< Probability that memory is drawn anew.
  double noise = 0.2;                      ///< Variance of a value about its read.
  double outliers = 0, outlier_size = 10;  ///< Share of tokens with this many times the noise.
  double degrees = 0;                      ///< Of Student-t noise; 0 for Gaussian.
};

/// The law of token t of a stream of `length`.
using Laws = std::function<Law(Index t, Index length)>;

inline Laws always(const Law& law) {
  return [law](Index, Index) { return law; };
}
/// Equal parts of a stream, one law after the other.
inline Laws in_turn(const std::vector<Law>& laws) {
  return [laws](Index t, Index length) {
    return laws[static_cast<std::size_t>(t * Index(laws.size()) / length)];
  };
}

struct MovingStudy {
  int key_dim = 8, channels = 4, length = 1000, repetitions = 8;
  unsigned seed = 1;
};

/// Random keys and queries of norm 1, values, and what the queries should read.
struct Moving {
  Matrix query, key, value, truth;
  Matrix noise, drift, log_decay;  ///< What comes about at each token, T x 1.
  double prior_variance = 1;       ///< Of a new memory's entries.

  /// As a filter reads it that is told all that is known of each token.
  [[nodiscard]] Sequence<double> told() const {
    Sequence<double> x = given(1, 0);
    x.log_decay = log_decay;
    x.process_noise = drift;
    x.observation_noise = noise;
    return x;
  }
  /// As a layer reads it that is told the same of all tokens.
  [[nodiscard]] Sequence<double> given(double r, double omega, double gain = 1) const {
    const Index length = key.rows();
    return {.query = query,
            .key = key,
            .value = value,
            .log_decay = seqbayes::constant(0.0, length),
            .write_strength = seqbayes::constant(gain, length),
            .process_noise = seqbayes::constant(omega, length),
            .observation_noise = seqbayes::constant(r, length)};
  }
  /// The same in other units of values.
  [[nodiscard]] Moving times(double factor) const {
    Moving other = *this;
    other.value *= factor;
    other.truth *= factor;
    other.noise *= factor * factor;
    other.drift *= factor * factor;
    other.prior_variance *= factor * factor;
    return other;
  }
};

inline Moving draw(const MovingStudy& study, const Laws& laws, unsigned seed) {
  std::mt19937_64 engine(seed);
  std::normal_distribution<double> normal;
  std::uniform_real_distribution<double> uniform;
  const Index length = study.length, dk = study.key_dim, dv = study.channels;
  const auto normals = [&](Index rows, Index cols) {
    return Matrix(Matrix::NullaryExpr(rows, cols, [&] { return normal(engine); }));
  };
  Moving x{normals(length, dk), normals(length, dk), Matrix(length, dv), Matrix(length, dv),
           Matrix(length, 1),   Matrix(length, 1),   Matrix(length, 1)};
  x.query.rowwise().normalize();
  x.key.rowwise().normalize();
  Matrix memory = normals(dk, dv);
  for (Index t = 0; t < length; ++t) {
    const Law law = laws(t, length);
    const bool is_new = uniform(engine) < law.changes;
    const bool is_outlier = uniform(engine) < law.outliers;
    x.noise(t) = law.noise * (is_outlier ? law.outlier_size * law.outlier_size : 1);
    if (law.degrees > 0) {  // Student's t as a scale mixture
      x.noise(t) /= std::gamma_distribution(law.degrees / 2, 2 / law.degrees)(engine);
    }
    x.drift(t) = is_new ? 1 : law.drift;
    x.log_decay(t) = is_new ? -std::numeric_limits<double>::infinity() : 0;
    memory = std::exp(x.log_decay(t)) * memory + std::sqrt(x.drift(t)) * normals(dk, dv);
    x.value.row(t) = x.key.row(t) * memory + std::sqrt(x.noise(t)) * normals(1, dv);
    x.truth.row(t) = x.query.row(t) * memory;
  }
  return x;
}

/// One stream for each repetition.
inline std::vector<Moving> draw(const MovingStudy& study, const Laws& laws) {
  std::vector<Moving> streams;
  for (int i = 0; i < study.repetitions; ++i) {
    streams.push_back(draw(study, laws, study.seed + static_cast<unsigned>(i)));
  }
  return streams;
}

}  // namespace study
