// The collision study: key a is written n_a times, then key b, of cosine rho, n_b times.
#pragma once

#include <seqbayes/dynamics/collision.hpp>

#include "best_gain.hpp"
#include "constant_fields.hpp"
#include "study.hpp"

namespace study {

using seqbayes::dynamics::Collision;
using seqbayes::dynamics::MixedRetrieval;

struct CollisionStudy {
  double cosine = 0.7, noise = 0.25;  ///< of unit keys; over the prior variance, which is 1
  int writes_a = 20, writes_b = 100, key_dim = 16, orientations = 8, channels = 200;
  unsigned seed = 1;
};

/// A layer of the study: how it looks, runs, and what is known of it in closed form.
struct Entrant {
  Style style;
  Settings settings;
  Answers answers;
  std::function<Collision<double>(const Settings&, double cosine, int n_a, int n_b)> predict;
  bool counts_writes = false;  ///< its answer is divided by the weight of one key's writes
  bool is_tuned = false;       ///< the gain with the least error at a and b together
};

inline std::vector<Entrant> entrants(const CollisionStudy& study) {
  using namespace seqbayes;
  using namespace seqbayes::dynamics;
  const auto filter = [](const Settings& s, double cosine, int n_a, int n_b) {
    const FilterRule<double> rule{s.prior_variance, s.noise, 1, s.process_noise};
    return Collision<double>(after_collision(rule, cosine, n_a, n_b));
  };
  const auto reset = [](const Settings& s, double cosine, int n_a, int n_b) {
    return after_collision(ResetRule<double>{s.gain, s.decay}, cosine, n_a, n_b);
  };
  const auto attention = [](const Settings& s, double cosine, int n_a, int n_b) {
    return after_collision(AttentionRule<double>{s.decay}, cosine, n_a, n_b);
  };
  const double r = study.noise, gain = 1 / (1 + r), decay = 0.98, drift = 0.01;
  const Settings still{1, r, 0, 1, gain}, fading{1, r, 0, decay, gain},
      moving{1, r, drift, 1, gain};
  return {
      {{"LinearAttention, over the count", "#888888", "(2,3)", 8},
       still,
       answers<LinearAttention<double>>,
       attention,
       true},
      {{"Ssd = Retention = GLA, decay 0.98, likewise", "#CC79A7", "solid", 10},
       fading,
       answers<Ssd<double>>,
       attention,
       true},
      {{"DeltaNet, the filter's first gain", "#000000", "solid", 4},
       still,
       answers<DeltaNet<double>>,
       reset},
      {{"DeltaNet, best constant gain", "#000000", "(8,5)", 6},
       still,
       answers<DeltaNet<double>>,
       reset,
       false,
       true},
      {{"GatedDeltaNet = KDA, decay 0.98", "#E69F00", "solid", 12},
       fading,
       answers<GatedDeltaNet<double>>,
       reset},
      {{"IsotropicKalmanDeltaNet (simulated)", "#56B4E9", "solid", 1, 0},
       still,
       answers<IsotropicKalmanDeltaNet<double>>,
       {}},
      {{"DiagonalKalmanDeltaNet (simulated)", "#009E73", "solid", 2, 0},
       still,
       answers<DiagonalKalmanDeltaNet<double>>,
       {}},
      {{"BayesianLayer", "#D55E00", "solid", 7, 2.5},
       still,
       answers<BayesianLayer<double>>,
       filter},
      {{"BayesianLayer, process noise 0.01", "#0072B2", "solid", 5, 2.5},
       moving,
       answers<BayesianLayer<double>>,
       filter},
  };
}

/// E error^2 where both values are drawn from N(0, 1).
inline double expected_error(const MixedRetrieval<double>& r, double noise) {
  return r.missing * r.missing + r.interference * r.interference + noise * r.noise_factor;
}

/// What n writes of one key weigh without normalisation.
inline double weight_of_writes(const Entrant& entrant, int n) {
  return entrant.counts_writes ? seqbayes::dynamics::geometric_sum(entrant.settings.decay, n) : 1;
}

/// The closed form, its answers divided as the entrant's are.
inline Collision<double> predicted(const Entrant& entrant, double cosine, int n_a, int n_b) {
  const auto divided = [](const MixedRetrieval<double>& r, double by) {
    return MixedRetrieval<double>{r.own / by, 1 - r.own / by, r.interference / by,
                                  r.noise_factor / (by * by)};
  };
  const Collision<double> plain = entrant.predict(entrant.settings, cosine, n_a, n_b);
  if (!entrant.counts_writes) return plain;
  return {divided(plain.a, weight_of_writes(entrant, n_a)),
          divided(plain.b, weight_of_writes(entrant, n_b))};
}

/// With its gain chosen, knowing the whole experiment, for the least error at a and b together.
inline Entrant tuned(Entrant entrant, double cosine, int n_a, int n_b) {
  if (!entrant.is_tuned) return entrant;
  entrant.settings.gain = best_gain([&](double gain) {
    entrant.settings.gain = gain;
    const auto c = entrant.predict(entrant.settings, cosine, n_a, n_b);
    return expected_error(c.a, entrant.settings.noise) +
           expected_error(c.b, entrant.settings.noise);
  });
  return entrant;
}

/// The errors at a and b of one experiment, as points at `x`.
struct Errors {
  Point a, b;
};

/// Runs the layer over random orientations of the keys, each with independent value channels.
inline Errors simulate(const CollisionStudy& study, const Entrant& entrant, double cosine, int n_a,
                       int n_b, double x) {
  Draw draw(study.seed);
  Mean at_a, at_b;
  for (int i = 0; i < study.orientations; ++i) {
    const Vector a = draw.unit(study.key_dim), other = draw.unit(study.key_dim);
    const Vector across = (other - other.dot(a) * a).normalized();
    const Vector b = cosine * a + std::sqrt(1 - cosine * cosine) * across;
    const Matrix y = draw.normal(2, study.channels);
    Matrix key(n_a + n_b, study.key_dim);
    key << a.transpose().replicate(n_a, 1), b.transpose().replicate(n_b, 1);
    Matrix value = std::sqrt(study.noise) * draw.normal(n_a + n_b, study.channels);
    value.topRows(n_a).rowwise() += y.row(0);
    value.bottomRows(n_b).rowwise() += y.row(1);
    const auto errors = [&](const Vector& query, Index truth, double by, Mean& mean) {
      const Matrix answer = entrant.answers(entrant.settings, key, value, query);
      const Matrix error = answer.bottomRows(1) / by - y.row(truth);
      for (Index c = 0; c < study.channels; ++c) mean.add(error(0, c) * error(0, c));
    };
    errors(a, 0, weight_of_writes(entrant, n_a), at_a);
    errors(b, 1, weight_of_writes(entrant, n_b), at_b);
  }
  return {at_a.at(x), at_b.at(x)};
}

/// |C_ab| after one write of b, measured: the answer at a to values 0 at a and 1 at b.
inline double measured_interference(const CollisionStudy& study, const Entrant& entrant,
                                    double cosine, int n_a) {
  Draw draw(study.seed);
  double sum = 0;
  for (int i = 0; i < study.orientations; ++i) {
    const Vector a = draw.unit(study.key_dim), other = draw.unit(study.key_dim);
    const Vector b =
        cosine * a + std::sqrt(1 - cosine * cosine) * (other - other.dot(a) * a).normalized();
    Matrix key(n_a + 1, study.key_dim), value = Matrix::Zero(n_a + 1, 1);
    key << a.transpose().replicate(n_a, 1), b.transpose();
    value(n_a, 0) = 1;
    sum += entrant.answers(entrant.settings, key, value, a)(n_a, 0);
  }
  return std::abs(sum) / study.orientations / weight_of_writes(entrant, n_a);
}

inline Figure collision_figure(const CollisionStudy& study) {
  Figure figure{"collision", {}, {}};
  const double rho = study.cosine;
  const std::string history = fmt::format("cosine {:g}, a written {} times", rho, study.writes_a);
  Panel at_a{"the old memory a: " + history,
             "writes of b",
             "mean square error at a",
             {},
             "set logscale xy"};
  Panel at_b{"the new memory b: " + history,
             "writes of b",
             "mean square error at b",
             {},
             "set logscale xy"};
  Panel protection{fmt::format("what one write of b moves at a, cosine {:g}", rho),
                   "writes of a",
                   "shift of a's answer per unit of b",
                   {},
                   "set logscale xy\nset xrange [1:300]"};
  Panel angle{
      fmt::format("the old memory, {} writes of a, then {} of b", study.writes_a, study.writes_a),
      "cosine of the keys",
      "mean square error at a",
      {},
      "set logscale y"};
  const std::vector<Entrant> all = entrants(study);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const Entrant& entrant = all[i];
    figure.styles.push_back(entrant.style);
    Curve a{i, {}, {}}, b{i, {}, {}}, moved{i, {}, {}}, turned{i, {}, {}};
    for (const int n_b : spaced(study.writes_b, 3)) {
      const Errors errors =
          simulate(study, tuned(entrant, rho, study.writes_a, n_b), rho, study.writes_a, n_b, n_b);
      a.simulated.push_back(errors.a);
      b.simulated.push_back(errors.b);
    }
    for (const int n_a : spaced(300, 3)) {
      moved.simulated.push_back(
          {double(n_a), measured_interference(study, tuned(entrant, rho, n_a, 1), rho, n_a)});
    }
    for (int step = 0; step <= 10; ++step) {
      const double cosine = 0.1 * step;
      turned.simulated.push_back(simulate(study,
                                          tuned(entrant, cosine, study.writes_a, study.writes_a),
                                          cosine, study.writes_a, study.writes_a, cosine)
                                     .a);
    }
    if (entrant.predict) {
      const auto at = [&](double cosine, int n_a, int n_b) {
        return predicted(tuned(entrant, cosine, n_a, n_b), cosine, n_a, n_b);
      };
      for (const int n_b : spaced(study.writes_b, 21)) {
        const auto c = at(rho, study.writes_a, n_b);
        a.predicted.push_back({double(n_b), expected_error(c.a, study.noise)});
        b.predicted.push_back({double(n_b), expected_error(c.b, study.noise)});
      }
      for (const int n_a : spaced(300, 21)) {
        moved.predicted.push_back({double(n_a), at(rho, n_a, 1).a.interference});
      }
      for (int step = 0; step <= 100; ++step) {
        const double cosine = 0.01 * step;
        turned.predicted.push_back(
            {cosine, expected_error(at(cosine, study.writes_a, study.writes_a).a, study.noise)});
      }
    }
    at_a.curves.push_back(a);
    at_b.curves.push_back(b);
    protection.curves.push_back(moved);
    angle.curves.push_back(turned);
  }
  figure.panels = {at_a, at_b, protection, angle};
  return figure;
}

}  // namespace study
