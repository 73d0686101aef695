// How many associations does a memory hold? Writes N random keys once each, asks for all of them
// and draws the errors over the closed forms of docs/retrieval-dynamics.md.
#include <string>

#include "../support/program.hpp"
#include "../support/recall.hpp"

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
  program::add_option(app, "--output", output, "Directory of the figure");
  program::add_option(app, "--key-dim", recall.key_dim, "Key width d", CLI::Range(8, 1024));
  program::add_option(app, "--load", recall.largest_load, "Largest load N / d",
                      CLI::Range(0.5, 64.0));
  program::add_option(app, "--noise", recall.noise,
                      "Noise variance of a value in two of the panels; values have variance 1",
                      CLI::PositiveNumber);
  program::add_option(app, "--channels", recall.channels, "Value channels", CLI::Range(2, 4096));
  program::add_option(app, "--repetitions", recall.repetitions, "Draws of the keys",
                      CLI::Range(2, 100000));
  program::add_option(app, "--seed", recall.seed, "Of the random draws");
  return program::run(app, "recall_study", argc, argv,
                      [&] { study::write_and_report(study::recall_figure(recall), output); });
}
