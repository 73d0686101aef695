// How many associations does a memory hold? Writes N random keys once each, asks for all of them
// and draws the errors over the closed forms of docs/retrieval-dynamics.md.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <exception>
#include <string>

#include "support/recall.hpp"

namespace {

constexpr const char* description =
    "Recall against load: N random keys of unit norm are written once each, then all are asked\n"
    "for. Simulations of every layer are points, closed forms lines. Writes recall.svg, "
    "recall.csv\n"
    "and recall.gp (the gnuplot script).";

}  // namespace

int main(int argc, char** argv) {
  study::RecallStudy recall;
  std::string output = "report";
  CLI::App app(description);
  app.footer("\nExample:\n  recall_study --output report\n  recall_study --key-dim 128 --load 4\n");
  app.add_option("--output", output, "Directory of the figure")->capture_default_str();
  app.add_option("--key-dim", recall.key_dim, "Key width d")
      ->check(CLI::Range(8, 1024))
      ->capture_default_str();
  app.add_option("--load", recall.largest_load, "Largest load N / d")
      ->check(CLI::Range(0.5, 64.0))
      ->capture_default_str();
  app.add_option("--noise", recall.noise,
                 "Noise variance of a value in two of the panels; values have variance 1")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--channels", recall.channels, "Value channels")
      ->check(CLI::Range(2, 4096))
      ->capture_default_str();
  app.add_option("--repetitions", recall.repetitions, "Draws of the keys")
      ->check(CLI::Range(2, 100000))
      ->capture_default_str();
  app.add_option("--seed", recall.seed, "Of the random draws")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    study::write_and_report(study::recall_figure(recall), output);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "recall_study: {}\n", error.what());
    return 1;
  }
}
