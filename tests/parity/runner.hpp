// Runs one layer over every head of a case, in every execution form, from both initial states.
#pragma once

#include <numbers>
#include <seqbayes/seqbayes.hpp>
#include <string>

#include "case.hpp"

namespace parity {

using seqbayes::Execution;

struct Form {
  const char* name;
  Execution how;
};
inline const Form forms[] = {{"sequential", Execution::sequential()},
                             {"chunked(16)", Execution::chunked(16)},
                             {"default", Execution()}};

// What a state keeps, and under which names the file has it, is said once for each kind of state:
// `states(state, visitor)` calls visitor.kept(initial, last, matrix) for what is stored at the
// start or the end, and visitor.after_token(name, row) for what is stored after each token.

/// Every state of the grid: the memory S.
inline constexpr auto memory_only = [](auto& state, auto visitor) {
  visitor.kept("initial_state", "final_state", state.mean);
};

/// Fills a state. Names that start with "initial" belong to the run with an initial state alone.
template <class Scalar>
struct Load {
  const Case<Scalar>& golden;
  Index h;

  template <class Part>
  void kept(const std::string& initial, const std::string&, Part&& part) {
    if (initial.starts_with("initial") && !golden.has_initial_state()) return;
    const auto stored = as_matrix(golden.inputs.head(initial, h));
    if (stored.rows() != part.rows() || stored.cols() != part.cols()) {
      throw Error("tensor \"" + initial + "\" has another shape than the layer's state");
    }
    part = stored;
  }
  template <class Row>
  void after_token(const std::string&, const Row&) {}
};

/// Compares a state after token t.
template <class Scalar>
struct Compare {
  Case<Scalar>& golden;
  Index h;
  Index t;

  template <class Part>
  void kept(const std::string&, const std::string& last, const Part& part) {
    if (!last.empty() && t == golden.length() - 1) golden.compare_head(last, h, part);
  }
  template <class Row>
  void after_token(const std::string& name, const Row& row) {
    golden.compare_token(name, h, t, row);
  }
};

/// o and, where the file has them, `var` (of the mean) and `pred_var` (of a noisy value).
template <class Scalar>
void compare_output(Case<Scalar>& golden, Index h, const Matrix<Scalar>& mean,
                    const Matrix<Scalar>& variance) {
  golden.compare_tokens("o", h, mean);
  if (variance.cols() == 0) return;
  if (golden.expects("var")) golden.compare_tokens("var", h, variance);
  if (golden.expects("pred_var")) {
    golden.compare_tokens("pred_var", h, variance + as_matrix(golden.inputs.tokens("r", h)));
  }
}

/// The gain kappa and the innovation variance s of a token, as a user can see them: a memory of
/// nothing that is told the value 1 becomes kappa, and a value 0 that is predicted exactly has the
/// evidence -Dv/2 ln(2 pi s).
template <class Scalar, class Layer>
void compare_gain(Case<Scalar>& golden, Index h, Index t, const Layer& layer,
                  const typename Layer::State& state, seqbayes::Token<Scalar> token) {
  using std::exp;
  using Row = Eigen::Matrix<Scalar, 1, Eigen::Dynamic>;
  using One = Eigen::Matrix<Scalar, 1, 1>;
  const auto step_without_memory = [&](const Row& value) {
    auto probe = state;
    probe.mean.setZero();
    token.value = value;
    const Scalar evidence = layer.step(probe, token).log_evidence;
    return std::pair(Row(probe.mean.col(0)), evidence);
  };
  const Row gain = step_without_memory(Row::Ones(token.value.size())).first;
  const Scalar evidence = step_without_memory(Row::Zero(token.value.size())).second;
  const Scalar s =
      exp(-2 * evidence / Scalar(token.value.size())) / (2 * std::numbers::pi_v<Scalar>);
  const auto k = token.key.vector();

  golden.compare_token("innov_var", h, t, One(s));
  if (golden.expects("kappa")) golden.compare_token("kappa", h, t, gain);
  if (golden.expects("gain_beta")) {
    golden.compare_token("gain_beta", h, t, One(gain.dot(k) / k.squaredNorm()));
  }
}

template <class Scalar>
Matrix<Scalar> as_row(const Scalar& entry) {
  return Matrix<Scalar>::Constant(1, 1, entry);
}
template <class Scalar, int Size>
Matrix<Scalar> as_row(const seqbayes::Vector<Scalar, Size>& entries) {
  return entries.transpose();
}

/// Token by token through `step`, where more can be seen than in a scan.
template <class Scalar, class Layer, class States>
void run_steps(Case<Scalar>& golden, Index h, const Layer& layer,
               const seqbayes::Sequence<Scalar>& x, States states) {
  seqbayes::check_inputs(layer, x);
  auto state = layer.initial_state();
  states(state, Load<Scalar>{golden, h});
  Matrix<Scalar> mean(x.length(), layer.value_dim());
  Matrix<Scalar> variance;
  for (Index t = 0; t < x.length(); ++t) {
    if constexpr (seqbayes::ProbabilisticLayer<Layer>) {
      if (golden.expects("innov_var")) compare_gain(golden, h, t, layer, state, x.token(t));
    }
    const auto y = layer.step(state, x.token(t));
    mean.row(t) = y.mean;
    if constexpr (requires { y.variance; }) {
      const Matrix<Scalar> row = as_row(y.variance);
      if (t == 0) variance.resize(x.length(), row.cols());
      variance.row(t) = row;
    }
    states(state, Compare<Scalar>{golden, h, t});
  }
  compare_output(golden, h, mean, variance);
}

/// Calls body(h) for both initial states and every head.
template <class Scalar, class Body>
void for_each_run(Case<Scalar>& golden, Body body) {
  for (const std::string start : {"", "_zero_init"}) {
    if (!golden.expects("o" + start)) continue;
    for (Index h = 0; h < golden.heads(); ++h) {
      golden.begin(start);
      body(h);
    }
  }
}

/// `scan(state, how)` runs head h in an execution form; done for each of them.
template <class Scalar, class Layer, class States, class Scan>
void run_scans(Case<Scalar>& golden, Index h, const Layer& layer, States states, Scan scan) {
  for (const Form& form : forms) {
    golden.begin_form(form.name);
    auto state = layer.initial_state();
    states(state, Load<Scalar>{golden, h});
    const auto out = scan(state, form.how);
    if constexpr (requires { out.variance; }) {
      compare_output<Scalar>(golden, h, out.mean, out.variance);
    } else if constexpr (requires { out.mean; }) {
      compare_output<Scalar>(golden, h, out.mean, {});
    } else {
      compare_output<Scalar>(golden, h, out, {});
    }
    states(state, Compare<Scalar>{golden, h, golden.length() - 1});
  }
}

inline constexpr auto nothing_more = [](Index, auto& /*options*/, auto& /*x*/) {};

/// Everything above for `Layer`. `setup(h, options, x)` adds what only this operator has.
template <class Layer, class Scalar, class Setup = decltype(nothing_more),
          class States = decltype(memory_only)>
void run(Case<Scalar>& golden, Setup setup = nothing_more, States states = memory_only) {
  golden.scale_query();
  for_each_run(golden, [&](Index h) {
    typename Layer::Options options;
    options.key_dim = golden.key_dim();
    options.value_dim = golden.value_dim();
    seqbayes::Sequence<Scalar> x = golden.sequence(h);
    setup(h, options, x);
    const Layer layer(options);

    golden.begin_form("step");
    run_steps(golden, h, layer, x, states);
    run_scans(golden, h, layer, states,
              [&](auto& state, Execution how) { return seqbayes::scan(layer, state, x, how); });
    run_scans(golden, h, layer, states, [&](auto& state, Execution how) {
      return seqbayes::scan_mean(layer, state, x, how);
    });
  });
}

}  // namespace parity
