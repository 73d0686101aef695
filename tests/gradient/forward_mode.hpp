// The reference for gradients: the step form in long double with one dual number, direction by
// direction. Nothing of it is shared with the code that goes backwards.
#pragma once

#include <ceres/jet.h>

#include <support/catch.hpp>

#include <laws/case.hpp>
#include <laws/layers.hpp>

namespace gradient {

using namespace laws;
using seqbayes::Cotangent;
using seqbayes::Gradient;
using Jet = ceres::Jet<long double, 1>;

/// Calls f(entry, transposed entry) for each entry of a state, or each pair in the lower triangle
/// of a full covariance or a key moment, which are the same entry otherwise.
template <class State, class F>
void for_each_entry(State& state, F&& f) {
  const auto all = [&](auto& m) {
    for (Index i = 0; i < m.size(); ++i) f(m.data()[i], m.data()[i]);
  };
  const auto lower = [&](auto& p) {
    for (Index i = 0; i < p.rows(); ++i) {
      for (Index j = 0; j <= i; ++j) f(p(i, j), p(j, i));
    }
  };
  if constexpr (requires { state.mean; }) all(state.mean);
  if constexpr (requires { state.layers; }) {
    std::apply([&](auto&... part) { (for_each_entry(part, f), ...); }, state.layers);
    all(state.log_weight);
  } else if constexpr (requires { state.filter; }) {
    for_each_entry(state.filter, f);
    f(state.shape, state.shape);
    f(state.scale, state.scale);
  } else if constexpr (requires { state.key_moment; }) {
    lower(state.key_moment);
    all(state.value_moment);
  } else if constexpr (requires { state.information; }) {
    all(state.precision);
    all(state.information);
  } else if constexpr (requires { state.covariance.size(); }) {
    auto& p = state.covariance;
    if (p.rows() > 1 && p.rows() == p.cols()) {
      lower(p);
    } else {
      all(p);
    }
  } else if constexpr (!std::is_same_v<std::remove_cvref_t<decltype(state.covariance)>,
                                       seqbayes::Empty>) {
    f(state.covariance, state.covariance);
  }
}

/// Calls f(name, entries) for each option of the layers that keep information.
template <class Options, class F>
void for_each_option(Options& options, F&& f) {
  if constexpr (requires { options.ridge; }) f("ridge", options.ridge);
  if constexpr (requires { options.decay; }) {
    f("decay", options.decay);
    f("option process_noise", options.process_noise);
  }
}

/// Random derivatives by all results, each exactly a float.
template <class L>
struct Loss {
  Matrix<double> mean;
  Matrix<double> variance;
  double log_evidence = 0;
  typename L::State state;
};

template <class L>
Loss<L> draw_loss(const L& layer, Index length, std::uint64_t seed = 83) {
  Draw draw(seed);
  constexpr bool filter = seqbayes::ProbabilisticLayer<L>;
  Loss<L> loss{Matrix<double>(length, layer.value_dim()), Matrix<double>(filter ? length : 0, 1),
               filter ? 0.375 : 0, layer.initial_state()};
  draw_normal(loss.mean, draw);
  draw_normal(loss.variance, draw);
  for_each_entry(loss.state, [&](auto& a, auto& b) {
    a = static_cast<typename L::Scalar>(draw.normal());
    b = a;
  });
  return loss;
}

template <class Scalar, class L>
struct CotangentOwner {
  Matrix<Scalar> mean;
  seqbayes::Vector<Scalar> variance;
  Cotangent<L> view;
};

template <class L>
void look_at(CotangentOwner<typename L::Scalar, L>& owner, const Loss<L>& loss) {
  using Scalar = typename L::Scalar;
  owner.mean = loss.mean.template cast<Scalar>();
  owner.variance = loss.variance.template cast<Scalar>();
  owner.view.mean = owner.mean;
  owner.view.variance = owner.variance;
  owner.view.log_evidence = static_cast<Scalar>(loss.log_evidence);
  owner.view.state = loss.state;
}

/// All that a run reads, in dual numbers.
template <class L>
struct DualRun {
  using Dual = Rebind<L, Jet>;
  typename Dual::Options options;
  typename Dual::State start;
  Stream<Jet> x;

  DualRun(const typename Dual::Options& given, const typename L::State& state,
          const Stream<double>& stream)
      : options(Dual(given).options()),
        start(Dual(options).initial_state()),
        x(stream.template as<Jet>()) {
    std::vector<Jet> entries;
    for_each_entry(state, [&](const auto& a, const auto&) { entries.emplace_back(a); });
    auto entry = entries.begin();
    for_each_entry(start, [&](Jet& a, Jet& b) { b = a = *entry++; });
  }

  /// The derivative of the loss in the direction that the inputs now have.
  [[nodiscard]] long double slope(const Loss<L>& loss) const {
    const Dual layer(options);
    auto state = start;
    Jet sum(0);
    for (Index t = 0; t < x.length(); ++t) {
      const auto y = layer.step(state, x.view().token(t));
      for (Index c = 0; c < y.mean.size(); ++c) sum += y.mean[c] * Jet(loss.mean(t, c));
      if constexpr (seqbayes::ProbabilisticLayer<L>) {
        sum += y.variance * Jet(loss.variance(t, 0));
        if (loss.log_evidence != 0) sum += y.log_evidence * Jet(loss.log_evidence);
      }
    }
    std::vector<Jet> weights;
    for_each_entry(loss.state, [&](const auto& a, const auto&) { weights.emplace_back(a); });
    auto weight = weights.begin();
    for_each_entry(state, [&](const Jet& a, const Jet& b) {
      sum += *weight * a;
      if (&a != &b) sum += *weight * b;
      ++weight;
    });
    return sum.v[0];
  }

  long double slope_along(Jet& entry, Jet& same, const Loss<L>& loss) {
    entry.v[0] = same.v[0] = 1;
    const long double result = slope(loss);
    entry.v[0] = same.v[0] = 0;
    return result;
  }
};

/// All derivatives by one field, or by one of what is no field.
struct Part {
  std::string name;
  std::vector<long double> entries;

  [[nodiscard]] long double size() const {
    long double largest = 0;
    for (const long double x : entries) largest = std::max(largest, std::abs(x));
    return largest;
  }
};

/// The largest difference; NaN if there is one or if the shapes differ.
inline long double difference(const Part& got, const Part& want) {
  const long double nan = std::numeric_limits<long double>::quiet_NaN();
  if (got.name != want.name || got.entries.size() != want.entries.size()) return nan;
  long double largest = 0;
  for (std::size_t i = 0; i < got.entries.size(); ++i) {
    const long double difference = std::abs(got.entries[i] - want.entries[i]);
    if (std::isnan(difference)) return nan;
    largest = std::max(largest, difference);
  }
  return largest;
}

/// Everything that a gradient holds.
template <class L>
std::vector<Part> parts(const Gradient<L>& gradient) {
  std::vector<Part> all;
  seqbayes::for_each_field(
      [&](const char* name, auto, const auto& entries) {
        if (entries.size() == 0) return;
        Part& part = all.emplace_back(Part{name, {}});
        for (Index i = 0; i < entries.size(); ++i) part.entries.push_back(entries.data()[i]);
      },
      gradient);
  Part& state = all.emplace_back(Part{"initial state", {}});
  for_each_entry(gradient.initial_state, [&](const auto& a, const auto& b) {
    state.entries.push_back(&a == &b ? a : static_cast<long double>(a) + b);
  });
  all.push_back(Part{"prior variance", {gradient.prior_variance_of_tokens}});
  all.push_back(Part{"input variance", {gradient.input_variance}});
  all.push_back(Part{"info scale", {gradient.info_scale}});
  for_each_option(gradient.options, [&](const char* name, const auto& entries) {
    Part& part = all.emplace_back(Part{name, {}});
    for (Index i = 0; i < entries.size(); ++i) part.entries.push_back(entries.data()[i]);
  });
  return all;
}

/// The same by forward mode.
template <class L>
std::vector<Part> forward_mode(const typename Rebind<L, Jet>::Options& options,
                               const typename L::State& start, const Stream<double>& stream,
                               const Loss<L>& loss) {
  DualRun<L> run(options, start, stream);
  std::vector<Part> all;
  const auto slope = [&](Part& part, Jet& a, Jet& b) {
    part.entries.push_back(run.slope_along(a, b, loss));
  };
  seqbayes::for_each_field(
      [&](std::string_view name, auto, Matrix<Jet>& x) {
        if constexpr (requires { run.options.log_decay; }) {
          if constexpr (recipe_of<L>.decay == laws::Decay::constant) {
            if (name == "log_decay") {
              Part& option = all.emplace_back(Part{"log_decay", {}});
              slope(option, run.options.log_decay, run.options.log_decay);
            }
          }
        }
        if (x.size() == 0) return;
        Part& part = all.emplace_back(Part{std::string(name), {}});
        for (Index i = 0; i < x.size(); ++i) slope(part, x.data()[i], x.data()[i]);
      },
      run.x.fields);
  Part& state = all.emplace_back(Part{"initial state", {}});
  for_each_entry(run.start, [&](Jet& a, Jet& b) { slope(state, a, b); });
  const auto option = [&](const char* name, auto of) {
    Part& part = all.emplace_back(Part{name, {}});
    if constexpr (requires { of(run.options); }) {
      slope(part, of(run.options), of(run.options));
    } else {
      part.entries.push_back(0);
    }
  };
  option("prior variance",
         [](auto& o) -> decltype((o.prior_variance)) { return o.prior_variance; });
  option("input variance",
         [](auto& o) -> decltype((o.input_variance)) { return o.input_variance; });
  option("info scale", [](auto& o) -> decltype((o.info_scale)) { return o.info_scale; });
  for_each_option(run.options, [&](const char* name, auto& x) {
    Part& part = all.emplace_back(Part{name, {}});
    for (Index i = 0; i < x.size(); ++i) slope(part, x.data()[i], x.data()[i]);
  });
  return all;
}

template <class L>
std::vector<Part> forward_mode(const Setup<double>& setup, const typename L::State& start,
                               const Stream<double>& stream, const Loss<L>& loss) {
  return forward_mode<L>(make<Rebind<L, Jet>>(setup).options(), start, stream, loss);
}

}  // namespace gradient
