// Results in memory that is an input's are refused, before anything is touched.
#include <support/catch.hpp>

#include <laws/case.hpp>

namespace laws::shared_memory_test {
namespace {

using Filter = seqbayes::GatedDeltaNet<double>;

TEST_CASE("an output in the memory of an input is refused") {
  const Filter layer({.key_dim = 3, .value_dim = 3});
  const auto stream = draw_stream(layer.inputs(), 5, 7);
  seqbayes::Workspace<double> workspace;
  const auto start = some_state(layer);
  auto state = start;
  const Matrix<double> positive = stream.fields.value.cwiseAbs();
  seqbayes::Output<double> out{positive, stream.fields.log_decay, 0};
  auto x = stream.view();
  x.value = out.mean;
  CHECK_THROWS_WITH(seqbayes::scan(layer, state, x, out, workspace),
                    "seqbayes: out.mean shares memory with value");
  CHECK_THROWS_WITH(seqbayes::scan_mean(layer, state, x, out.mean, workspace),
                    "seqbayes: out.mean shares memory with value");
  x = stream.view();
  x.log_decay = out.variance;
  CHECK_THROWS_WITH(seqbayes::scan(layer, state, x, out, workspace),
                    "seqbayes: out.variance shares memory with log_decay");
  // A view with a stride: the output's last column.
  x = stream.view();
  x.write_strength = {out.mean.data() + 2, 5, 1, 3};
  CHECK_THROWS_WITH(seqbayes::scan(layer, state, x, out, workspace),
                    "seqbayes: out.mean shares memory with write_strength");
  std::vector<Filter> heads(1, layer);
  std::vector<Filter::State> states(1, start);
  std::vector<seqbayes::Output<double>> outputs(1, out);
  x = stream.view();
  x.query = outputs[0].mean;
  const std::vector<seqbayes::Sequence<double>> inputs(1, x);
  CHECK_THROWS_WITH(seqbayes::scan(seqbayes::Threads{1}, heads, states, inputs, outputs),
                    "seqbayes: out.mean shares memory with query");
  CHECK(states[0] == start);
  CHECK(state == start);
  CHECK(out.mean == positive);
}

TEST_CASE("a field that the layer doesn't read may lie anywhere, and neighbours are no overlap") {
  const Filter layer({.key_dim = 3, .value_dim = 3});
  const auto stream = draw_stream(layer.inputs(), 5, 7);
  seqbayes::Workspace<double> workspace;
  auto state = some_state(layer), other = state;
  seqbayes::Output<double> out;
  out.mean.setOnes(5, 3);
  auto x = stream.view();
  x.process_noise = out.mean;
  seqbayes::scan(layer, state, x, out, workspace);
  CHECK(out.mean == seqbayes::scan(layer, other, stream.view()).mean);
  const Matrix<double> both = Matrix<double>::Ones(2, 3);
  CHECK_FALSE(seqbayes::detail::shares_memory(both.data(), 3,
                                              seqbayes::MatrixView<double>(both.data() + 3, 1, 3)));
  CHECK(seqbayes::detail::shares_memory(both.data(), 4,
                                        seqbayes::MatrixView<double>(both.data() + 3, 1, 3)));
}

}  // namespace
}  // namespace laws::shared_memory_test
