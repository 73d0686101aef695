// What does one memory do to another, and when does a covariance help or hurt? Runs the layers on
// streams of one or two keys and draws their errors over the closed forms of
// docs/retrieval-dynamics.md.
#include <string>

#include "../support/collision.hpp"
#include "../support/one_key.hpp"
#include "../support/program.hpp"

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
  program::add_option(app, "--output", output, "Directory of the figures");
  program::add_option(app, "--cosine", collision.cosine, "Cosine of the two unit keys",
                      CLI::Range(0.0, 1.0));
  program::add_option(app, "--writes-a", collision.writes_a, "Writes of the old memory",
                      CLI::PositiveNumber);
  program::add_option(app, "--writes-b", collision.writes_b, "Writes of the new one, up to",
                      CLI::PositiveNumber);
  program::add_option(app, "--noise", collision.noise,
                      "Noise variance of a value; the prior variance is 1", CLI::PositiveNumber);
  program::add_option(app, "--key-dim", collision.key_dim, "Key width", CLI::Range(2, 1024));
  program::add_option(app, "--channels", collision.channels, "Value channels, each a repetition",
                      CLI::Range(2, 1000000));
  program::add_option(app, "--process-noise", one_key.process_noise,
                      "Variance that the true value of one key gains a write", CLI::PositiveNumber);
  program::add_option(app, "--change-after", one_key.change_after,
                      "Writes before its true value changes", CLI::PositiveNumber);
  program::add_option(app, "--seed", collision.seed, "Of the random draws");
  return program::run(app, "collision_study", argc, argv, [&] {
    one_key.noise = collision.noise;
    one_key.seed = collision.seed;
    study::write_and_report(study::collision_figure(collision), output);
    study::write_and_report(study::one_key_figure(one_key), output);
  });
}
