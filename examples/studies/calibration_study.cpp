// Are the layers as wrong as they say, and does a stream look as if memory is reset or kept? On
// streams drawn from both models and on a recorded one.
#include <fmt/format.h>

#include <string>

#include "../support/program.hpp"
#include "../support/regime.hpp"
#include "../support/stream_options.hpp"

namespace {

constexpr const char* description =
    "Two studies on streams drawn from the models and on a recorded stream:\n"
    "  calibration  the error that a layer claims against the error it makes\n"
    "  regime       reset or full covariance, and which noise levels, by evidence\n"
    "Writes NAME.svg, NAME.csv and NAME.gp (the gnuplot script) of each.\n\n"
    "FILE is a recorded stream as inspect_stream reads it.";
constexpr const char* example =
    "\nExample:\n"
    "  calibration_study examples/data/stream_niah_multikey_512.layer3.safetensors\n";

struct OfStream {
  std::string title;
  std::vector<study::Claims> claims;
};

/// The mean of squared over claimed error of each layer on each stream.
void print_nis(const std::vector<OfStream>& streams) {
  fmt::print("{:34}", "NIS");
  for (std::size_t i = 0; i < streams.size(); ++i) fmt::print("{:>6}", fmt::format("({})", i + 1));
  for (std::size_t layer = 0; layer < streams.front().claims.size(); ++layer) {
    fmt::print("\n{:34}", study::claim_styles()[layer].name);
    for (const OfStream& stream : streams) fmt::print("{:6.2f}", stream.claims[layer].nis());
  }
  fmt::print(
      "\nsquared over claimed error on the second half of each stream, with noise levels\n"
      "fitted on the first: 1 is honest, above 1 too sure.\n");
  for (std::size_t i = 0; i < streams.size(); ++i) fmt::print("({}) {}\n", i + 1, streams[i].title);
}

}  // namespace

int main(int argc, char** argv) {
  study::Synthetic synthetic;
  inspect::StreamOptions recorded;
  std::string output = "report";
  int repetitions = 8;
  CLI::App app(description);
  app.footer(example);
  inspect::add_options(app, recorded)->required();
  program::add_option(app, "--output", output, "Directory of the figures");
  program::add_option(app, "--length", synthetic.length, "Tokens of the drawn streams",
                      CLI::Range(32, 1 << 20));
  program::add_option(app, "--repetitions", repetitions, "Drawn streams of each length",
                      CLI::Range(2, 100000));
  program::add_option(app, "--seed", synthetic.seed, "Of the random draws");
  return program::run(app, "calibration_study", argc, argv, [&] {
    const inspect::Stream stream = recorded.read();
    study::Figure calibration{"calibration", study::claim_styles(), {}};
    std::vector<OfStream> streams;
    const auto add = [&](const std::string& title, const study::Sequence<double>& x, bool drawn) {
      streams.push_back({title, study::all_claims(x)});
      if (!drawn) return;
      calibration.panels.push_back(study::claims_panel(title, x, streams.back().claims));
    };
    const study::Drawn full = study::draw(synthetic, study::Regime::full);
    const study::Drawn reset = study::draw(synthetic, study::Regime::reset);
    add("drawn from the full model", full.sequence(), true);
    add("drawn from the reset model", reset.sequence(), true);
    std::vector<study::HeadChoice> choices;
    for (const inspect::Head& head : stream.heads) {
      fmt::print(stderr, "head {}\n", head.number);
      add(fmt::format("recorded head {} without gates", head.number), study::without_gates(head),
          true);
      add(fmt::format("recorded head {}", head.number), head.sequence(), false);
      choices.push_back(study::choose(head));
    }
    print_nis(streams);
    study::print_choices(choices);
    study::write_and_report(calibration, output);
    study::write_and_report(study::regime_figure(synthetic, repetitions, choices), output);
  });
}
