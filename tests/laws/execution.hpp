// The laws of execution: every form of every layer yields the reference's numbers; token by token
// they are those of `step`, bit by bit; and a sequence may be cut anywhere.
#pragma once

#include <laws/layers.hpp>
#include <laws/run.hpp>

namespace laws {

inline std::vector<Execution> all_forms() {
  std::vector<Execution> forms = {Execution(), Execution::sequential()};
  for (const Index tokens : {1, 2, 3, 5, 16, 64, 1000}) {
    forms.push_back(Execution::chunked(tokens));
  }
  return forms;
}

/// `scan_mean` as a run: the mean and the state it leaves behind.
template <class Layer>
Run<Real> run_mean(const Layer& layer, typename Layer::State& state,
                   const seqbayes::Sequence<typename Layer::Scalar>& x, Execution how) {
  Run<Real> run;
  run.mean = widen_matrix(seqbayes::scan_mean(layer, state, x, how));
  Case<Layer>::note_state(run, state);
  return run;
}

/// `scan` of the tokens before `cut` and then of the rest.
template <class Layer>
Run<Real> run_parts(const Layer& layer, typename Layer::State& state,
                    const seqbayes::Sequence<typename Layer::Scalar>& x, Index cut, Execution how) {
  const Run<Real> head = run(layer, state, x.tokens(0, cut), how);
  Run<Real> whole = run(layer, state, x.tokens(cut, x.length() - cut), how);
  const auto stacked = [](const Matrix<Real>& a, const Matrix<Real>& b) {
    Matrix<Real> both(a.rows() + b.rows(), b.cols());
    both << a, b;
    return both;
  };
  whole.mean = stacked(head.mean, whole.mean);
  whole.variance = stacked(head.variance, whole.variance);
  whole.evidence += head.evidence;
  return whole;
}

template <class Layer>
void check_forms(const Layer& layer, const Setup<double>& setup, const Stream<double>& stream) {
  const auto [x, start, want, bounds] = trial(layer, setup, stream);
  auto state = start;
  const Run<Real> by_step = run_steps(layer, state, x.view());
  state = start;
  check_equal(run(layer, state, x.view(), Execution::sequential()), by_step);

  for (const Execution how : all_forms()) {
    INFO("chunk " << how.chunk() << ", " << stream.length() << " tokens");
    state = start;
    check_close(run(layer, state, x.view(), how), want, bounds);
    state = start;
    Run<Real> mean_alone = want;
    mean_alone.variance.resize(0, 0);
    check_close(run_mean(layer, state, x.view(), how), mean_alone, bounds);
  }
}

template <class Layer>
void check_cuts(const Layer& layer, const Setup<double>& setup, const Stream<double>& stream) {
  const auto [x, start, want, bounds] = trial(layer, setup, stream);
  for (const Index cut : {Index(0), Index(1), Index(7), Index(64), x.length() - 1, x.length()}) {
    INFO("cut before token " << cut);
    for (const Execution how : {Execution(), Execution::chunked(5), Execution::chunked(64)}) {
      auto state = start;
      check_close(run_parts(layer, state, x.view(), cut, how), want, bounds);
    }
    auto state = start;
    const Run<Real> parts = run_parts(layer, state, x.view(), cut, Execution::sequential());
    state = start;
    const Run<Real> whole = run(layer, state, x.view(), Execution::sequential());
    // The sum of two partial sums of the log evidence rounds off once more.
    check_close(parts, whole, {0, 0, bounds.evidence, 0, 0});
  }
}

template <class Layer>
void forms_equal_the_reference() {
  for (const auto& [key_dim, value_dim] :
       shapes_of<Layer>({{5, 3}, {16, 16}, {1, 8}, {8, 1}, {1, 1}})) {
    const Setup<double> setup{key_dim, value_dim};
    const auto layer = make<Layer>(setup);
    for (const Hardship& hard : hardships()) {
      INFO(describe(layer) << ", " << hard.name);
      const auto stream = draw_hard_stream(hard, 13, layer.inputs(), 83, 5, key_dim == 16);
      check_forms(layer, setup, stream);
    }
  }
}

/// Widths that are no multiple of a vector, or of several; more tokens than any chunk.
template <class Layer>
void forms_equal_the_reference_at_any_width() {
  for (const auto& [key_dim, value_dim] : shapes_of<Layer>({{33, 70}, {70, 33}, {64, 64}})) {
    const Setup<double> setup{key_dim, value_dim};
    const auto layer = make<Layer>(setup);
    for (const Hardship& hard : hardships()) {
      if (hard.name != "as drawn" && hard.name != "decay of any size" &&
          hard.name != "two keys almost without noise") {
        continue;
      }
      INFO(describe(layer) << ", " << hard.name);
      const auto stream = draw_hard_stream(hard, 17, layer.inputs(), 131, 9);
      check_forms(layer, setup, stream);
    }
  }
  if (has_static_widths<Layer>()) return;
  const Setup<double> setup{6, 4};
  const auto layer = make<Layer>(setup);
  INFO(describe(layer));
  check_forms(layer, setup, draw_stream(layer.inputs(), 1037, 9));
}

template <class Layer>
void sequences_may_be_cut_anywhere() {
  for (const auto& [key_dim, value_dim] : shapes_of<Layer>({{5, 3}, {24, 40}})) {
    const Setup<double> setup{key_dim, value_dim};
    const auto layer = make<Layer>(setup);
    for (const Hardship& hard : hardships()) {
      if (hard.name != "as drawn" && hard.name != "decay of any size") continue;
      INFO(describe(layer) << ", " << hard.name);
      const auto stream = draw_hard_stream(hard, 19, layer.inputs(), 131, 21);
      check_cuts(layer, setup, stream);
    }
  }
}

}  // namespace laws
