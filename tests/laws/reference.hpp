// The layers once more, entry by entry in plain loops, from the equations alone: one function for
// all of them, which reads a `Recipe`.
#pragma once

#include <laws/reference_gain.hpp>

namespace laws {

/// What a run leaves behind, in any scalar type.
template <class Real>
struct Run {
  Matrix<Real> mean;        ///< T x Dv.
  Matrix<Real> variance;    ///< T x 1; empty if the layer is no filter.
  Real evidence{};          ///< Log evidence, if it is one.
  Matrix<Real> memory;      ///< Dk x Dv, after the last token.
  Matrix<Real> covariance;  ///< What is kept of it: 0 x 0, 1 x 1, Dk x 1 or Dk x Dk.
};

template <class Real>
struct Reference {
  Run<Real> run;
  Scale scale;
};

namespace detail {

template <class Real>
class ReferenceFilter {
 public:
  using Vec = std::vector<Real>;
  using Fields = seqbayes::Fields<Matrix<Real>>;

  ReferenceFilter(const Recipe& recipe, const Setup<Real>& setup, const Fields& x,
                  Matrix<Real> memory, Matrix<Real> covariance)
      : recipe_(recipe),
        setup_(setup),
        x_(x),
        S_(std::move(memory)),
        gain_pass_(recipe, setup, x, std::move(covariance)) {}

  Reference<Real> all() {
    const Index length = x_.query.rows();
    Run<Real>& run = out_.run;
    run.mean.setZero(length, dv());
    run.variance.resize(is_filter() ? length : 0, 1);
    for (Index t = 0; t < length; ++t) {
      gain_pass_.set_decays(t);
      for (int j = 0; j < recipe_.writes; ++j) write(t, j);
      Real norm1(0);
      for (Index i = 0; i < dk(); ++i) {
        for (Index c = 0; c < dv(); ++c) run.mean(t, c) += S_(i, c) * x_.query(t, i);
        norm1 += absolute(x_.query(t, i));
      }
      query_ = std::max(query_, magnitude(norm1));
      if (is_filter()) run.variance(t, 0) = gain_pass_.variance(t);
    }
    run.memory = S_;
    run.covariance = gain_pass_.covariance();
    const Scale& gains = gain_pass_.scale();
    out_.scale = {query_, memory_, gains.covariance, gains.condition, evidence_};
    return out_;
  }

 private:
  Index dk() const { return setup_.key_dim; }
  Index dv() const { return setup_.value_dim; }
  bool is_filter() const {
    return recipe_.kept == Kept::full || recipe_.kept == Kept::isotropic ||
           recipe_.kept == Kept::diagonal ||
           (recipe_.kept == Kept::reset && recipe_.design == Design::regression);
  }

  void write(Index t, int j) {
    // Only the first write of a token decays.
    const Vec decay = j == 0 ? gain_pass_.decay() : Vec(at(dk()), Real(1));
    Vec k(at(dk())), e(at(dk()));
    for (Index i = 0; i < dk(); ++i) k[at(i)] = e[at(i)] = x_.key(t, j * dk() + i);
    if (recipe_.design == Design::separate_erase_key) {
      for (Index i = 0; i < dk(); ++i) e[at(i)] = x_.erase_key(t, i);
    }
    if (recipe_.design == Design::gated_erase) {
      for (Index i = 0; i < dk(); ++i) e[at(i)] *= x_.erase_gate(t, i);
    }
    Real s(0);
    const Vec gain = gain_pass_.gain(t, j, k, s);

    Vec y(at(dv()));
    for (Index c = 0; c < dv(); ++c) {
      y[at(c)] = x_.value(t, j * dv() + c);
      if (recipe_.design == Design::gated_erase) y[at(c)] *= x_.value_gate(t, c);
    }
    Real squares(0), norm1(0), key_norm1(0);
    for (const Real& entry : k) key_norm1 += absolute(entry);
    for (Index c = 0; c < dv(); ++c) {
      Vec column(at(dk()));  // \bar S, this value channel
      for (Index i = 0; i < dk(); ++i) column[at(i)] = decay[at(i)] * S_(i, c);
      Real nu = y[at(c)];
      if (recipe_.design == Design::latent_input) {
        nu = expected_input(t, nu);
      } else if (replaces()) {
        Real read(0);
        for (Index i = 0; i < dk(); ++i) read += S_(i, c) * x_.erase_key(t, i);
        for (Index i = 0; i < dk(); ++i) column[at(i)] += erase_write(t, i) * read;
      } else {
        for (Index i = 0; i < dk(); ++i) nu -= column[at(i)] * e[at(i)];
      }
      for (Index i = 0; i < dk(); ++i) {
        S_(i, c) = column[at(i)] + gain[at(i)] * nu;
        memory_ = std::max(memory_, magnitude(S_(i, c)));
      }
      if (recipe_.design == Design::latent_input) nu = y[at(c)];
      squares += nu * nu;
      norm1 += absolute(nu);
    }
    add_evidence(s, squares, norm1, key_norm1);
  }

  bool replaces() const {
    return recipe_.design == Design::diagonal_plus_low_rank ||
           recipe_.design == Design::gated_removal;
  }
  Real erase_write(Index t, Index i) const {
    if (recipe_.design == Design::diagonal_plus_low_rank) return x_.erase_write(t, i);
    return -x_.erase_key(t, i) * x_.erase_gate(t, i);
  }

  Real expected_input(Index t, const Real& v) const {
    if (magnitude(setup_.input_variance) == infinity) return v;
    return v * setup_.input_variance / (setup_.input_variance + x_.observation_noise(t, 0));
  }

  void add_evidence(const Real& s, const Real& squares, const Real& norm1, const Real& key_norm1) {
    using std::atan;
    using std::log;
    if (!(s > Real(0))) return;
    const Real n = Real(double(dv()));
    const Real two_pi = Real(8) * atan(Real(1));
    out_.run.evidence -= (squares / s + n * log(Real(two_pi * s))) / Real(2);
    const double spread = magnitude(norm1) * magnitude(key_norm1) * (1 + memory_);
    evidence_ +=
        (magnitude(squares) + spread) / magnitude(s) + double(dv()) * (2 + magnitude(Real(log(s))));
  }

  Recipe recipe_;
  Setup<Real> setup_;
  const Fields& x_;
  Matrix<Real> S_;
  ReferenceGain<Real> gain_pass_;
  Reference<Real> out_;
  double query_ = 0, memory_ = 0, evidence_ = 0;  // see Scale
};

}  // namespace detail

template <class Real>
Reference<Real> reference(const Recipe& recipe, const Setup<Real>& setup,
                          const seqbayes::Fields<Matrix<Real>>& x, const Matrix<Real>& memory,
                          const Matrix<Real>& covariance) {
  return detail::ReferenceFilter<Real>(recipe, setup, x, memory, covariance).all();
}

}  // namespace laws
