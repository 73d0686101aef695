// States that own their memory, tensors without elements, derivatives of a part, InferenceMode: of
// scans, mixers and language models.
#include <c10/core/InferenceMode.h>
#include <seqbayes/adapters/torch/language_model.hpp>

#include <array>

#include "disguises.hpp"
#include "entering.hpp"

namespace states_test {
namespace {

TEST_CASE("tensors: no sequences, no tokens, no heads") {
  for (const Scan& scan : scans) {
    for (const auto& [B, T, H] : {std::array<Index, 3>{2, 4, 3},
                                  {0, 4, 3},
                                  {2, 0, 3},
                                  {2, 4, 0},
                                  {0, 0, 3},
                                  {0, 4, 0},
                                  {2, 0, 0},
                                  {0, 0, 0}}) {
      INFO(scan.name << ", B = " << B << ", T = " << T << ", H = " << H);
      Entering some(scan, B, T, H);
      const Tensors list = some.results_and_gradients(scan);
      const auto has = [&](std::size_t i, std::vector<std::int64_t> sizes) {
        return i < list.size() && list[i].sizes() == sizes;
      };
      CHECK(has(0, {B, T, H, Dv}));
      const std::size_t outputs = scan.outputs;
      if (outputs > 1) {
        CHECK(has(1, {B, T, H}));
        CHECK(has(2, {B, H}));
      }
      CHECK(has(outputs, {B, H, Dk, Dv}));
      if (some.read.second.covariance.defined()) {
        std::vector<std::int64_t> sizes = {B, H};
        sizes.insert(sizes.end(), scan.covariance->begin(), scan.covariance->end());
        CHECK(has(outputs + 1, sizes));
      }
      std::size_t next = some.cotangents.size();
      for (const Tensor* tensor : some.tensors()) CHECK(has(next++, tensor->sizes().vec()));
      CHECK(next == list.size());

      st::State start;  // the initial state
      st::State begun = some.read.second;
      const Tensors from_start = scan.run(start, some.read.first);
      scan.run(begun, some.read.first);
      CHECK(from_start[0].sizes() == list[0].sizes());
      CHECK(start.mean.sizes() == begun.mean.sizes());
      CHECK(start.covariance.defined() == begun.covariance.defined());
      if (T > 0) continue;
      CHECK(begun.mean.equal(some.read.second.mean));
      CHECK(start.mean.equal(torch::zeros_like(start.mean)));
      const Tensors gradients(list.begin() + std::ptrdiff_t(some.cotangents.size()), list.end());
      const Tensor by_mean = gradients[gradients.size() - (begun.covariance.defined() ? 2 : 1)];
      CHECK(by_mean.equal(some.cotangents[outputs]));
      if (!begun.covariance.defined()) continue;
      CHECK(begun.covariance.equal(some.read.second.covariance));
      const Tensor d = some.cotangents[outputs + 1];
      CHECK(gradients.back().equal(d.dim() == 4 ? (d + d.transpose(2, 3)) / 2 : d));
    }
  }
}

TEST_CASE("tensors: a state owns its memory, and what it came from stays as it is") {
  for (const Scan& scan : scans) {
    for (const Index T : {0, 1, 300}) {
      INFO(scan.name << ", T = " << T);
      const Entering base(scan, 2, T, 3);
      Entering given = base;
      for (Tensor* tensor : given.tensors()) *tensor = tensor->clone();
      st::State state = given.read.second;
      scan.run(state, given.read.first);
      Tensors before, after;
      for (const Tensor& part : {state.mean, state.covariance}) {
        if (!part.defined()) continue;
        CHECK(owns_its_numbers_alone(part));
        before.push_back(part.clone());
      }
      const std::vector<Tensor*> inputs = given.tensors();
      Entering original = base;
      for (std::size_t i = 0; i < inputs.size(); ++i) {
        CHECK(inputs[i]->equal(*original.tensors()[i]));
        inputs[i]->fill_(-9);
      }
      CHECK(before[0].equal(state.mean));
      if (before.size() > 1) CHECK(before[1].equal(state.covariance));
    }
  }
}

TEST_CASE("tensors: results may be changed in place where derivatives are recorded") {
  Entering some(scans[3], 2, 4, 3);
  some.read.first.key.requires_grad_();
  for (Tensor& result : some.results(scans[3])) {
    result.mul_(2);
    CHECK(torch::autograd::grad({result.sum()}, {some.read.first.key}, {}, true, false, true)[0]
              .sizes() == some.read.first.key.sizes());
  }
}

TEST_CASE("tensors: derivatives of some results, by some of what is read") {
  for (const Scan& scan : scans) {
    INFO(scan.name);
    const Entering all(scan, 2, 4, 3);
    const Tensors expected = all.results_and_gradients(scan);
    const std::size_t results = all.cotangents.size();
    for (std::size_t leaf = 0; leaf < expected.size() - results; ++leaf) {
      Entering some = all;
      Tensor& tensor = *some.tensors()[leaf];
      tensor = tensor.clone().requires_grad_();
      // Result by result, the others' derivatives undefined: the sum is that of all.
      const Tensors list = some.results(scan);
      Tensor sum = torch::zeros_like(tensor);
      for (std::size_t i = 0; i < results; ++i) {
        sum = sum + torch::autograd::grad({list[i]}, {tensor}, {all.cotangents[i]}, true)[0];
      }
      INFO("by tensor " << leaf);
      CHECK(torch::allclose(sum, expected[results + leaf], 1e-12, 1e-12));  // rounding of sums
    }
  }
}

TEST_CASE("tensors: InferenceMode, and its tensors outside of it") {
  for (const Scan& scan : scans) {
    INFO(scan.name);
    Entering some(scan, 2, 4, 3);
    const Tensors expected = some.results(scan);
    some.read.first.key.requires_grad_();
    Tensors found;
    {
      const c10::InferenceMode guard;
      found = some.results(scan);
      for (std::size_t i = 0; i < found.size(); ++i) {
        CHECK(found[i].equal(expected[i]));
        CHECK(!found[i].requires_grad());
      }
    }
    const std::size_t position = expected.size() - (some.read.second.covariance.defined() ? 2 : 1);
    some.read.first.key = some.read.first.key.detach();
    some.read.second.mean = found[position];
    Entering usual = some;
    usual.read.second.mean = expected[position];
    check_same(some.results(scan), usual.results(scan));
    some.read.second.mean = found[position].clone();  // as libtorch asks, to record derivatives
    check_same(some.results_and_gradients(scan), usual.results_and_gradients(scan));
  }
}

constexpr auto rules = {st::Rule::delta_net, st::Rule::gated_delta_net, st::Rule::diagonal_kalman,
                        st::Rule::bayesian, st::Rule::student_t};

st::MixerOptions small_mixer(st::Rule rule) {
  return {.rule = rule, .hidden_size = 6, .num_heads = 2, .num_v_heads = 4, .head_dim = 3};
}

Tensors parts(const st::MixerState& state) {
  Tensors list = {state.query, state.key, state.value, state.memory.mean};
  if (state.memory.covariance.defined()) list.push_back(state.memory.covariance);
  return list;
}

TEST_CASE("mixer: a state is as large after any number of tokens") {
  const torch::NoGradGuard no_grad;
  for (const auto rule : rules) {
    st::Mixer mixer(small_mixer(rule));
    for (const Index B : {1, 2}) {
      for (const Index T : {0, 1, 2, 300}) {
        st::MixerState state;
        mixer->forward(torch::randn({B, T, 6}), state);
        CHECK(state.key.sizes() == at::IntArrayRef({B, 3, 6}));
        CHECK(state.memory.mean.sizes() == at::IntArrayRef({B, 4, 3, 3}));
        if (rule == st::Rule::diagonal_kalman) {
          CHECK(state.memory.covariance.sizes() == at::IntArrayRef({B, 4, 3}));
        }
        for (const Tensor& part : parts(state)) CHECK(owns_its_numbers_alone(part));
      }
    }
  }
}

TEST_CASE("mixer: no tokens leave its state, no sequences have none") {
  for (const auto rule : rules) {
    st::Mixer mixer(small_mixer(rule));
    st::MixerState state;
    mixer->forward(torch::randn({2, 5, 6}), state);
    const Tensors before = parts(state);
    const Tensor h = torch::randn({2, 0, 6}).requires_grad_();
    const Tensor out = mixer->forward(h, state);
    CHECK(out.sizes() == h.sizes());
    const Tensors after = parts(state);
    for (std::size_t i = 0; i < before.size(); ++i) CHECK(after[i].equal(before[i]));
    (out.sum() + state.memory.mean.sum()).backward();
    CHECK(h.grad().sizes() == h.sizes());
    CHECK(mixer->v_proj->weight.grad().abs().sum().item<float>() > 0);  // of the first 5 tokens

    st::MixerState none;
    const Tensor nobody = torch::randn({0, 5, 6}).requires_grad_();
    const Tensor nothing = mixer->forward(nobody, none);
    CHECK(nothing.sizes() == nobody.sizes());
    nothing.sum().backward();
    CHECK(nobody.grad().sizes() == nobody.sizes());
    CHECK(none.memory.mean.sizes() == at::IntArrayRef({0, 4, 3, 3}));
    CHECK(torch::cat({none.value, state.value}).equal(state.value));
    CHECK(torch::cat({none.memory.mean, state.memory.mean}).equal(state.memory.mean));
  }
}

TEST_CASE("mixer: views as input, parameters and state count as their copies") {
  const torch::NoGradGuard no_grad;
  torch::manual_seed(4);
  st::Mixer mixer(small_mixer(st::Rule::bayesian));
  mixer->to(at::kDouble);
  for (Tensor& parameter : mixer->parameters()) parameter.uniform_(0.1, 0.4);
  st::MixerState start;
  mixer->forward(torch::randn({2, 5, 6}, at::kDouble), start);
  const Tensor h = torch::randn({2, 5, 6}, at::kDouble);
  // Input 0, the state's five parts, and each parameter.
  const std::size_t count = 6 + mixer->parameters().size();
  for (std::size_t i = 0; i < count; ++i) {
    for (const Disguise& disguise : disguises) {
      INFO("tensor " << i << ", " << disguise.name);
      const auto run = [&](auto&& f) {
        Tensor input = h;
        st::MixerState state = start;
        if (i < 6) {
          Tensor& tensor =
              *std::array{&input,       &state.query,       &state.key,
                          &state.value, &state.memory.mean, &state.memory.covariance}[i];
          tensor = f(disguise.of(tensor));
        } else {
          Tensor parameter = mixer->parameters()[i - 6];
          const Tensor original = parameter.data();
          parameter.set_data(f(disguise.of(original)));
          Tensors list = {mixer->forward(input, state)};
          parameter.set_data(original);
          return list;
        }
        Tensors list = {mixer->forward(input, state)};
        for (const Tensor& part : parts(state)) list.push_back(part);
        return list;
      };
      check_same(run([](const Tensor& view) { return view; }), run(&plain));
    }
  }
}

TEST_CASE("mixer, language model: another model's state is named, and stays as it is") {
  const torch::NoGradGuard no_grad;
  st::Mixer mixer(small_mixer(st::Rule::gated_delta_net));
  st::MixerState state;
  mixer->forward(torch::randn({2, 5, 6}), state);
  const auto message = [&](auto change) {
    st::MixerState other = state;
    change(other);
    const Tensors before = parts(other);
    const std::string error = error_of([&] { mixer->forward(torch::randn({2, 1, 6}), other); });
    const Tensors after = parts(other);
    for (std::size_t i = 0; i < before.size(); ++i) CHECK(after[i].is_same(before[i]));
    return error;
  };
  CHECK(message([](st::MixerState& other) { other.key = other.key.slice(1, 1); }) ==
        "seqbayes: a short convolution's state is Float [2, 2, 6], expected Float [2, 3, 6]");
  CHECK(message([](st::MixerState& other) { other.value = other.value.to(at::kDouble); }) ==
        "seqbayes: a short convolution's state is Double [2, 3, 12], expected Float [2, 3, 12]");
  CHECK(message([](st::MixerState& other) {
          other.memory.mean = torch::zeros({2, 4, 3, 2});
        }) == "seqbayes: state.mean is [2, 4, 3, 2], expected [2, 4, 3, 3]");

  st::LanguageModelOptions options{.mixer = small_mixer(st::Rule::gated_delta_net)};
  options.vocab_size = 7;
  options.num_hidden_layers = 2;
  options.intermediate_size = 5;
  st::LanguageModel model(options);
  st::LanguageModelImpl::Cache cache(3);
  const Tensor tokens = torch::tensor({{1, 2, 3, 4, 5}});
  CHECK(error_of([&] { model->forward(tokens, cache); }) ==
        "seqbayes: the cache has 3 layers, the model 2");
  CHECK(cache.size() == 3);

  cache.clear();
  const Tensor whole = model->forward(tokens);
  const Tensor first = model->forward(tokens.slice(1, 0, 2), cache);
  const Tensor none = model->forward(tokens.slice(1, 0, 0), cache);
  CHECK(none.sizes() == at::IntArrayRef({1, 0, 7}));
  const Tensor rest = model->forward(tokens.slice(1, 2), cache);
  CHECK(torch::allclose(torch::cat({first, none, rest}, 1), whole, 1e-4, 1e-5));  // float
  CHECK(model->forward(tokens.slice(0, 0, 0)).sizes() == at::IntArrayRef({0, 5, 7}));
  for (const st::MixerState& layer : cache) {
    for (const Tensor& part : parts(layer)) CHECK(owns_its_numbers_alone(part));
  }
}

}  // namespace
}  // namespace states_test
