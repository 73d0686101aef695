// Outliers and unknown noise: what heavy tails and a learned scale are worth.
#pragma once

#include "contender.hpp"

namespace study {

/// What all layers are told of the noises, whatever the streams'.
inline constexpr Law assumed{};

using Learned = seqbayes::LearnedNoise<Full>;

/// A layer made of a filter by `make`, which is told what is assumed.
template <class Make>
Contender robust_contender(Style style, const Make& make) {
  return {std::move(style), [make](const Moving& x, double) {
            return score(make(layer_for<Full>(x)), x.given(assumed.noise, assumed.drift), x.truth);
          }};
}

inline std::vector<Contender> robust_contenders() {
  using namespace seqbayes;
  const auto learned = [](const Full& filter) { return Learned({.filter = filter}); };
  const auto robust = [](const Full& filter) { return StudentT<Full>({.filter = filter}); };
  const auto both = [learned](const Full& filter) {
    return StudentT<Learned>({.filter = learned(filter)});
  };
  const auto mixed = [robust](const Full& filter) {
    return EvidenceMixture<Full, StudentT<Full>>(
        {.layers = {filter, robust(filter)}, .switching_rate = 0.01});
  };
  const auto best_noise = [](const Moving& x, double r) {
    return score(layer_for<Full>(x), x.given(r, assumed.drift), x.truth);
  };
  return {told_filter(),
          robust_contender({"BayesianLayer", "#000000", "solid", 4},
                           [](const Full& filter) { return filter; }),
          {{"BayesianLayer, best constant r", "#000000", "(8,5)", 6},
           best_noise,
           assumed.noise / 4,
           assumed.noise * 4096},
          robust_contender({"LearnedNoise", "#56B4E9", "solid", 1}, learned),
          robust_contender({"StudentT", "#D55E00", "solid", 7, 2.5}, robust),
          robust_contender({"StudentT of LearnedNoise", "#0072B2", "solid", 5}, both),
          robust_contender({"mixture of filter and StudentT", "#009E73", "(8,5)", 9}, mixed)};
}

inline Law with_outliers(double share, double size) {
  Law law = assumed;
  law.outliers = share;
  law.outlier_size = size;
  return law;
}
inline Law with_tails(double degrees) {
  Law law = assumed;
  law.degrees = degrees;
  return law;
}
inline Law noisier(double factor) {
  Law law = assumed;
  law.noise *= factor;
  return law;
}

inline std::vector<Moving> in_other_units(std::vector<Moving> streams, double factor) {
  for (Moving& stream : streams) stream = stream.times(factor);
  return streams;
}

inline std::vector<Column> robust_columns(const std::vector<Contender>& contenders,
                                          const MovingStudy& study) {
  const auto column = [&](const std::string& name, const std::vector<Moving>& streams) {
    return Column{name, compete(contenders, streams)};
  };
  const Law outliers = with_outliers(0.05, 10);
  return {
      column("clean", draw(study, always(assumed))),
      column("5 % outliers", draw(study, always(outliers))),
      column("t noise", draw(study, always(with_tails(2)))),
      column("mixed",
             draw(study, in_turn({assumed, with_outliers(0.1, 10), with_tails(2), noisier(4)}))),
      column("outliers x 3", in_other_units(draw(study, always(outliers)), 3))};
}

inline Figure robust_figure(const std::vector<Contender>& contenders, const MovingStudy& study) {
  const auto shown = select(contenders, {0, 1, 2, 4, 5, 6});  // LearnedNoise has the filter's means
  Figure figure{"robust", styles_of(shown), {}};
  const auto panel = [&](const std::string& title, const std::string& x_label,
                         const std::vector<double>& xs, const auto& streams) {
    figure.panels.push_back(error_panel(title, x_label, shown, xs, streams));
  };
  panel("outliers of ten times the noise", "share of tokens, %", {0.3, 1, 3, 10, 30},
        [&](double share) { return draw(study, always(with_outliers(share / 100, 10))); });
  panel("one token in twenty is an outlier", "its size over the noise's", {1, 2, 4, 8, 16, 32},
        [&](double size) { return draw(study, always(with_outliers(0.05, size))); });
  panel("Student-t noise", "its degrees of freedom (StudentT: 4)", {1.5, 2, 3, 4, 8, 16, 32},
        [&](double degrees) { return draw(study, always(with_tails(degrees))); });
  panel("5 % outliers, all values in other units", "scale of values over what layers are told",
        {0.1, 0.3, 1, 3, 10}, [&](double factor) {
          return in_other_units(draw(study, always(with_outliers(0.05, 10))), factor);
        });
  return figure;
}

}  // namespace study
