// The command line of a program.
#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <exception>
#include <string>

namespace program {

/// An option whose default stands in the help.
template <class T>
void add_option(CLI::App& app, const std::string& name, T& value, const std::string& description,
                const CLI::Validator& check = {}) {
  app.add_option(name, value, description)->check(check)->capture_default_str();
}

/// Parses the arguments and does the work; the exit status. Errors are `name`'s.
template <class Work>
int run(CLI::App& app, const char* name, int argc, char** argv, const Work& work) {
  CLI11_PARSE(app, argc, argv);
  try {
    work();
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}: {}\n", name, error.what());
    return 1;
  }
}

}  // namespace program
