// What would the other layers have made of this stream? Reads the keys, values, decays and write
// strengths that a real layer saw, checks that its own recurrence reproduces its stored output, and
// runs every named layer of the grid on them.
#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <future>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "../support/program.hpp"
#include "../support/report.hpp"
#include "../support/stream_options.hpp"

namespace {

using namespace inspect;

struct Arguments {
  StreamOptions stream;
  std::string output = "report";
  double tolerance = 1e-4;
  bool no_plots = false;
};

constexpr const char* description =
    "Runs every layer of the grid on a recorded stream and shows what each makes of it: log\n"
    "evidence, calibration, recall and gain. Prints a table; writes report.html and CSV files.\n\n"
    "FILE is a safetensors file with q, k [T, H, dk], v [T, H, dv], g (log decay), beta [T, H],\n"
    "and optionally o [T, H, dv] and final_state [H, dk, dv] of the gated delta rule.";
constexpr const char* example =
    "\nExample:\n"
    "  inspect_stream examples/data/stream_niah_multikey_512.layer3.safetensors --output report\n"
    "  inspect_stream streams.safetensors --layer layer5 --heads 0,2 --max-tokens 256\n";

/// Largest |a - b|; NaN if there is one.
double deviation(const Matrix& a, const Matrix& b) {
  return (a - b).cwiseAbs().maxCoeff<Eigen::PropagateNaN>();
}

/// Runs the model's own layer, a GatedDeltaNet, and compares with what the file has stored of it.
/// Also the check of the inputs: `scan` names the field and the row that are bad.
/// @throws Error if it deviates by more than `tolerance` times the largest stored entry
std::string check_own_layer(const Stream& stream, double tolerance) {
  double worst = 0;
  bool compared = false;
  for (const Head& head : stream.heads) {
    const auto layer = make_layer<seqbayes::GatedDeltaNet<double>>(head, {}, head.value.cols());
    seqbayes::Sequence<double> x;
    x.query = head.query;
    x.key = head.key;
    x.value = head.value;
    x.log_decay = head.log_decay;
    x.write_strength = head.write_strength;
    auto state = layer.initial_state();
    const auto where = fmt::format("{}: head {}", stream.file, head.number);
    Matrix output;
    try {
      output = seqbayes::scan_mean(layer, state, x);
    } catch (const std::invalid_argument& error) {
      throw Error(fmt::format("{}: {}", where, error.what()));
    }
    const auto compare = [&](const char* name, const Matrix& computed, const Matrix& stored) {
      const double largest = stored.cwiseAbs().maxCoeff<Eigen::PropagateNaN>();
      const double found = deviation(computed, stored);
      if (!(found <= tolerance * largest)) {
        throw Error(fmt::format(
            "{}: GatedDeltaNet deviates from the stored {} by {:.2g}, its largest entry is {:.2g}; "
            "the bound is {:g} of that (--tolerance)",
            where, name, found, largest, tolerance));
      }
      if (largest > 0) worst = std::max(worst, found / largest);
      compared = true;
    };
    if (head.output) compare("o", output, *head.output);
    if (head.memory) compare("final_state", state.mean, *head.memory);
  }
  if (!compared) return "The file stores no output to compare with.";
  return fmt::format(
      "GatedDeltaNet reproduces the stored output: largest deviation {:.1e} of the largest entry "
      "(bound {:g}).",
      worst, tolerance);
}

/// Runs the grid on each head, as many heads at a time as there are cores. Reports progress once
/// it takes more than 2 s.
void run_heads(Results& results) {
  const auto start = std::chrono::steady_clock::now();
  const std::size_t count = results.stream.heads.size();
  results.heads.resize(count);
  std::atomic<std::size_t> next = 0;
  std::size_t done = 0;
  std::mutex reporting;
  const auto work = [&] {
    for (std::size_t i = next++; i < count; i = next++) {
      HeadRuns& runs = results.heads[i];
      runs.head = results.stream.heads[i];
      for (const GridPoint& point : results.grid) runs.runs.push_back(point.run(runs.head));
      runs.ablation = ablate(runs.head);
      const std::lock_guard lock(reporting);
      const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
      if (++done < count && spent.count() > 2) {
        fmt::print(stderr, "{} of {} heads after {:.0f} s\n", done, count, spent.count());
      }
    }
  };
  std::vector<std::future<void>> workers;
  for (unsigned i = 0; i < std::max(1U, std::thread::hardware_concurrency()); ++i) {
    workers.push_back(std::async(std::launch::async, work));
  }
  for (std::future<void>& worker : workers) worker.get();
}

void inspect_stream(const Arguments& arguments) {
  Results results;
  results.stream = arguments.stream.read();
  const Stream& stream = results.stream;
  results.check = check_own_layer(stream, arguments.tolerance);
  fmt::print("{}{}{}: {} tokens, {} heads, key width {}, value width {}\n{}\n", stream.file,
             stream.layer.empty() ? "" : ", ", stream.layer, stream.length, stream.heads.size(),
             stream.key_dim, stream.value_dim, results.check);
  std::fflush(stdout);
  const std::filesystem::path directory = arguments.output;
  std::filesystem::create_directories(directory);

  results.grid = grid();
  run_heads(results);

  print_table(results);
  print_ablation(results);
  print_reading_guide(results);
  write_csv(results, directory);
  bool drawn = false;
  if (!arguments.no_plots) {
    drawn = draw(results, directory);
    if (!drawn) fmt::print(stderr, "inspect_stream: no figures, as gnuplot did not run\n");
  }
  write_report(results, directory, drawn);
  fmt::print("\nReport: {}\n", (directory / "report.html").string());
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app(description);
  app.footer(example);
  add_options(app, arguments.stream)->required();
  program::add_option(app, "--output", arguments.output, "Directory of the report");
  program::add_option(app, "--tolerance", arguments.tolerance,
                      "Allowed deviation from the stored output, relative to its\n"
                      "largest entry; about 1e-2 for a layer that ran in bfloat16");
  app.add_flag("--no-plots", arguments.no_plots, "Table and CSV files only, without figures");
  return program::run(app, "inspect_stream", argc, argv, [&] { inspect_stream(arguments); });
}
