/// @file
/// One batched scan of tensors, forward and backward, as a function of libtorch's autograd.
#pragma once

#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <seqbayes/adapters/torch/tensors.hpp>

namespace seqbayes::libtorch::detail {

/// As many threads as libtorch may use, or the caller's alone for work of less than some 100 us (in
/// tiles): starting others, for the checks and for the run, would take as long.
template <class L>
Threads threads(const L& layer, const Extents& extents) {
  const Index work = extents.items() * extents.length * layer.key_dim() * layer.value_dim();
  return {work < 1'000'000 ? 1 : at::get_num_threads()};
}

/// The layers of H heads, one for all of them or one each, and how they are run.
template <class L>
struct Heads {
  Heads(std::vector<L> heads, Execution execution) : layers(std::move(heads)), how(execution) {
    if (layers.empty()) fail("there must be a layer");
    for (const L& layer : layers) {  // the states of all lie in one tensor
      if (layer.key_dim() != layers[0].key_dim() || layer.value_dim() != layers[0].value_dim()) {
        fail("the layers of all heads must have the same widths");
      }
    }
  }

  [[nodiscard]] std::vector<typename L::State> initial_states(const Extents& extents,
                                                              const State& state) const {
    if (layers.size() != 1 && Index(layers.size()) != extents.heads) {
      fail("there must be one layer, or one for each of the " + std::to_string(extents.heads) +
           " heads");
    }
    std::vector<typename L::State> states;
    for (Index i = 0; i < extents.items(); ++i) {
      states.push_back(layers[std::size_t(i) % layers.size()].initial_state());
    }
    unpack_state(layers[0], "state", state, extents, states);
    return states;
  }

  std::vector<L> layers;
  Execution how;
};

/// How many tensors a scan returns before the final state: the mean, or also variance and evidence.
template <bool probabilistic>
inline constexpr std::size_t outputs = probabilistic ? 3 : 1;

/// mean [B, T, H, Dv]; variance [B, T, H] and log evidence [B, H] if `probabilistic`; mean and, if
/// one is kept, covariance of the final state.
template <class L, bool probabilistic>
std::vector<Tensor> run(const Heads<L>& heads, const State& initial, const Inputs& x) {
  using Scalar = typename L::Scalar;
  const Batch<L> batch(heads.layers[0], x);
  const Extents& extents = batch.extents();
  auto states = heads.initial_states(extents, initial);
  std::vector<std::conditional_t<probabilistic, OutputOf<L>, Matrix<Scalar>>> results(
      states.size());
  seqbayes::scan(threads(heads.layers[0], extents), heads.layers, states, batch.sequences(),
                 results, heads.how);

  const auto result = [&x](const Shape& sizes) {
    return x.mask.defined() ? ::torch::zeros(sizes, dtype<Scalar>)
                            : ::torch::empty(sizes, dtype<Scalar>);
  };
  const auto [sequences, length, count] = extents;
  const Tensor mean = result({sequences, length, count, heads.layers[0].value_dim()});
  std::vector<Tensor> tensors = {mean};
  if constexpr (probabilistic) {
    const Tensor variance = result({sequences, length, count});
    const Tensor column = variance.unsqueeze(3);
    for (Index i = 0; i < extents.items(); ++i) {
      batch.item_rows(mean, i) = results[std::size_t(i)].mean;
      batch.item_rows(column, i) = results[std::size_t(i)].variance;
    }
    tensors.push_back(variance);
    tensors.push_back(pack<Scalar>(extents, {}, results, &OutputOf<L>::log_evidence));
  } else {
    for (Index i = 0; i < extents.items(); ++i) {
      batch.item_rows(mean, i) = results[std::size_t(i)];
    }
  }
  const State state = pack_state(heads.layers[0], extents, states);
  tensors.push_back(state.mean);
  if (state.covariance.defined()) tensors.push_back(state.covariance);
  return tensors;
}

/// Derivatives with respect to the results of `run`, item by item. `kept` keeps alive what they
/// look at.
template <class L, bool probabilistic>
std::vector<Cotangent<L>> cotangents(const L& layer, const Batch<L>& batch,
                                     std::vector<typename L::State> zero,
                                     const std::vector<Tensor>& d, std::vector<Tensor>& kept) {
  using Scalar = typename L::Scalar;
  const Extents& extents = batch.extents();
  std::vector<Cotangent<L>> items(zero.size());
  if (d[0].defined()) {
    kept.push_back(batch.as_rows("the gradient of the mean", d[0]));
    for (std::size_t i = 0; i < items.size(); ++i) items[i].mean = batch.item(kept[0], Index(i));
  }
  if constexpr (probabilistic) {
    if (d[1].defined()) {
      const Tensor rows = batch.as_rows("the gradient of the variance", d[1]);
      kept.push_back(rows.transpose(1, 2).contiguous());  // [B, H, T, 1]
      const Scalar* first = kept.back().template data_ptr<Scalar>();
      for (std::size_t i = 0; i < items.size(); ++i) {
        const Index item = Index(i);
        items[i].variance = {first + item * extents.length + batch.first(item), batch.count(item)};
      }
    }
    unpack<Scalar>("the gradient of the log evidence", d[2], extents, {}, items,
                   &Cotangent<L>::log_evidence);
  }
  State state;
  state.mean = d[outputs<probabilistic>];
  if (d.size() > outputs<probabilistic> + 1) state.covariance = d[outputs<probabilistic> + 1];
  if (state.mean.defined() || state.covariance.defined()) {
    for (auto& item : zero) {
      item.mean.setZero();
      if constexpr (requires { item.covariance.setZero(); }) {
        item.covariance.setZero();
      } else {
        item.covariance = {};
      }
    }
    unpack_state(layer, "the gradient of state", state, extents, zero);
    for (std::size_t i = 0; i < items.size(); ++i) items[i].state = std::move(zero[i]);
  }
  return items;
}

/// From derivatives with respect to the results of `run` to those to its inputs and initial state.
template <class L, bool probabilistic>
std::pair<Inputs, State> run_vjp(const Heads<L>& heads, const State& initial, const Inputs& x,
                                 const std::vector<Tensor>& d) {
  using Scalar = typename L::Scalar;
  const Batch<L> batch(heads.layers[0], x);
  const Extents& extents = batch.extents();
  const auto states = heads.initial_states(extents, initial);
  std::vector<Tensor> kept;
  const auto by_results = cotangents<L, probabilistic>(heads.layers[0], batch, states, d, kept);
  std::vector<Gradient<L>> gradients(states.size());
  seqbayes::scan_vjp(threads(heads.layers[0], extents), heads.layers, states, batch.sequences(),
                     by_results, gradients);

  Inputs dx;
  for_each_field(
      [&](auto, auto, const Tensor& read, Tensor& to) {
        if (read.defined()) to = ::torch::zeros(read.sizes(), dtype<Scalar>);
      },
      batch.fields(), dx);
  for (Index i = 0; i < extents.items(); ++i) {
    for_each_field(
        [&](auto, auto, const Matrix<Scalar>& from, const Tensor& to) {
          if (to.defined()) batch.item_rows(to, i) += from;  // of all value heads of a group
        },
        gradients[std::size_t(i)], dx);
  }
  for_each_field(
      [](auto, auto, const Tensor& given, Tensor& to) {
        if (to.defined()) to = to.view(given.sizes());
      },
      x, dx);
  std::vector<typename L::State> dstates;
  for (auto& gradient : gradients) dstates.push_back(std::move(gradient.initial_state));
  return {dx, pack_state(heads.layers[0], extents, dstates)};
}

/// Every tensor that a scan may read, in one order: `f(tensor of a, tensor of b, ...)` for pairs of
/// inputs and state.
template <class F, class... Pairs>
void for_each_tensor(F&& f, Pairs&&... pairs) {
  for_each_field([&f](auto, auto, auto&... field) { f(field...); }, pairs.first...);
  f(pairs.second.mean...);
  f(pairs.second.covariance...);
}

/// `run` with `run_vjp` as its derivative. libtorch takes no undefined tensors, so it gets the
/// defined ones among those that the layer reads.
template <class L, bool probabilistic>
struct ScanFunction : ::torch::autograd::Function<ScanFunction<L, probabilistic>> {
  using Context = ::torch::autograd::AutogradContext;

  struct Call : ::torch::CustomClassHolder {
    Heads<L> heads;
    std::vector<bool> given;  // which of the tensors are defined
    Tensor mask;
    Call(Heads<L> all, std::vector<bool> defined, Tensor tokens)
        : heads(std::move(all)), given(std::move(defined)), mask(std::move(tokens)) {}
  };

  /// The results of `run` on the query's device.
  static std::vector<Tensor> scan(Heads<L> heads, std::pair<Inputs, State> inputs) {
    // Here, too: `apply` asks tensors for what not all have (sizes of nested ones).
    using Scalar = typename L::Scalar;
    const Tensor query = inputs.first.query;
    for_each_field(
        [](const char* name, auto, Tensor& field, const InputWidth& input) {
          if (input.width == 0) field = Tensor();
          if (!field.defined()) return;
          field = on_cpu(field);
          check_readable<Scalar>(name, field);
        },
        inputs.first, heads.layers[0].inputs());
    for_each_part(heads.layers[0], inputs.second, [](const char* part, Tensor& tensor, auto&&...) {
      if (!tensor.defined()) return;
      tensor = on_cpu(tensor);
      check_readable<Scalar>(std::string("state") + part, tensor);
    });
    std::vector<bool> given;
    std::vector<Tensor> tensors;
    for_each_tensor(
        [&](const Tensor& tensor) {
          given.push_back(tensor.defined());
          if (tensor.defined()) tensors.push_back(tensor);
        },
        inputs);
    const auto call =
        c10::make_intrusive<Call>(std::move(heads), std::move(given), inputs.first.mask);
    std::vector<Tensor> results = ScanFunction::apply(call, at::TensorList(tensors));
    if (query.defined() && !query.device().is_cpu()) {
      for (Tensor& result : results) result = result.to(query.device());
    }
    return results;
  }

  static std::vector<Tensor> forward(Context* context, const c10::intrusive_ptr<Call>& call,
                                     at::TensorList tensors) {
    context->set_materialize_grads(false);
    context->save_for_backward(tensors.vec());
    context->saved_data["call"] = c10::IValue::make_capsule(call);
    const auto [x, state] = inputs(*call, tensors);
    return run<L, probabilistic>(call->heads, state, x);
  }

  static std::vector<Tensor> backward(Context* context, const std::vector<Tensor>& d) {
    if (at::GradMode::is_enabled()) fail("scans have no second derivatives");
    const auto capsule = context->saved_data["call"].toCapsule();
    const auto& call = static_cast<const Call&>(*capsule);
    const auto given = inputs(call, context->get_saved_variables());
    const auto gradients = run_vjp<L, probabilistic>(call.heads, given.second, given.first, d);
    std::vector<Tensor> list = {Tensor()};  // the call has none
    for_each_tensor(
        [&list](const Tensor& tensor, const Tensor& gradient) {
          if (tensor.defined()) list.push_back(gradient);
        },
        given, gradients);
    return list;
  }

 private:
  static std::pair<Inputs, State> inputs(const Call& call, at::TensorList tensors) {
    std::pair<Inputs, State> result;
    std::size_t position = 0, next = 0;
    for_each_tensor(
        [&](Tensor& tensor) {
          if (call.given[position++]) tensor = tensors[next++];
        },
        result);
    result.first.mask = call.mask;
    return result;
  }
};

}  // namespace seqbayes::libtorch::detail
