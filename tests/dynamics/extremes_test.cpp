// Every closed form on its whole domain, part one: one key, two keys, change-points.
#include <dynamics/extremes.hpp>

#include <seqbayes/dynamics/change_point.hpp>
#include <seqbayes/dynamics/collision.hpp>
#include <seqbayes/dynamics/constant_gain.hpp>

namespace dynamics_test::extremes_test {
namespace {

using namespace seqbayes::dynamics;

template <class X>
using ScalarOf = typename std::decay_t<X>::value_type;

template <class S>
List<S> list(const Retrieval<S>& r) {
  return {r.initial_weight, r.total_weight, r.missing_weight, r.noise_factor};
}
template <class S>
List<S> list(const MixedRetrieval<S>& r) {
  return {r.own, r.missing, r.interference, r.noise_factor};
}
template <class S>
List<S> list(const Collision<S>& c) {
  List<S> all = list(c.a);
  for (const S& entry : list(c.b)) all.push_back(entry);
  return all;
}
template <class S>
List<S> operator+(List<S> a, const List<S>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}
template <class S>
bool in_domain(const FilterRule<S>& rule) {
  return rule.observation_noise > S(0) || rule.process_noise > S(0) ||
         rule.decay * rule.decay * rule.prior_variance > S(1e-290);
}

TEST_CASE("Extremes: geometric sums") {
  check_extremes({shares}, {counts}, [](const auto& x, const Counts& n) {
    using S = ScalarOf<decltype(x)>;
    const auto g = geometric_sums<S>(x[0], n[0]);
    return List<S>{g.power(),
                   g.sum,
                   g.sums,
                   g.rising,
                   g.squares,
                   power<S>(x[0], n[0]),
                   geometric_sum<S>(x[0], n[0])};
  });
  check_extremes({shares, shares}, {counts}, [](const auto& x, const Counts& n) {
    return List<ScalarOf<decltype(x)>>{divided_power(x[0], x[1], n[0])};
  });
}

TEST_CASE("Extremes: the filter's limit and its writes") {
  check_extremes({levels, levels, shares}, {}, [](const auto& x, const Counts&) {
    using S = ScalarOf<decltype(x)>;
    const FilterRule<S> rule{S(1), x[0], x[2], x[1]};
    const auto l = riccati_limit(rule);
    return List<S>{l.predicted,        l.gain,     l.kept, l.contraction.value,
                   l.contraction.lost, l.posterior} +
           list(plateau(rule));
  });
  check_extremes({levels, levels, shares, levels}, {counts}, [](const auto& x, const Counts& n) {
    using S = ScalarOf<decltype(x)>;
    const FilterRule<S> rule{x[0], x[1], x[2], x[3]};
    if (!in_domain(rule)) return List<S>{};
    List<S> out = list(after_writes(rule, n[0]));
    out.push_back(claimed_variance(rule, n[0]));
    if (n[0] > 0) out.push_back(gain_of_write(rule, n[0]));
    return out;
  });
}

TEST_CASE("Extremes: reset layers and linear attention on one key") {
  const List<double> gains{1e-300, 1e-17, 1e-6, 0.3, 1 - 1e-9, 1, 1.3, 2 - 1e-9};
  check_extremes({gains, shares}, {counts}, [](const auto& x, const Counts& n) {
    using S = ScalarOf<decltype(x)>;
    const ResetRule<S> rule{x[0], x[1]};
    return list(after_writes(rule, n[0])) + list(plateau(rule));
  });
  check_extremes({shares}, {from_one}, [](const auto& x, const Counts& n) {
    using S = ScalarOf<decltype(x)>;
    const AttentionRule<S> rule{x[0]};
    return list(after_writes(rule, n[0])) + list(after_writes_normalised(rule, n[0]));
  });
}

TEST_CASE("Extremes: change-points") {
  check_extremes({levels, levels, shares, levels}, {{0, 1, 1000000000}, {0, 1, 1000}},
                 [](const auto& x, const Counts& n) {
                   using S = ScalarOf<decltype(x)>;
                   const FilterRule<S> rule{x[0], x[1], x[2], x[3]};
                   if (!in_domain(rule)) return List<S>{};
                   const auto change = after_change(rule, n[0], n[1]);
                   return List<S>{change.old_weight, change.new_weight};
                 });
  check_extremes(
      {positive, levels, shares}, {counts, from_one}, [](const auto& x, const Counts& n) {
        using S = ScalarOf<decltype(x)>;
        if (!(x[2] > 0)) return List<S>{};
        const InflationRule<S> rule{x[0], x[1], x[2]};
        if (x[1] > x[0] * S(1e300)) return List<S>{};  // lambda overflows
        // lambda mu^n where mu^n underflows
        if (power(x[2], n[0] + n[1]) < S(1e-290) && x[1] > x[0] * S(1e8)) return List<S>{};
        const auto change = after_change(rule, n[0], n[1]);
        return List<S>{change.old_weight, change.new_weight, claimed_variance(rule, n[0])} +
               list(after_writes(rule, n[0]));
      });
  check_extremes({{1e-300, 1e-17, 0.3, 0.99}, shares}, {counts, counts},
                 [](const auto& x, const Counts& n) {
                   using S = ScalarOf<decltype(x)>;
                   const auto change = after_change(ResetRule<S>{x[0], x[1]}, n[0], n[1]);
                   return List<S>{change.old_weight, change.new_weight, half_life(x[0])};
                 });
  check_extremes({positive}, {}, [](const auto& x, const Counts&) {
    return List<ScalarOf<decltype(x)>>{gain_of_half_life(x[0]), plateau_of_half_life(x[0])};
  });
}

const List<double> cosines{-1, -0.6, -1e-9, 0, 1e-300, 1e-9, 0.7, 1 - 1e-9, 1};

TEST_CASE("Extremes: collisions") {
  check_extremes(
      {levels, positive, levels, cosines}, {{0, 1, 30, 1000000000}, {0, 1, 1000000}},
      [](const auto& x, const Counts& n) {
        using S = ScalarOf<decltype(x)>;
        const FilterRule<S> rule{x[0], x[1], S(1), x[2]};
        const auto c = after_collision(rule, x[3], n[0], n[1]);
        return list(static_cast<const Collision<S>&>(c)) + List<S>{c.variance_a, c.variance_b};
      });
  const List<double> gains{1e-300, 1e-9, 0.3, 1, 1.3};
  check_extremes({gains, shares, cosines}, {{0, 1, 30, 1000000000}, {0, 1, 1000000}},
                 [](const auto& x, const Counts& n) {
                   using S = ScalarOf<decltype(x)>;
                   return list(after_collision(ResetRule<S>{x[0], x[1]}, x[2], n[0], n[1]));
                 });
  check_extremes({shares, cosines}, {counts, counts}, [](const auto& x, const Counts& n) {
    using S = ScalarOf<decltype(x)>;
    return list(after_collision(AttentionRule<S>{x[0]}, x[1], n[0], n[1]));
  });
  check_extremes({positive, cosines}, {counts}, [](const auto& x, const Counts& n) {
    return List<ScalarOf<decltype(x)>>{protection_factor(x[0], x[1], n[0])};
  });
}

TEST_CASE("Extremes: the best constant gain") {
  check_extremes({positive, {1e-300, 1e-9, 0.3, 1}, positive}, {},
                 [](const auto& x, const Counts&) {
                   using S = ScalarOf<decltype(x)>;
                   if (x[2] < x[1] / (2 - x[1])) return List<S>{};
                   return List<S>{crossover(x[0], x[1], x[2])};
                 });
  check_extremes({{1e-270, 1e-6, 0.3, 1e270}}, {{1, 3, 1000, 1000000000}},
                 [](const auto& x, const Counts& n) {
                   return List<ScalarOf<decltype(x)>>{best_constant_gain(x[0], n[0])};
                 });
}

}  // namespace
}  // namespace dynamics_test::extremes_test
