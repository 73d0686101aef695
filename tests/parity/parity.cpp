// seqbayes_parity DIR: runs every golden file (*.safetensors) of DIR through the library, in double
// and in float, in every execution form, and compares every output that the files store. One line a
// file: the largest deviations, and beside them that of a plain float64 recursion where the file
// stores one next to outputs of more digits. Exit status: 0 if nothing failed, 1 if something did,
// 2 if there was nothing to compare.
#include <algorithm>
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

#include "report.hpp"

namespace {

using parity::Deviation;
using std::filesystem::path;

constexpr int name_width = 54;

enum class Verdict { pass, fail, unsupported };

std::vector<path> golden_files(const path& folder) {
  if (!is_directory(folder)) throw std::runtime_error(folder.string() + " is not a folder");
  std::vector<path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path());
  }
  if (files.empty()) {
    throw std::runtime_error(folder.string() + " has no golden files (*.safetensors)");
  }
  std::sort(files.begin(), files.end());
  return files;
}

void print(double deviation) {
  std::cout << std::setw(10) << std::setprecision(1) << std::scientific << deviation;
}

void print_failure(const Deviation& deviation, const char* scalar) {
  if (deviation.passed()) return;
  std::cout << "  [" << scalar << ": " << deviation.where << ", bound " << deviation.bound << ']';
}

Verdict check(const path& name) {
  std::cout << std::left << std::setw(name_width) << name.stem().string() << std::right;
  try {
    const auto file = seqbayes::safetensors::File::read(name);
    const auto in_double = parity::check<double>(file);
    const auto in_float = parity::check<float>(file);
    if (!in_double || !in_float) {
      std::cout << "  unsupported: this program has no operator \"" << file.metadata().at("op")
                << "\"\n";
      return Verdict::unsupported;
    }
    const bool passed = in_double->passed() && in_float->passed();
    print(in_double->size);
    print(in_float->size);
    if (in_double->recursion) {
      print(*in_double->recursion);
    } else {
      std::cout << std::setw(10) << '-';
    }
    std::cout << (passed ? "  pass" : "  FAIL");
    print_failure(*in_double, "double");
    print_failure(*in_float, "float");
    std::cout << '\n';
    return passed ? Verdict::pass : Verdict::fail;
  } catch (const std::exception& error) {
    std::cout << "  FAIL: " << error.what() << '\n';
    return Verdict::fail;
  }
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 2) {
    std::cerr << "usage: seqbayes_parity DIR\n";
    return 2;
  }
  const std::vector<path> files = golden_files(argv[1]);
  int count[3] = {};
  std::cout << std::left << std::setw(name_width) << "largest deviation" << std::right
            << std::setw(10) << "double" << std::setw(10) << "float" << std::setw(10) << "plain"
            << '\n';
  for (const path& file : files) ++count[static_cast<int>(check(file))];
  std::cout << count[0] << " passed, " << count[1] << " failed, " << count[2] << " unsupported\n";
  return count[1] == 0 ? 0 : 1;
} catch (const std::exception& error) {
  std::cerr << "seqbayes_parity: " << error.what() << '\n';
  return 2;
}
