// Texts of different lengths in one batch, and keys shared by value heads: what each item yields
// alone, and what repeated keys yield.
#include <torch/autograd.h>

#include <support/catch.hpp>

#include <seqbayes/adapters/torch.hpp>

#include "random_inputs.hpp"

namespace ragged_test {
namespace {

namespace st = seqbayes::libtorch;
using seqbayes::Index;
using torch::Tensor;
using Bayesian = seqbayes::BayesianLayer<double>;
using Delta = seqbayes::GatedDeltaNet<double>;

constexpr Index B = 5, T = 7, H = 2, width = 4;
// Tokens in the middle, on the right, on the left, none, and all.
const Index firsts[B] = {2, 4, 0, 0, 0}, counts[B] = {3, 3, 5, 0, T};

Tensor mask() {
  const Tensor tokens = torch::zeros({B, T}, at::kBool);
  for (Index b = 0; b < B; ++b) tokens[b].narrow(0, firsts[b], counts[b]).fill_(true);
  return tokens;
}

/// Sequence b's tokens of a tensor [B, T, ...].
Tensor alone(const Tensor& all, Index b) {
  return all.narrow(0, b, 1).narrow(1, firsts[b], counts[b]);
}
st::Inputs alone(const st::Inputs& all, Index b) {
  st::Inputs one;
  seqbayes::for_each_field(
      [b](auto, auto, const Tensor& from, Tensor& to) {
        if (from.defined()) to = alone(from, b);
      },
      all, one);
  return one;
}

template <class L>
L layer() {
  return L({.key_dim = width, .value_dim = width});
}
template <class L>
st::Inputs inputs() {
  return random_inputs(layer<L>().inputs(), B, T, H);
}

/// Whether what is no token is zero.
bool padding_is_zero(const Tensor& all) {
  Tensor rest = all.detach().clone();
  for (Index b = 0; b < B; ++b) rest[b].narrow(0, firsts[b], counts[b]).zero_();
  return rest.count_nonzero().item<Index>() == 0;
}

template <class L>
void check_padding() {
  st::Inputs x = inputs<L>();
  st::State start;
  st::scan(layer<L>(), start, x);
  x.mask = mask();
  st::State state = start;
  const st::Output out = st::scan(layer<L>(), state, x);
  CHECK(padding_is_zero(out.mean));
  for (Index b = 0; b < B; ++b) {
    INFO("sequence " << b);
    st::State one{start.mean.narrow(0, b, 1), {}};
    if (start.covariance.defined()) one.covariance = start.covariance.narrow(0, b, 1);
    const st::Output want = st::scan(layer<L>(), one, alone(x, b));
    CHECK(torch::equal(alone(out.mean, b), want.mean));
    CHECK(torch::equal(state.mean.narrow(0, b, 1), one.mean));
    CHECK(torch::equal(alone(out.variance, b), want.variance));
    CHECK(torch::equal(out.log_evidence.narrow(0, b, 1), want.log_evidence));
    if (!start.covariance.defined()) continue;
    CHECK(torch::equal(state.covariance.narrow(0, b, 1), one.covariance));
  }
}

TEST_CASE("ragged: padding has no trace") {
  check_padding<Bayesian>();
  check_padding<Delta>();
}

TEST_CASE("ragged: derivatives are those of the single texts") {
  st::Inputs x = inputs<Bayesian>();
  std::vector<Tensor> leaves;
  seqbayes::for_each_field(
      [&](auto, auto, Tensor& field) {
        if (field.defined()) leaves.push_back(field.requires_grad_());
      },
      x);
  const Tensor of_mean = torch::randn({B, T, H, width}, at::kDouble);
  const Tensor of_variance = torch::randn({B, T, H}, at::kDouble);
  const auto loss = [&](const st::Output& out, const auto& part) {
    return (out.mean * part(of_mean)).sum() + (out.variance * part(of_variance)).sum() +
           out.log_evidence.sum();
  };
  Tensor sum = torch::zeros({}, at::kDouble);
  for (Index b = 0; b < B; ++b) {
    st::State state;
    const auto part = [b](const Tensor& all) { return alone(all, b); };
    sum = sum + loss(st::scan(layer<Bayesian>(), state, alone(x, b)), part);
  }
  const auto want = torch::autograd::grad({sum}, leaves);
  x.mask = mask();
  st::State state;
  const auto whole = [](const Tensor& all) { return all; };
  const auto got =
      torch::autograd::grad({loss(st::scan(layer<Bayesian>(), state, x), whole)}, leaves);
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    CHECK(padding_is_zero(got[i]));
    CHECK(torch::equal(got[i], want[i]));
  }
}

TEST_CASE("grouped heads: as if keys were repeated") {
  const Index groups = 2, heads = 6;
  st::Inputs shared = random_inputs(layer<Bayesian>().inputs(), B, T, heads);
  const auto fewer = [&](Tensor& field) {
    field = field.narrow(2, 0, groups).clone().requires_grad_();
  };
  fewer(shared.query);
  fewer(shared.key);
  fewer(shared.log_decay);
  st::Inputs repeated = shared;
  for (auto* field : {&repeated.query, &repeated.key, &repeated.log_decay}) {
    *field = field->repeat_interleave(heads / groups, 2);
  }
  const std::vector<Tensor> leaves = {shared.query, shared.key, shared.log_decay};
  const auto run = [&](const st::Inputs& x) {
    st::State state;
    const Tensor mean = st::scan_mean(layer<Bayesian>(), state, x);
    return std::pair(mean, torch::autograd::grad({mean.square().sum()}, leaves));
  };
  const auto [got, dgot] = run(shared);
  const auto [want, dwant] = run(repeated);
  CHECK(torch::equal(got, want));
  // Sums of three terms, in another order.
  for (std::size_t i = 0; i < leaves.size(); ++i) CHECK(torch::allclose(dgot[i], dwant[i], 1e-13));
  shared.key = shared.key.detach().repeat_interleave(2, 2);  // 4 of 6
  st::State state;
  CHECK_THROWS_WITH(st::scan_mean(layer<Bayesian>(), state, shared),
                    containing("key") && containing("whole part"));
}

TEST_CASE("ragged: masks that are none are refused") {
  st::Inputs x = inputs<Delta>();
  st::State state;
  const auto refuses = [&](const Tensor& tokens, const char* why) {
    x.mask = tokens;
    CHECK_THROWS_WITH(st::scan_mean(layer<Delta>(), state, x), containing(why));
  };
  Tensor gap = mask();
  gap[4][3] = false;
  refuses(gap, "sequence 4");
  refuses(mask().to(at::kDouble), "Double");
  refuses(mask().narrow(1, 0, T - 1), "expected [5, 7]");
  refuses(mask().unsqueeze(2), "expected [5, 7]");
}

st::LanguageModel model(st::Rule rule) {
  torch::manual_seed(5);
  st::LanguageModelOptions options;
  options.mixer.rule = rule;
  options.mixer.hidden_size = 12;
  options.mixer.head_dim = 4;
  options.mixer.num_heads = 2;
  options.mixer.num_v_heads = 4;
  options.vocab_size = 11;
  options.intermediate_size = 16;
  options.num_hidden_layers = 2;
  st::LanguageModel made(options);
  made->to(at::kDouble);
  made->eval();
  return made;
}

TEST_CASE("ragged: a model reads padded texts as it reads each alone, and goes on") {
  const torch::NoGradGuard no_grad;
  for (const st::Rule rule : {st::Rule::gated_delta_net, st::Rule::bayesian}) {
    auto m = model(rule);
    const Tensor tokens = torch::randint(11, {B, T}, at::kLong);
    st::LanguageModelImpl::Cache cache;
    const Tensor first = m->forward(tokens, cache, mask());
    const Tensor second = m->forward(tokens.flip(1), cache, mask());
    const Tensor third = m->forward(tokens.narrow(1, 0, 1), cache);
    for (Index b = 0; b < B; ++b) {
      INFO("text " << b);
      st::LanguageModelImpl::Cache own;
      // Sums in other orders; logits are of order 1.
      const auto same = [&](const Tensor& all, const Tensor& one) {
        return torch::allclose(all, one, 1e-10, 1e-12);
      };
      if (counts[b] > 0) {
        CHECK(same(alone(first, b), m->forward(alone(tokens, b), own)));
        CHECK(same(alone(second, b), m->forward(alone(tokens.flip(1), b), own)));
      }
      CHECK(same(third.narrow(0, b, 1), m->forward(tokens.narrow(0, b, 1).narrow(1, 0, 1), own)));
    }
  }
}

}  // namespace
}  // namespace ragged_test
