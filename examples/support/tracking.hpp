// A memory that drifts as a random walk, tracked in steady state: what is the covariance worth
// there?
#pragma once

#include <seqbayes/dynamics/drift.hpp>

#include "constant_fields.hpp"
#include "study.hpp"

namespace study {

struct TrackingStudy {
  double noise = 1;
  int key_dim = 64, repetitions = 8, channels = 5;
  unsigned seed = 1;
};

/// What a layer is run on: truth that drifts by `drift` / d a write, seen with unit noise.
struct Tracker {
  Settings settings;
  double drift = 1;
  bool keys_take_turns = false;  ///< otherwise they are random
  double start = 1;              ///< variance of the first truth: about the steady error
};

/// The layer's squared error of a memory entry: just after writes at the key of the write if keys
/// take turns, else over all directions and midway between before and after a write.
template <class Layer>
Point track(const TrackingStudy& study, const Tracker& tracker, double x) {
  const Index d = study.key_dim;
  const double omega = tracker.drift / static_cast<double>(d);
  const Layer layer({.key_dim = d,
                     .value_dim = study.channels,
                     .prior_variance = tracker.settings.prior_variance});
  const Matrix noise = Matrix::Constant(1, 1, tracker.settings.noise);
  const Matrix process = Matrix::Constant(1, 1, tracker.settings.process_noise);
  const Matrix gain = Matrix::Constant(1, 1, tracker.settings.gain);
  const Matrix no_decay = Matrix::Zero(1, 1);
  Draw draw(study.seed);
  Mean mean;
  for (int i = 0; i < study.repetitions; ++i) {
    auto state = layer.initial_state();
    Matrix truth = std::sqrt(tracker.start) * draw.normal(d, study.channels);
    double sum = 0;
    int counted = 0;
    const Index length = 24 * d;
    for (Index t = 0; t < length; ++t) {
      truth += std::sqrt(omega) * draw.normal(d, study.channels);
      const Matrix key = tracker.keys_take_turns ? Matrix(Vector::Unit(d, t % d).transpose())
                                                 : Matrix(draw.unit(d).transpose());
      const Matrix value = key * truth + std::sqrt(study.noise) * draw.normal(1, study.channels);
      seqbayes::Sequence<double> token;
      token.query = key;
      token.key = key;
      token.value = value;
      token.log_decay = no_decay;
      token.write_strength = gain;
      token.process_noise = process;
      token.observation_noise = noise;
      layer.step_mean(state, token.token(0));
      if (t < length / 3) continue;
      ++counted;
      if (tracker.keys_take_turns) {
        sum += (key * (state.mean - truth)).squaredNorm() / study.channels;
      } else {
        sum += (state.mean - truth).squaredNorm() / static_cast<double>(truth.size()) + omega / 2;
      }
    }
    mean.add(sum / counted);
  }
  return mean.at(x);
}

inline Figure tracking_figure(const TrackingStudy& study) {
  using namespace seqbayes::dynamics;
  using Filter = seqbayes::BayesianLayer<double>;
  using Reset = seqbayes::DeltaNet<double>;
  const double d = study.key_dim, r = study.noise;
  Figure figure{"tracking",
                {{"BayesianLayer", "#D55E00", "solid", 7, 2.5},
                 {"DeltaNet, best gain for the drift assumed", "#000000", "(8,5)", 6},
                 {"e / 4", "#888888", "(2,3)", 0}},
                {}};
  const std::string drift_label = "drift Q between two visits / noise r";
  Panel random{"random keys: error", drift_label, "mean square error / r", {}, "set logscale xy"};
  Panel ratio{"random keys: Bayesian Layer over best constant gain",
              drift_label,
              "ratio of errors",
              {},
              "set logscale x\nset yrange [0.6:1.05]"};
  Panel turns{"keys that take turns, Q = r",
              "constant gain",
              "mean square error / r",
              {},
              "set yrange [0:3]"};
  Panel assumed{"random keys, Q = r, other drift assumed",
                "assumed drift / true drift",
                "mean square error / r",
                {},
                "set logscale xy\nset yrange [1:7]\nset ytics (1, 1.5, 2, 3, 5)"};
  // `Q` true and assumed, of the filter and of the reset layer tuned to the assumption.
  const auto both = [&](double Q, double believed, double x) {
    const double best = tracking_gain(believed, r);
    const auto law = random_keys_law(believed, r);
    const double wrong = tracking_error(law, Q, r), reset = random_keys_error(best, Q, r, d);
    return std::pair{
        track<Filter>(study, {{law.variance, r, believed / d, 1, 1}, Q, false, wrong}, x),
        track<Reset>(study, {{1, r, 0, 1, best}, Q, false, reset}, x)};
  };
  const auto predict = [&](double Q, double believed) {
    return std::pair{tracking_error(random_keys_law(believed, r), Q, r),
                     random_keys_error(tracking_gain(believed, r), Q, r, d) + Q / d / 2};
  };
  const auto scaled = [&](Point p, double by) { return Point{p.x, p.y / by, p.error / by}; };
  Curve filter{0, {}, {}}, reset{1, {}, {}}, quotient{0, {}, {}}, limit{2, {}, {}};
  Curve wrong_filter{0, {}, {}}, wrong_reset{1, {}, {}};
  for (int step = -40; step <= 40; ++step) {
    const double x = std::pow(10, 0.05 * step);
    const auto [p, q] = predict(x * r, x * r);
    filter.predicted.push_back({x, p / r});
    reset.predicted.push_back({x, q / r});
    quotient.predicted.push_back({x, p / q});
    limit.predicted.push_back({x, std::exp(1.0) / 4});
    const auto [wp, wq] = predict(r, x * r);
    wrong_filter.predicted.push_back({x, wp / r});
    wrong_reset.predicted.push_back({x, wq / r});
    if (step % 10 != 0) continue;
    const auto [f, s] = both(x * r, x * r, x);
    filter.simulated.push_back(scaled(f, r));
    reset.simulated.push_back(scaled(s, r));
    // Both see the same draws, so the errors' errors mostly cancel; bound: their sum in quadrature.
    quotient.simulated.push_back(
        {x, f.y / s.y, f.y / s.y * std::hypot(f.error / f.y, s.error / s.y)});
    const auto [wf, ws] = both(r, x * r, x);
    wrong_filter.simulated.push_back(scaled(wf, r));
    wrong_reset.simulated.push_back(scaled(ws, r));
  }
  random.curves = {filter, reset};
  ratio.curves = {quotient, limit};
  assumed.curves = {wrong_filter, wrong_reset};
  const FilterRule<double> truth{1, r, 1, r / d};
  const double steady = cyclic_keys(truth, study.key_dim).posterior;
  Curve flat{0, {}, {}}, gains{1, {}, {}};
  figure.styles.push_back({"DeltaNet, any constant gain", "#000000", "solid", 4});
  gains.style = 3;
  for (int step = 2; step <= 38; ++step) {
    const double b = 0.05 * step;
    const double error = cyclic_error(b, truth, study.key_dim);
    flat.predicted.push_back({b, steady / r});
    gains.predicted.push_back({b, error / r});
    if (step % 4 != 0) continue;
    gains.simulated.push_back(scaled(track<Reset>(study, {{1, r, 0, 1, b}, r, true, error}, b), r));
    if (step % 12 == 0) {
      flat.simulated.push_back(
          scaled(track<Filter>(study, {{steady, r, r / d, 1, 1}, r, true, steady}, b), r));
    }
  }
  turns.curves = {flat, gains};
  figure.panels = {random, ratio, turns, assumed};
  return figure;
}

}  // namespace study
