/// @file
/// The whole covariance P (Dk x Dk) is kept: the Bayesian Layer's gain pass.
#pragma once

#include <type_traits>

#include <seqbayes/covariance/full_pending.hpp>
#include <seqbayes/covariance/full_tile.hpp>
#include <seqbayes/covariance/full_tile_vjp.hpp>
#include <seqbayes/kernel/columns.hpp>

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

/// Whether a covariance's own decay keeps less than e^-4 of it at any token. Derivatives with
/// respect to it are as small, and passes over many tokens have absolute errors; single tokens keep
/// the digits.
template <class Scalar>
bool forgets(const MatrixView<Scalar>& log_decay) {
  for (Index i = 0; i < log_decay.rows() && log_decay.cols() > 0; ++i) {
    if (log_decay.row(i).vector().minCoeff() < Scalar(-2)) return true;
  }
  return false;
}

}  // namespace detail

/// All of P: \hat P = D P D + Omega, s = r + k' \hat P k, kappa = \hat P k / s,
/// P = \hat P - s kappa kappa' (arXiv 2605.31163; docs/mathematics.md).
///
/// Derivatives with respect to P are kept symmetric. The update subtracts c c' with c = \hat P k /
/// sqrt(s), so P stays exactly symmetric. What floats can't resolve is in resolution.hpp: P stays
/// positive semidefinite to some tens of rounding units of its diagonal, for streams of any length.
struct FullCovariance {
  using Self = FullCovariance;
  static constexpr bool has_variance = true;
  static constexpr bool propagates = true;
  static constexpr bool composes = true;

  template <class Scalar, int Dk>
  using State = StateMatrix<Scalar, Dk, Dk>;
  template <class Scalar, int Dk, int Dv>
  using Options = LayerOptions<Scalar, Dk, Dv>;

  static constexpr OptionsRead reads{.prior_variance = true};
  template <class Options>
  static constexpr void add_inputs(InputWidths& inputs, const Options& options) {
    add_filter_inputs(inputs, InputWidth::one_or(options.key_dim), options.key_dim);
  }

  template <class Scalar, int Dk, int Dv>
  static State<Scalar, Dk> initial(const LayerOptions<Scalar, Dk, Dv>& options) {
    return State<Scalar, Dk>::Identity(options.key_dim, options.key_dim) * options.prior_variance;
  }
  template <class Scalar, int Dk, int Dv>
  static State<Scalar, Dk> zero(const LayerOptions<Scalar, Dk, Dv>& options) {
    return State<Scalar, Dk>::Zero(options.key_dim, options.key_dim);
  }
  template <class Options, class Stored, class OptionSums>
  static void initial_vjp(const Options&, const Stored& dstored, OptionSums& doptions) {
    doptions.prior_variance += dstored.trace();
  }
  template <class Stored>
  static void symmetrise(Stored& stored) {
    stored = Stored((stored + stored.transpose()) * typename Stored::Scalar(0.5));
  }
  template <class Stored, class Options>
  static void check(const Stored& stored, const Options& options) {
    check_state_shape("covariance", stored, options.key_dim, options.key_dim);
  }

  template <int Dk, class Scalar, class Options, class Decay, class Stored, class Gain>
  static Scalar gain(const Options&, const Token<Scalar>& token, const Decay& given, Stored& stored,
                     Gain& gain) {
    auto p = sized<Dk, Dk>(stored);
    Vector<Scalar, Dk> decay = given, variances(decay.size()), z(decay.size());
    return detail::full_gain<Dk>(token, p, decay, variances, z, gain);
  }

  template <int Dk, class Scalar, class Options, class Stored>
  static Scalar variance(const Options&, const Token<Scalar>& token, const Stored& stored) {
    return detail::quadratic_form(sized<Dk, Dk>(stored), token.query.template vector<Dk>());
  }

  /// z = \hat P k, s = r + k'z, kappa = z / s, P = \hat P - z z' / s; where the write isn't
  /// resolved, z = 16 epsilon Diag(\hat P) k and P = \hat P (covariance/resolution.hpp). What
  /// rounding adds to variances, and to r, is taken as constant.
  template <int Dk, class Options, class Scalar, class Stored, class OptionSums>
  static void gain_vjp(const Options&, const Token<Scalar>& token, const Vector<Scalar, Dk>& decay,
                       const Stored& before, GainCotangent<Scalar, Dk>& d, Stored& dstate,
                       TokenGradient<Scalar>& grad, OptionSums&) {
    using Keys = Vector<Scalar, Dk>;
    const auto k = token.key.template vector<Dk>();
    const auto q = token.query.template vector<Dk>();
    auto dp = sized<Dk, Dk>(dstate);
    const Matrix<Scalar> decayed = decay.asDiagonal() * sized<Dk, Dk>(before) * decay.asDiagonal();
    Matrix<Scalar> predicted = decayed;
    add_field<Dk>(predicted.diagonal(), token.process_noise);
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

  template <class Scalar, int Dk, class Storage>
  using Pending = detail::PendingFull<Scalar, Dk, Storage>;
  template <class Scalar>
  using GroupScratch = detail::FullTile<Scalar>;
  template <class Scalar>
  using GroupVjpScratch = detail::FullVjpTile<Scalar>;

  template <int Dk, bool variances, class Scalar, class Options, class Stored>
  static GroupOutcome gains(const Options&, const GainTokens<Scalar>& x, Stored& stored,
                            const GainResults<Scalar>& out, GroupScratch<Scalar>& scratch) {
    if (detail::grows(x.x.covariance_log_decay.rows(x.first, x.count))) {
      return GroupOutcome::failed;
    }
    const auto run = [&](auto uniform) {
      return detail::FullGains<Scalar, Dk, variances, uniform.value>(scratch, x.key_dim)
          .run(stored, x, out);
    };
    return x.is_uniform() ? run(std::true_type()) : run(std::false_type());
  }

  template <int Dk, class Scalar, class Options, class Stored>
  static bool gains_vjp(const Options&, const GainTokens<Scalar>& x, const Stored& before,
                        const Stored& after, const GainsCotangent<Scalar>& d, Stored& dstored,
                        Fields<Matrix<Scalar>>& gradient, GroupVjpScratch<Scalar>& scratch) {
    if (detail::forgets(x.x.covariance_log_decay.rows(x.first, x.count))) return false;
    const auto run = [&](auto variances, auto uniform) {
      detail::FullGainsVjp<Scalar, Dk, variances.value, uniform.value>(scratch, x, d)
          .run(before, after, dstored, gradient);
    };
    constexpr std::true_type yes;
    constexpr std::false_type no;
    if (x.is_uniform()) {
      d.dvariance ? run(yes, yes) : run(no, yes);
    } else {
      d.dvariance ? run(yes, no) : run(no, no);
    }
    return true;
  }
};

}  // namespace seqbayes
