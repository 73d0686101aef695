// Functions of tensors against the core's scan of each head, and their derivatives against finite
// differences.
#include <seqbayes/adapters/torch/rule.hpp>

#include "entering.hpp"

namespace scan_test {
namespace {

using Gated = seqbayes::GatedDeltaNet<double>;
using Bayesian = seqbayes::BayesianLayer<double, -1, -1, seqbayes::ChannelDecay>;

template <class L>
L make_layer() {
  return L({.key_dim = Dk, .value_dim = Dv, .prior_variance = 0.8});
}

template <class L>
st::Inputs random_inputs(Index B, Index T, Index H) {
  return ::random_inputs(make_layer<L>().inputs(), B, T, H);
}

seqbayes::Matrix<double> matrix(const Tensor& tensor) {  // [rows, cols]
  seqbayes::Matrix<double> copy(tensor.size(0), tensor.size(1));
  for (Index i = 0; i < copy.rows(); ++i) {
    for (Index j = 0; j < copy.cols(); ++j) copy(i, j) = tensor[i][j].item<double>();
  }
  return copy;
}

bool equal(const Tensor& tensor, const seqbayes::Matrix<double>& expected) {
  return tensor.dim() == 2 && tensor.size(0) == expected.rows() &&
         tensor.size(1) == expected.cols() && matrix(tensor) == expected;
}

// The core's run of sequence b, head h, from copies.
template <class L>
auto core(const L& layer, const st::Inputs& x, Index b, Index h, typename L::State& state) {
  seqbayes::Fields<seqbayes::Matrix<double>> copies;
  seqbayes::Sequence<double> views;
  seqbayes::for_each_field(
      [&](auto, auto, const Tensor& field, auto& copy, auto& view) {
        if (!field.defined()) return;
        copy = matrix(field.select(0, b).select(1, h));
        view = copy;
      },
      x, copies, views);
  return seqbayes::scan(layer, state, views);
}

template <class L>
void check_equals_core() {
  const L layer = make_layer<L>();
  const Index B = 2, T = 5, H = 3;
  const st::Inputs x = random_inputs<L>(B, T, H);
  st::State state, fast_state;
  const st::Output out = st::scan(layer, state, x);
  const Tensor fast = st::scan_mean(layer, fast_state, x);
  for (Index b = 0; b < B; ++b) {
    for (Index h = 0; h < H; ++h) {
      auto expected_state = layer.initial_state();
      const auto expected = core(layer, x, b, h, expected_state);
      // The same code with the same numbers: equal to the last bit.
      CHECK(equal(out.mean.select(0, b).select(1, h), expected.mean));
      CHECK(equal(out.variance.select(0, b).select(1, h).unsqueeze(1), expected.variance));
      CHECK(out.log_evidence[b][h].item<double>() == expected.log_evidence);
      CHECK(equal(state.mean[b][h], expected_state.mean));
      CHECK(equal(fast.select(0, b).select(1, h), expected.mean));
      if constexpr (std::is_same_v<L, Bayesian>) {
        CHECK(equal(state.covariance[b][h], expected_state.covariance));
      } else if constexpr (std::is_same_v<L, Isotropic>) {
        CHECK(state.covariance[b][h].item<double>() == expected_state.covariance);
      } else {
        CHECK(!state.covariance.defined());
      }
    }
  }
}

TEST_CASE("tensors: every head equals the core's scan") {
  check_equals_core<Gated>();
  check_equals_core<Bayesian>();
  check_equals_core<Isotropic>();
}

TEST_CASE("tensors: the rule of Student-t noise is the core's layer, outliers included") {
  using Filter = seqbayes::BayesianLayer<double>;
  const seqbayes::StudentT<Filter> layer({.filter = Filter({.key_dim = Dk, .value_dim = Dv})});
  const Index B = 2, T = 9, H = 3;
  st::Inputs x = random_inputs<Filter>(B, T, H);
  x.value.select(1, 4) *= 30;
  st::State state, of_filter;
  const Tensor mean = st::detail::run_rule<double>(st::Rule::student_t, state, x);
  CHECK(!mean.allclose(st::detail::run_rule<double>(st::Rule::bayesian, of_filter, x)));
  for (Index b = 0; b < B; ++b) {
    for (Index h = 0; h < H; ++h) {
      auto expected_state = layer.initial_state();
      const auto expected = core(layer, x, b, h, expected_state);
      // The same code, compiled twice: some roundings of memories of some 30.
      CHECK((matrix(mean.select(0, b).select(1, h)) - expected.mean).cwiseAbs().maxCoeff() < 1e-12);
      CHECK((matrix(state.covariance[b][h]) - expected_state.covariance).cwiseAbs().maxCoeff() <
            1e-13);
    }
  }
}

st::Inputs tokens(const st::Inputs& x, Index first, Index last) {
  st::Inputs part;
  seqbayes::for_each_field(
      [=](auto, auto, const Tensor& all, Tensor& some) {
        if (all.defined()) some = all.slice(1, first, last);
      },
      x, part);
  return part;
}

TEST_CASE("tensors: a state handed over continues the run, tensors of any strides") {
  const auto layer = make_layer<Bayesian>();
  const st::Inputs x = random_inputs<Bayesian>(2, 6, 2);
  st::State state, split;
  const Tensor whole = st::scan_mean(layer, state, x);
  const Tensor first = st::scan_mean(layer, split, tokens(x, 0, 2));
  const Tensor last = st::scan_mean(layer, split, tokens(x, 2, 6));
  // Tiles are cut elsewhere, which rounds differently.
  CHECK(torch::allclose(torch::cat({first, last}, 1), whole, 1e-13, 1e-13));
  CHECK(torch::allclose(split.covariance, state.covariance, 1e-13, 1e-13));

  st::Inputs strided = x;
  strided.key = x.key.permute({0, 2, 1, 3}).contiguous().permute({0, 2, 1, 3});  // rows apart
  strided.value =
      x.value.permute({3, 0, 1, 2}).contiguous().permute({1, 2, 3, 0});  // columns apart
  strided.observation_noise = x.observation_noise.squeeze(3);
  st::State again;
  CHECK(torch::equal(st::scan_mean(layer, again, strided), whole));
}

TEST_CASE("tensors: a head is viewed where it lies") {
  st::Inputs x = random_inputs<Gated>(2, 5, 3);
  x.key = x.key.slice(2, 1, 2).expand({2, 5, 3, Dk});  // all heads share one
  const st::detail::Batch<Gated> batch(make_layer<Gated>(), x);
  const auto& item = batch.sequences().at(4);  // sequence 1, head 1
  CHECK(item.value.data() == x.value[1][0][1].data_ptr<double>());
  CHECK(item.value.row_stride() == 3 * Dv);
  CHECK(item.key.data() == x.key[1][0][0].data_ptr<double>());
  CHECK(item.log_decay.data() == x.log_decay[1][0][1].data_ptr<double>());
}

TEST_CASE("tensors: a layer a head, float, threads") {
  const Index B = 13, H = 2, T = 40, D = 32;  // enough work for two threads
  std::vector<seqbayes::Retention<float>> heads;
  for (int h = 0; h < H; ++h) {
    heads.push_back(seqbayes::Retention<float>(
        {.key_dim = D, .value_dim = D, .log_decay = seqbayes::retention_log_decay<float>(h)}));
  }
  torch::manual_seed(1);
  st::Inputs x;
  x.query = torch::randn({B, T, H, D});
  x.key = torch::randn({B, T, H, D});
  x.value = torch::randn({B, T, H, D});
  st::State state;
  const Tensor out = st::scan_mean(heads, state, x);
  // o_t = sum_s e^{(t - s) g} (q_t' k_s) v_s
  for (int h = 0; h < H; ++h) {
    const double g = seqbayes::retention_log_decay<double>(h);
    const auto of_head = [h](const Tensor& all) { return all[2].select(1, h).to(at::kDouble); };
    const Tensor age = torch::arange(T).unsqueeze(1) - torch::arange(T).unsqueeze(0);
    const Tensor weight = torch::where(age >= 0, torch::exp(age * g), torch::zeros({1}));
    const Tensor expected =
        (of_head(x.query).matmul(of_head(x.key).t()) * weight).matmul(of_head(x.value));
    // float sums of 40 x 32 products of order 1
    CHECK((of_head(out) - expected).abs().max().item<double>() <
          2e-6 * expected.abs().max().item<double>());
  }
  const int threads = at::get_num_threads();
  for (const int count : {1, 2}) {
    at::set_num_threads(count);
    st::State other;
    CHECK(torch::equal(st::scan_mean(heads, other, x), out));
  }
  at::set_num_threads(threads);
}

TEST_CASE("tensors: bad input is named") {
  const auto layer = make_layer<Gated>();
  const st::Inputs good = random_inputs<Gated>(2, 4, 2);
  st::State state;
  const auto message = [&](auto change) {
    st::Inputs x = good;
    change(x);
    return error_of([&] { st::scan(layer, state, x); });
  };
  CHECK(message([](st::Inputs& x) { x.value = Tensor(); }) ==
        "seqbayes: value is missing: this layer reads it, 4 x 2");
  CHECK(message([](st::Inputs& x) { x.query = x.query[0]; }) ==
        "seqbayes: query must be [B, T, H, Dk]");
  CHECK(message([](st::Inputs& x) { x.key = x.key.slice(1, 1); }) ==
        "seqbayes: key is [2, 3, 2, 3], expected [2, 4, 2, width]");
  CHECK(message([](st::Inputs& x) { x.key = x.value; }) ==
        "seqbayes: key is 4 x 2, expected 4 x 3");
  CHECK(message([](st::Inputs& x) { x.key = x.key.to(at::kFloat); }) ==
        "seqbayes: key is Float, the layer's scalar Double");
  CHECK(message([](st::Inputs& x) { x.log_decay = -x.log_decay; }).find("log_decay (4 x 1)") !=
        std::string::npos);
  CHECK(!state.mean.defined());

  state.mean = torch::zeros({2, 2, 2, 2}, at::kDouble);
  CHECK(message([](st::Inputs&) {}) ==
        "seqbayes: state.mean is [2, 2, 2, 2], expected [2, 2, 3, 2]");
  state = {};
  const std::vector<Gated> three(3, layer);
  CHECK(error_of([&] { st::scan(three, state, good); }) ==
        "seqbayes: there must be one layer, or one for each of the 2 heads");
  const std::vector<Gated> unlike = {layer, Gated({.key_dim = Dk + 1, .value_dim = Dv})};
  CHECK(error_of([&] { st::scan(unlike, state, good); }) ==
        "seqbayes: the layers of all heads must have the same widths");
  CHECK(error_of([&] { st::scan(std::vector<Gated>(), state, good); }) ==
        "seqbayes: there must be a layer");
}

// Largest deviation of d loss / d leaf from five-point differences, over all entries. Their
// truncation is h^4 / 30 times a fifth derivative (1e4 here), their rounding 1e-14 / h.
double gradient_error(const std::vector<Tensor>& leaves, const std::function<Tensor()>& loss) {
  const auto gradients = torch::autograd::grad({loss()}, leaves);
  const torch::NoGradGuard no_grad;
  constexpr double h = 3e-4;
  double worst = 0;
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    double* entries = leaves[i].data_ptr<double>();
    for (Index j = 0; j < leaves[i].numel(); ++j) {
      const double at = entries[j];
      const auto loss_at = [&](double step) {
        entries[j] = at + step;
        return loss().item<double>();
      };
      const double difference =
          (8 * (loss_at(h) - loss_at(-h)) - (loss_at(2 * h) - loss_at(-2 * h))) / (12 * h);
      entries[j] = at;
      worst = std::max(worst, std::abs(gradients[i].flatten()[j].item<double>() - difference));
    }
  }
  return worst;
}

template <class L>
void check_gradients(bool all_results) {
  const L layer = make_layer<L>();
  const Index B = 2, T = 4, H = 2;
  st::Inputs x = random_inputs<L>(B, T, H);
  std::vector<Tensor> leaves;
  seqbayes::for_each_field(
      [&](auto, auto, Tensor& field) {
        if (!field.defined()) return;
        leaves.push_back(field.requires_grad_());
      },
      x);
  leaves.push_back((torch::randn({B, H, Dk, Dv}, at::kDouble) * 0.3).requires_grad_());
  const Tensor mean = leaves.back();
  Tensor root;  // of the initial covariance
  if (std::is_same_v<L, Bayesian>) {
    root = (torch::randn({B, H, Dk, Dk}, at::kDouble) * 0.3).requires_grad_();
  } else if (std::is_same_v<L, Isotropic>) {
    root = (torch::rand({B, H}, at::kDouble) + 0.5).requires_grad_();
  }
  if (root.defined()) leaves.push_back(root);

  const auto loss = [&] {
    st::State state{mean, Tensor()};
    if (root.defined()) {
      state.covariance = root.dim() == 4 ? root.matmul(root.transpose(2, 3)) : root.square();
    }
    torch::manual_seed(3);
    Tensor sum = torch::zeros({}, at::kDouble);
    const auto add = [&sum](const Tensor& result) {
      if (result.defined()) sum = sum + (result * torch::randn_like(result)).sum();
    };
    if (all_results) {
      const st::Output out = st::scan(layer, state, x);
      add(out.mean);
      add(out.variance);
      add(out.log_evidence);
      add(state.mean);
      add(state.covariance);
    } else {
      add(st::scan_mean(layer, state, x).square());
    }
    return sum;
  };
  // Derivatives are of order 1 to 100.
  CHECK(gradient_error(leaves, loss) < 2e-9);
}

TEST_CASE("tensors: derivatives by inputs and state, against finite differences") {
  check_gradients<Gated>(false);
  check_gradients<Gated>(true);
  check_gradients<Isotropic>(true);
  check_gradients<Bayesian>(false);
  check_gradients<Bayesian>(true);
}

TEST_CASE("tensors: derivatives of shared and strided inputs, and through a handed over state") {
  const auto layer = make_layer<Gated>();
  st::Inputs x = random_inputs<Gated>(2, 4, 2);
  const Tensor key = torch::randn({2, 1, 4, Dk}, at::kDouble).requires_grad_();
  const Tensor beta = x.write_strength.squeeze(3).clone().requires_grad_();
  const auto loss = [&] {
    x.key = key.transpose(1, 2).expand({2, 4, 2, Dk});
    x.write_strength = beta;
    st::State state;
    const Tensor first = st::scan_mean(layer, state, tokens(x, 0, 2));
    return first.square().sum() + st::scan_mean(layer, state, tokens(x, 2, 4)).pow(3).sum();
  };
  CHECK(gradient_error({key, beta}, loss) < 2e-9);
}

TEST_CASE("tensors: nothing is recorded under NoGradGuard, there are no second derivatives") {
  const auto layer = make_layer<Gated>();
  st::Inputs x = random_inputs<Gated>(1, 3, 1);
  x.key.requires_grad_();
  st::State state;
  {
    const torch::NoGradGuard no_grad;
    CHECK(!st::scan_mean(layer, state, x).requires_grad());
    CHECK(!state.mean.requires_grad());
  }
  const Tensor out = st::scan_mean(layer, state, x).sum();
  CHECK(out.requires_grad());
  CHECK(error_of([&] { torch::autograd::grad({out}, {x.key}, {}, true, true); }) ==
        "seqbayes: scans have no second derivatives");
  CHECK(torch::autograd::grad({out}, {x.key})[0].sizes() == x.key.sizes());
}

}  // namespace
}  // namespace scan_test

Tensors scan_isotropic(st::State& state, const st::Inputs& x) {
  const st::Output out = st::scan(scan_test::make_layer<Isotropic>(), state, x);
  return {out.mean, out.variance, out.log_evidence};
}
