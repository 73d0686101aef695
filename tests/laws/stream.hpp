// Random streams of tokens that any layer can run: every field inside its domain, every entry
// exactly a float, so that all scalar types see the same numbers.
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <random>
#include <string_view>
#include <vector>

#include <seqbayes/seqbayes.hpp>

namespace laws {

using seqbayes::Index;
using seqbayes::InputWidths;
using seqbayes::Matrix;

inline constexpr double infinity = std::numeric_limits<double>::infinity();

/// Owns the entries that a `Sequence` looks at.
template <class Scalar>
struct Stream {
  seqbayes::Fields<Matrix<Scalar>> fields;

  [[nodiscard]] Index length() const { return fields.query.rows(); }
  [[nodiscard]] seqbayes::Sequence<Scalar> view() const {
    seqbayes::Sequence<Scalar> x;
    seqbayes::for_each_field([](auto, auto, const auto& owner, auto& view) { view = owner; },
                             fields, x);
    return x;
  }
  template <class Other>
  [[nodiscard]] Stream<Other> as() const {
    Stream<Other> other;
    seqbayes::for_each_field(
        [](auto, auto, const auto& from, auto& to) {
          to.resize(from.rows(), from.cols());
          for (Index i = 0; i < from.size(); ++i) to.data()[i] = Other(from.data()[i]);
        },
        fields, other.fields);
    return other;
  }
};

/// The same numbers on every platform, unlike the distributions of <random>.
class Draw {
 public:
  explicit Draw(std::uint64_t seed) : engine_(seed) {}
  double uniform(double low = 0, double high = 1) {
    return static_cast<float>(low + (high - low) * std::ldexp(double(engine_() >> 11), -53));
  }
  double normal() {
    const double radius = std::sqrt(-2 * std::log(std::ldexp(double((engine_() >> 11) + 1), -53)));
    return static_cast<float>(radius * std::cos(uniform(0, 6.283185307179586)));
  }
  Index below(Index n) { return static_cast<Index>(engine_() % static_cast<std::uint64_t>(n)); }

 private:
  std::mt19937_64 engine_;
};

inline void draw_normal(Matrix<double>& field, Draw& draw) {
  for (Index i = 0; i < field.size(); ++i) field.data()[i] = draw.normal();
}
inline void draw_uniform(Matrix<double>& field, Draw& draw, double low, double high) {
  for (Index i = 0; i < field.size(); ++i) field.data()[i] = draw.uniform(low, high);
}
/// Rows whose parts of `width` entries (the writes of a token) have norm one, up to rounding.
inline void draw_directions(Matrix<double>& field, Draw& draw, Index width) {
  draw_normal(field, draw);
  for (Index t = 0; t < field.rows(); ++t) {
    for (Index j = 0; j + width <= field.cols(); j += width) {
      auto part = field.row(t).segment(j, width);
      part /= part.norm();
    }
  }
  field = field.cast<float>().cast<double>();
}

/// `length` tokens of everything that `inputs` asks for; optional fields stay empty, and fields
/// that may have one entry a token get all of them unless `narrow`.
inline Stream<double> draw_stream(const InputWidths& inputs, Index length, std::uint64_t seed,
                                  bool narrow = false) {
  Draw draw(seed);
  Stream<double> stream;
  auto& x = stream.fields;
  seqbayes::for_each_field(
      [&](auto, auto, auto& field, const seqbayes::InputWidth& input) {
        if (!input.may_be_empty) field.resize(length, narrow && input.or_one ? 1 : input.width);
      },
      x, inputs);
  draw_normal(x.query, draw);
  draw_directions(x.key, draw, inputs.query.width);
  draw_normal(x.value, draw);
  draw_uniform(x.log_decay, draw, -0.5, 0);
  draw_uniform(x.write_strength, draw, 0, 1);
  draw_uniform(x.process_noise, draw, 0, 0.1);
  draw_uniform(x.observation_noise, draw, 0.5, 2);
  draw_directions(x.erase_key, draw, inputs.query.width);
  draw_uniform(x.erase_gate, draw, 0, 1);
  // Diagonal plus low rank stays bounded when what is erased is added back with a minus sign.
  x.erase_write = -0.5 * x.erase_key;
  if (inputs.erase_write.width == 0) x.erase_write.resize(0, 0);
  draw_uniform(x.value_gate, draw, 0, 1);
  draw_uniform(x.value_precision, draw, 0, 2);
  draw_uniform(x.precondition_log_decay, draw, -0.5, 0);
  draw_uniform(x.precondition_strength, draw, 0, 1);
  return stream;
}

/// The same for a long run: hardly anything decays or drifts.
inline Stream<double> draw_slow_stream(const InputWidths& inputs, Index length,
                                       std::uint64_t seed) {
  auto stream = draw_stream(inputs, length, seed);
  Draw draw(seed + 2);
  draw_uniform(stream.fields.log_decay, draw, -0.01, 0);
  draw_uniform(stream.fields.process_noise, draw, 0, 0.01);
  return stream;
}

/// A way in which inputs of real models are harder than random ones.
struct Hardship {
  std::string_view name;
  std::function<void(seqbayes::Fields<Matrix<double>>&, const InputWidths&, Draw&)> apply;
};

inline void cycle(Matrix<double>& field, const std::vector<double>& values) {
  for (Index t = 0; t < field.rows(); ++t) {
    field.row(t).setConstant(static_cast<float>(values[std::size_t(t) % values.size()]));
  }
}

inline const std::vector<Hardship>& hardships() {
  using Fields = seqbayes::Fields<Matrix<double>>;
  using In = const InputWidths&;
  static const double almost_all = std::log(1e-12);
  static const std::vector<Hardship> all = {
      {"as drawn", [](Fields&, In, Draw&) {}},
      {"no decay", [](Fields& x, In, Draw&) { x.log_decay.setZero(); }},
      {"decay to 1e-12", [](Fields& x, In, Draw&) { cycle(x.log_decay, {almost_all}); }},
      {"decay of any size",
       [](Fields& x, In, Draw& draw) {
         const double sizes[] = {0, -1e-4, -0.3, almost_all, -infinity};
         for (Index i = 0; i < x.log_decay.size(); ++i) {
           x.log_decay.data()[i] = static_cast<float>(sizes[draw.below(5)]);
         }
       }},
      {"all forgotten at times",
       [](Fields& x, In, Draw&) {
         for (Index t = 3; t < x.log_decay.rows(); t += 7)
           x.log_decay.row(t).setConstant(-infinity);
       }},
      {"write strength 0, 1, 2",
       [](Fields& x, In, Draw&) {
         cycle(x.write_strength, {0, 1, 2, 1, 0, 0, 2});
       }},
      {"zero keys, queries and values",
       [](Fields& x, In, Draw&) {
         for (Index t = 0; t < x.key.rows(); t += 3) x.key.row(t).setZero();
         for (Index t = 0; t < x.key.rows(); t += 4) x.query.row(t).setZero();
         for (Index t = 0; t < x.key.rows(); t += 5) x.value.row(t).setZero();
       }},
      {"one key", [](Fields& x, In, Draw&) { x.key.rowwise() = x.key.row(0).eval(); }},
      {"two keys almost without noise",
       [](Fields& x, In, Draw&) {
         for (Index t = 2; t < x.key.rows(); ++t) x.key.row(t) = x.key.row(t % 2);
         cycle(x.observation_noise, {1e-6});
       }},
      {"noise 1e-6", [](Fields& x, In, Draw&) { cycle(x.observation_noise, {1e-6}); }},
      {"noise 1e6", [](Fields& x, In, Draw&) { cycle(x.observation_noise, {1e6}); }},
      {"noise from 1e-6 to 1e6",
       [](Fields& x, In, Draw&) {
         cycle(x.observation_noise, {1, 1e-6, 1e6, 1e-3, 1e3});
       }},
      {"no process noise", [](Fields& x, In, Draw&) { x.process_noise.setZero(); }},
      {"process noise 1e3",
       [](Fields& x, In, Draw&) {
         cycle(x.process_noise, {0, 0, 1e3, 0});
       }},
      {"covariance decay a token",
       [](Fields& x, In in, Draw& draw) {
         if (in.covariance_log_decay.width == 0) return;
         x.covariance_log_decay.resize(x.query.rows(), 1);
         draw_uniform(x.covariance_log_decay, draw, -0.1, 0.02);
         for (Index t = 5; t < x.query.rows(); t += 11) x.covariance_log_decay(t, 0) = -infinity;
       }},
      {"covariance decay a channel",
       [](Fields& x, In in, Draw& draw) {
         if (in.covariance_log_decay.width == 0) return;
         x.covariance_log_decay.resize(x.query.rows(), in.covariance_log_decay.width);
         draw_uniform(x.covariance_log_decay, draw, -0.1, 0.02);
         for (Index i = 5; i < x.covariance_log_decay.size(); i += 11) {
           x.covariance_log_decay.data()[i] = -infinity;
         }
       }},
  };
  return all;
}

/// `draw_stream`, with a hardship that has a seed of its own.
inline Stream<double> draw_hard_stream(const Hardship& hard, std::uint64_t hard_seed,
                                       const InputWidths& inputs, Index length, std::uint64_t seed,
                                       bool narrow = false) {
  Draw draw(hard_seed);
  auto stream = draw_stream(inputs, length, seed, narrow);
  hard.apply(stream.fields, inputs, draw);
  return stream;
}

}  // namespace laws
