// Which layer is right, and when? Mixtures by evidence on memories that stand still, change, drift
// or are read with outliers, beside single layers that are tuned in hindsight; and, if there is a
// recorded stream, what the layers made of others predict of its second half.
#include <string>

#include "../support/held_out.hpp"
#include "../support/stream_options.hpp"
#include "../support/switching.hpp"

namespace {

constexpr const char* description =
    "Streams whose memory stands still, is drawn anew, drifts, is read with outliers, and all of\n"
    "it in turn: mixtures by evidence beside each single layer with the gain or drift that is "
    "best\n"
    "in hindsight. Prints tables; writes switching.svg, switching.csv, switching.gp (the gnuplot\n"
    "script) and switching_table.csv.\n\n"
    "With FILE, a recorded stream as inspect_stream reads it, also held_out.csv: log evidence of\n"
    "the layers on its second half, fitted to the first.";
constexpr const char* example =
    "\nExample:\n"
    "  regime_study examples/data/stream_niah_multikey_512.layer3.safetensors --output report\n";

}  // namespace

int main(int argc, char** argv) {
  study::MovingStudy moving;
  inspect::StreamOptions recorded;
  std::string output = "report";
  CLI::App app(description);
  app.footer(example);
  inspect::add_options(app, recorded);
  program::add_option(app, "--output", output, "Directory of the figure");
  study::add_options(app, moving);
  return program::run(app, "regime_study", argc, argv, [&] {
    if (!recorded.file.empty()) study::report_held_out(recorded.read(), output);
    const auto contenders = study::switching_contenders();
    const auto columns = study::switching_columns(contenders, moving);
    study::print_tables(contenders, columns);
    study::print_costs(contenders, moving);
    study::write_and_report(study::switching_figure(contenders, moving), output);
    study::write_table(contenders, columns, std::filesystem::path(output) / "switching_table.csv");
  });
}
