// What does one memory do to another, and when does a covariance help or hurt? Runs the layers on
// streams of one or two keys and draws their errors over the closed forms of
// docs/retrieval-dynamics.md.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <exception>
#include <string>

#include "support/collision.hpp"
#include "support/one_key.hpp"

namespace {

constexpr const char* description =
    "How the layers write, in two studies; simulations are points, closed forms lines:\n"
    "  collision        a key is written, then another that is similar\n"
    "  helps_and_hurts  one key: a constant truth, a change, drift, a wrong prior\n"
    "Writes NAME.svg, NAME.csv and NAME.gp (the gnuplot script) of each.";

}  // namespace

int main(int argc, char** argv) {
  study::CollisionStudy collision;
  study::OneKeyStudy one_key;
  std::string output = "report";
  CLI::App app(description);
  app.footer("\nExample:\n  collision_study --output report\n  collision_study --cosine 0.95\n");
  app.add_option("--output", output, "Directory of the figures")->capture_default_str();
  app.add_option("--cosine", collision.cosine, "Cosine of the two unit keys")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--writes-a", collision.writes_a, "Writes of the old memory")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--writes-b", collision.writes_b, "Writes of the new one, up to")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--noise", collision.noise, "Noise variance of a value; the prior variance is 1")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--key-dim", collision.key_dim, "Key width")
      ->check(CLI::Range(2, 1024))
      ->capture_default_str();
  app.add_option("--channels", collision.channels, "Value channels, each a repetition")
      ->check(CLI::Range(2, 1000000))
      ->capture_default_str();
  app.add_option("--process-noise", one_key.process_noise,
                 "Variance that the true value of one key gains a write")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--change-after", one_key.change_after, "Writes before its true value changes")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--seed", collision.seed, "Of the random draws")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    one_key.noise = collision.noise;
    one_key.seed = collision.seed;
    study::write_and_report(study::collision_figure(collision), output);
    study::write_and_report(study::one_key_figure(one_key), output);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "collision_study: {}\n", error.what());
    return 1;
  }
}
