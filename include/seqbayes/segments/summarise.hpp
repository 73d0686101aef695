/// @file
/// Reads a segment off an ordinary run of its tokens.
///
/// The run starts from P = 0, so that P ends as C, and carries two memories: one from S = 0, which
/// ends as b, and one from S = I whose values are 0, which ends as A. With their innovations nu_t
/// (Dv entries) and ell_t (Dk) and the run's innovation variances s_t,
///
///     J = sum_t ell_t ell_t' / s_t,    eta = - sum_t ell_t nu_t' / s_t.
///
/// What is left of the start decays for ever. Entries of A below min / epsilon (in float 1e-31)
/// count as 0: some processors take a hundred times as long over subnormal numbers.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#include <seqbayes/gradient/memory_passes.hpp>
#include <seqbayes/scan/scan.hpp>
#include <seqbayes/segments/own_decay.hpp>

namespace seqbayes {
namespace detail {

template <class L>
class Summary {
  using Scalar = typename L::Scalar;
  using Model = typename L::Model;
  using Policy = typename L::Policy;
  static constexpr int Dk = L::key_width;
  static constexpr int Dv = L::value_width;
  static constexpr bool is_filter = Segment<L>::is_filter;
  using Keys = Vector<Scalar, Dk>;

 public:
  Summary(const L& layer, const Sequence<Scalar>& x)
      : layer_(layer),
        x_(x),
        dk_(layer.key_dim()),
        dv_(layer.value_dim()),
        own_decay_(layer, x),
        run_(layer.initial_state()),
        transition_(Matrix<Scalar>::Identity(dk_, dk_)) {
    if constexpr (is_filter) {
      run_.covariance.setZero();
      information_.setZero(dk_, dk_);
      information_mean_.setZero(dk_, dv_);
    }
  }

  Segment<L> run() {
    if constexpr (runs_tiled<L> && Model::write == Write::add) {
      scan_mean(layer_, run_, x_);
      for (Index t = 0; t < x_.length(); ++t) {
        decay_start(t, decay_factor<typename L::Decay, Dk, Dv>(x_.token(t), layer_.options()));
        if (t % default_tile == 0) drop_traces();
      }
    } else if constexpr (runs_tiled<L>) {
      run_tiles();
    } else {
      for (Index t = 0; t < x_.length(); ++t) {
        run_token(t);
        if (t % default_tile == 0) drop_traces();
      }
    }
    drop_traces();
    Segment<L> segment;
    segment.transition = transition_;
    segment.offset = run_.mean;
    if constexpr (is_filter) {
      segment.decay_ratio = own_decay_.ratio();
      segment.covariance = run_.covariance;
      make_symmetric(information_);
      const Root<Wide<Scalar>> root(information_);
      segment.observation_rows = root.factor().transpose().template cast<Scalar>();
      segment.observation_values = root.solve(information_mean_).template cast<Scalar>();
    }
    return segment;
  }

 private:
  void drop_traces() {
    if constexpr (std::is_floating_point_v<Scalar>) {
      using Limits = std::numeric_limits<Scalar>;
      constexpr Scalar least = Limits::min() / Limits::epsilon();
      transition_ = (transition_.array().abs() < least).select(Scalar(0), transition_);
    }
  }

  void run_token(Index t) {
    const Token<Scalar> token = x_.token(t);
    const auto decay = decay_factor<typename L::Decay, Dk, Dv>(token, layer_.options());
    Keys gain(dk_), factors;
    if constexpr (Policy::propagates) factors = covariance_decay<Dk>(token, decay, dk_);
    const Scalar s =
        Policy::template gain<Dk>(layer_.options(), token, factors, run_.covariance, gain);
    write(t, decay, gain, s);
  }

  /// Both memories over token t.
  template <class Decay, class Gain>
  void write(Index t, const Decay& decay, const Gain& gain, const Scalar& s) {
    const Token<Scalar> token = x_.token(t);
    const auto y = Model::template target<Dv>(token, layer_.options());
    const Matrix<Scalar> nu = write(run_.mean, y, token, decay, gain);
    const Matrix<Scalar> ell =
        own_decay_.of_start()
            ? write(transition_, Keys::Zero(dk_), token, own_decay_.decay(t), gain)
            : write(transition_, Keys::Zero(dk_), token, decay, gain);
    collect(t, ell.transpose(), nu.transpose(), &s);
  }
  template <class Decay>
  void decay_start(Index t, const Decay& decay) {
    if (own_decay_.of_start()) {
      transition_ *= own_decay_.decay(t);
    } else {
      decay_memory(transition_, decay);
    }
  }

  /// One memory over one token (model/model.hpp). Returns its innovation.
  template <class Memory, class Values, class Decay, class Gain>
  Vector<Scalar> write(Memory& memory, const Values& y, const Token<Scalar>& token,
                       const Decay& decay, const Gain& gain) {
    Vector<Scalar> nu = y;
    if constexpr (Model::write == Write::replace) {
      const Keys e = Model::template prediction_key<Dk>(token, layer_.options());
      const Keys u = Model::template write_key<Dk>(token, layer_.options());
      const Vector<Scalar> erased = memory.transpose().lazyProduct(e);
      decay_memory(memory, decay);
      memory += u.lazyProduct(erased.transpose());
    } else {
      decay_memory(memory, decay);
    }
    if constexpr (Model::write == Write::correct) {
      const Keys e = Model::template prediction_key<Dk>(token, layer_.options());
      nu -= memory.transpose().lazyProduct(e);
    }
    memory += gain.lazyProduct(nu.transpose());
    return nu;
  }

  /// Adds tokens from the `first` on, whose innovations are rows of `ell` and `nu`, to J and eta.
  template <class Ell, class Nu>
  void collect(Index first, const Ell& ell, const Nu& nu, const Scalar* s) {
    if constexpr (is_filter && Model::write == Write::correct) {
      using To = Wide<Scalar>;
      // Products of rows of size 1, so that no scale makes them subnormal; in the wide type, since
      // their rounding is to be less than the prior where keys don't lie.
      const Scalar size = largest(ell);
      if (size == Scalar(0)) return;
      const Matrix<To> rows = (ell / size).template cast<To>(), values = nu.template cast<To>();
      Matrix<To> weighted(rows.rows(), rows.cols());
      Vector<Scalar> weights(rows.rows());
      const auto weigh = [&](const auto& own) {
        for (Index i = 0; i < rows.rows(); ++i) {
          weights[i] = has_weight(s[i]) ? Scalar(own(first + i) / s[i]) : Scalar(0);
        }
        const Scalar most = largest(weights);
        if (most > Scalar(0)) weights /= most;
        weighted = weights.template cast<To>().asDiagonal() * rows;
        return To(most);
      };
      const To of_information = weigh([&](Index t) { return own_decay_.of_information(t); });
      information_ += weighted.transpose() * rows * (of_information * To(size) * To(size));
      const To of_mean = weigh([&](Index t) { return own_decay_.of_mean(t); });
      information_mean_ -= weighted.transpose() * values * (of_mean * To(size));
    }
  }
  /// Whether a token observes something, with a weight that is a number.
  static bool has_weight(const Scalar& s) {
    return observes(s) && is_finite(Scalar(Scalar(1) / s));
  }
  /// The largest absolute entry; 1 for scalars without a range to leave.
  template <class Rows>
  static Scalar largest(const Rows& rows) {
    if constexpr (std::is_floating_point_v<Scalar>) return rows.cwiseAbs().maxCoeff();
    return Scalar(1);
  }

  void run_tiles() requires runs_tiled<L> {
    TileLoader<L> tile(layer_, x_, workspace_);
    TileGains<L, false> gains(layer_, workspace_);
    TileInputs<Scalar>& in = workspace_.inputs;
    for (Index first = 0; first < x_.length(); first += default_tile) {
      const Index count = std::min(default_tile, x_.length() - first);
      tile.load(first, count);
      gains.run(tile.gain_tokens(first, count), run_.covariance,
                {in.gain.data(), in.innovation_variance.data(), nullptr});
      const bool done = in_tile(tile, first, count);
      for (Index i = 0; i < count && !done; ++i) {
        const Token<Scalar> token = x_.token(first + i);
        write(first + i, decay_factor<typename L::Decay, Dk, Dv>(token, layer_.options()),
              Eigen::Map<const Keys>(in.gain.data() + i * dk_, dk_),
              in.innovation_variance.data()[i]);
      }
      drop_traces();
    }
  }

  /// Both memories over a tile, or false and nothing is done: where a lazy decay overflows.
  bool in_tile(TileLoader<L>& tile, Index first, Index count) requires runs_tiled<L> {
    const auto memory = run_.mean;
    const auto transition = transition_;
    const std::vector<Scalar> gain(workspace_.inputs.gain.data(),
                                   workspace_.inputs.gain.data() + count * dk_);
    TileInputs<Scalar>& in = workspace_.inputs;
    tile.prepare_memory();
    innovations<Dv>(run_.mean, dv_, tile.padded(), of_values_);
    std::fill(in.value.begin(), in.value.end(), in.zeros.data());
    if (own_decay_.of_start()) prepare_start(first, count, tile.padded());
    innovations<Dk>(transition_, dk_, tile.padded(), of_start_);
    const auto all = [](auto& m) { return all_finite(m.data(), m.size()); };
    if (!all(run_.mean) || !all(transition_)) {
      run_.mean = memory;
      transition_ = transition;
      std::copy_n(gain.data(), count * dk_, in.gain.data());
      return false;
    }
    using Rows = Eigen::Map<const Matrix<Scalar>>;
    collect(first, Rows(of_start_.nu.data(), count, dk_), Rows(of_values_.nu.data(), count, dv_),
            in.innovation_variance.data());
    return true;
  }

  /// The coefficients of a pass that decays as the covariance does.
  void prepare_start(Index first, Index count, Index padded) {
    std::vector<Scalar> decay(std::size_t(padded), Scalar(1));
    for (Index i = 0; i < count; ++i) decay[std::size_t(i)] = own_decay_.decay(first + i);
    prepare_groups<true, Dk>(workspace_.memory, workspace_.inputs, dk_, decay.data());
  }

  template <int Width, class Memory>
  void innovations(Memory& memory, Index width, Index padded, BackwardTile<Scalar>& results) {
    results.nu.reserve(padded * width);
    results.lanes.reserve(dk_);
    for_each_block<Scalar, Width>(width, [&](auto N, Index at, Index used) {
      run_pass<InnovationPass<N, Scalar>, L::Decay::width, N>(
          PassInputs<Scalar>{workspace_.memory, workspace_.inputs, results, results.lanes, dk_,
                             width, at, used},
          memory.data());
    });
  }

  const L& layer_;
  const Sequence<Scalar>& x_;
  Index dk_, dv_;
  OwnDecay<L> own_decay_;
  typename L::State run_;
  Matrix<Scalar> transition_;
  Matrix<Wide<Scalar>> information_, information_mean_;
  Workspace<Scalar> workspace_;
  BackwardTile<Scalar> of_values_, of_start_;
};

template <class L>
void check_composes(const L& layer, const Sequence<typename L::Scalar>& x) {
  check_inputs(layer, x);
  if (!composes<L>(x)) {
    fail("covariance_log_decay: tokens compose only if it and the memory's decay are T x 1");
  }
}

/// Of checked input.
template <class L>
Segment<L> summarise_checked(const L& layer, const Sequence<typename L::Scalar>& x) {
  return Summary<L>(layer, x).run();
}
/// The same of several writes a token.
template <class Base, int Writes>
Segment<SeveralWrites<Base, Writes>> summarise_checked(const SeveralWrites<Base, Writes>& layer,
                                                       const Sequence<typename Base::Scalar>& x) {
  Fields<Matrix<typename Base::Scalar>> buffers;
  const Sequence<typename Base::Scalar> writes = expand_writes(layer, x, buffers);
  Segment<Base> all = Summary<Base>(layer.base(), writes).run();
  Segment<SeveralWrites<Base, Writes>> segment;
  segment.transition = std::move(all.transition);
  segment.offset = std::move(all.offset);
  return segment;
}

}  // namespace detail

/// What the tokens of `x` do to any state, from one run of them: about twice what a scan takes.
/// @throws std::invalid_argument on bad input (see `check_inputs`), and if a covariance with a
/// decay of its own, or the memory beside it, decays by channel.
template <ComposableLayer L>
Segment<L> summarise(const L& layer, const Sequence<typename L::Scalar>& x) {
  detail::check_composes(layer, x);
  return detail::summarise_checked(layer, x);
}

}  // namespace seqbayes
