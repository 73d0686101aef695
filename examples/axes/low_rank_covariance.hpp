// A covariance of low rank plus diagonal, P = Diag(d) - C C' with C of Dk x Rank: the exact
// filter's for what the last `Rank` writes have told, and the prior's for all before. The oldest
// write is forgotten before a new one is made, which only adds variance, so P stays positive
// semidefinite. A token costs 4 Dk Rank multiply-adds, where the full covariance takes 2 Dk^2.
#pragma once

#include <cmath>

#include <seqbayes/concepts.hpp>

template <int Rank>
struct LowRankCovariance {
  using Self = LowRankCovariance;
  static constexpr bool has_variance = true;
  static constexpr bool propagates = true;
  static constexpr seqbayes::OptionsRead reads{.prior_variance = true};

  template <class Scalar, int Dk>
  struct State {
    seqbayes::StateMatrix<Scalar, Dk, 1> diagonal;    // d
    seqbayes::StateMatrix<Scalar, Dk, Rank> columns;  // C
    int oldest = 0;                                   // Of the columns.

    template <class F>
    void for_each_part(const F& f) const {
      f("covariance.diagonal", diagonal);
      f("covariance.columns", columns);
    }
    friend bool operator==(const State& a, const State& b) {
      return a.oldest == b.oldest && a.diagonal.size() == b.diagonal.size() &&
             a.diagonal == b.diagonal && a.columns == b.columns;
    }
  };
  template <class Scalar, int Dk, int Dv>
  using Options = seqbayes::LayerOptions<Scalar, Dk, Dv>;

  template <class Options>
  static void add_inputs(seqbayes::InputWidths& inputs, const Options& options) {
    seqbayes::add_filter_inputs(inputs, seqbayes::InputWidth::one_or(options.key_dim),
                                options.key_dim);
  }
  template <class Scalar, int Dk, int Dv>
  static State<Scalar, Dk> initial(const seqbayes::LayerOptions<Scalar, Dk, Dv>& options) {
    State<Scalar, Dk> state = zero(options);
    state.diagonal.setConstant(options.prior_variance);
    return state;
  }
  template <class Scalar, int Dk, class Options>
  static void check(const State<Scalar, Dk>& state, const Options& options) {
    seqbayes::check_state_shape("covariance.diagonal", state.diagonal, options.key_dim, 1);
    seqbayes::check_state_shape("covariance.columns", state.columns, options.key_dim, Rank);
  }

  // z = \hat P k, s = r + k'z, kappa = z / s; the write takes z z' / s from P.
  template <int Dk, class Scalar, class Options, class Decay, class Gain>
  static Scalar gain(const Options&, const seqbayes::Token<Scalar>& token, const Decay& decay,
                     State<Scalar, Dk>& state, Gain& gain) {
    using std::sqrt;
    const auto k = token.key.template vector<Dk>();
    predict<Dk>(token, decay, state);
    gain = state.diagonal.cwiseProduct(k);
    gain -= state.columns.lazyProduct(state.columns.transpose().lazyProduct(k).eval());
    const Scalar s = token.observation_noise[0] + k.dot(gain);
    state.columns.col(state.oldest) = gain / Scalar(sqrt(s));
    state.oldest = (state.oldest + 1) % Rank;
    gain /= s;
    return s;
  }
  template <int Dk, class Scalar, class Options>
  static Scalar variance(const Options&, const seqbayes::Token<Scalar>& token,
                         const State<Scalar, Dk>& state) {
    const auto q = token.query.template vector<Dk>();
    return state.diagonal.cwiseProduct(q).dot(q) -
           state.columns.transpose().lazyProduct(q).squaredNorm();
  }

  // Derivatives, member by member of what scan_vjp asks (seqbayes::DifferentiablePolicy).
  template <class Scalar, int Dk, int Dv>
  static State<Scalar, Dk> zero(const seqbayes::LayerOptions<Scalar, Dk, Dv>& options) {
    State<Scalar, Dk> state;
    state.diagonal.setZero(options.key_dim);
    state.columns.setZero(options.key_dim, Rank);
    return state;
  }
  template <class Options, class Scalar, int Dk, class OptionSums>
  static void initial_vjp(const Options&, const State<Scalar, Dk>& dstate, OptionSums& doptions) {
    doptions.prior_variance += dstate.diagonal.sum();
  }

  template <int Dk, class Options, class Scalar, class OptionSums>
  static void gain_vjp(const Options&, const seqbayes::Token<Scalar>& token,
                       const seqbayes::Vector<Scalar, Dk>& decay, const State<Scalar, Dk>& before,
                       seqbayes::GainCotangent<Scalar, Dk>& d, State<Scalar, Dk>& dstate,
                       seqbayes::TokenGradient<Scalar>& grad, OptionSums&) {
    using std::sqrt;
    using Keys = seqbayes::Vector<Scalar, Dk>;
    using Ranks = seqbayes::Vector<Scalar, Rank>;
    const auto k = token.key.template vector<Dk>();
    const auto q = token.query.template vector<Dk>();
    State<Scalar, Dk> predicted = before;
    predict<Dk>(token, decay, predicted);
    const Ranks along = predicted.columns.transpose().lazyProduct(k);  // C'k
    const Keys z = predicted.diagonal.cwiseProduct(k) - predicted.columns.lazyProduct(along);
    const Scalar s = token.observation_noise[0] + k.dot(z), root = sqrt(s);
    State<Scalar, Dk> after = predicted;
    after.columns.col(before.oldest) = z / root;

    // The read, q'Pq.
    const Ranks read = after.columns.transpose().lazyProduct(q);
    const Keys pq = after.diagonal.cwiseProduct(q) - after.columns.lazyProduct(read);
    grad.query.add(Keys(pq * (Scalar(2) * d.variance)));
    dstate.diagonal += q.cwiseAbs2() * d.variance;
    dstate.columns -= q.lazyProduct(read.transpose()) * (Scalar(2) * d.variance);

    // The write.
    const Keys dc = dstate.columns.col(before.oldest);
    dstate.columns.col(before.oldest).setZero();
    const Scalar ds =
        (d.log_innovation_variance - d.gain.dot(z) / s - dc.dot(z) / root / Scalar(2)) / s;
    const Keys dz = d.gain / s + dc / root + k * ds;
    const Ranks dalong = -predicted.columns.transpose().lazyProduct(dz);
    dstate.diagonal += dz.cwiseProduct(k);
    dstate.columns += k.lazyProduct(dalong.transpose()) - dz.lazyProduct(along.transpose());
    dstate.columns.col(before.oldest).setZero();
    grad.key.add(
        Keys(z * ds + dz.cwiseProduct(predicted.diagonal) + predicted.columns.lazyProduct(dalong)));
    grad.observation_noise.add_one(ds);
    grad.process_noise.add(Keys(dstate.diagonal));

    // The decay.
    const Keys kept = decay.cwiseAbs2();
    d.dlog_decay = dstate.columns.cwiseProduct(predicted.columns).rowwise().sum() +
                   Scalar(2) * dstate.diagonal.cwiseProduct(kept).cwiseProduct(before.diagonal);
    dstate.diagonal = dstate.diagonal.cwiseProduct(kept);
    dstate.columns = decay.asDiagonal() * dstate.columns;
    dstate.oldest = before.oldest;
  }

 private:
  // \hat P = D P D + Omega, without the oldest write.
  template <int Dk, class Scalar, class Decay>
  static void predict(const seqbayes::Token<Scalar>& token, const Decay& decay,
                      State<Scalar, Dk>& state) {
    state.diagonal = state.diagonal.cwiseProduct(decay.cwiseAbs2());
    seqbayes::add_field<Dk>(state.diagonal, token.process_noise);
    state.columns = decay.asDiagonal() * state.columns;
    state.columns.col(state.oldest).setZero();
  }
};

static_assert(seqbayes::CovariancePolicy<LowRankCovariance<4>>);
static_assert(seqbayes::DifferentiablePolicy<LowRankCovariance<4>>);
