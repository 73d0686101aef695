// Runs the built example program as a user would, on good and on broken files.
// PROGRAM and SHIPPED_STREAM are set in tests/CMakeLists.txt.
#include <sys/wait.h>

#include <Eigen/Cholesky>
#include <Eigen/Dense>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <map>
#include <numbers>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include <seqbayes/adapters/safetensors.hpp>

#include "support/catch.hpp"

namespace {

namespace fs = std::filesystem;
using seqbayes::safetensors::Tensor;
using Numbers = std::vector<double>;

std::string read_text(const fs::path& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

struct Ran {
  int exit_code;
  std::string out, err;
};

/// An empty directory of its own for a test case, with a blank and a quote in its name.
struct Workplace {
  fs::path path = fs::temp_directory_path() / ("inspect stream's " + std::to_string(::getpid()));
  Workplace() {
    fs::remove_all(path);
    fs::create_directories(path);
  }
  ~Workplace() { fs::remove_all(path); }

  [[nodiscard]] Ran run(const std::string& arguments, const std::string& environment = "") const {
    const std::string command = "cd \"" + path.string() + "\" && " + environment +
                                " \"" PROGRAM "\" " + arguments + " >out.txt 2>err.txt";
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_text(path / "out.txt"),
            read_text(path / "err.txt")};
  }
};

/// A small random stream of 24 tokens, 2 heads, key width 5 and value width 3, with the output of
/// the gated delta rule by plain loops.
struct Recorded {
  static constexpr int T = 24, H = 2, dk = 5, dv = 3;
  std::map<std::string, Numbers> numbers;
  std::map<std::string, std::vector<std::int64_t>> shapes{
      {"q", {T, H, dk}}, {"k", {T, H, dk}}, {"v", {T, H, dv}},           {"g", {T, H}},
      {"beta", {T, H}},  {"o", {T, H, dv}}, {"final_state", {H, dk, dv}}};

  [[nodiscard]] double at(const std::string& name, int t, int h, int i = 0) const {
    const auto& shape = shapes.at(name);
    const int width = shape.size() == 3 ? static_cast<int>(shape[2]) : 1;
    return numbers.at(name)[static_cast<std::size_t>((t * H + h) * width + i)];
  }

  Recorded() {
    std::mt19937 engine(7);
    std::normal_distribution<double> normal;
    for (const auto& [name, shape] : shapes) {
      std::size_t size = 1;
      for (const auto extent : shape) size *= static_cast<std::size_t>(extent);
      for (std::size_t i = 0; i < size; ++i) numbers[name].push_back(normal(engine));
    }
    for (double& g : numbers["g"]) g = -0.1 * std::abs(g);
    for (double& beta : numbers["beta"]) beta = 0.4 + 0.2 * std::tanh(beta);
    for (int row = 0; row < T * H; ++row) {  // unit keys
      double norm2 = 0;
      for (int i = 0; i < dk; ++i) norm2 += std::pow(numbers["k"][std::size_t(row * dk + i)], 2);
      for (int i = 0; i < dk; ++i) numbers["k"][std::size_t(row * dk + i)] /= std::sqrt(norm2);
    }
    for (int h = 0; h < H; ++h) run_gated_delta_rule(h);
  }

  void run_gated_delta_rule(int h) {
    double s[dk][dv] = {};
    for (int t = 0; t < T; ++t) {
      for (int j = 0; j < dv; ++j) {
        double predicted = 0, read = 0;
        for (int i = 0; i < dk; ++i) s[i][j] *= std::exp(at("g", t, h));
        for (int i = 0; i < dk; ++i) predicted += s[i][j] * at("k", t, h, i);
        for (int i = 0; i < dk; ++i) {
          s[i][j] += at("beta", t, h) * at("k", t, h, i) * (at("v", t, h, j) - predicted);
          read += s[i][j] * at("q", t, h, i);
        }
        numbers["o"][std::size_t((t * H + h) * dv + j)] = read;
      }
    }
    for (int i = 0; i < dk; ++i) {
      for (int j = 0; j < dv; ++j) {
        numbers["final_state"][std::size_t((h * dk + i) * dv + j)] = s[i][j];
      }
    }
  }

  void write(const fs::path& path, const std::string& prefix = "") const {
    std::vector<Tensor> tensors;
    for (const auto& [name, values] : numbers) {
      tensors.push_back(seqbayes::safetensors::view(prefix + name, shapes.at(name), values));
    }
    seqbayes::safetensors::write(path, tensors);
  }
};

/// A row of summary.csv by layer and head.
Numbers summary(const fs::path& directory, const std::string& layer, int head) {
  std::ifstream in(directory / "summary.csv");
  std::string line;
  const std::string wanted = "," + layer + "," + std::to_string(head) + ",";
  while (std::getline(in, line)) {
    const auto found = line.find(wanted);
    if (found == std::string::npos) continue;
    std::istringstream rest(line.substr(found + wanted.size()));
    Numbers row;
    for (std::string cell; std::getline(rest, cell, ',');) {
      row.push_back(cell.empty() ? std::numeric_limits<double>::quiet_NaN() : std::stod(cell));
    }
    return row;
  }
  FAIL("summary.csv has no row " << wanted);
  return {};
}
enum Column { log_evidence = 0, prior_variance = 7, process_noise = 8, noise_scale = 9 };

const std::string no_gnuplot = "PATH=/nonexistent";

}  // namespace

TEST_CASE("inspect_stream reports on the shipped stream") {
  const Workplace here;
  // A few tokens: the sanitizers are slow. `examples/run.sh` runs it all.
  const Ran ran = here.run("\"" SHIPPED_STREAM "\" --heads 1 --max-tokens 32 --output out");
  INFO(ran.err);
  CHECK(ran.exit_code == 0);
  CHECK(ran.out.find("GatedDeltaNet reproduces the stored output") != std::string::npos);
  CHECK(ran.out.find("BayesianLayer (rho)") != std::string::npos);
  const std::string report = read_text(here.path / "out/report.html");
  CHECK(report.find("</html>") != std::string::npos);
  const bool has_gnuplot = std::system("command -v gnuplot >/dev/null 2>&1") == 0;
  CHECK((report.find("<svg") != std::string::npos) == has_gnuplot);
  CHECK((ran.err.find("gnuplot") == std::string::npos) == has_gnuplot);
  for (const char* name : {"summary", "gain", "recall", "reliability", "evidence", "ablation"}) {
    CHECK(fs::file_size(here.path / "out" / (std::string(name) + ".csv")) > 100);
  }
}

TEST_CASE("inspect_stream without gnuplot says so in one line and reports all the same") {
  const Workplace here;
  Recorded().write(here.path / "stream.safetensors", "layer2.");
  const Ran ran = here.run("stream.safetensors --layer layer2 --heads 0", no_gnuplot);
  CHECK(ran.exit_code == 0);
  CHECK(ran.err == "inspect_stream: no figures, as gnuplot did not run\n");
  CHECK(fs::exists(here.path / "report/report.html"));
  CHECK(fs::exists(here.path / "report/summary.csv"));
}

TEST_CASE("inspect_stream's evidence is that of the batch Gaussian model") {
  const Workplace here;
  const Recorded recorded;
  recorded.write(here.path / "stream.safetensors");
  const Ran ran = here.run("stream.safetensors --no-plots");
  INFO(ran.err);
  REQUIRE(ran.exit_code == 0);
  CHECK(ran.err.empty());
  constexpr int T = Recorded::T, dk = Recorded::dk, dv = Recorded::dv;

  for (int h = 0; h < Recorded::H; ++h) {
    Eigen::MatrixXd keys(T, dk), values(T, dv);
    for (int t = 0; t < T; ++t) {
      for (int i = 0; i < dk; ++i) keys(t, i) = recorded.at("k", t, h, i);
      for (int j = 0; j < dv; ++j) values(t, j) = recorded.at("v", t, h, j);
    }
    // Without gates S_t is a random walk, so Cov(v_t, v_s) = k_t'k_s (sigma_0^2 + min(t, s) omega).
    const Numbers row = summary(here.path / "report", "BayesianLayer (no gates)", h);
    Eigen::MatrixXd covariance = keys * keys.transpose();
    for (int t = 0; t < T; ++t) {
      for (int s = 0; s < T; ++s) {
        covariance(t, s) *= 1 + row[process_noise] * (std::min(t, s) + 1);
      }
      covariance(t, t) += row[noise_scale];
    }
    covariance *= row[prior_variance];
    const Eigen::LLT<Eigen::MatrixXd> factor(covariance);
    const double log_determinant = 2 * factor.matrixLLT().diagonal().array().log().sum();
    const double chi2 = (values.array() * factor.solve(values).array()).sum();
    const double batch =
        -0.5 * (chi2 + dv * (log_determinant + T * std::log(2 * std::numbers::pi))) / (T * dv);
    // summary.csv has 6 digits, of the dials too, where the evidence is stationary.
    CHECK(row[log_evidence] == Approx(batch).epsilon(1e-5));

    // Gated DeltaNet: s_t = sigma_0^2 / beta_t with the best sigma_0^2 = mean beta_t |nu_t|^2 / dv.
    double sum = 0, log_beta = 0;
    Eigen::MatrixXd memory = Eigen::MatrixXd::Zero(dk, dv);
    for (int t = 0; t < T; ++t) {
      memory *= std::exp(recorded.at("g", t, h));
      const double beta = recorded.at("beta", t, h);
      const Eigen::RowVectorXd innovation = values.row(t) - keys.row(t) * memory;
      memory += beta * keys.row(t).transpose() * innovation;
      sum += beta * innovation.squaredNorm();
      log_beta += std::log(beta);
    }
    const double best = sum / (T * dv);
    const Numbers own = summary(here.path / "report", "GatedDeltaNet", h);
    CHECK(own[prior_variance] == Approx(best).epsilon(1e-5));
    CHECK(own[log_evidence] ==
          Approx(-0.5 * (std::log(2 * std::numbers::pi * best) + 1 - log_beta / T)).epsilon(1e-5));
  }
}

TEST_CASE("inspect_stream ends with one line and exit code 1 on a broken file") {
  const Workplace here;
  const auto fails = [&](const std::string& arguments, const std::vector<std::string>& words) {
    const Ran ran = here.run(arguments, no_gnuplot);
    INFO(arguments << "\n" << ran.err);
    CHECK(ran.exit_code == 1);
    CHECK(ran.out.empty());
    CHECK(std::count(ran.err.begin(), ran.err.end(), '\n') == 1);
    CHECK(ran.err.starts_with("inspect_stream: "));
    for (const std::string& word : words) CHECK(ran.err.find(word) != std::string::npos);
    CHECK(!fs::exists(here.path / "report"));
  };
  const fs::path file = here.path / "stream.safetensors";
  const std::string name = "stream.safetensors";
  Recorded recorded;

  SECTION("missing") { fails("nowhere.safetensors", {"nowhere.safetensors", "cannot be opened"}); }
  SECTION("a directory") { fails(".", {"."}); }
  SECTION("empty") {
    std::ofstream(file).close();
    fails(name, {name, "too short"});
  }
  SECTION("truncated") {
    recorded.write(file);
    fs::resize_file(file, fs::file_size(file) - 100);
    fails(name, {name, "beyond the end"});
  }
  SECTION("a tensor is missing") {
    recorded.numbers.erase("v");
    recorded.write(file);
    fails(name, {name, "\"v\""});
  }
  SECTION("wrong shape") {
    recorded.shapes["k"] = {Recorded::T, Recorded::dk, Recorded::H};
    recorded.write(file);
    fails(name, {name, "\"k\"", "[24, 5, 2]", "[24, 2, 5]"});
  }
  SECTION("wrong number of dimensions") {
    recorded.shapes["q"] = {Recorded::T, Recorded::H * Recorded::dk};
    recorded.write(file);
    fails(name, {name, "\"q\"", "[T, H, dk]"});
  }
  SECTION("wrong type") {
    const std::vector<std::int32_t> integers(Recorded::T * Recorded::H, 1);
    recorded.write(file);
    std::vector<Tensor> tensors;
    for (const auto& [key, values] : recorded.numbers) {
      tensors.push_back(seqbayes::safetensors::view(key, recorded.shapes.at(key), values));
      if (key == "beta") {
        tensors.back() = {key, "I32", recorded.shapes.at(key), std::as_bytes(std::span(integers))};
      }
    }
    seqbayes::safetensors::write(file, tensors);
    fails(name, {name, "\"beta\"", "I32"});
  }
  SECTION("not a number") {
    recorded.numbers["k"][std::size_t((5 * Recorded::H + 1) * Recorded::dk)] = std::nan("");
    recorded.write(file);
    fails(name, {name, "head 1", "key", "row 5"});
  }
  SECTION("a decay above 1") {
    recorded.numbers["g"][0] = 0.5;
    recorded.write(file);
    fails(name, {name, "head 0", "log_decay", "row 0"});
  }
  SECTION("another layer's output") {
    recorded.numbers["o"][3] += 0.01;
    recorded.write(file);
    fails(name, {name, "head 1", "deviates", "stored o"});
  }
  SECTION("the stored output is not a number") {
    recorded.numbers["final_state"][0] = std::nan("");
    recorded.write(file);
    fails(name, {name, "head 0", "final_state"});
  }
  SECTION("no such head") {
    recorded.write(file);
    fails(name + " --heads 2", {name, "head 2"});
  }
  SECTION("the layer has to be chosen") {
    recorded.write(file, "layer7.");
    fails(name, {name, "layer7.", "--layer"});
  }
  SECTION("nothing but zeros") {
    for (const char* key : {"v", "o", "final_state"}) {
      for (double& number : recorded.numbers[key]) number = 0;
    }
    recorded.write(file);
    fails(name, {name, "zero"});
  }
}
