// The calibration study: is the error that a layer claims the error it makes? And which regime does
// a stream come from?
#pragma once

#include <random>
#include <seqbayes/inference/regime.hpp>
#include <type_traits>

#include "stream.hpp"
#include "study.hpp"

namespace study {

using seqbayes::Index;
using seqbayes::Sequence;
using seqbayes::dynamics::NoiseFit;
using seqbayes::dynamics::NoiseLevels;
using seqbayes::dynamics::Regime;
using Matrix = seqbayes::Matrix<double>;
using Vector = seqbayes::Vector<double>;
using Reset = seqbayes::KimiDeltaAttention<double>;
using Full =
    seqbayes::BayesianLayer<double, Eigen::Dynamic, Eigen::Dynamic, seqbayes::ChannelDecay>;

/// Drawn streams: unit keys out of a pool of `keys`, half of the visits to a tenth of them.
struct Synthetic {
  int length = 1024, key_dim = 16, channels = 16, keys = 40;
  NoiseLevels<double> levels{0.25, 0.02, 1};
  unsigned seed = 1;
};

/// A stream that owns its numbers.
struct Drawn {
  Matrix key, value;

  [[nodiscard]] Sequence<double> sequence() const {
    Sequence<double> x;
    x.key = key;
    x.value = value;
    return x;
  }
};

inline Drawn draw(const Synthetic& settings, Regime regime) {
  std::mt19937_64 engine(settings.seed);
  std::normal_distribution<double> normal;
  Matrix pool =
      Matrix::NullaryExpr(settings.keys, settings.key_dim, [&] { return normal(engine); });
  pool.rowwise().normalize();
  std::uniform_int_distribution<Index> any(0, settings.keys - 1), few(0, settings.keys / 10);
  std::bernoulli_distribution half;
  Drawn drawn;
  drawn.key.resize(settings.length, settings.key_dim);
  for (Index t = 0; t < settings.length; ++t) {
    drawn.key.row(t) = pool.row(half(engine) ? few(engine) : any(engine));
  }
  const Sequence<double> keys = drawn.sequence();
  drawn.value =
      seqbayes::dynamics::sample_values(keys, settings.channels, settings.levels, regime, engine);
  return drawn;
}

/// What the layers claim of the innovations in the second half of a stream, and what comes, with
/// levels fitted to the first.
struct Claims {
  Vector claimed, actual;

  [[nodiscard]] double nis() const { return actual.cwiseQuotient(claimed).mean(); }

  /// Tokens sorted by claim, in groups of equal size: actual against claimed, mean and error.
  [[nodiscard]] Points groups(Index count) const {
    std::vector<Index> order;
    for (Index t = 0; t < claimed.size(); ++t) order.push_back(t);
    std::ranges::stable_sort(order, {}, [&](Index t) { return claimed[t]; });
    Points points;
    for (Index group = 0; group < count; ++group) {
      Mean claim, mean;
      for (Index i = claimed.size() * group / count; i < claimed.size() * (group + 1) / count;
           ++i) {
        const Index t = order[static_cast<std::size_t>(i)];
        claim.add(claimed[t]);
        mean.add(actual[t]);
      }
      points.push_back(mean.at(claim.at(0).y));
    }
    return points;
  }
};

inline const std::vector<Style>& claim_styles() {
  static const std::vector<Style> styles{
      {"DeltaNet", "#000000", "solid", 6, 0},
      {"DeltaNet, its true error (R7.2)", "#0072B2", "solid", 5, 0},
      {"IsotropicKalmanDeltaNet", "#56B4E9", "solid", 1, 0},
      {"DiagonalKalmanDeltaNet", "#009E73", "solid", 2, 0},
      {"BayesianLayer", "#D55E00", "solid", 7, 0},
      {"honest", "#222222", "(2,3)", 0, 1.2}};
  return styles;
}

template <class L>
Claims claims_of(const Sequence<double>& x, const NoiseFit<double>& fit) {
  seqbayes::dynamics::NoisyStream<L> stream(x);
  const auto seen = seqbayes::dynamics::innovations(stream.layer(fit.levels, x.value.cols()),
                                                    stream.at(fit.levels));
  const Index half = x.key.rows() - x.key.rows() / 2;
  return {seen.claimed.tail(half), seen.actual.tail(half)};
}

/// DeltaNet's innovations with the variance that they have if memory drifts as the full model,
/// fitted, says: the reset layer's own filter believes that nothing lasts.
inline Claims corrected_claims(const Sequence<double>& x, const NoiseFit<double>& reset,
                               const NoiseFit<double>& full) {
  namespace dynamics = seqbayes::dynamics;
  Claims claims = claims_of<Reset>(x, reset);
  dynamics::NoisyStream<Reset> stream(x);
  const auto layer = stream.layer(reset.levels, 1);
  const Matrix gains = dynamics::write_gains(layer, stream.at(reset.levels));
  // The data's own noises, at the levels of the full model.
  const Sequence<double> data = stream.at(full.levels);
  dynamics::ErrorCovariance<double> error(x.key.cols(), {1, 1, full.levels.prior_variance});
  const Index first = x.key.rows() / 2;
  for (Index t = 0; t < x.key.rows(); ++t) {
    const double s = error.step(data.token(t), gains.row(t).transpose());
    if (t >= first) claims.claimed[t - first] = s;
  }
  return claims;
}

/// In the order of `claim_styles`.
inline std::vector<Claims> all_claims(const Sequence<double>& x) {
  const Sequence<double> first = [&] {
    Sequence<double> part = x;
    if (part.query.empty()) part.query = part.key;
    return part.tokens(0, part.length() / 2);
  }();
  const auto fit = [&]<class L>(std::type_identity<L>) {
    return seqbayes::dynamics::fit_noise<L>(first);
  };
  using Isotropic = seqbayes::IsotropicKalmanDeltaNet<double>;
  using Diagonal = seqbayes::DiagonalKalmanDeltaNet<double>;
  const auto reset = fit(std::type_identity<Reset>{}), full = fit(std::type_identity<Full>{});
  return {claims_of<Reset>(x, reset), corrected_claims(x, reset, full),
          claims_of<Isotropic>(x, fit(std::type_identity<Isotropic>{})),
          claims_of<Diagonal>(x, fit(std::type_identity<Diagonal>{})), claims_of<Full>(x, full)};
}

/// Both axes relative to the mean square of the values, the error of remembering nothing.
inline Panel claims_panel(const std::string& title, const Sequence<double>& x,
                          const std::vector<Claims>& claims) {
  const double scale =
      Eigen::Map<const Matrix>(x.value.data(), x.value.rows(), x.value.cols()).cwiseAbs2().mean();
  Panel panel{title, "claimed square error, no memory = 1", "actual, likewise", {}, ""};
  double low = 1e300, high = 0;
  for (std::size_t i = 0; i < claims.size(); ++i) {
    Points points = claims[i].groups(8);
    for (Point& point : points) {
      point = {point.x / scale, point.y / scale, point.error / scale};
      low = std::min({low, point.x, point.y});
      high = std::max({high, point.x, point.y});
    }
    panel.curves.push_back({i, {}, points});
  }
  low /= 1.1;
  high *= 1.1;
  panel.curves.push_back(
      {claims.size(), {{1.02 * low, 1.02 * low}, {high / 1.02, high / 1.02}}, {}});
  panel.options = fmt::format(
      "set logscale xy\nset xrange [{0:.3g}:{1:.3g}]\nset yrange [{0:.3g}:{1:.3g}]\n"
      "tics = '0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.5, 2, 3, 5, 10'\n"
      "eval 'set xtics ('.tics.')'\neval 'set ytics ('.tics.')'\n",
      low, high);
  return panel;
}

}  // namespace study
