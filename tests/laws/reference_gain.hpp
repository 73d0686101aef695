// The gain pass of the reference, entry by entry in plain loops from the equations of each
// covariance. The covariance update is Joseph's form, unlike the library's.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include <laws/recipe.hpp>

namespace laws {

/// How large the numbers on the way are: what rounding errors are relative to.
struct Scale {
  double query = 0;       ///< Largest |q|_1.
  double memory = 0;      ///< Largest entry of S.
  double covariance = 0;  ///< Largest entry of \hat P.
  double condition = 1;   ///< Largest |\hat P| |k|^2 / r, and 1: loss of digits in s and P.
  double evidence = 0;    ///< Change of the log evidence for a unit relative error.
};

namespace detail {

template <class Real>
double magnitude(const Real& x) {
  return std::abs(static_cast<double>(x));
}
template <class Real>
Real absolute(const Real& x) {
  return x < Real(0) ? Real(-x) : x;
}
inline std::size_t at(Index i) { return static_cast<std::size_t>(i); }

template <class Real>
class ReferenceGain {
 public:
  using Vec = std::vector<Real>;
  using Fields = seqbayes::Fields<Matrix<Real>>;

  ReferenceGain(const Recipe& recipe, const Setup<Real>& setup, const Fields& x,
                Matrix<Real> covariance)
      : recipe_(recipe), setup_(setup), x_(x), P_(std::move(covariance)) {}

  [[nodiscard]] const Matrix<Real>& covariance() const { return P_; }
  [[nodiscard]] const Vec& decay() const { return decay_; }
  [[nodiscard]] const Scale& scale() const { return scale_; }

  /// D_t and D^c_t.
  void set_decays(Index t) {
    using std::exp;
    decay_.assign(at(dk()), Real(1));
    for (Index i = 0; i < dk(); ++i) {
      if (recipe_.decay == Decay::constant) decay_[at(i)] = exp(setup_.log_decay);
      if (recipe_.decay == Decay::field) decay_[at(i)] = factor(x_.log_decay, t, i);
    }
    covariance_decay_ = decay_;
    for (Index i = 0; x_.covariance_log_decay.cols() > 0 && i < dk(); ++i) {
      covariance_decay_[at(i)] = factor(x_.covariance_log_decay, t, i);
    }
  }

  /// The gain of one write; sets s and advances what is kept of the covariance.
  Vec gain(Index t, int j, const Vec& k, Real& s) {
    switch (recipe_.kept) {
      case Kept::nothing: return k;
      case Kept::reset: return reset(t, j, k, s);
      case Kept::preconditioned: return preconditioned(t, k);
      case Kept::isotropic: return isotropic(t, k, s);
      case Kept::diagonal: return diagonal(t, k, s);
      case Kept::full:
        return recipe_.design == Design::latent_input ? accumulated(t, k, s) : full(t, k, s);
    }
    return k;
  }

  /// q' P q after the write of token t.
  Real variance(Index t) const {
    Real sum(0);
    for (Index i = 0; i < dk(); ++i) {
      for (Index j = 0; j < dk(); ++j) {
        sum += x_.query(t, i) * after_write(t, i, j) * x_.query(t, j);
      }
    }
    return sum;
  }

 private:
  Index dk() const { return setup_.key_dim; }
  Vec zeros() const { return Vec(at(dk()), Real(0)); }
  bool flat() const { return magnitude(setup_.input_variance) == infinity; }

  /// e^g of entry i of a field with 1 or Dk columns.
  static Real factor(const Matrix<Real>& field, Index t, Index i) {
    using std::exp;
    const Real g = field(t, field.cols() == 1 ? 0 : i);
    return g < Real(-1e6) ? Real(0) : Real(exp(g));
  }

  static Real norm2(const Vec& k) {
    Real sum(0);
    for (const Real& entry : k) sum += entry * entry;
    return sum;
  }
  void note(double covariance, double key2, double noise) {
    scale_.covariance = std::max(scale_.covariance, covariance);
    if (noise > 0) scale_.condition = std::max(scale_.condition, covariance * key2 / noise);
  }

  Vec reset(Index t, int j, const Vec& k, Real& s) {
    const Real beta = x_.write_strength(t, j);
    const Real sigma2 = setup_.prior_variance;
    Vec gain = k;
    for (Real& entry : gain) entry *= beta;
    last_key_norm2_ = norm2(k);
    if (beta > Real(0)) {
      Real r = sigma2 * (Real(1) - beta * norm2(k)) / beta;
      if (r < Real(0)) r = Real(0);
      s = r + sigma2 * norm2(k);
    }
    note(magnitude(sigma2), 0, 0);
    return gain;
  }

  Vec preconditioned(Index t, const Vec& k) {
    using std::exp;
    using std::log;
    using std::pow;
    Vec gain = k;
    for (Index i = 0; i < dk(); ++i) {
      P_(i, 0) = factor(x_.precondition_log_decay, t, 0) * P_(i, 0) +
                 x_.precondition_strength(t, 0) * k[at(i)] * k[at(i)];
      note(magnitude(P_(i, 0)), 0, 0);
      const Real u = log(Real(P_(i, 0) + Real(1e-6))) + Real(0.2);
      gain[at(i)] *= x_.write_strength(t, 0) * pow(Real(1.5), Real(-u / (Real(1) + absolute(u))));
    }
    return gain;
  }

  Vec isotropic(Index t, const Vec& k, Real& s) {
    Real squares(0);
    for (Index i = 0; i < dk(); ++i) squares += covariance_decay_[at(i)] * covariance_decay_[at(i)];
    const Real width = Real(double(dk()));
    const Real r = x_.observation_noise(t, 0);
    const Real p = squares / width * P_(0, 0) + x_.process_noise(t, 0);
    s = r + p * norm2(k);
    Vec gain = k;
    for (Real& entry : gain) entry *= p / s;
    P_(0, 0) =
        p > Real(0) ? Real(1) / (Real(1) / p + setup_.info_scale * norm2(k) / (width * r)) : p;
    note(magnitude(p), 0, 0);
    return gain;
  }

  Vec diagonal(Index t, const Vec& k, Real& s) {
    const Real r = x_.observation_noise(t, 0);
    s = r;
    Vec p = zeros();
    for (Index i = 0; i < dk(); ++i) {
      const Real d = covariance_decay_[at(i)];
      p[at(i)] = d * d * P_(i, 0) + process_noise(t, i);
      s += p[at(i)] * k[at(i)] * k[at(i)];
      note(magnitude(p[at(i)]), 0, 0);
    }
    Vec gain = zeros();
    for (Index i = 0; i < dk(); ++i) {
      gain[at(i)] = p[at(i)] * k[at(i)] / s;
      const Real information = setup_.info_scale * k[at(i)] * k[at(i)] / r;
      P_(i, 0) = p[at(i)] > Real(0) ? Real(1) / (Real(1) / p[at(i)] + information) : p[at(i)];
    }
    return gain;
  }

  Vec full(Index t, const Vec& k, Real& s) {
    const Real r = x_.observation_noise(t, 0);
    Vec z = zeros();  // \hat P k
    double largest = 0;
    for (Index i = 0; i < dk(); ++i) {
      for (Index j = 0; j < dk(); ++j) {
        P_(i, j) *= covariance_decay_[at(i)] * covariance_decay_[at(j)];
        if (i == j) P_(i, j) += process_noise(t, i);
        z[at(i)] += P_(i, j) * k[at(j)];
      }
      largest = std::max(largest, magnitude(P_(i, i)));
    }
    note(largest, magnitude(norm2(k)), magnitude(r));
    s = r;
    for (Index i = 0; i < dk(); ++i) s += k[at(i)] * z[at(i)];
    Vec gain = z;
    for (Real& entry : gain) entry /= s;
    // (I - gain k') P (I - gain k')' + r gain gain', Joseph's form.
    for (Index i = 0; i < dk(); ++i) {
      for (Index j = 0; j < dk(); ++j) P_(i, j) -= gain[at(i)] * z[at(j)];
    }
    Vec left = zeros();
    for (Index i = 0; i < dk(); ++i) {
      for (Index j = 0; j < dk(); ++j) left[at(i)] += P_(i, j) * k[at(j)];
    }
    for (Index i = 0; i < dk(); ++i) {
      for (Index j = 0; j < dk(); ++j) {
        P_(i, j) += (r * gain[at(i)] - left[at(i)]) * gain[at(j)];
      }
    }
    return gain;
  }

  Vec accumulated(Index t, const Vec& k, Real& s) {
    const Real r = x_.observation_noise(t, 0);
    const Real rho = flat() ? r : Real(setup_.input_variance * r / (setup_.input_variance + r));
    for (Index i = 0; i < dk(); ++i) {
      for (Index j = 0; j < dk(); ++j) {
        P_(i, j) = covariance_decay_[at(i)] * P_(i, j) * covariance_decay_[at(j)] +
                   rho * k[at(i)] * k[at(j)];
      }
      note(magnitude(P_(i, i)), 0, 0);
    }
    s = setup_.input_variance + r;
    return k;
  }

  Real process_noise(Index t, Index i) const {
    return x_.process_noise(t, x_.process_noise.cols() == 1 ? 0 : i);
  }

  Real after_write(Index t, Index i, Index j) const {
    switch (recipe_.kept) {
      case Kept::isotropic: return i == j ? P_(0, 0) : Real(0);
      case Kept::diagonal: return i == j ? P_(i, 0) : Real(0);
      case Kept::full: return P_(i, j);
      default: return after_reset(t, i, j);
    }
  }
  /// Joseph's form for the gain beta k of the token's last write and the covariance sigma_0^2 I.
  Real after_reset(Index t, Index i, Index j) const {
    const int last = recipe_.writes - 1;
    const Real sigma2 = setup_.prior_variance;
    const Real beta = x_.write_strength(t, last);
    const Real& key2 = last_key_norm2_;
    const Real ki = x_.key(t, last * dk() + i), kj = x_.key(t, last * dk() + j);
    Real noise = beta * (Real(1) - beta * key2);  // r beta^2 / sigma_0^2
    if (noise < Real(0)) noise = Real(0);
    const Real same = i == j ? Real(1) : Real(0);
    return sigma2 * (same - beta * ki * kj * (Real(2) - beta * key2) + noise * ki * kj);
  }

  Recipe recipe_;
  Setup<Real> setup_;
  const Fields& x_;
  Matrix<Real> P_;
  Vec decay_, covariance_decay_;
  Real last_key_norm2_{};
  Scale scale_;
};

}  // namespace detail
}  // namespace laws
