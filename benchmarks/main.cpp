// Without arguments: the table of docs/performance.md; with `decode`, those of docs/inference.md;
// with `split`, that of docs/scale.md.
// With Google Benchmark's flags: single measurements, such as
// --benchmark_filter=scan_mean/float/64x64 or --benchmark_list_tests.
#include "details.hpp"

int main(int argc, char** argv) {
  using namespace seqbayes::benchmarks;
  if (argc == 2 && argv[1] == std::string("decode")) {
    print_decoders();
    print_storage();
    return 0;
  }
  if (argc == 2 && argv[1] == std::string("split")) {
    print_splits();
    return 0;
  }
  Cases cases;
  add_float_64(cases);
  add_float_128(cases);
  add_float_other(cases);
  add_double(cases);
  add_family(cases);
  if (argc == 1) {
    print_summary(cases);
    return 0;
  }
  register_ceilings();
  register_cases(cases);
  register_chunks(cases);
  register_lengths(cases);
  register_threads();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
