// Every closed form on its whole domain, part two: many random keys, drift, recall, calibration.
#include <dynamics/extremes.hpp>

#include <seqbayes/dynamics/drift_retention.hpp>
#include <seqbayes/dynamics/recall.hpp>
#include <seqbayes/inference/noise_estimate.hpp>

namespace dynamics_test::extremes_random_keys_test {
namespace {

using namespace seqbayes::dynamics;

template <class X>
using ScalarOf = typename std::decay_t<X>::value_type;

template <class S>
List<S> list(const Forgetting<S>& f) {
  return {f.retention, f.missing, f.mse};
}
template <class S>
List<S> list(const Recall<S>& r) {
  return {r.error, r.own, r.noise()};
}
template <class S>
List<S> list(const Calibration<S>& c) {
  return {c.actual, c.claimed, c.nis};
}
template <class S>
List<S> operator+(List<S> a, const List<S>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

const List<double> gains{1e-270, 1e-9, 0.3, 1 - 1e-9, 1, 1.3, 2 - 1e-9};
const List<double> dims{1, 2, 64, 1e9, 1e15};
const List<double> loads{0, 1e-270, 1e-9, 0.3, 1 - 1e-9, 1, 1 + 1e-9, 40, 1e9, 1e100};

TEST_CASE("Extremes: Marchenko and Pastur") {
  check_extremes({levels, loads}, {}, [](const auto& x, const Counts&) {
    using S = ScalarOf<decltype(x)>;
    if (!(x[0] > S(0)) && x[1] == S(1)) return List<S>{};
    const auto mp = marchenko_pastur(x[0], x[1]);
    List<S> out{mp.inverse_g,   mp.root,         mp.relative_crosstalk(),
                mp.unlearned(), mp.unlearned2(), mp.learned2()};
    if (x[0] > S(0) || x[1] > S(1)) out = out + List<S>{mp.g(), mp.g2()};  // infinite else
    return out;
  });
}

TEST_CASE("Extremes: distractors") {
  const List<double> noises{0, 1e-9, 1e20};
  check_extremes({shares, noises, dims}, {{1, 30, 1000000000}, {0, 1, 7, 1000000000}},
                 [](const auto& x, const Counts& n) {
                   using S = ScalarOf<decltype(x)>;
                   const Target<S> target{S(0.7), x[1], n[0], S(0.4)};
                   const AttentionRule<S> rule{x[0]};
                   List<S> out =
                       list(after_distractors(rule, target, x[2], n[1])) +
                       list(after_distractors(rule, target, x[2], n[1],
                                              seqbayes::dynamics::detail::as_scalar<S>(n[0])));
                   if (x[0] < S(1)) out.push_back(distracted_plateau(rule, target, x[2]));
                   return out;
                 });
  check_extremes({gains, shares, noises, dims}, {{0, 1, 1000000000}, {0, 1, 7, 1000000000}},
                 [](const auto& x, const Counts& n) {
                   using S = ScalarOf<decltype(x)>;
                   const Target<S> target{S(0.7), x[2], n[0], S(0.4)};
                   const ResetRule<S> rule{x[0], x[1]};
                   return list(after_distractors(rule, target, x[3], n[1])) +
                          List<S>{distracted_plateau(rule, target, x[3])};
                 });
  check_extremes({gains, noises, loads}, {{0, 1, 1000000000}}, [](const auto& x, const Counts& n) {
    using S = ScalarOf<decltype(x)>;
    return list(at_load(ResetRule<S>{x[0], S(1)}, {S(0.7), x[1], n[0], S(0.4)}, x[2]));
  });
  check_extremes({positive, levels, noises, loads}, {{0, 1, 1000000000}},
                 [](const auto& x, const Counts& n) {
                   using S = ScalarOf<decltype(x)>;
                   const FilterRule<S> rule{x[0], x[1]};
                   const S lambda = x[1] / x[0];  // with its square
                   if (n[0] == 0 && lambda < S(1e-130)) return List<S>{};
                   if (!(lambda > S(1e-300)) && x[3] == S(1)) return List<S>{};
                   if (x[1] > x[0] * S(1e300)) return List<S>{};  // lambda overflows
                   const auto f = at_load(rule, {S(0.7), x[2], n[0], S(0.4)}, x[3]);
                   return list(static_cast<const Forgetting<S>&>(f)) + List<S>{f.claimed_variance};
                 });
}

TEST_CASE("Extremes: drift on keys that take turns") {
  check_extremes({levels, levels, shares, gains}, {{1, 2, 64, 1000000}},
                 [](const auto& x, const Counts& n) {
                   using S = ScalarOf<decltype(x)>;
                   const FilterRule<S> rule{S(1), x[0], x[2], x[1]};
                   const auto l = cyclic_keys(rule, n[0]);
                   return List<S>{l.predicted,
                                  l.gain,
                                  l.posterior,
                                  unvisited(rule, S(2), n[0]),
                                  cyclic_error(x[3], rule, n[0]),
                                  tracking_gain(x[1], x[0])};
                 });
  check_extremes({levels, levels}, {}, [](const auto& x, const Counts&) {
    using S = ScalarOf<decltype(x)>;
    const auto u = unequal_visits(List<S>{S(2), S(3), S(6)}, x[0], x[1]);
    return List<S>{u.filter, u.best_reset, u.best_gain};
  });
}

TEST_CASE("Extremes: drift on random keys") {
  check_extremes({{1e-17, 1e-9, 0.3, 1 - 1e-9, 1, 1.3, 2 - 1e-9}, levels, levels, dims},
                 {{0, 1, 1000000000}, {0, 1, 1000}}, [](const auto& x, const Counts& n) {
                   using S = ScalarOf<decltype(x)>;
                   return List<S>{
                       random_keys_error(x[0], x[1], x[2], x[3]),
                       revisited_error(ResetRule<S>{x[0]}, x[1], x[2], x[3], n[0], n[1])};
                 });
  check_extremes({positive, positive}, {}, [](const auto& x, const Counts&) {
    using S = ScalarOf<decltype(x)>;
    const auto law = random_keys_law(x[0], x[1]);
    return List<S>{law.w, law.variance, law.of_drift, law.of_noise,
                   tracking_error(law, S(0.3), S(2))};
  });
  const List<double> fadings{0, 1e-270, 1e-9, 0.3, 64, 1e15};  // at most d
  check_extremes({positive, fadings, positive}, {}, [](const auto& x, const Counts&) {
    using S = ScalarOf<decltype(x)>;
    if (x[0] < x[2] * S(1e-270)) return List<S>{};  // tau / r is not normal
    return List<S>{random_keys_variance(x[0], x[1], x[2])};
  });
  const List<double> drifts{1e-270, 1e-17, 0.3, 1e8, 1e270};
  check_extremes({drifts, {1, 1e-150}, {0, 1e-9, 0.3, 20, 1e9}}, {{1, 1000000000}},
                 [](const auto& x, const Counts& n) {
                   return list(retention_under_drift(x[0], x[1], n[0], x[2], 4));
                 });
}

TEST_CASE("Extremes: recall") {
  check_extremes({shares}, {from_one, {1, 2, 64, 1000000000}}, [](const auto& x, const Counts& n) {
    auto out = list(attention_recall(x[0], n[0], n[1]));
    for (const Count age : {Count(0), n[0] / 2, n[0] - 1}) {
      out = out + list(attention_recall_at(age, x[0], n[0], n[1]));
    }
    return out;
  });
  const List<double> gains_and_none{0, 1e-270, 1e-9, 0.3, 1 - 1e-9, 1, 1.3, 2};
  check_extremes({gains_and_none}, {from_one, {2, 64, 1000000000}},
                 [](const auto& x, const Counts& n) {
                   using S = ScalarOf<decltype(x)>;
                   auto out = list(reset_recall(x[0], Load<S>::of(n[0], n[1])));
                   for (const Count age : {Count(0), n[0] / 2, n[0] - 1}) {
                     out = out + list(reset_recall_at(age, x[0], n[0], n[1]));
                   }
                   return out;
                 });
  const List<double> some_loads{1e-270, 1e-9, 0.3, 1, 40, 1e9, 1e100};
  check_extremes({gains_and_none, some_loads}, {}, [](const auto& x, const Counts&) {
    using S = ScalarOf<decltype(x)>;
    return list(reset_recall(x[0], Load<S>{x[1]}));
  });
  check_extremes({some_loads, levels}, {}, [](const auto& x, const Counts&) {
    using S = ScalarOf<decltype(x)>;
    return list(scaled_attention_recall(Load<S>{x[0]}, x[1])) +
           (x[1] > S(0) || x[0] != S(1) ? list(filter_recall(x[1], x[0])) : List<S>{});
  });
}

TEST_CASE("Extremes: the best gain for recall") {
  for (const double x : {0.3, 1.0, 40.0, 1e9}) {
    for (const double r : {0.0, 1e-9, 1.0, 1e9, 1e20}) {
      INFO("load " << x << ", noise " << r);
      const double found = best_recall_gain(Load<double>{x}, r);
      const double want = double(best_recall_gain(Load<Digits100>{Digits100(x)}, Digits100(r)));
      // The minimum is flat: to half the digits of double
      CHECK(found == Approx(want).epsilon(1e-6).margin(0));
    }
  }
}

TEST_CASE("Extremes: calibration") {
  check_extremes({levels, levels, levels, levels, levels}, {from_one},
                 [](const auto& x, const Counts& n) {
                   using S = ScalarOf<decltype(x)>;
                   const NoiseLevels<S> filter{x[0], S(0), x[1]}, truth{x[2], x[3], x[4]};
                   if (!(x[0] > S(0)) && !(x[1] > S(0))) return List<S>{};
                   if (!(x[0] > S(0)) && n[0] > 1) return List<S>{};
                   return list(repeated_write_calibration(n[0], filter, truth));
                 });
  const List<double> steady_gains{1e-17, 0.3, 1, 1.3, 2 - 1e-9};
  check_extremes({steady_gains, positive, levels, levels}, {}, [](const auto& x, const Counts&) {
    using S = ScalarOf<decltype(x)>;
    return list(steady_calibration(x[0], x[1], NoiseLevels<S>{x[2], x[3], S(1)}));
  });
  check_extremes({positive, {-0.3, 0, 0.1}, gains, {1e-9, 0.3, 1}}, {},
                 [](const auto& x, const Counts&) {
                   using S = ScalarOf<decltype(x)>;
                   const auto l = noise_from_innovations<S>(x[0], S(x[1] * x[0]), x[2], x[3]);
                   return List<S>{l.observation_noise, l.process_noise};
                 });
}

}  // namespace
}  // namespace dynamics_test::extremes_random_keys_test
