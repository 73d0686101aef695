// The collision study: key a is written n_a times, then key b, of cosine rho, n_b times.
#pragma once

#include <seqbayes/dynamics/collision.hpp>

#include "entrant.hpp"

namespace study {

using seqbayes::dynamics::Collision;
using seqbayes::dynamics::MixedRetrieval;

struct CollisionStudy {
  double cosine = 0.7, noise = 0.25;  ///< of unit keys; over the prior variance, which is 1
  int writes_a = 20, writes_b = 100, key_dim = 16, orientations = 8, channels = 200;
  unsigned seed = 1;
};

using CollisionEntrant =
    Entrant<Collision<double>(const Settings&, double cosine, int n_a, int n_b)>;

inline std::vector<CollisionEntrant> entrants(const CollisionStudy& study) {
  using namespace seqbayes;
  const auto by = [](auto rule) {
    return [rule](const Settings& s, double cosine, int n_a, int n_b) {
      return Collision<double>(after_collision(rule(s), cosine, n_a, n_b));
    };
  };
  const double r = study.noise, gain = 1 / (1 + r);
  const Settings still{1, r, 0, 1, gain}, moving{1, r, 0.01, 1, gain};
  auto all = without_covariance<CollisionEntrant>(
      still, {1, r, 0, 0.98, gain}, by(attention_rule), by(reset_rule),
      "Ssd = Retention = GLA, decay 0.98, likewise", "GatedDeltaNet = KDA, decay 0.98");
  all.push_back({{"IsotropicKalmanDeltaNet (simulated)", "#56B4E9", "solid", 1, 0},
                 still,
                 answers<IsotropicKalmanDeltaNet<double>>,
                 {}});
  all.push_back({{"DiagonalKalmanDeltaNet (simulated)", "#009E73", "solid", 2, 0},
                 still,
                 answers<DiagonalKalmanDeltaNet<double>>,
                 {}});
  all.push_back({{"BayesianLayer", "#D55E00", "solid", 7, 2.5},
                 still,
                 answers<BayesianLayer<double>>,
                 by(filter_rule)});
  all.push_back({{"BayesianLayer, process noise 0.01", "#0072B2", "solid", 5, 2.5},
                 moving,
                 answers<BayesianLayer<double>>,
                 by(filter_rule)});
  return all;
}

/// E error^2 where both values are drawn from N(0, 1).
inline double expected_error(const MixedRetrieval<double>& r, double noise) {
  return r.missing * r.missing + r.interference * r.interference + noise * r.noise_factor;
}

/// The closed form, its answers divided as the entrant's are.
inline Collision<double> predicted(const CollisionEntrant& entrant, double cosine, int n_a,
                                   int n_b) {
  const auto divided = [](const MixedRetrieval<double>& r, double by) {
    return MixedRetrieval<double>{r.own / by, 1 - r.own / by, r.interference / by,
                                  r.noise_factor / (by * by)};
  };
  const Collision<double> plain = entrant.predict(entrant.settings, cosine, n_a, n_b);
  if (!entrant.counts_writes) return plain;
  return {divided(plain.a, entrant.weight_of_writes(n_a)),
          divided(plain.b, entrant.weight_of_writes(n_b))};
}

/// With its gain chosen for the least error at a and b together.
inline CollisionEntrant tuned(const CollisionEntrant& entrant, double cosine, int n_a, int n_b) {
  return tuned(entrant, [&](const Settings& settings) {
    const auto c = entrant.predict(settings, cosine, n_a, n_b);
    return expected_error(c.a, settings.noise) + expected_error(c.b, settings.noise);
  });
}

/// Unit keys of that cosine in a random plane.
struct Keys {
  Vector a, b;
};

inline Keys draw_keys(Draw& draw, Index dim, double cosine) {
  const Vector a = draw.unit(dim), other = draw.unit(dim);
  const Vector across = (other - other.dot(a) * a).normalized();
  return {a, cosine * a + std::sqrt(1 - cosine * cosine) * across};
}

/// The errors at a and b of one experiment, as points at `x`.
struct Errors {
  Point a, b;
};

/// Runs the layer over random orientations of the keys, each with independent value channels.
inline Errors simulate(const CollisionStudy& study, const CollisionEntrant& entrant, double cosine,
                       int n_a, int n_b, double x) {
  Draw draw(study.seed);
  Mean at_a, at_b;
  for (int i = 0; i < study.orientations; ++i) {
    const auto [a, b] = draw_keys(draw, study.key_dim, cosine);
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
    errors(a, 0, entrant.weight_of_writes(n_a), at_a);
    errors(b, 1, entrant.weight_of_writes(n_b), at_b);
  }
  return {at_a.at(x), at_b.at(x)};
}

/// |C_ab| after one write of b, measured: the answer at a to values 0 at a and 1 at b.
inline double measured_interference(const CollisionStudy& study, const CollisionEntrant& entrant,
                                    double cosine, int n_a) {
  Draw draw(study.seed);
  double sum = 0;
  for (int i = 0; i < study.orientations; ++i) {
    const auto [a, b] = draw_keys(draw, study.key_dim, cosine);
    Matrix key(n_a + 1, study.key_dim), value = Matrix::Zero(n_a + 1, 1);
    key << a.transpose().replicate(n_a, 1), b.transpose();
    value(n_a, 0) = 1;
    sum += entrant.answers(entrant.settings, key, value, a)(n_a, 0);
  }
  return std::abs(sum) / study.orientations / entrant.weight_of_writes(n_a);
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
  const std::vector<CollisionEntrant> all = entrants(study);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const CollisionEntrant& entrant = all[i];
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
