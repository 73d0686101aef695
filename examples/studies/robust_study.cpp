// What do heavy tails, a learned scale of the noise, and both cost and save? On streams with
// outliers, with Student-t noise, and clean ones, beside a filter that is told of every token.
#include <string>

#include "../support/program.hpp"
#include "../support/robust.hpp"

namespace {

constexpr const char* description =
    "A memory that drifts is read with noise: clean, with outliers, with heavy tails, in other\n"
    "units than the layers are told. StudentT, LearnedNoise and what is made of them, beside the\n"
    "Gaussian filter, the filter with the constant noise that is best in hindsight, and one that\n"
    "is told the noise of every token. Prints tables; writes robust.svg, robust.csv, robust.gp\n"
    "(the gnuplot script) and robust_table.csv.";

}  // namespace

int main(int argc, char** argv) {
  study::MovingStudy moving;
  std::string output = "report";
  CLI::App app(description);
  app.footer("\nExample:\n  robust_study --output report\n  robust_study --channels 1\n");
  program::add_option(app, "--output", output, "Directory of the figure");
  study::add_options(app, moving);
  return program::run(app, "robust_study", argc, argv, [&] {
    const auto contenders = study::robust_contenders();
    const auto columns = study::robust_columns(contenders, moving);
    study::print_tables(contenders, columns);
    study::print_costs(contenders, moving);
    study::write_and_report(study::robust_figure(contenders, moving), output);
    study::write_table(contenders, columns, std::filesystem::path(output) / "robust_table.csv");
  });
}
