// How do the layers forget among random keys, and how well do they track a memory that drifts? Runs
// them and draws their errors over the closed forms of docs/retrieval-dynamics.md.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <exception>
#include <string>

#include "support/forgetting.hpp"
#include "support/tracking.hpp"

namespace {

constexpr const char* description =
    "Random keys, in two studies; simulations are points, closed forms lines:\n"
    "  forgetting  a target key is written, then many others\n"
    "  tracking    a memory that drifts as a random walk, in steady state\n"
    "Writes NAME.svg, NAME.csv and NAME.gp (the gnuplot script) of each.";

}  // namespace

int main(int argc, char** argv) {
  study::ForgettingStudy forgetting;
  study::TrackingStudy tracking;
  std::string output = "report";
  CLI::App app(description);
  app.footer("\nExample:\n  distractor_forgetting --output report\n");
  app.add_option("--output", output, "Directory of the figures")->capture_default_str();
  app.add_option("--key-dim", forgetting.key_dim, "Key width")
      ->check(CLI::Range(2, 1024))
      ->capture_default_str();
  app.add_option("--noise", forgetting.noise,
                 "Noise variance of the target's values (forgetting); the prior variance is 1")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--draws", forgetting.draws, "Draws of the keys (forgetting)")
      ->check(CLI::Range(2, 1000000))
      ->capture_default_str();
  app.add_option("--repetitions", tracking.repetitions, "Repetitions (tracking)")
      ->check(CLI::Range(2, 1000000))
      ->capture_default_str();
  app.add_option("--seed", forgetting.seed, "Of the random draws")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    tracking.key_dim = forgetting.key_dim;
    tracking.seed = forgetting.seed;
    study::write_and_report(study::forgetting_figure(forgetting), output);
    study::write_and_report(study::tracking_figure(tracking), output);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "distractor_forgetting: {}\n", error.what());
    return 1;
  }
}
