// What a float covariance resolves over long streams of keys as users have them: in a subspace,
// clustered, of odd sizes, in odd units, under slow decays.
//
// Expected is what docs/mathematics.md ("What floats resolve") says: numbers stay finite, P stays
// positive semidefinite to rounding units of its diagonal, and a read at a key has the error of
// the filter in double plus that of what isn't resolved.
#include <Eigen/Eigenvalues>
#include <random>

#include <laws/layers.hpp>
#include <laws/run.hpp>

namespace laws::resolution_test {
namespace {

constexpr double unit = std::numeric_limits<float>::epsilon();

/// A stream of v = W'k + sqrt(r) noise, with one value channel.
struct Long {
  const char* name;
  Index width, length;
  double noise;       ///< r
  int keys;           ///< Different keys; 0: all.
  double norm = 1;    ///< |k|
  double prior = 1;   ///< sigma_0^2
  double cosine = 0;  ///< Of two keys, if they are clustered.
  double lost = 0;    ///< 1 - e^g of a token.
  bool channels =
      false;  ///< Whether channels have units from 1e-3 to 1e3, and decays of their own.
  double process_noise = 0;
};

class Tokens {
 public:
  explicit Tokens(const Long& what, unsigned seed) : what_(what), engine_(seed) {
    unit_.setOnes(what.width);
    if (what.channels) {
      unit_ = Eigen::ArrayXd::LinSpaced(what.width, -3, 3).unaryExpr([](double x) {
        return std::pow(10, x);
      });
    }
    Matrix<double> centre(1, what.width);
    draw(centre);
    bank_.resize(std::max(1, what.keys), what.width);
    draw(bank_);
    bank_.rowwise().normalize();
    const double own = std::sqrt(1 - what.cosine * what.cosine);
    bank_ = own * bank_ + what.cosine * centre.normalized().replicate(bank_.rows(), 1);
    law_.resize(what.width, 1);
    draw(law_);
  }

  /// The next tokens; exact values are W'k.
  Index length() const { return what_.length; }
  void next(Index count) {
    key_.resize(count, what_.width);
    value_.resize(count, 1);
    log_decay_.resize(count, what_.width);
    for (Index t = 0; t < count; ++t) {
      if (what_.keys == 0) {
        for (double& x : key_.row(t)) x = normal_(engine_);
      } else {
        key_.row(t) = bank_.row(Index(engine_() % std::uint64_t(what_.keys)));
      }
      key_.row(t) *= what_.norm / key_.row(t).norm();
      for (Index i = 0; i < what_.width; ++i) {
        const double lost = what_.channels ? what_.lost * double(1 + i % 3) : what_.lost;
        log_decay_(t, i) = double(float(std::log1p(-lost)));
        law_(i, 0) *= std::exp(log_decay_(t, i));
      }
      // W / unit answers keys times unit.
      value_(t, 0) = key_.row(t).dot(law_.col(0)) + std::sqrt(what_.noise) * normal_(engine_);
      key_.row(t).array() *= unit_.transpose();
    }
    noise_.setConstant(count, 1, what_.noise);
    process_noise_ =
        (what_.process_noise / unit_.square()).matrix().transpose().replicate(count, 1);
  }

  template <class S>
  struct As {
    Matrix<S> key, value, log_decay, noise, process_noise;
    seqbayes::Sequence<S> view(bool by_channel) const {
      seqbayes::Sequence<S> x;
      x.query = x.key = key;
      x.value = value;
      x.log_decay = log_decay;
      if (!by_channel)
        x.log_decay =
            seqbayes::MatrixView<S>(log_decay.data(), log_decay.rows(), 1, log_decay.cols());
      x.observation_noise = noise;
      x.process_noise = process_noise;
      return x;
    }
  };
  template <class S>
  As<S> as() const {
    return {key_.cast<float>().cast<S>(), value_.cast<S>(), log_decay_.cast<S>(), noise_.cast<S>(),
            process_noise_.cast<S>()};
  }

  /// The covariance before the first token, in the channels' units.
  Eigen::ArrayXd prior() const { return what_.prior / unit_.square(); }
  /// W'k of the tokens at hand, after the last one's decay: what reads are to give now.
  Eigen::VectorXd exact() const {
    return (key_.array().rowwise() / unit_.transpose()).matrix() * law_.col(0);
  }
  const Matrix<double>& keys() const { return key_; }

 private:
  void draw(Matrix<double>& m) {
    for (double& x : m.reshaped()) x = normal_(engine_);
  }

  Long what_;
  std::mt19937_64 engine_;
  std::normal_distribution<double> normal_;
  Eigen::ArrayXd unit_;
  Matrix<double> bank_, law_, key_, value_, log_decay_, noise_, process_noise_;
};

/// Where a run ends: its reads at the last tokens' keys, and its covariance.
struct End {
  Eigen::VectorXd reads;
  Matrix<double> covariance;
};

/// Runs a float filter over the stream, and the same in double.
template <class Decay>
struct Pair {
  template <class S>
  using Layer = seqbayes::BayesianLayer<S, any, any, Decay>;

  template <class S>
  static End end(const Long& what, Execution how) {
    constexpr Index piece = 5000;
    Tokens tokens(what, 3);
    const Layer<S> layer({.key_dim = what.width, .value_dim = 1});
    auto state = layer.initial_state();
    state.covariance = tokens.prior().matrix().asDiagonal().toDenseMatrix().template cast<S>();
    for (Index t = 0; t < what.length; t += piece) {
      tokens.next(std::min(piece, what.length - t));
      const auto x = tokens.template as<S>();
      scan_mean(layer, state, x.view(std::is_same_v<Decay, seqbayes::ChannelDecay>), how);
    }
    return {(tokens.keys() * state.mean.template cast<double>()).col(0) - tokens.exact(),
            state.covariance.template cast<double>()};
  }
};

/// The least eigenvalue of P in units in which its diagonal is 1.
double least_eigenvalue(const Matrix<double>& p) {
  const Eigen::VectorXd scale = p.diagonal().cwiseMax(1e-300).cwiseSqrt().cwiseInverse();
  const Matrix<double> scaled = scale.asDiagonal() * p * scale.asDiagonal();
  return Eigen::SelfAdjointEigenSolver<Matrix<double>>(scaled, Eigen::EigenvaluesOnly)
      .eigenvalues()[0];
}

template <class Decay>
void check(const Long& what) {
  const End exact = Pair<Decay>::template end<double>(what, {});
  Tokens tokens(what, 3);
  tokens.next(std::min<Index>(1000, what.length));
  for (const Execution how : {Execution(), Execution::sequential()}) {
    INFO(what.name << ", chunk " << how.chunk());
    const End got = Pair<Decay>::template end<float>(what, how);
    REQUIRE(got.reads.allFinite());
    REQUIRE(got.covariance.allFinite());
    CHECK(least_eigenvalue(got.covariance) / unit >= -100);
    // A key's variance k'Pk stops falling where a write takes what rounding gives back: between
    // two visits, of which there is one in n tokens, 3 + sqrt(Dk) / 2 units of m = k' Diag(P) k a
    // token (two for the write, the rest for a decay, one for the entries' own roundings). That is
    // process noise: with r a variance of sqrt(n 7 u m r), and 16 units of m at least. Errors are
    // normal: five times the root.
    double m = 0;
    for (Index t = 0; t < tokens.keys().rows(); ++t) {
      m = std::max(
          m, (tokens.keys().row(t).array().square() * got.covariance.diagonal().transpose().array())
                 .sum());
    }
    const double per_token = (3 + std::sqrt(double(what.width)) / 2) * unit * m;
    const double visits = what.keys == 0 ? double(what.width) : double(what.keys);
    const double unresolved = std::sqrt(visits * per_token * what.noise) + 32 * unit * m;
    CHECK(got.reads.cwiseAbs().maxCoeff() <=
          exact.reads.cwiseAbs().maxCoeff() + 5 * std::sqrt(unresolved));
  }
}

using seqbayes::ChannelDecay;
using seqbayes::NoDecay;
using seqbayes::ScalarDecay;

TEST_CASE("float: keys that stay in a subspace") {
  check<NoDecay>({"63 of 64", 64, 200'000, 1e-3, 63});
  check<NoDecay>({"40 of 64, large", 64, 50'000, 1e-6, 40, 8});
  check<NoDecay>({"20 of 64", 64, 50'000, 1e-4, 20});
  check<NoDecay>({"1 of 64", 64, 50'000, 1e-8, 1});
  check<NoDecay>({"15 of 16, a million", 16, 1'000'000, 1e-4, 15});
  check<NoDecay>({"8 of 16", 16, 100'000, 1e-8, 8});
}

TEST_CASE("float: keys that are almost alike") {
  check<NoDecay>({"a cluster", 64, 50'000, 1e-6, 63, 1, 1, 0.99});
  check<NoDecay>({"a small cluster", 16, 100'000, 1e-3, 15, 1, 1, 0.99});
}

TEST_CASE("float: sizes of keys, noise and prior") {
  for (const double prior : {1e-6, 1.0, 1e6}) {
    for (const double norm : {1e-3, 1.0, 1e3}) {
      for (const double noise : {1e-8, 1.0}) {
        check<NoDecay>({"sizes", 16, 20'000, noise, 12, norm, prior});
      }
    }
  }
  check<NoDecay>({"all keys", 16, 20'000, 1e-6, 0, 4});
  check<NoDecay>({"channels in units of their own", 16, 100'000, 1e-3, 15, 1, 1, 0, 0, true});
}

TEST_CASE("float: slow decays") {
  // In units of 1e-7: around what a decay must take to count, and above.
  for (const double lost : {0.5e-7, 2.5e-7, 5e-7, 1e-6, 1e-5}) {
    check<ScalarDecay>({"one decay", 16, 100'000, 1e-4, 15, 1, 1, 0, lost});
    check<ChannelDecay>({"decays a channel", 16, 100'000, 1e-4, 15, 1, 1, 0, lost, true});
  }
  check<ScalarDecay>({"one decay", 64, 100'000, 1e-3, 63, 1, 1, 0, 1e-6});
}

/// Each write leaves a part in 1e8: in tiles no group could see it.
TEST_CASE("float: process noise far above the observation noise") {
  check<NoDecay>({"noise", 9, 20'000, 1e-8, 9, 1, 1, 0, 0, true, 1});
  check<ChannelDecay>({"noise and decay", 16, 20'000, 1e-6, 15, 1, 1, 0, 1e-3, true, 1});
}

TEST_CASE("float: process noise that is hardly resolved") {
  check<NoDecay>({"noise", 16, 100'000, 1e-3, 15, 1, 1, 0, 0, false, 1e-9});
}

// Whose inverse is no float: such a token observes nothing.
TEST_CASE("float: a zero key with a subnormal noise") {
  const seqbayes::BayesianLayer<float> layer({.key_dim = 4, .value_dim = 1});
  const Matrix<float> key = Matrix<float>::Zero(20, 4), value = Matrix<float>::Ones(20, 1);
  seqbayes::Sequence<float> x{.query = key, .key = key, .value = value};
  x.log_decay = x.process_noise = seqbayes::constant(0.0f, 20);
  x.observation_noise = seqbayes::constant(1e-40f, 20);
  for (const auto how : {seqbayes::Execution::sequential(), seqbayes::Execution::chunked(16)}) {
    auto state = layer.initial_state();
    scan(layer, state, x, how);
    CHECK(state == layer.initial_state());
  }
}

// Squares of the variances are no floats.
TEST_CASE("float: priors beyond the square root of the largest number, and below the smallest") {
  using Layer = seqbayes::BayesianLayer<float>;
  const Index width = 5, length = 50;
  for (const float prior : {1e-26f, 1e26f}) {
    INFO("prior variance " << prior);
    const auto layer = make<Layer>(Setup<double>{width, 1, double(prior)});
    // Five keys in turn, which span all directions.
    Matrix<float> key = Matrix<float>::Zero(length, width), value(length, 1);
    for (Index t = 0; t < length; ++t) {
      key(t, t % width) = key(t, (t + 1) % width) = 1;
      value(t, 0) = float(1 + t % width);
    }
    const float noise = prior * 1e-5f;
    seqbayes::Sequence<float> x{.query = key, .key = key, .value = value};
    x.log_decay = x.process_noise = seqbayes::constant(0.0f, length);
    x.observation_noise = seqbayes::constant(noise, length);
    for (const auto how : {seqbayes::Execution::sequential(), seqbayes::Execution::chunked(16)}) {
      auto state = layer.initial_state();
      const auto out = scan(layer, state, x, how);
      // 10 values of noise r each, and the prior's pull, by some r / sigma^2.
      for (Index t = length - width; t < length; ++t) {
        CHECK(out.mean(t, 0) == Approx(value(t, 0)).epsilon(1e-4));
        CHECK(out.variance[t] > 0);
        CHECK(out.variance[t] < noise);
      }
    }
  }
}

}  // namespace
}  // namespace laws::resolution_test
