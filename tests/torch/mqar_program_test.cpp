// examples/torch/mqar.cpp as a user runs it: to the end, again, interrupted, with other settings.
#ifdef MQAR
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "support/catch.hpp"

namespace mqar_program_test {
namespace {

namespace fs = std::filesystem;

struct Directory {
  fs::path path = fs::temp_directory_path() / ("mqar " + std::to_string(::getpid()));
  ~Directory() { fs::remove_all(path); }
};

std::string text(const fs::path& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<std::string> split(const std::string& from, char at) {
  std::vector<std::string> parts;
  std::istringstream in(from);
  for (std::string part; std::getline(in, part, at);) parts.push_back(part);
  return parts;
}

std::string command(const fs::path& directory, const std::string& more) {
  return "\"" MQAR
         "\" --entrants bayesian_dial --rates 0.02 --seeds 1 --epochs 1 --width 16 "
         "--vocabulary 16 --training 16/2x6400 --tests 16/2x500 16/4x250 --output \"" +
         directory.string() + "\" " + more + " >\"" + directory.string() + ".out\" 2>&1";
}

int run(const fs::path& directory, const std::string& more = {}) {
  return std::system(command(directory, more).c_str());
}

// Starts it, waits until something is saved, and kills it.
void run_and_kill(const fs::path& directory, const fs::path& saved) {
  const std::string line = "exec " + command(directory, "--save-every 0");
  const pid_t child = ::fork();
  if (child == 0) {
    ::execl("/bin/sh", "sh", "-c", line.c_str(), nullptr);
    std::_Exit(127);
  }
  int status = 0;
  while (!fs::exists(saved) && ::waitpid(child, &status, WNOHANG) == 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  REQUIRE(::kill(child, SIGKILL) == 0);
  ::waitpid(child, &status, 0);
  CHECK(WIFSIGNALED(status));
}

// The line of the one training, cell by cell.
std::vector<std::string> training(const fs::path& directory) {
  const auto lines = split(text(directory / "mqar.csv"), '\n');
  REQUIRE(lines.size() == 3);
  return split(lines[2], ',');
}

TEST_CASE("mqar: learns, keeps what it did, goes on where it was killed") {
  const Directory work;
  const fs::path whole = work.path / "whole", killed = work.path / "killed";
  fs::create_directories(work.path);
  REQUIRE(run(whole) == 0);
  std::vector<std::string> cells = training(whole);
  REQUIRE(cells.size() == 5 + 2 * 2);
  CHECK(cells[0] == "bayesian_dial");
  CHECK(std::stod(cells[5]) > 0.5);  // chance: an eighth
  CHECK(std::stod(cells[6]) < 0.03);
  CHECK(text(work.path / "whole.out").find("Bayesian, dial") != std::string::npos);
  CHECK(text(whole / "mqar_recall.csv").find("\"Bayesian, dial\"") != std::string::npos);
  CHECK(fs::exists(whole / "mqar_recall.gp"));
  CHECK(fs::is_empty(whole / "running"));

  const std::string record = text(whole / "mqar.csv");
  REQUIRE(run(whole) == 0);
  CHECK(text(whole / "mqar.csv") == record);  // seconds, too
  CHECK(text(work.path / "whole.out").find("1/1") == std::string::npos);

  CHECK(run(whole, "--forgetting") != 0);
  CHECK(text(work.path / "whole.out")
            .find("mqar.csv: has trainings of other settings; take another directory") !=
        std::string::npos);
  CHECK(text(whole / "mqar.csv") == record);

  const fs::path saved = killed / "running" / "bayesian_dial_1_0.02.pt", aside = work.path / "pt";
  run_and_kill(killed, saved);
  CHECK(split(text(killed / "mqar.csv"), '\n').size() == 2);
  fs::copy_file(saved, aside);
  std::ofstream(saved) << "broken";
  CHECK(run(killed) != 0);
  CHECK(text(work.path / "killed.out").find(saved.string() + ": broken") != std::string::npos);
  fs::rename(aside, saved);
  REQUIRE(run(killed) == 0);
  std::vector<std::string> resumed = training(killed);
  resumed[3] = cells[3];  // seconds
  CHECK(resumed == cells);
  CHECK(fs::is_empty(killed / "running"));
}

}  // namespace
}  // namespace mqar_program_test
#endif
