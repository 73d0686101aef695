// Every named layer of the grid on the same stream.
#pragma once

#include <array>
#include <functional>
#include <string>
#include <type_traits>
#include <vector>

#include "trace.hpp"

namespace inspect {

/// One layer on one head.
struct Run {
  bool is_filter = false;
  Fit fit;                  // the dials that make the whole stream most probable
  Trace trace;              // with these dials
  double held_out_nis = 0;  // see `run_layer`
};

/// A layer, and its line in the figures.
struct GridPoint {
  std::string name;
  std::string same_as;  // the layer it coincides with here, where the decay is a scalar
  std::string colour, dash;
  double width = 0;
  std::function<Run(const Head&)> run;
};

/// Fits, traces and, for a filter, checks its claims: with the dials fitted on the first half of
/// the stream, the mean of |nu|^2 / (s dv) over the second half is 1 if the claimed s are right.
template <class Layer>
Run run_layer(const Head& head, bool with_rho = false) {
  Run run;
  run.is_filter = seqbayes::ProbabilisticLayer<Layer>;
  if constexpr (seqbayes::ProbabilisticLayer<Layer>) {
    run.fit = fit<Layer>(head, head.length(), with_rho);
    const Index half = head.length() / 2;
    const Fit first_half = fit<Layer>(head, half, with_rho);
    const Trace check = trace_layer<Layer>(head, first_half);
    run.held_out_nis =
        (check.actual.array() / check.claimed.array()).tail(head.length() - half).mean();
  }
  run.trace = trace_layer<Layer>(head, run.fit);
  return run;
}

/// A head without the model's gates: nothing decays, and every value is equally noisy.
inline Head without_decay(Head head) {
  head.log_decay.setZero();
  return head;
}
inline Head with_constant_noise(Head head) {
  head.constant_noise.setOnes(head.length());
  return head;
}

/// The model's own layer: the recorded write strength and decay are its.
inline const std::string own_layer = "GatedDeltaNet";

/// Colours from Okabe and Ito's colour-blind safe palette.
inline std::vector<GridPoint> grid() {
  using namespace seqbayes;
  const auto solid = "solid", dashed = "(10,4)", dotted = "(2,4)";
  const auto run = []<class Layer>(std::type_identity<Layer>) {
    return [](const Head& head) { return run_layer<Layer>(head); };
  };
  using Bayesian = BayesianLayer<double>;
  return {
      {"LinearAttention", "", "#888888", dotted, 2,
       run(std::type_identity<LinearAttention<double>>())},
      {"Retention", "", "#888888", dashed, 1.5, run(std::type_identity<Retention<double>>())},
      {"Ssd", "", "#CC79A7", solid, 1.5, run(std::type_identity<Ssd<double>>())},
      {"GatedLinearAttention", "Ssd", "", "", 0,
       run(std::type_identity<GatedLinearAttention<double>>())},
      {"DeltaNet", "", "#000000", dashed, 1.5, run(std::type_identity<DeltaNet<double>>())},
      {own_layer, "", "#000000", solid, 2.5, run(std::type_identity<GatedDeltaNet<double>>())},
      {"KimiDeltaAttention", own_layer, "", "", 0,
       run(std::type_identity<KimiDeltaAttention<double>>())},
      {"IsotropicKalmanDeltaNet", "", "#56B4E9", solid, 1.5,
       run(std::type_identity<IsotropicKalmanDeltaNet<double>>())},
      {"DiagonalKalmanDeltaNet", "", "#009E73", solid, 1.5,
       run(std::type_identity<DiagonalKalmanDeltaNet<double>>())},
      {"BayesianLayer", "", "#D55E00", solid, 2.5, run(std::type_identity<Bayesian>())},
      {"BayesianLayer (rho)", "", "#0072B2", solid, 2.5,
       [](const Head& head) { return run_layer<Bayesian>(head, true); }},
      {"BayesianLayer (no gates)", "", "#D55E00", dashed, 2,
       [](const Head& head) {
         return run_layer<Bayesian>(with_constant_noise(without_decay(head)));
       }},
  };
}

/// What of it matters: every kept form of the covariance, with and without the recorded gates. The
/// log evidence a value, or NaN for the reset layer, whose gain is beta whatever r is.
struct Ablation {
  static constexpr std::array rows{"nothing (reset)", "one scalar", "the diagonal", "all of it"};
  static constexpr std::array columns{"decay, r(beta)", "decay, const r", "no decay, r(beta)",
                                      "no decay, const r"};
  std::array<std::array<double, columns.size()>, rows.size()> evidence;
};

inline Ablation ablate(const Head& recorded) {
  using namespace seqbayes;
  const auto evidence = []<class Layer>(std::type_identity<Layer>, const Head& head) {
    return fit<Layer>(head, head.length(), false).noise.log_evidence /
           static_cast<double>(head.value.size());
  };
  const Head free = without_decay(recorded);
  const std::array heads{recorded, with_constant_noise(recorded), free, with_constant_noise(free)};
  Ablation result;
  for (std::size_t i = 0; i < heads.size(); ++i) {
    const bool reads_beta = i % 2 == 0;
    result.evidence[0][i] =
        reads_beta ? evidence(std::type_identity<GatedDeltaNet<double>>(), heads[i]) : NAN;
    result.evidence[1][i] =
        evidence(std::type_identity<IsotropicKalmanDeltaNet<double>>(), heads[i]);
    result.evidence[2][i] =
        evidence(std::type_identity<DiagonalKalmanDeltaNet<double>>(), heads[i]);
    result.evidence[3][i] = evidence(std::type_identity<BayesianLayer<double>>(), heads[i]);
  }
  return result;
}

}  // namespace inspect
