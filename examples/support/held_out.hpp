// Layers made of filters on a recorded stream: all that they are told is chosen on its first half,
// what they predict is judged by the second.
#pragma once

#include <future>
#include <numbers>

#include <seqbayes/inference/noise_fit.hpp>

#include "at_levels.hpp"
#include "contender.hpp"
#include "stream.hpp"

namespace study {

/// A layer and its log evidence a value of the second half, over that of a memory that is always
/// empty and has the variance of the first half's values.
struct HeldOut {
  std::string name;
  double evidence = 0;
};

class HeldOutHead {
 public:
  explicit HeldOutHead(const Sequence<double>& x)
      : stream_(x), x_(stream_.at({1, 1, 1})), first_(x_.tokens(0, x_.length() / 2)) {
    own_ = x;
    if (own_.query.empty()) own_.query = own_.key;
    own_ = own_.tokens(0, first_.length());
  }

  std::vector<HeldOut> run() {
    using namespace seqbayes;
    using Isotropic = IsotropicKalmanDeltaNet<double>;
    using Diagonal = DiagonalKalmanDeltaNet<double>;
    using Learned = LearnedNoise<Full>;
    const auto reset = fit<Reset>(), full = fit<Full>();
    const auto isotropic = fit<Isotropic>(), diagonal = fit<Diagonal>();
    add("GatedDeltaNet", at<Reset>(reset));
    add("IsotropicKalmanDeltaNet", at<Isotropic>(isotropic));
    add("DiagonalKalmanDeltaNet", at<Diagonal>(diagonal));
    add("BayesianLayer", at<Full>(full));
    const auto learned = [&](double shape) {
      return Learned({.filter = plain<Full>(full), .prior_shape = shape, .prior_scale = shape});
    };
    const double shape = best({1.5, 4, 16, 64, 256}, [&](double a) {
      return evidence_of_first(AtLevels<Learned>(learned(a), full));
    });
    add("LearnedNoise, BayesianLayer", AtLevels<Learned>(learned(shape), full));
    add("StudentT, BayesianLayer", robust(plain<Full>(full), full));
    add("StudentT of LearnedNoise", robust(learned(shape), full));
    add("StudentT, DiagonalKalmanDeltaNet", robust(plain<Diagonal>(diagonal), diagonal));
    add("mixture: BayesianLayer, reset", mixture(at<Full>(full), at<Reset>(reset)));
    add("mixture: the four filters", mixture(at<Full>(full), at<Reset>(reset),
                                             at<Isotropic>(isotropic), at<Diagonal>(diagonal)));
    add("mixture: StudentT of both",
        mixture(robust(plain<Full>(full), full), robust(plain<Diagonal>(diagonal), diagonal)));
    return results_;
  }

 private:
  using Levels = NoiseLevels<double>;

  template <class L>
  Levels fit() const {
    return seqbayes::dynamics::fit_noise<L>(own_).levels;
  }
  template <class L>
  L plain(const Levels& levels) const {
    return L({.key_dim = x_.key.cols(),
              .value_dim = x_.value.cols(),
              .prior_variance = levels.prior_variance});
  }
  template <class L>
  AtLevels<L> at(const Levels& levels) const {
    return {plain<L>(levels), levels};
  }

  /// The candidate with the most evidence.
  template <class Evidence>
  static double best(const std::vector<double>& candidates, const Evidence& evidence) {
    double found = candidates.front(), most = -std::numeric_limits<double>::infinity();
    for (const double candidate : candidates) {
      if (const double here = evidence(candidate); here > most) {
        most = here;
        found = candidate;
      }
    }
    return found;
  }

  /// Outliers no longer have to be noise: observation noise is fitted again with the tails.
  template <class F>
  AtLevels<seqbayes::StudentT<F>> robust(const F& filter, const Levels& levels) const {
    const auto make = [&](double degrees, double factor) {
      Levels less = levels;
      less.observation_noise *= factor;
      return AtLevels<seqbayes::StudentT<F>>(
          seqbayes::StudentT<F>({.filter = filter, .degrees_of_freedom = degrees}), less);
    };
    const auto evidence = [&](double degrees, double factor) {
      return evidence_of_first(make(degrees, factor));
    };
    double degrees = 8, factor = 1;
    for (int round = 0; round < 2; ++round) {
      degrees = best({2, 4, 8, 16, 32, 64, 256}, [&](double f) { return evidence(f, factor); });
      factor = best({0.3, 0.45, 0.6, 0.75, 0.9, 1}, [&](double c) { return evidence(degrees, c); });
    }
    return make(degrees, factor);
  }

  template <class... Layers>
  seqbayes::EvidenceMixture<Layers...> mixture(const Layers&... layers) const {
    const auto make = [&](double rate) {
      return seqbayes::EvidenceMixture<Layers...>({.layers = {layers...}, .switching_rate = rate});
    };
    return make(best({0, 0.001, 0.01, 0.03, 0.1, 0.3, 0.9},
                     [&](double rate) { return evidence_of_first(make(rate)); }));
  }

  template <class L>
  double evidence_of_first(const L& layer) const {
    auto state = layer.initial_state();
    return seqbayes::scan(layer, state, first_).log_evidence;
  }

  template <class L>
  void add(const std::string& name, const L& layer) {
    const Index before = first_.length();
    const Sequence<double> second = x_.tokens(before, x_.length() - before);
    auto state = layer.initial_state();
    seqbayes::scan(layer, state, first_);
    const double evidence = seqbayes::scan(layer, state, second).log_evidence;
    const auto mean_square = [](const Sequence<double>& x) {
      double sum = 0;
      for (Index t = 0; t < x.length(); ++t) sum += x.value.row(t).vector().squaredNorm();
      return sum / double(x.length() * x.value.cols());
    };
    const double c = mean_square(first_);
    const double nothing = -0.5 * (std::log(2 * std::numbers::pi * c) + mean_square(second) / c);
    results_.push_back({name, evidence / double(second.length() * x_.value.cols()) - nothing});
  }

  seqbayes::dynamics::NoisyStream<Full> stream_;
  Sequence<double> x_, first_, own_;
  std::vector<HeldOut> results_;
};

/// The heads of a stream, with the recorded gates or without: nothing decays, all values are
/// equally noisy.
inline std::vector<std::vector<HeldOut>> held_out(const inspect::Stream& stream, bool gated) {
  std::vector<std::future<std::vector<HeldOut>>> runs;
  for (const inspect::Head& head : stream.heads) {
    runs.push_back(std::async(std::launch::async, [&head, gated] {
      Sequence<double> x = head.sequence();
      if (!gated) x.log_decay = x.write_strength = {};
      return HeldOutHead(x).run();
    }));
  }
  std::vector<std::vector<HeldOut>> heads;
  for (auto& run : runs) heads.push_back(run.get());
  return heads;
}

inline void print_held_out(const inspect::Stream& stream, const std::string& title,
                           const std::vector<std::vector<HeldOut>>& heads) {
  fmt::print("\n{:40}", title);
  for (const inspect::Head& head : stream.heads) {
    fmt::print("{:>9}", fmt::format("head {}", head.number));
  }
  fmt::print("{:>9}", "mean");
  for (std::size_t row = 0; row < heads.front().size(); ++row) {
    fmt::print("\n{:40}", heads.front()[row].name);
    double sum = 0;
    for (const auto& head : heads) {
      fmt::print("{:9.3f}", head[row].evidence);
      sum += head[row].evidence;
    }
    fmt::print("{:9.3f}", sum / double(heads.size()));
  }
  fmt::print("\n");
}

/// Two tables, a column a head; held_out.csv has their numbers.
inline void report_held_out(const inspect::Stream& stream, const std::filesystem::path& directory) {
  std::filesystem::create_directories(directory);
  std::ofstream out(directory / "held_out.csv");
  out << "gates,layer,head,evidence\n";
  for (const bool gated : {true, false}) {
    const std::string gates = gated ? "as recorded" : "none";
    const auto heads = held_out(stream, gated);
    print_held_out(stream, "second half, gates: " + gates, heads);
    for (std::size_t h = 0; h < heads.size(); ++h) {
      for (const HeldOut& row : heads[h]) {
        out << fmt::format("{},\"{}\",{},{:.6g}\n", gates, row.name, stream.heads[h].number,
                           row.evidence);
      }
    }
  }
  out.close();
  if (!out) throw std::runtime_error((directory / "held_out.csv").string() + " cannot be written");
  fmt::print(
      "Log evidence in nats a value over no memory, of the second half of the recorded stream;\n"
      "noise levels, tails, shape and switching rate are those most probable in the first half.\n");
}

}  // namespace study
