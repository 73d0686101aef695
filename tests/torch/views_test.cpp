// What a tensor looks like makes no difference: views against copies of them, and what cannot be
// read at all.
#include <seqbayes/adapters/torch/rule.hpp>

#include "disguises.hpp"
#include "entering.hpp"

namespace {

template <class Covariance, int K = -1, int V = -1>
using Regression = seqbayes::Layer<double, K, V, seqbayes::AssociativeRegression,
                                   seqbayes::ScalarDecay, Covariance>;
using Diagonal = Regression<seqbayes::DiagonalCovariance>;
using Full = Regression<seqbayes::FullCovariance>;
using Reset = Regression<seqbayes::ResetCovariance>;

using Extents = std::vector<std::int64_t>;

template <class L>
Scan mean_of_rule(const char* name, st::Rule rule, std::optional<Extents> covariance) {
  return {name, L({.key_dim = Dk, .value_dim = Dv}).inputs(), std::move(covariance), 1,
          [rule](st::State& state, const st::Inputs& x) {
            return Tensors{st::detail::run_rule<double>(rule, state, x)};
          }};
}

}  // namespace

const std::vector<Scan> scans = {
    mean_of_rule<Reset>("reset", st::Rule::gated_delta_net, std::nullopt),
    mean_of_rule<Diagonal>("diagonal", st::Rule::diagonal_kalman, Extents{Dk}),
    mean_of_rule<Full>("full", st::Rule::bayesian, Extents{Dk, Dk}),
    mean_of_rule<Full>("Student-t", st::Rule::student_t, Extents{Dk, Dk}),
    {"isotropic, with variance and evidence", Isotropic({.key_dim = Dk, .value_dim = Dv}).inputs(),
     Extents{}, 3, scan_isotropic}};

namespace {

TEST_CASE("tensors: a view's scan and derivatives are those of its copy") {
  for (const Scan& scan : scans) {
    const Entering base(scan, 2, 5, 3);
    std::size_t count = Entering(base).tensors().size() + base.cotangents.size();
    CHECK(count >= 8);
    for (std::size_t i = 0; i < count; ++i) {
      for (const Disguise& disguise : disguises) {
        INFO(scan.name << ", tensor " << i << ", " << disguise.name);
        const auto replaced = [&](auto&& f) {
          Entering some = base;
          std::vector<Tensor*> list = some.tensors();
          for (Tensor& cotangent : some.cotangents) list.push_back(&cotangent);
          *list[i] = f(disguise.of(*list[i]));
          return some.results_and_gradients(scan);
        };
        check_same(replaced([](const Tensor& view) { return view; }), replaced(&plain));
      }
    }
  }
}

TEST_CASE("tensors: zeros that have no memory") {
  const auto zeros = [](const Tensor& x) {
    return torch::_efficientzerotensor(x.sizes(), x.options());
  };
  for (const Scan& scan : scans) {
    INFO(scan.name);
    Entering lazy(scan, 2, 5, 3), dense = lazy;
    for (Entering* some : {&lazy, &dense}) {
      const auto replace = [&](Tensor& x) { x = some == &lazy ? zeros(x) : torch::zeros_like(x); };
      replace(some->read.first.value);
      replace(some->read.second.mean);
      for (std::size_t i = 1; i < some->cotangents.size(); ++i) replace(some->cotangents[i]);
    }
    check_same(lazy.results_and_gradients(scan), dense.results_and_gradients(scan));
  }
}

// Reads every field there is; for the views of a batch alone.
struct EveryField {
  using Scalar = double;
  [[nodiscard]] static seqbayes::InputWidths inputs() {
    seqbayes::InputWidths widths;
    Index width = 0;
    seqbayes::for_each_field([&](auto, auto, auto& input) { input = ++width % 4 + 1; }, widths);
    return widths;
  }
};

TEST_CASE("tensors: each field's views hold its numbers, whatever it looks like") {
  const Index B = 2, T = 3, H = 2;
  const st::Inputs x = random_inputs(EveryField::inputs(), B, T, H);
  for (const Disguise& disguise : disguises) {
    for (const bool flat : {false, true}) {  // [B, T, H] where the width is 1
      st::Inputs views;
      seqbayes::for_each_field(
          [&](auto, auto, const Tensor& field, Tensor& view) {
            view = disguise.of(flat && field.size(3) == 1 ? field.squeeze(3) : field);
          },
          x, views);
      const st::detail::Batch<EveryField> batch(EveryField(), views);
      for (Index i = 0; i < B * H; ++i) {
        seqbayes::for_each_field(
            [&](const char* name, auto, const Tensor& view, const auto& rows) {
              INFO(disguise.name << ", " << name);
              const Tensor item = plain(view.select(0, i / H).select(1, i % H)).view({T, -1});
              bool same = rows.rows() == T && rows.cols() == item.size(1);
              for (Index t = 0; same && t < T; ++t) {
                for (Index j = 0; j < rows.cols(); ++j) {
                  same = same && rows.row(t)[j] == item[t][j].template item<double>();
                }
              }
              CHECK(same);
            },
            views, batch.sequences()[std::size_t(i)]);
      }
    }
  }
}

TEST_CASE("tensors: without sequences widths are checked all the same") {
  const Scan& scan = scans[0];
  const Entering some(scan, 0, 4, 3);
  const auto message = [&](auto change) {
    auto changed = some.read;
    change(changed.first, changed.second);
    return error_of([&] { scan.run(changed.second, changed.first); });
  };
  CHECK(message([](auto&, auto&) {}).empty());
  CHECK(message([](auto& x, auto&) { x.log_decay = Tensor(); }).find("log_decay is missing") !=
        std::string::npos);
  CHECK(message([](auto& x, auto&) {
          x.key = torch::empty({0, 4, 3, 5}, at::kDouble);
        }) == "seqbayes: key is 0 x 5, expected 0 x 3");
  CHECK(message([](auto&, auto& state) {
          state.mean = torch::empty({0, 3}, at::kDouble);
        }) == "seqbayes: state.mean is [0, 3], expected [0, 3, 3, 2]");
}

TEST_CASE("tensors: what cannot be read is named") {
  using Change = Tensor (*)(const Tensor&);
  const std::vector<std::pair<Change, std::string>> unreadable = {
      {[](const Tensor& x) { return x.to_sparse(); }, " must be a dense tensor on the CPU"},
      {[](const Tensor& x) {
         const Tensor all = torch::ones({x.size(0), x.size(1)}, at::kBool);
         return torch::_nested_tensor_from_mask(x.flatten(2), all);
       },
       " must be a dense tensor on the CPU"},
      {[](const Tensor& x) { return torch::empty(x.sizes(), x.options().device(at::kMeta)); },
       " must be a dense tensor on the CPU"},
      {[](const Tensor& x) {
         return torch::quantize_per_tensor(x.to(at::kFloat), 0.1, 0, at::kQInt8);
       },
       " is QInt8, the layer's scalar Double"},
      {[](const Tensor& x) { return torch::complex(x, x); },
       " is ComplexDouble, the layer's scalar Double"},
      {[](const Tensor& x) { return x.to(at::kHalf); }, " is Half, the layer's scalar Double"},
      {[](const Tensor& x) { return x.to(at::kLong); }, " is Long, the layer's scalar Double"}};
  const Scan& scan = scans[2];
  const Entering base(scan, 2, 4, 3);
  std::vector<std::string> names;
  seqbayes::for_each_field(
      [&](const char* name, auto, const Tensor& field) {
        if (field.defined()) names.emplace_back(name);
      },
      base.read.first);
  names.insert(names.end(), {"state.mean", "state.covariance"});
  for (std::size_t i = 0; i < names.size(); ++i) {
    for (const auto& [change, reason] : unreadable) {
      Entering some = base;
      Tensor& tensor = *some.tensors().at(i);
      tensor = change(tensor.abs());
      CHECK(error_of([&] { scan.run(some.read.second, some.read.first); }) ==
            "seqbayes: " + names[i] + reason);
    }
  }
}

TEST_CASE("tensors: fields that the layer doesn't read are not looked at") {
  Entering some(scans[2], 2, 4, 3);
  const Tensors expected = some.results(scans[2]);
  some.read.first.write_strength = torch::ones({1}).to_sparse().requires_grad_();
  const Tensors found = some.results(scans[2]);
  CHECK(!found[0].requires_grad());
  for (std::size_t i = 0; i < found.size(); ++i) CHECK(found[i].equal(expected[i]));
}

template <class L>
std::string state_shape(Index key_dim, Index value_dim) {
  typename L::Options widths;
  widths.key_dim = key_dim;
  widths.value_dim = value_dim;
  const st::State state = st::detail::pack_state(L(widths), {0, 5, 4}, {});
  return st::detail::shape(state.mean.sizes()) + " " +
         (state.covariance.defined() ? st::detail::shape(state.covariance.sizes()) : "none");
}

TEST_CASE("tensors: a state's shape follows from the layer, not from how widths are given") {
  CHECK(state_shape<Regression<seqbayes::DiagonalCovariance>>(3, 2) == "[0, 4, 3, 2] [0, 4, 3]");
  CHECK(state_shape<Regression<seqbayes::DiagonalCovariance>>(1, 1) == "[0, 4, 1, 1] [0, 4, 1]");
  CHECK(state_shape<Regression<seqbayes::DiagonalCovariance, 3, 1>>(3, 1) ==
        "[0, 4, 3, 1] [0, 4, 3]");
  CHECK(state_shape<Regression<seqbayes::DiagonalCovariance, 20000, 1>>(20000, 1) ==
        "[0, 4, 20000, 1] [0, 4, 20000]");
  CHECK(state_shape<Regression<seqbayes::FullCovariance>>(1, 2) == "[0, 4, 1, 2] [0, 4, 1, 1]");
  CHECK(state_shape<Regression<seqbayes::FullCovariance, 1, 1>>(1, 1) ==
        "[0, 4, 1, 1] [0, 4, 1, 1]");
  CHECK(state_shape<Regression<seqbayes::IsotropicCovariance>>(3, 2) == "[0, 4, 3, 2] [0, 4]");
  CHECK(state_shape<Regression<seqbayes::PreconditionedReset>>(3, 2) == "[0, 4, 3, 2] [0, 4, 3]");
  CHECK(state_shape<Regression<seqbayes::ResetCovariance>>(3, 1) == "[0, 4, 3, 1] none");
}

}  // namespace
