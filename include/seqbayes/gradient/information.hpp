/// @file
/// The layers that keep information backwards, token by token.
#pragma once

#include <cmath>
#include <optional>
#include <type_traits>

#include <seqbayes/gradient/step.hpp>
#include <seqbayes/layers/kalman_linear_attention.hpp>
#include <seqbayes/layers/mesa_net.hpp>

namespace seqbayes {

/// With respect to the options of `MesaNet`.
template <class Scalar, int Dk, int Dv>
struct OptionGradient<MesaNet<Scalar, Dk, Dv>> {
  Vector<Scalar> ridge;       ///< Dk entries.
  Vector<Scalar> ridge_rest;  ///< What rounding has kept from it, see `add_compensated`.

  void set_zero(const MesaNet<Scalar, Dk, Dv>& layer) {
    ridge.setZero(layer.key_dim());
    ridge_rest = ridge;
  }
};

/// With respect to the options of `KalmanLinearAttention`, but for `floor`. Where a noise is
/// floored it has no effect, and derivative 0.
template <class Scalar, int Dk, int Dv>
struct OptionGradient<KalmanLinearAttention<Scalar, Dk, Dv>> {
  using L = KalmanLinearAttention<Scalar, Dk, Dv>;
  typename L::Entries decay;                           ///< Dv x Dk.
  typename L::Entries process_noise;                   ///< Dv x Dk.
  typename L::Entries decay_rest, process_noise_rest;  ///< What rounding has kept from them.

  void set_zero(const L& layer) {
    decay.setZero(layer.value_dim(), layer.key_dim());
    process_noise = decay_rest = process_noise_rest = decay;
  }
  void add_decay(Index m, Index s, const Scalar& x) {
    add_compensated(decay(m, s), decay_rest(m, s), x);
  }
  void add_process_noise(Index m, Index s, const Scalar& x) {
    add_compensated(process_noise(m, s), process_noise_rest(m, s), x);
  }
};

/// o = S' u with (K + Diag(ridge)) u = q: the derivative with respect to q is w with (K +
/// Diag(ridge)) w = S do, from the same factorisation, and that to K is -w u', of which the
/// symmetric part counts. Where the scalar doesn't resolve u, they are NaN, unless do is 0.
template <class Scalar, int Dk, int Dv>
struct StepVjp<MesaNet<Scalar, Dk, Dv>> {
  using L = MesaNet<Scalar, Dk, Dv>;
  using State = typename L::State;
  using Output = StepCotangent<Scalar, Dv>;

  static State final_state(const L& layer, const std::optional<State>& given) {
    if (!given) return layer.initial_state();  // zeros
    State state = *given;
    state.key_moment = (given->key_moment + given->key_moment.transpose()) * Scalar(0.5);
    return state;
  }

  static void step(const L& layer, const State& before, const Token<Scalar>& token,
                   const Output& out, State& dstate, TokenGradient<Scalar>& grad,
                   LayerOptionSums<Scalar, OptionGradient<L>>& sums) {
    OptionGradient<L>& doptions = sums.own;
    using std::exp;
    using Keys = Vector<Scalar, Dk>;
    State after = before;
    layer.advance(after, token);
    auto dkeys = sized<Dk, Dk>(dstate.key_moment);
    auto dvalues = sized<Dk, Dv>(dstate.value_moment);
    // An output without effect need not be resolved (an autodiff scalar's 0 may have one).
    if (!std::is_floating_point_v<Scalar> || !out.mean.isZero(Scalar(0))) {
      const auto precision = layer.precision(after);
      const Keys u = precision.solve(token.query.template vector<Dk>());
      const Keys w = precision.solve(sized<Dk, Dv>(after.value_moment).lazyProduct(out.mean));
      for (Index i = 0; i < u.size(); ++i) {
        for (Index j = 0; j <= i; ++j) {
          dkeys(i, j) -= (w[i] * u[j] + u[i] * w[j]) * Scalar(0.5);
          dkeys(j, i) = dkeys(i, j);
        }
        add_compensated(doptions.ridge[i], doptions.ridge_rest[i], Scalar(-w[i] * u[i]));
      }
      dvalues += u.lazyProduct(out.mean.transpose());
      grad.query.add(w);
    }

    const auto k = token.key.template vector<Dk>();
    const auto v = token.value.template vector<Dv>();
    const Scalar strength = token.write_strength[0];
    const Scalar decay = exp(token.log_decay[0]);
    const Keys by_keys = dkeys.lazyProduct(k), by_values = dvalues.lazyProduct(v);
    grad.write_strength.add_one(k.dot(by_keys + by_values));
    grad.key.add((by_keys * Scalar(2) + by_values) * strength);
    grad.value.add(dvalues.transpose().lazyProduct(k) * strength);
    dkeys *= decay;
    dvalues *= decay;
    grad.log_decay.add_one(dkeys.cwiseProduct(sized<Dk, Dk>(before.key_moment)).sum() +
                           dvalues.cwiseProduct(sized<Dk, Dv>(before.value_moment)).sum());
  }
};

/// Entry by entry: precision f Lambda + lambda k^2 and information a f eta + lambda v k, with f = 1
/// / (a^2 + p Lambda).
template <class Scalar, int Dk, int Dv>
struct StepVjp<KalmanLinearAttention<Scalar, Dk, Dv>> {
  using L = KalmanLinearAttention<Scalar, Dk, Dv>;
  using State = typename L::State;
  using Output = StepCotangent<Scalar, Dv>;

  static State final_state(const L& layer, const std::optional<State>& given) {
    if (given) return *given;
    State state = layer.initial_state();
    state.precision.setZero();
    return state;
  }

  static void step(const L& layer, const State& before, const Token<Scalar>& token,
                   const Output& out, State& dstate, TokenGradient<Scalar>& grad,
                   LayerOptionSums<Scalar, OptionGradient<L>>& sums) {
    OptionGradient<L>& doptions = sums.own;
    const auto& options = layer.options();
    State after = before;
    layer.step(after, token);
    Vector<Scalar, Dk> dquery = Vector<Scalar, Dk>::Zero(layer.key_dim()), dkey = dquery;
    Vector<Scalar, Dv> dvalue = Vector<Scalar, Dv>::Zero(layer.value_dim()), dlambda = dvalue;
    for (Index m = 0; m < layer.value_dim(); ++m) {
      const Scalar v = token.value[m], lambda = token.value_precision[m];
      for (Index s = 0; s < layer.key_dim(); ++s) {
        const Scalar k = token.key[s];
        const Scalar a = options.decay(m, s);
        Scalar& dprecision = dstate.precision(m, s);
        Scalar& dinformation = dstate.information(m, s);

        // The read, mu = information / precision.
        const Scalar mu = after.information(m, s) / after.precision(m, s);
        Scalar dmu = token.query[s] * out.mean[m];
        dquery[s] += (options.decode_from_prior ? Scalar(a * mu) : mu) * out.mean[m];
        if (options.decode_from_prior) {
          doptions.add_decay(m, s, mu * dmu);
          dmu *= a;
        }
        dinformation += dmu / after.precision(m, s);
        dprecision -= mu * dmu / after.precision(m, s);

        // The write.
        dvalue[m] += dinformation * lambda * k;
        dlambda[m] += dinformation * v * k;
        dkey[s] += dinformation * lambda * v;
        if (lambda * k * k > options.floor) {
          dlambda[m] += dprecision * k * k;
          dkey[s] += dprecision * Scalar(2) * lambda * k;
        }

        predict(options, before, m, s, dprecision, dinformation, doptions);
      }
    }
    grad.query.add(dquery);
    grad.key.add(dkey);
    grad.value.add(dvalue);
    grad.value_precision.add(dlambda);
  }

 private:
  /// f Lambda and a f eta of entry (m, s); derivatives of f are collected so that none of them is a
  /// small difference where a^2 or p is small.
  static void predict(const typename L::Options& options, const State& before, Index m, Index s,
                      Scalar& dprecision, Scalar& dinformation, OptionGradient<L>& doptions) {
    const Scalar a = options.decay(m, s), precision = before.precision(m, s);
    const bool floored = !(options.process_noise(m, s) > options.floor);
    const Scalar p = floored ? options.floor : options.process_noise(m, s);
    const Scalar f = Scalar(1) / (a * a + p * precision);
    const Scalar keep = a * f, rest = precision * f;
    const Scalar along = dinformation * before.information(m, s);
    doptions.add_decay(
        m, s, along * f * (p * precision - a * a) * f - Scalar(2) * dprecision * keep * rest);
    if (!floored) doptions.add_process_noise(m, s, -rest * (along * keep + dprecision * rest));
    dprecision = dprecision * keep * keep - along * keep * p * f;
    dinformation *= keep;
  }
};

}  // namespace seqbayes
