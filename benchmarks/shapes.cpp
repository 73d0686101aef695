// Other widths, widths that only the program knows, and double: against the peak, in turn.
#include <cstdio>

#include "details.hpp"

namespace seqbayes::benchmarks {
namespace {

/// A case's name is `before` + layer + `after`.
struct Shape {
  const char *label, *before, *after;
};
constexpr Shape shapes[] = {{"float, 32 x 32", "float/32x32/", ""},
                            {"float, 256 x 256", "float/256x256/", ""},
                            {"float, 64 x 128", "float/64x128/", ""},
                            {"float, 128 x 64", "float/128x64/", ""},
                            {"float, 64 x 64, dynamic", "float/64x64/", "/dynamic"},
                            {"float, 128 x 128, dynamic", "float/128x128/", "/dynamic"},
                            {"float, 100 x 100, dynamic", "float/100x100/", "/dynamic"},
                            {"double, 64 x 64", "double/64x64/", ""},
                            {"double, 128 x 128", "double/128x128/", ""},
                            {"double, 128 x 128, dynamic", "double/128x128/", "/dynamic"}};
constexpr const char* layers[] = {"GatedDeltaNet", "BayesianLayer"};

}  // namespace

void print_shapes(const Cases& cases) {
  std::vector<Task> tasks{multiply_add<float>, multiply_add<double>};
  std::vector<const Case*> timed;
  std::vector<std::unique_ptr<Run>> runs;
  for (const Shape& shape : shapes) {
    for (const char* layer : layers) {
      timed.push_back(&find(cases, std::string(shape.before) + layer + shape.after));
      runs.push_back(timed.back()->make(usual_length));
      tasks.push_back([run = runs.back().get()] { run->scan_mean(); });
    }
  }
  const bool warm = true;  // others' inputs, of other widths, have pushed a shape's own out
  const Timings timings(tasks, 21, thread_seconds, warm);
  std::printf("\n| scan of the mean, of peak | GatedDeltaNet | BayesianLayer |\n");
  std::printf("| --- | --- | --- |\n");
  for (std::size_t i = 0; i < timed.size(); ++i) {
    if (i % std::size(layers) == 0) std::printf("| %s |", shapes[i / std::size(layers)].label);
    const bool is_double = timed[i]->peak == peak<double>;
    const double peak_flops =
        is_double ? multiply_add_flops<double>() : multiply_add_flops<float>();
    const double flops = timed[i]->flops * double(usual_length);
    const auto of_peak = [&](double scan, double at_peak) {
      return flops / scan * at_peak / peak_flops;
    };
    std::printf(" %.0f %% |", 100 * timings.median_of(of_peak, 2 + i, std::size_t(is_double)));
    if (i % std::size(layers) + 1 == std::size(layers)) std::printf("\n");
  }
}

}  // namespace seqbayes::benchmarks
