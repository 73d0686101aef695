// The single measurements, one Google Benchmark each.
#include "details.hpp"

#include <malloc.h>

#include <cstdio>
#include <cstdlib>

namespace seqbayes::benchmarks {
namespace {

using benchmark::RegisterBenchmark;

/// Runs the loop; CPU seconds of an iteration.
template <class F>
double run_loop(benchmark::State& state, F&& f) {
  const double start = thread_seconds();
  for (auto _ : state) f();
  return (thread_seconds() - start) / static_cast<double>(state.iterations());
}

void time_scan(benchmark::State& state, const Case& c, bool mean_only, Index length,
               Execution how = {}) {
  const auto run = c.make(length);
  const auto scan = [&] { mean_only ? run->scan_mean(how) : run->scan(); };
  scan();
  const double peak = c.peak();
  const double seconds = run_loop(state, scan) / static_cast<double>(length);
  state.counters["ns_per_token"] = seconds * 1e9;
  if (c.flops > 0) state.counters["of_peak"] = c.flops / (seconds * peak);
}

/// `one`: a single state, which may stay in the first cache.
void time_step(benchmark::State& state, const Case& c, bool mean_only, bool one) {
  const auto run = c.make(usual_length);
  const Index states = one ? 1 : run->states_in_cache();
  const auto step = [&] { mean_only ? run->mean_steps(states) : run->steps(states); };
  step();
  const double bound = Timings({[&] { run->read_and_write_states(states); }}, 9).of(0);
  const double seconds = run_loop(state, step);
  state.counters["ns_per_token"] = seconds * 1e9 / usual_length;
  state.counters["of_read_write"] = seconds / bound;
  state.counters["states"] = static_cast<double>(states);
}

template <class Scalar>
void time_multiply_add(benchmark::State& state) {
  state.counters["gflops"] =
      multiply_add_flops<Scalar>() / run_loop(state, multiply_add<Scalar>) * 1e-9;
}

template <class Scalar>
void time_matrix_product(benchmark::State& state) {
  Product<Scalar> product(state.range(0), state.range(0));
  const double at_best = peak<Scalar>();
  const double flops = product.flops() / run_loop(state, product);
  state.counters["gflops"] = flops * 1e-9;
  state.counters["of_peak"] = flops / at_best;
}

template <class Scalar>
void time_read_and_write(benchmark::State& state) {
  Vector<Scalar> x = Vector<Scalar>::Ones(state.range(0) / Index(sizeof(Scalar)));
  const double seconds = run_loop(state, [&] { read_and_write(x.data(), x.size()); });
  state.counters["gbytes_each_way"] = static_cast<double>(state.range(0)) / seconds * 1e-9;
}

template <class Scalar>
void register_ceilings_of(const std::string& scalar) {
  RegisterBenchmark(("ceiling/multiply_add/" + scalar).c_str(), time_multiply_add<Scalar>);
  auto* product =
      RegisterBenchmark(("ceiling/matrix_product/" + scalar).c_str(), time_matrix_product<Scalar>);
  for (const int n : {64, 128, 512}) product->Arg(n);
  auto* memory =
      RegisterBenchmark(("ceiling/read_and_write/" + scalar).c_str(), time_read_and_write<Scalar>);
  for (const int kib : {16, 64, 256, 512, 65536}) memory->Arg(kib * 1024);
}

/// Heap memory of this process that is in use, in bytes.
double heap_in_use() {
  const auto info = mallinfo2();
  return static_cast<double>(info.uordblks + info.hblkhd);
}

}  // namespace

const Case& find(const Cases& cases, const std::string& name) {
  for (const Case& c : cases) {
    if (c.name == name) return c;
  }
  std::fprintf(stderr, "no case %s\n", name.c_str());
  std::exit(EXIT_FAILURE);
}

void register_ceilings() {
  register_ceilings_of<float>("float");
  register_ceilings_of<double>("double");
}

void register_cases(const Cases& cases) {
  for (const Case& c : cases) {
    const auto time = [&c](const std::string& what, auto&& f) {
      RegisterBenchmark((what + '/' + c.name).c_str(), f)->Unit(benchmark::kMicrosecond);
    };
    const auto scan = [&c](bool mean_only) {
      return [&c, mean_only](benchmark::State& s) { time_scan(s, c, mean_only, usual_length); };
    };
    const auto step = [&c](bool mean_only, bool one) {
      return [&c, mean_only, one](benchmark::State& s) { time_step(s, c, mean_only, one); };
    };
    time("scan_mean", scan(true));
    if (c.has_variance) time("scan", scan(false));
    time("step_mean", step(true, false));
    time("step_mean_one_state", step(true, true));
    if (c.has_variance) time("step", step(false, false));
  }
}

void register_chunks(const Cases& cases) {
  for (const char* name : {"float/64x64/GatedDeltaNet", "float/128x128/GatedDeltaNet",
                           "float/64x64/BayesianLayer", "float/128x128/BayesianLayer"}) {
    const Case& c = find(cases, name);
    const auto time = [&c](benchmark::State& state) {
      time_scan(state, c, true, usual_length, Execution::chunked(state.range(0)));
    };
    auto* chunked = RegisterBenchmark(("chunked/" + c.name).c_str(), time);
    chunked->Unit(benchmark::kMicrosecond)->Arg(1)->Arg(8)->RangeMultiplier(2)->Range(32, 1024);
  }
}

void register_lengths(const Cases& cases) {
  for (const char* name : {"float/64x64/GatedDeltaNet", "float/64x64/BayesianLayer"}) {
    const Case& c = find(cases, name);
    const auto time = [&c](benchmark::State& state) {
      const Index length = state.range(0);
      time_scan(state, c, true, length);
      // What a first scan leaves in use beyond its output: the workspace.
      const auto run = c.make(length);
      const double before = heap_in_use();
      run->scan_mean();
      const auto output = static_cast<double>(length) * 64 * sizeof(float);
      state.counters["workspace_bytes"] = heap_in_use() - before - output;
    };
    auto* lengths = RegisterBenchmark(("length/" + c.name).c_str(), time);
    lengths->Unit(benchmark::kMillisecond)->RangeMultiplier(4)->Range(1 << 10, 1 << 20);
  }
}

}  // namespace seqbayes::benchmarks
