// examples/torch/distil.cpp as a user runs it, on a tiny model and a tiny text.
#ifdef DISTIL
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <string>

#include <seqbayes/adapters/torch/language_model.hpp>

#include "support/catch.hpp"

namespace distil_program_test {
namespace {

namespace fs = std::filesystem;
namespace st = seqbayes::libtorch;

struct Workplace {
  fs::path path = fs::temp_directory_path() / ("seqbayes distil " + std::to_string(::getpid()));

  Workplace() {
    fs::create_directories(path);
    torch::manual_seed(5);
    st::LanguageModelOptions options;
    options.mixer = {.hidden_size = 16, .num_heads = 2, .head_dim = 8};
    options.vocab_size = 256;
    options.intermediate_size = 16;
    st::save_language_model(st::LanguageModel(options), path / "model");
    std::ofstream text(path / "text"), words(path / "words");
    for (int i = 0; i < 1000; ++i) text << "The grass is green, says line " << i << ".\n";
    for (int i = 0; i < 120; ++i)
      words << "word" << char('a' + i % 26) << char('a' + i / 26) << '\n';
  }
  ~Workplace() { fs::remove_all(path); }

  /// The exit status; what the program said is in `said`.
  int run(const std::string& more, const std::string& starter = "") {
    const auto file = [&](const char* name) { return " \"" + (path / name).string() + "\""; };
    const int status = std::system((starter + " \"" DISTIL "\"" + file("model") + " --text" +
                                    file("text") + " --valid" + file("text") + " --words" +
                                    file("words") + " --output" + file("out") +
                                    " --steps 40 --warm-up 2 --rate 0.02 --texts 2 --length 512"
                                    " --contexts 512 768 --test-texts 2 " +
                                    more + " >" + file("said") + " 2>&1")
                                       .c_str());
    said = read("said");
    return status;
  }
  [[nodiscard]] std::string read(const fs::path& name) const {
    std::ifstream in(path / name);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  std::string said;
};

/// Bits a byte by student, of the results' first context and task.
std::map<std::string, double> bits(const std::string& csv) {
  std::map<std::string, double> found;
  const std::regex line("(\\S+),\\d+,\\d+,([0-9.]+),512,niah_single_noise,.*");
  for (auto at = std::sregex_iterator(csv.begin(), csv.end(), line); at != std::sregex_iterator();
       ++at) {
    found[(*at)[1]] = std::stod((*at)[2]);
  }
  return found;
}

TEST_CASE("distil: all students learn, are kept and come back as what they are") {
  Workplace work;
  INFO(work.said);
  REQUIRE(work.run("--threads 2") == 0);
  const std::string results = work.read("out/distil_results.csv");
  const auto found = bits(results);
  REQUIRE(found.size() == 5);
  CHECK(found.at("pretrained") > 7);  // a model that knows nothing: 8
  for (const char* student : {"control-1", "control-time-1", "dial-1", "tied-1"}) {
    CHECK(found.at(student) < found.at("pretrained") - 2);
  }
  CHECK(fs::exists(work.path / "out" / "distil.csv"));
  const auto dial = st::read_language_model(work.path / "out" / "dial-1");
  CHECK(dial->options().mixer.rule == st::Rule::bayesian);

  // Again: nothing is trained, and the same is found.
  REQUIRE(work.run("--threads 1") == 0);
  CHECK(work.said.find("steps in") == std::string::npos);
  CHECK(work.read("out/distil_results.csv") == results);

  // Trained by another number of threads: the same.
  fs::remove_all(work.path / "out" / "tied-1");
  REQUIRE(work.run("--threads 1") == 0);
  CHECK(work.said.find("tied-1: 40 steps in") != std::string::npos);
  CHECK(work.read("out/distil_results.csv") == results);
}

#ifdef MPIRUN
// Root and more processes than cores are what Open MPI has to be told of.
const std::string three =
    "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 "
    "OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_btl_vader_single_copy_mechanism=none \"" MPIRUN
    "\" -n 3";

TEST_CASE("distil: three processes learn what one does, and do it once") {
  Workplace work;
  const auto results = [&work](const std::string& students, const std::string& starter) {
    fs::remove_all(work.path / "out");
    REQUIRE(work.run("--threads 1 --students " + students, starter) == 0);
    return bits(work.read("out/distil_results.csv"));
  };
  // Of two texts a step the third process gets none.
  const auto one = results("control dial", ""), shared = results("control dial", three);
  const auto other = results("control dial --first-seed 2", "");
  INFO(work.said);
  REQUIRE(shared.size() == 2);
  for (const char* student : {"control", "dial"}) {
    const double alone = one.at(student + std::string("-1"));
    // They sum in another order, of which 40 steps make less than the last digit printed, 1e-4; of
    // other texts, 1e-2.
    CHECK(shared.at(student + std::string("-1")) == Approx(alone).margin(2.5e-4));
    CHECK(std::abs(other.at(student + std::string("-2")) - alone) > 2.5e-3);
  }
  const std::string kept = work.read("out/distil_results.csv");
  REQUIRE(work.run("--students control dial --first-seed 2", three) == 0);
  CHECK(work.said.find("steps in") == std::string::npos);
  CHECK(work.read("out/distil_results.csv") == kept);
  // As many steps everywhere, though each process takes its own time.
  CHECK(results("control-time", three).size() == 1);
}

TEST_CASE("distil: an error of one process ends all") {
  Workplace work;
  std::ofstream(work.path / "words") << "too few\n";
  CHECK(work.run("", three) != 0);
  CHECK(work.said.find("rank 0 of 3: ") != std::string::npos);
  CHECK(work.said.find("words: expected 100 words or more") != std::string::npos);
}
#endif

TEST_CASE("distil: broken input gets one clear error") {
  Workplace work;
  std::ofstream(work.path / "words") << "too few\n";
  CHECK(work.run("") != 0);
  CHECK(work.said.find("words: expected 100 words or more") != std::string::npos);
  std::ofstream(work.path / "text", std::ios::trunc).close();
  CHECK(work.run("") != 0);
  CHECK(work.said.find("text: the text is empty or cannot be read") != std::string::npos);
}

}  // namespace
}  // namespace distil_program_test
#endif
