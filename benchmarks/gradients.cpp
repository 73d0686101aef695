// scan_vjp against the scans of the same layer, in the same process.
#include <cstdio>

#include "details.hpp"

namespace seqbayes::benchmarks {
namespace {

/// A layer's scan and its way back, into memory that is kept.
template <class L>
class Gradients {
  using Scalar = typename L::Scalar;

 public:
  Gradients()
      : stream_(shared_stream<Scalar>(usual_length)),
        x_(stream_->sequence(layer_.inputs())),
        weight_(Matrix<Scalar>::Random(usual_length, layer_.value_dim())) {
    cotangent_.mean = weight_;
  }

  /// Seconds of the scan of the mean, and how many times as long the gradient takes.
  [[nodiscard]] std::pair<double, double> measure() {
    const Timings timings({[this] { scan(); }, [this] { vjp(); }}, 21);
    return {timings.of(1) / double(usual_length),
            timings.median_of([](double scan, double vjp) { return vjp / scan; }, 0, 1)};
  }

 private:
  void scan() {
    auto state = layer_.initial_state();
    scan_mean(layer_, state, x_, stream_->mean_output.mean, stream_->workspace);
    benchmark::ClobberMemory();
  }
  void vjp() {
    scan_vjp(layer_, layer_.initial_state(), x_, cotangent_, gradient_);
    benchmark::ClobberMemory();
  }

  L layer_;
  std::shared_ptr<Stream<Scalar>> stream_;
  Sequence<Scalar> x_;
  Matrix<Scalar> weight_;
  Cotangent<L> cotangent_;
  Gradient<L> gradient_;
};

template <class L64, class L128>
void print_layer(const char* name) {
  std::printf("| %s ", name);
  for (const auto& [seconds, ratio] : {Gradients<L64>().measure(), Gradients<L128>().measure()}) {
    std::printf("| %.2f | %.2f ", 1e6 * seconds, ratio);
  }
  std::printf("|\n");
}

}  // namespace

void print_gradients() {
  std::printf("\n| scan_vjp, float | 64: us a token | / scan of the mean ");
  std::printf("| 128: us a token | / scan of the mean |\n| --- | --- | --- | --- | --- |\n");
  print_layer<GatedDeltaNet<float, 64, 64>, GatedDeltaNet<float, 128, 128>>("GatedDeltaNet");
  print_layer<KimiDeltaAttention<float, 64, 64>, KimiDeltaAttention<float, 128, 128>>(
      "KimiDeltaAttention");
  print_layer<Ssd<float, 64, 64>, Ssd<float, 128, 128>>("Ssd");
  print_layer<BayesianLayer<float, 64, 64>, BayesianLayer<float, 128, 128>>("BayesianLayer");
}

}  // namespace seqbayes::benchmarks
