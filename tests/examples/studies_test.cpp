// The studies' simulations lie on their closed forms or, where there are none, are as theory orders
// them. COLLISION_STUDY and the like are set in tests/CMakeLists.txt.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.hpp"

namespace {

namespace fs = std::filesystem;

/// Runs a study with small samples and returns the directory of its output.
fs::path run(const std::string& program, const std::string& arguments) {
  const fs::path output =
      fs::temp_directory_path() / ("seqbayes study " + std::to_string(::getpid()));
  fs::remove_all(output);
  const std::string command =
      "\"" + program + "\" --output \"" + output.string() + "\" " + arguments + " >/dev/null 2>&1";
  REQUIRE(std::system(command.c_str()) == 0);
  return output;
}

/// Simulated points of a CSV file against the predictions at the same x. Returns their number.
/// Points with a standard error are Monte Carlo, others exact. `finite_size` is how far formulas
/// for infinitely many dimensions may be off, relative to the prediction or to 1 if that is less.
int compare(const fs::path& csv, double finite_size = 0) {
  struct Row {
    std::string panel, curve, kind;
    double x, y, error;
  };
  std::vector<Row> rows;
  std::ifstream in(csv);
  std::string line;
  std::getline(in, line);
  REQUIRE(line == "panel,curve,kind,x,y,standard_error,panel_title,curve_name");
  while (std::getline(in, line)) {
    std::istringstream fields(line);
    std::vector<std::string> row;
    for (std::string field; row.size() < 6 && std::getline(fields, field, ',');) {
      row.push_back(field);
    }
    REQUIRE(row.size() == 6);
    rows.push_back(
        {row[0], row[1], row[2], std::stod(row[3]), std::stod(row[4]), std::stod(row[5])});
  }
  std::map<std::pair<std::string, std::string>, std::map<double, double>> predicted;
  for (const Row& row : rows) {
    if (row.kind == "predicted") predicted[{row.panel, row.curve}][row.x] = row.y;
  }
  int compared = 0;
  for (const Row& row : rows) {
    const auto curve = predicted.find({row.panel, row.curve});
    if (row.kind != "simulated" || curve == predicted.end()) continue;
    INFO(csv.filename() << ": panel " << row.panel << ", curve " << row.curve << ", x " << row.x);
    REQUIRE(curve->second.count(row.x) == 1);
    const double want = curve->second.at(row.x);
    // 5 standard errors: one false alarm in a million; the seed is fixed. Exact ones to the 8
    // digits of the file.
    CHECK(std::abs(row.y - want) < finite_size * std::max(1.0, std::abs(want)) +
                                       (row.error > 0 ? 5 * row.error : 1e-6 * std::abs(want)));
    ++compared;
  }
  return compared;
}

/// The means of a study's table, by stream, layer and quantity.
class Table {
 public:
  explicit Table(const fs::path& csv) {
    std::ifstream in(csv);
    std::string line;
    std::getline(in, line);
    REQUIRE(line == "stream,layer,tuned,quantity,mean,standard_error");
    while (std::getline(in, line)) {
      std::istringstream fields(line);
      std::string stream, layer, tuned, quantity, mean;
      std::getline(fields, stream, ',');
      std::getline(fields.ignore(1, '"'), layer, '"');
      std::getline(fields.ignore(1, ','), tuned, ',');
      std::getline(fields, quantity, ',');
      std::getline(fields, mean, ',');
      numbers_[{stream, layer, quantity}] = std::stod(mean);
    }
  }
  [[nodiscard]] double error(const std::string& stream, const std::string& layer) const {
    return numbers_.at({stream, layer, "error"});
  }
  [[nodiscard]] double evidence(const std::string& stream, const std::string& layer) const {
    return numbers_.at({stream, layer, "evidence"});
  }

 private:
  std::map<std::array<std::string, 3>, double> numbers_;
};

TEST_CASE("The collision study simulates what it predicts") {
  const fs::path output = run(COLLISION_STUDY, "--channels 100 --writes-b 30");
  CHECK(compare(output / "collision.csv") > 100);
  CHECK(compare(output / "helps_and_hurts.csv") > 100);
  fs::remove_all(output);
}

TEST_CASE("The recall study simulates what it predicts") {
  const fs::path output = run(RECALL_STUDY, "--key-dim 32 --load 4 --repetitions 20 --channels 16");
  CHECK(compare(output / "recall.csv", 0.02) > 100);  // 4 % of errors up to 0.5 at d = 100
  fs::remove_all(output);
}

TEST_CASE("The study of distractors and drift simulates what it predicts") {
  const fs::path output = run(DISTRACTOR_FORGETTING, "--key-dim 32 --draws 10 --repetitions 3");
  // The laws of large width are about 1 % off at width 32.
  CHECK(compare(output / "forgetting.csv", 0.02) > 100);
  CHECK(compare(output / "tracking.csv", 0.02) > 40);
  fs::remove_all(output);
}

TEST_CASE("The calibration study finds the noise levels that it draws with") {
  const fs::path output = run(CALIBRATION_STUDY, "\"" SHIPPED_STREAM
                                                 "\" --heads 0 --max-tokens 32 --length 256 "
                                                 "--repetitions 2");
  CHECK(compare(output / "regime.csv") > 15);
  CHECK(fs::file_size(output / "calibration.csv") > 1000);
  fs::remove_all(output);
}

// Bounds are those of the layers' own tests (tests/layers), wider for streams this short: a mean of
// 3 x 400 tokens, of which some 60 are outliers.
TEST_CASE("The robust study: tails bear outliers, and a learned scale other units") {
  const fs::path output = run(ROBUST_STUDY, "--length 400 --repetitions 3");
  const Table table(output / "robust_table.csv");
  const std::string filter = "BayesianLayer", constant = "BayesianLayer, best constant r",
                    robust = "StudentT", both = "StudentT of LearnedNoise";
  CHECK(table.error("clean", robust) < 1.1);
  CHECK(table.error("clean", constant) < 1.02);  // it may be the right one
  CHECK(table.error("5 % outliers", robust) < 1.25);
  CHECK(1.4 * table.error("5 % outliers", robust) < table.error("5 % outliers", constant));
  CHECK(table.error("outliers x 3", both) < 1.35);
  CHECK(table.error("outliers x 3", both) < table.error("outliers x 3", robust));
  // Means of the filter don't depend on units, nor on the scale that is learned: up to rounding.
  CHECK(table.error("outliers x 3", filter) ==
        Approx(table.error("5 % outliers", filter)).epsilon(1e-5));
  CHECK(table.error("mixed", "LearnedNoise") == Approx(table.error("mixed", filter)).epsilon(1e-5));
  CHECK(table.evidence("outliers x 3", "LearnedNoise") > table.evidence("outliers x 3", filter));
  CHECK(compare(output / "robust.csv") > 100);
  fs::remove_all(output);
}

TEST_CASE("The regime study: a mixture finds the drift that a single layer has to be told") {
  const fs::path output = run(REGIME_STUDY, "\"" SHIPPED_STREAM
                                            "\" --heads 0 --max-tokens 64 --length 400 "
                                            "--repetitions 3");
  const Table table(output / "switching_table.csv");
  const std::string single = "BayesianLayer, best drift", four = "mixture of four drifts",
                    robust = "mixture of four drifts, StudentT";
  // The least drift that is tried, 1e-5 over 400 tokens, is next to none.
  CHECK(table.error("stands still", single) == Approx(1).epsilon(0.05));
  CHECK(table.error("drifts", single) < 1.05);  // it is told the truth, or what is as good
  CHECK(table.evidence("mixed", robust) > table.evidence("mixed", single));
  CHECK(table.evidence("mixed", robust) > table.evidence("mixed", four));
  CHECK(compare(output / "switching.csv") > 60);
  std::ifstream in(output / "held_out.csv");
  std::string line;
  std::getline(in, line);
  CHECK(line == "gates,layer,head,evidence");
  int rows = 0;
  while (std::getline(in, line)) {
    CHECK(std::isfinite(std::stod(line.substr(line.rfind(',') + 1))));
    ++rows;
  }
  CHECK(rows == 2 * 11);
  fs::remove_all(output);
}

}  // namespace
