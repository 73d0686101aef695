/// The scans that the tests of the libtorch adapter run, and all that enters one.
#pragma once

#include <torch/autograd.h>
#include <seqbayes/adapters/torch/scan.hpp>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "random_inputs.hpp"
#include "support/catch.hpp"

namespace st = seqbayes::libtorch;
using seqbayes::Index;
using torch::Tensor;
using Tensors = std::vector<Tensor>;

constexpr Index Dk = 3, Dv = 2;

/// A scan by the results that it has: mean, variance, log evidence; and the state.
struct Scan {
  std::string name;
  seqbayes::InputWidths widths;
  std::optional<std::vector<std::int64_t>> covariance;  // its extents behind [B, H], if one is kept
  std::size_t outputs;
  std::function<Tensors(st::State&, const st::Inputs&)> run;
};

using Isotropic = seqbayes::IsotropicKalmanDeltaNet<double>;
/// Mean, variance and evidence; in scan_test.cpp, which compiles this layer anyway.
Tensors scan_isotropic(st::State& state, const st::Inputs& x);

extern const std::vector<Scan> scans;  // in views_test.cpp

/// Everything that enters a scan and its derivative.
struct Entering {
  std::pair<st::Inputs, st::State> read;
  Tensors cotangents;

  Entering(const Scan& scan, Index B, Index T, Index H) {
    read.first = random_inputs(scan.widths, B, T, H);
    read.second.mean = torch::randn({B, H, Dk, Dv}, at::kDouble);
    if (scan.covariance) {
      std::vector<std::int64_t> sizes = {B, H};
      sizes.insert(sizes.end(), scan.covariance->begin(), scan.covariance->end());
      const Tensor root = torch::rand(sizes, at::kDouble) + 0.1;
      read.second.covariance = root.dim() == 4 ? root.matmul(root.transpose(2, 3)) : root;
    }
    for (const Tensor& result : results(scan)) cotangents.push_back(torch::randn_like(result));
  }
  // Of the scan, and then the state.
  [[nodiscard]] Tensors results(const Scan& scan) const {
    st::State state = read.second;
    Tensors list = scan.run(state, read.first);
    list.push_back(state.mean);
    if (state.covariance.defined()) list.push_back(state.covariance);
    return list;
  }
  std::vector<Tensor*> tensors() {
    std::vector<Tensor*> list;
    st::detail::for_each_tensor(
        [&](Tensor& tensor) {
          if (tensor.defined()) list.push_back(&tensor);
        },
        read);
    return list;
  }
  // And then the derivatives by all that is read.
  [[nodiscard]] Tensors results_and_gradients(const Scan& scan) const {
    Entering copy = *this;
    Tensors leaves;
    for (Tensor* tensor : copy.tensors()) {
      leaves.push_back(*tensor = tensor->detach().requires_grad_());
    }
    Tensors list = copy.results(scan);
    const Tensors gradients = torch::autograd::grad(list, leaves, cotangents);
    list.insert(list.end(), gradients.begin(), gradients.end());
    return list;
  }
};

inline void check_same(const Tensors& a, const Tensors& b) {
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    INFO("result " << i);
    // Numbers of order 1 to 100. Memory at another offset may be summed in another order.
    CHECK(torch::allclose(a[i], b[i], 1e-12, 1e-12));
  }
}

inline std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "";
}

inline bool owns_its_numbers_alone(const Tensor& tensor) {
  return tensor.storage().nbytes() ==
         std::size_t(tensor.numel()) * std::size_t(tensor.element_size());
}
