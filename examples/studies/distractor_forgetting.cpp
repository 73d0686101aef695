// How do the layers forget among random keys, and how well do they track a memory that drifts? Runs
// them and draws their errors over the closed forms of docs/retrieval-dynamics.md.
#include <string>

#include "../support/forgetting.hpp"
#include "../support/program.hpp"
#include "../support/tracking.hpp"

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
  program::add_option(app, "--output", output, "Directory of the figures");
  program::add_option(app, "--key-dim", forgetting.key_dim, "Key width", CLI::Range(2, 1024));
  program::add_option(app, "--noise", forgetting.noise,
                      "Noise variance of the target's values (forgetting); the prior variance is 1",
                      CLI::PositiveNumber);
  program::add_option(app, "--draws", forgetting.draws, "Draws of the keys (forgetting)",
                      CLI::Range(2, 1000000));
  program::add_option(app, "--repetitions", tracking.repetitions, "Repetitions (tracking)",
                      CLI::Range(2, 1000000));
  program::add_option(app, "--seed", forgetting.seed, "Of the random draws");
  return program::run(app, "distractor_forgetting", argc, argv, [&] {
    tracking.key_dim = forgetting.key_dim;
    tracking.seed = forgetting.seed;
    study::write_and_report(study::forgetting_figure(forgetting), output);
    study::write_and_report(study::tracking_figure(tracking), output);
  });
}
