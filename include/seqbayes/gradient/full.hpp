/// @file
/// The gain passes that keep the whole covariance, backwards (docs/gradients.md). Derivatives by P
/// are kept symmetric.
#pragma once

#include <seqbayes/covariance/resolution.hpp>
#include <seqbayes/gradient/gain.hpp>

namespace seqbayes {
namespace detail {

/// (a b' + b a') / 2.
template <class A, class B>
auto symmetric_outer(const A& a, const B& b) {
  using Scalar = typename A::Scalar;
  return (a.lazyProduct(b.transpose()) + b.lazyProduct(a.transpose())) * Scalar(0.5);
}

/// dP_{t-1} and dg from d\hat P: \hat P = D P_{t-1} D + Omega, of which `decayed` is the first
/// part.
template <class DP, class Scalar, int Dk>
void predict_vjp(const Matrix<Scalar>& decayed, const Vector<Scalar, Dk>& decay, DP& dp,
                 GainCotangent<Scalar, Dk>& d) {
  d.dlog_decay = dp.cwiseProduct(decayed).rowwise().sum() * Scalar(2);
  dp.array().colwise() *= decay.array();
  dp.array().rowwise() *= decay.transpose().array();
}

}  // namespace detail

/// z = \hat P k, s = r + k'z, kappa = z / s, P = \hat P - z z' / s; where the write isn't resolved,
/// z = 16 epsilon Diag(\hat P) k and P = \hat P (covariance/resolution.hpp). What rounding adds to
/// variances, and to r, is taken as constant.
template <>
struct GainVjp<FullCovariance> {
  template <int Dk, class Options, class Scalar, class Stored>
  static void step(const Options&, const Token<Scalar>& token, const Vector<Scalar, Dk>& decay,
                   const Stored& before, GainCotangent<Scalar, Dk>& d, Stored& dstate,
                   detail::TokenGradient<Scalar>& grad) {
    using Keys = Vector<Scalar, Dk>;
    const auto k = token.key.template vector<Dk>();
    const auto q = token.query.template vector<Dk>();
    auto dp = detail::sized<Dk, Dk>(dstate);
    const Matrix<Scalar> decayed =
        decay.asDiagonal() * detail::sized<Dk, Dk>(before) * decay.asDiagonal();
    Matrix<Scalar> predicted = decayed;
    detail::add_field<Dk>(predicted.diagonal(), token.process_noise);
    const Keys variances = predicted.diagonal();
    Keys z = predicted.lazyProduct(k);
    const auto seen = detail::observe(z, k, variances, token.observation_noise[0]);
    const Scalar s = seen.variance;

    dp += q.lazyProduct(q.transpose()) * d.variance;
    Keys pq = predicted.lazyProduct(q);
    Keys dk = Keys::Zero(k.size());
    Scalar ds = d.log_innovation_variance / s;
    if (seen.resolved) {
      const Keys dpz = dp.lazyProduct(z);
      pq -= z * Scalar(z.dot(q) / s);
      ds += z.dot(dpz - d.gain) / s / s;
      const Keys dz = (d.gain - dpz * Scalar(2)) / s + k * ds;
      dk = z * ds + predicted.lazyProduct(dz);
      dp += detail::symmetric_outer(dz, k);
    } else if (!z.isZero(Scalar(0))) {
      ds -= z.dot(d.gain) / s / s;
      const Keys dz = (d.gain / s + k * ds) * detail::least_resolved<Scalar>();
      dk = z * ds + variances.cwiseProduct(dz);
      dp.diagonal() += dz.cwiseProduct(k);
    }
    grad.query.add(pq * Scalar(Scalar(2) * d.variance));
    grad.key.add(dk);
    grad.observation_noise.add_one(ds);
    grad.process_noise.add(Keys(dp.diagonal()));
    detail::predict_vjp(decayed, decay, dp, d);
  }
};

/// kappa = k tau / (tau + r), s = tau + r, P = D P_{t-1} D + rho k k', rho = tau r / (tau + r).
template <>
struct GainVjp<AccumulatedCovariance> {
  template <int Dk, class Options, class Scalar, class Stored>
  static void step(const Options& options, const Token<Scalar>& token,
                   const Vector<Scalar, Dk>& decay, const Stored& before,
                   GainCotangent<Scalar, Dk>& d, Stored& dstate,
                   detail::TokenGradient<Scalar>& grad) {
    using Keys = Vector<Scalar, Dk>;
    const auto k = token.key.template vector<Dk>();
    const auto q = token.query.template vector<Dk>();
    const Scalar r = token.observation_noise[0];
    const Scalar keep = Scalar(1) / (Scalar(1) + r / options.input_variance);  // tau / (tau + r)
    auto dp = detail::sized<Dk, Dk>(dstate);
    const Matrix<Scalar> decayed =
        decay.asDiagonal() * detail::sized<Dk, Dk>(before) * decay.asDiagonal();

    dp += q.lazyProduct(q.transpose()) * d.variance;
    const Keys dpk = dp.lazyProduct(k);
    const Scalar rho = detail::input_variance_given_value(options.input_variance, r);
    const Keys pq = decayed.lazyProduct(q) + k * Scalar(rho * k.dot(q));
    grad.query.add(pq * Scalar(Scalar(2) * d.variance));
    grad.key.add(dpk * Scalar(Scalar(2) * rho));
    const Scalar ds = d.log_innovation_variance / (options.input_variance + r);
    grad.observation_noise.add_one(Scalar(k.dot(dpk) * keep) * keep + ds);
    const Scalar lost = rho / options.input_variance;  // r / (tau + r)
    d.doptions->input_variance += Scalar(k.dot(dpk) * lost) * lost + ds;
    Empty none;
    GainVjp<UntrackedInput>::step<Dk>(options, token, decay, Empty(), d, none, grad);
    detail::predict_vjp(decayed, decay, dp, d);
  }
};

}  // namespace seqbayes
