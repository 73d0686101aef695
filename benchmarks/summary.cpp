// The tables of docs/performance.md: all that is compared runs in turn in this process, so a ratio
// is one of neighbours in time. One thread is timed by its own clock, several by the wall's.
#include <sched.h>

#include <array>
#include <cstdio>
#include <fstream>

#include "details.hpp"

namespace seqbayes::benchmarks {
namespace {

constexpr int rounds = 41;
constexpr std::array<Index, 2> widths{64, 128};
constexpr const char* layers[] = {"GatedDeltaNet",
                                  "KimiDeltaAttention",
                                  "LinearAttention",
                                  "Retention",
                                  "Ssd",
                                  "GatedLinearAttention",
                                  "DeltaNet",
                                  "IsotropicKalmanDeltaNet",
                                  "DiagonalKalmanDeltaNet",
                                  "BayesianLayer",
                                  "ChannelBayesianLayer"};
constexpr std::size_t layer_count = std::size(layers);
constexpr std::size_t gated_delta = 0;
constexpr std::size_t bayesian = 9;

#ifdef __clang__
constexpr const char* compiler = "clang " __clang_version__;
#else
constexpr const char* compiler = "g++ " __VERSION__;
#endif
constexpr int vector_width = Eigen::internal::packet_traits<float>::size;

std::string text(const char* format, double value) {
  std::array<char, 64> buffer{};
  std::snprintf(buffer.data(), buffer.size(), format, value);
  return buffer.data();
}
std::string percent(double fraction) { return text("%.0f %%", 100 * fraction); }
std::string ratio(double value) { return text("%.2f", value); }
std::string microseconds(double seconds) { return text("%.3f", 1e6 * seconds); }

void print_row(const std::vector<std::string>& cells) {
  for (const std::string& cell : cells) std::printf("| %s ", cell.c_str());
  std::printf("|\n");
}
void print_head(const std::vector<std::string>& cells) {
  std::printf("\n");
  print_row(cells);
  print_row(std::vector<std::string>(cells.size(), "---"));
}

/// Every layer of the grid at one width, in turn.
class Grid {
 public:
  Grid(const Cases& cases, Index dim)
      : product_(std::make_unique<Product<float>>(usual_length, dim)) {
    const std::string width = std::to_string(dim);
    tasks_.push_back(multiply_add<float>);
    tasks_.push_back([&product = *product_] { product(); });
    for (const char* layer : layers) {
      cases_.push_back(&find(cases, "float/" + width + 'x' + width + '/' + layer));
      runs_.push_back(cases_.back()->make(usual_length));
      Run& run = *runs_.back();
      const Index states = run.states_in_cache();
      tasks_.push_back([&run] { run.scan_mean(); });
      tasks_.push_back([&run] { run.scan(); });
      tasks_.push_back([&run, states] { run.read_and_write_states(states); });
      tasks_.push_back([&run, states] { run.mean_steps(states); });
      tasks_.push_back([&run, states] { run.steps(states); });
    }
    timings_ = std::make_unique<Timings>(tasks_, rounds);
  }

  enum What { scan_mean, scan, read_and_write, step_mean, step };

  /// Seconds a token.
  [[nodiscard]] double seconds(std::size_t layer, What what) const {
    return timings_->of(task(layer, what)) / double(usual_length);
  }
  /// One time against another's.
  [[nodiscard]] double against(std::size_t a, What of_a, std::size_t b, What of_b) const {
    return timings_->median_of([](double x, double y) { return x / y; }, task(a, of_a),
                               task(b, of_b));
  }
  /// Flops of the mean's passes, against the peak.
  [[nodiscard]] double of_peak(std::size_t layer, What what = scan_mean) const {
    return of_peak(
        cases_[layer]->flops, [](double x, double) { return x; }, layer, layer, what);
  }
  /// A matrix product's flops, against the peak.
  [[nodiscard]] double product_of_peak() const {
    return timings_->median_of(
        [this](double time, double peak_time) {
          return product_->flops() / time * peak_time / multiply_add_flops<float>();
        },
        1, 0);
  }
  /// What the covariance's flops get of the peak in the time that it adds to the gated delta rule.
  [[nodiscard]] double gain_pass_of_peak() const {
    return of_peak(
        cases_[bayesian]->flops - cases_[gated_delta]->flops,
        [](double x, double y) { return x - y; }, bayesian, gated_delta, scan_mean);
  }
  [[nodiscard]] bool has_variance(std::size_t layer) const { return cases_[layer]->has_variance; }
  [[nodiscard]] double peak() const { return multiply_add_flops<float>() / timings_->of(0); }

 private:
  static std::size_t task(std::size_t layer, What what) { return 2 + 5 * layer + what; }

  template <class F>
  double of_peak(double flops, F&& time, std::size_t a, std::size_t b, What what) const {
    return timings_->median_of(
        [&](double x, double y, double peak_time) {
          return flops * double(usual_length) / time(x, y) * peak_time /
                 multiply_add_flops<float>();
        },
        task(a, what), task(b, what), std::size_t(0));
  }

  std::unique_ptr<Product<float>> product_;
  std::vector<const Case*> cases_;
  std::vector<std::unique_ptr<Run>> runs_;
  std::vector<Task> tasks_;
  std::unique_ptr<Timings> timings_;
};

/// Processors that this process may use.
int processors() {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

double two_against_one(const std::function<void(int threads)>& task) {
  const Timings timings({[&] { task(1); }, [&] { task(2); }}, rounds, wall_seconds);
  return timings.median_of([](double one, double two) { return one / two; }, 0, 1);
}

/// How much faster two threads are than one.
double speed_up(Index dim) {
  Heads heads(dim, usual_length);
  return two_against_one([&](int threads) { heads.scan_mean(threads); });
}

/// The same of pure arithmetic: what the machine has to give.
double arithmetic_speed_up() {
  return two_against_one(
      [](int threads) { OpenMp{threads}(8, [](Index) { multiply_add<float>(); }); });
}

/// Time a token of a scan over 2^20 tokens, against scans over 2^11.
double long_scan(const Cases& cases) {
  constexpr Index many = Index(1) << 20;
  const Case& c = find(cases, "float/64x64/BayesianLayer");
  const auto run = c.make(usual_length);
  const auto long_run = c.make(many);
  const Timings timings({[&] {
                           for (Index t = 0; t < many; t += usual_length) run->scan_mean();
                         },
                         [&] { long_run->scan_mean(); }},
                        5);
  return timings.median_of([](double shorter, double longer) { return longer / shorter; }, 0, 1);
}

std::string processor() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown processor";
}

void print_machine(double peak) {
  std::printf("%s, %d processors to use; %s, vectors of %d floats\n", processor().c_str(),
              processors(), compiler, vector_width);
  const Index cache[] = {16 << 10, second_cache};
  std::vector<std::string> bandwidth;
  for (const Index bytes : cache) {
    Vector<float> x = Vector<float>::Ones(bytes / Index(sizeof(float)));
    const auto passes = (Index(64) << 20) / bytes;
    const Timings timings({[&] {
                            for (Index i = 0; i < passes; ++i) read_and_write(x.data(), x.size());
                          }},
                          rounds);
    bandwidth.push_back(text("%.0f", double(bytes * passes) / timings.of(0) * 1e-9));
  }
  std::printf(
      "peak %.0f GFLOP/s; in place %s GB/s read and as many written in %d KiB, %s in %d KiB\n",
      peak * 1e-9, bandwidth[0].c_str(), int(cache[0] >> 10), bandwidth[1].c_str(),
      int(cache[1] >> 10));
}

using Grids = std::vector<Grid>;

/// A row with one cell for each width.
template <class F>
void print_target(const Grids& grids, const std::string& what, F&& cell,
                  const std::string& target) {
  std::vector<std::string> cells{what};
  for (const Grid& grid : grids) cells.push_back(cell(grid));
  cells.push_back(target);
  print_row(cells);
}

void print_targets(const Grids& grids) {
  print_target(
      grids, "2048 x d times d x d by Eigen, of peak",
      [](const Grid& grid) { return percent(grid.product_of_peak()); }, "");
  for (const std::size_t i : {0UL, 1UL, 2UL, 4UL, 5UL, 7UL, 8UL}) {
    print_target(
        grids, std::string(layers[i]) + ", scan, of peak",
        [i](const Grid& grid) { return percent(grid.of_peak(i)); },
        i == gated_delta ? ">= 70 %" : ">= 60 %");
  }
  print_target(
      grids, "full-covariance gain pass, of peak",
      [](const Grid& grid) { return percent(grid.gain_pass_of_peak()); }, ">= 60 %");

  const auto against = [&](const char* what, std::size_t a, Grid::What of_a, std::size_t b,
                           Grid::What of_b, const char* target) {
    print_target(
        grids, what, [=](const Grid& grid) { return ratio(grid.against(a, of_a, b, of_b)); },
        target);
  };
  against("BayesianLayer, scan of the mean / GatedDeltaNet's", bayesian, Grid::scan_mean,
          gated_delta, Grid::scan_mean, "<= 1.8");
  against("the same with variance and evidence", bayesian, Grid::scan, gated_delta, Grid::scan_mean,
          "<= 2.3");
  against("GatedDeltaNet, step of the mean / in-place read and write", gated_delta, Grid::step_mean,
          gated_delta, Grid::read_and_write, "<= 1.15, <= 1.2");
  against("the same with variance and evidence", gated_delta, Grid::step, gated_delta,
          Grid::read_and_write, "");
  against("BayesianLayer, step of the mean / in-place read and write", bayesian, Grid::step_mean,
          bayesian, Grid::read_and_write, "<= 1.3");
  against("the same with variance and evidence", bayesian, Grid::step, bayesian,
          Grid::read_and_write, "");
}

/// The step's other ceiling: in caches that are fast for its arithmetic, that is what bounds it.
void print_step_of_peak(const Grids& grids) {
  for (const std::size_t i : {gated_delta, bayesian}) {
    print_target(
        grids, std::string(layers[i]) + ", step of the mean, of peak",
        [i](const Grid& grid) { return percent(grid.of_peak(i, Grid::step_mean)); }, "");
  }
}

void print_layers(const Grids& grids) {
  for (std::size_t i = 0; i < layer_count; ++i) {
    std::vector<std::string> cells{layers[i]};
    for (const Grid& grid : grids) {
      const bool more = grid.has_variance(i);
      cells.push_back(microseconds(grid.seconds(i, Grid::scan_mean)));
      cells.push_back(percent(grid.of_peak(i)));
      cells.push_back(more ? microseconds(grid.seconds(i, Grid::scan)) : "");
      cells.push_back(microseconds(grid.seconds(i, Grid::step_mean)));
      cells.push_back(more ? microseconds(grid.seconds(i, Grid::step)) : "");
    }
    print_row(cells);
  }
}

}  // namespace

void print_summary(const Cases& cases) {
  Grids grids;
  for (const Index width : widths) grids.emplace_back(cases, width);
  print_machine(grids.front().peak());

  print_head({"", "64 x 64", "128 x 128", "target"});
  print_targets(grids);
  print_step_of_peak(grids);
  if (processors() > 1) {
    print_row({"8 heads of GatedDeltaNet, 2 threads against 1", ratio(speed_up(64)),
               ratio(speed_up(128)), ">= 1.9"});
    print_row({"pure arithmetic, 2 threads against 1", ratio(arithmetic_speed_up()), "", ""});
  }
  print_row(
      {"BayesianLayer, a token of 2^20 against one of 2^11", ratio(long_scan(cases)), "", "1"});

  print_head({"us a token, float, static widths", "64: scan of the mean", "of peak",
              "scan with variance", "step of the mean", "step with variance",
              "128: scan of the mean", "of peak", "scan with variance", "step of the mean",
              "step with variance"});
  print_layers(grids);
  print_shapes(cases);
  print_gradients();
}

}  // namespace seqbayes::benchmarks
