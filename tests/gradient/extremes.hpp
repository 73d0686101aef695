// The law at the ends of float: closed gates, noises and scales whose squares or inverses float
// does not hold. Gradients equal those of the forward mode in long double, whose range is as good
// as unbounded.
#pragma once

#include "equals_forward_mode.hpp"

namespace gradient {

using Fields = seqbayes::Fields<Matrix<double>>;

struct Extreme {
  const char* name;
  std::function<void(Fields&)> apply;
  double prior_variance = 1.25;
  long double cancels = 1;  ///< Largest terms that cancel, where a field has entries of all sizes.
};

inline constexpr double least = std::numeric_limits<float>::denorm_min();
inline constexpr double most = std::numeric_limits<float>::max();

inline void scale(Matrix<double>& field, double factor) {
  field = (field * factor).cast<float>().cast<double>();
}

inline const std::vector<Extreme>& extremes() {
  static const std::vector<Extreme> all = {
      {"closed gates",
       [](Fields& x) {
         cycle(x.write_strength, {0.5, 1e-20, 1e-30, 1e-38, 1e-39, least, 0, 0.25});
         cycle(x.precondition_strength, {0, least, 1e-30, 1});
         cycle(x.value_precision, {0, least, 1e-30, 1});
       }},
      {"closed gates, prior variance 1e-20",
       [](Fields& x) {
         cycle(x.write_strength, {0.5, 1e-15, 1e-18, 0, 1});
       },
       1e-20},
      {"all forgotten, or nearly",
       [](Fields& x) {
         cycle(x.log_decay, {-infinity, -100, 0, -80, -50});
         cycle(x.precondition_log_decay, {-infinity, -50, 0});
       }},
      {"least noise",
       [](Fields& x) {
         cycle(x.observation_noise, {least, 1e-38, 1, 1e-30, 1e-20});
       }},
      {"least noise, tokens of zeros",
       [](Fields& x) {
         cycle(x.observation_noise, {least, 1, 1e-38, 2});
         for (Index t = 0; t < x.key.rows(); t += 2) {
           x.key.row(t).setZero();
           x.value.row(t).setZero();
         }
         x.process_noise.setZero();
       }},
      {"most noise",
       [](Fields& x) {
         cycle(x.observation_noise, {most, 1, 1e38, 1e20, 2});
       }},
      {"a certain memory", [](Fields& x) { cycle(x.process_noise, {0}); }, 0},
      {"large keys",
       [](Fields& x) {
         scale(x.key, 1e12);
         scale(x.erase_key, 1e12);
         scale(x.observation_noise, 1e24);
         scale(x.write_strength, 1e-24);
         scale(x.precondition_strength, 1e-24);
         scale(x.value_precision, 1e-24);
       },
       1.25, infinity},
      {"small keys",
       [](Fields& x) {
         scale(x.key, 1e-12);
         scale(x.erase_key, 1e-12);
         scale(x.observation_noise, 1e-24);
         scale(x.write_strength, 1e24);
         scale(x.precondition_strength, 1e24);
         scale(x.value_precision, 1e24);
       },
       1.25, infinity},
  };
  return all;
}

/// Sums over 8 tokens of products of about ten factors, each off by 6e-8, relative to the entry or,
/// where terms cancel, to the largest of its field (`cancels` at most, but for derivatives by a
/// decay, whose error is absolute, see docs/gradients.md). What is beyond float is not finite.
template <class L>
void check_extremes(double bound = 2e-5) {
  for (const Extreme& extreme : extremes()) {
    Setup<double> setup{3, 2, extreme.prior_variance};
    setup.input_variance = 2;
    setup.info_scale = 1.5;
    const L layer = make<L>(setup);
    auto stream = draw_stream(layer.inputs(), 8, 131);
    extreme.apply(stream.fields);
    avoid_kink(stream.fields);
    auto start = layer.initial_state();
    Loss<L> loss = draw_loss(layer, 8);
    for_each_entry(loss.state, [](auto& a, auto& b) { a = b = 0; });
    CotangentOwner<float, L> cotangent;
    look_at(cotangent, loss);
    const auto x = stream.template as<float>();
    const auto want = forward_mode<L>(setup, start, stream, loss);
    for (const Execution how : {Execution(), Execution::sequential()}) {
      const auto got = parts(seqbayes::scan_vjp(layer, start, x.view(), cotangent.view, how));
      REQUIRE(got.size() == want.size());
      for (std::size_t i = 0; i < want.size(); ++i) {
        REQUIRE(got[i].entries.size() == want[i].entries.size());
        long double size = 0;
        for (const long double entry : want[i].entries) {
          if (std::abs(entry) <= most) size = std::max(size, std::abs(entry));
        }
        for (std::size_t j = 0; j < want[i].entries.size(); ++j) {
          const long double entry = want[i].entries[j], found = got[i].entries[j];
          INFO(describe(layer) << ", " << extreme.name << ", chunk " << how.chunk() << ", "
                               << want[i].name << " " << j << ": " << found << ", not " << entry);
          if (std::abs(entry) > most) {
            CHECK(!std::isfinite(found));
          } else {
            const long double cancels =
                want[i].name == "log_decay" ? size : std::min(extreme.cancels, size);
            CHECK(std::abs(found - entry) <= bound * (std::abs(entry) + cancels));
          }
        }
      }
    }
  }
}

}  // namespace gradient
