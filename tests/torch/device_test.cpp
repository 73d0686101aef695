// Tensors of another device: a scan moves them to the CPU and its results to the query's device.
// Where libtorch has no other device, as Debian's, nothing is compared here.
#include <torch/cuda.h>

#include "entering.hpp"

namespace device_test {
namespace {

TEST_CASE("tensors: of another device, as on the CPU") {
  if (!torch::cuda::is_available()) {
    SUCCEED("no other device");
    return;
  }
  for (const Scan& scan : scans) {
    INFO(scan.name);
    const Entering here(scan, 2, 5, 3);
    const auto expected = here.results_and_gradients(scan);
    for (const bool all : {true, false}) {  // or query and results alone
      Entering there = here;
      const auto move = [](Tensor& x) { x = x.to(at::kCUDA); };
      move(there.read.first.query);
      for (Tensor* x : there.tensors()) {
        if (all) move(*x);
      }
      for (Tensor& x : there.cotangents) move(x);
      Tensors found = there.results_and_gradients(scan);
      for (std::size_t i = 0; i < there.cotangents.size(); ++i) CHECK(found[i].is_cuda());
      for (Tensor& x : found) x = x.cpu();
      check_same(found, expected);
    }
  }
}

}  // namespace
}  // namespace device_test
