// The closed forms in other scalars: float, long double, 50 digits, and dual numbers, whose
// derivatives are checked.
#include <support/catch.hpp>

#include <ceres/jet.h>

#include <boost/multiprecision/cpp_dec_float.hpp>
#include <cmath>
#include <vector>

#include <seqbayes/dynamics/change_point.hpp>
#include <seqbayes/dynamics/collision.hpp>
#include <seqbayes/dynamics/constant_gain.hpp>
#include <seqbayes/dynamics/drift.hpp>

namespace {

using namespace seqbayes::dynamics;
using Digits50 = boost::multiprecision::number<boost::multiprecision::cpp_dec_float<50>,
                                               boost::multiprecision::et_off>;
using Jet = ceres::Jet<double, 1>;

/// A number of every function, as a function of one parameter near 0.3.
template <class Scalar>
std::vector<Scalar> all(const Scalar& x) {
  const Scalar one(1), half(0.5);
  const FilterRule<Scalar> still{one, x, one, Scalar(0)}, moving{one, x, one, half},
      fading{one, x, half, x};
  const ResetRule<Scalar> reset{x, Scalar(1) - x * x};
  const AttentionRule<Scalar> attention{x};
  const InflationRule<Scalar> inflation{one, half, x};
  const Target<Scalar> target{one, x, 3, half};
  const Scalar dim(8), rho = x;
  std::vector<Scalar> out;
  const auto add = [&](const Retrieval<Scalar>& r) {
    out.insert(out.end(), {r.initial_weight, r.total_weight, r.missing_weight, r.noise_factor,
                           r.bias(one, x), r.mse(one, x, half)});
  };
  const auto add_mixed = [&](const Collision<Scalar>& c) {
    for (const auto& r : {c.a, c.b}) {
      out.insert(out.end(), {r.own, r.missing, r.interference, r.mse(one, half, x)});
    }
  };
  const auto add_forgetting = [&](const Forgetting<Scalar>& f) {
    out.insert(out.end(), {f.retention, f.missing, f.mse});
  };
  const auto add_change = [&](const OldAndNew<Scalar>& c) {
    out.insert(out.end(), {c.old_weight, c.new_weight});
  };
  for (const auto& rule : {still, moving, fading}) {
    add(after_writes(rule, 7));
    add(plateau(rule));
    add_change(after_change(rule, 3, 4));
    out.insert(out.end(), {claimed_variance(rule, 5), gain_of_write(rule, 5)});
  }
  for (const auto& rule : {still, moving}) {
    const auto c = after_collision(rule, rho, 3, 4);
    add_mixed(c);
    out.insert(out.end(), {c.variance_a, c.variance_b});
  }
  add(after_writes(reset, 7));
  add(plateau(reset));
  add(after_writes(attention, 7));
  add(after_writes_normalised(attention, 7));
  add(after_writes(inflation, 7));
  add_change(after_change(reset, 3, 4));
  add_change(after_change(inflation, 3, 4));
  add_mixed(after_collision(reset, rho, 3, 4));
  add_mixed(after_collision(attention, rho, 3, 4));
  add_forgetting(after_distractors(attention, target, dim, 5));
  add_forgetting(after_distractors(reset, target, dim, 5));
  add_forgetting(at_load(ResetRule<Scalar>{x, one}, target, half));
  const auto loaded = at_load(still, target, half);
  add_forgetting(loaded);
  const auto law = random_keys_law(x, half);
  out.insert(out.end(), {loaded.claimed_variance,
                         protection_factor(x, rho, 4),
                         half_life(x),
                         gain_of_half_life(x),
                         plateau_of_half_life(x),
                         crossover(x, half, one),
                         best_constant_gain(x, 6),
                         distracted_plateau(attention, target, dim),
                         distracted_plateau(reset, target, dim),
                         cyclic_keys(fading, 4).posterior,
                         unvisited(fading, half, 3),
                         cyclic_error(half, fading, 4),
                         tracking_gain(x, half),
                         random_keys_error(half, x, half, dim),
                         law.w,
                         law.variance,
                         law.of_drift,
                         law.of_noise,
                         tracking_error(law, x, half),
                         random_keys_variance(x, half, one),
                         revisited_error(ResetRule<Scalar>{x, one}, half, half, dim, 3, 4)});
  return out;
}

TEST_CASE("float, long double and 50 digits agree with double") {
  const auto in_double = all(0.3);
  const auto in_float = all(0.3f);
  const auto in_long_double = all(0.3L);
  const auto in_digits = all(Digits50(0.3));
  for (std::size_t i = 0; i < in_double.size(); ++i) {
    INFO(i);
    const Digits50 exact = in_digits[i], scale = 1 + abs(exact);
    // Some hundred roundings; the parameter itself differs by one.
    CHECK(double(abs(in_float[i] - exact) / scale) < 1e-5);
    CHECK(double(abs(in_double[i] - exact) / scale) < 1e-13);
    CHECK(double(abs(in_long_double[i] - exact) / scale) < 1e-15);  // 0.3L is another number
  }
}

TEST_CASE("Dual numbers give the derivatives") {
  const double x = 0.3;
  const auto dual = all(Jet(x, 0));
  const Digits50 step("1e-20");
  const auto above = all(Digits50(x + step)), below = all(Digits50(x - step));
  for (std::size_t i = 0; i < dual.size(); ++i) {
    INFO(i);
    const double want = double((above[i] - below[i]) / (2 * step));  // its error is 1e-40
    CHECK(std::abs(dual[i].v[0] - want) < 1e-12 * (1 + std::abs(want)));
  }
}

TEST_CASE("R4.9: the coefficients are the derivatives of tau, the envelope theorem") {
  const Jet by_drift = random_keys_law(Jet(0.7, 0), Jet(0.2)).variance;
  const Jet by_noise = random_keys_law(Jet(0.7), Jet(0.2, 0)).variance;
  const auto law = random_keys_law(0.7, 0.2);
  CHECK(std::abs(by_drift.v[0] - law.of_drift) < 1e-14);
  CHECK(std::abs(by_noise.v[0] - law.of_noise) < 1e-14);
}

}  // namespace
