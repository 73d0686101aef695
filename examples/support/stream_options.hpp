// The options that name a recorded stream, of every program that reads one.
#pragma once

#include <string>
#include <vector>

#include "program.hpp"
#include "stream.hpp"

namespace inspect {

struct StreamOptions {
  std::string file, layer;
  std::vector<Index> heads;
  Index max_tokens = 0;

  [[nodiscard]] Stream read() const { return read_stream(file, layer, heads, max_tokens); }
};

/// Returns the file's option, which may be left out.
inline CLI::Option* add_options(CLI::App& app, StreamOptions& options) {
  CLI::Option* file = app.add_option("file", options.file, "The recorded stream");
  app.add_option("--layer,--prefix", options.layer,
                 "Prefix of the tensors, if the file holds several layers: layer3");
  app.add_option("--heads", options.heads, "These heads only: 0,2")
      ->delimiter(',')
      ->allow_extra_args(false);
  app.add_option("--max-tokens", options.max_tokens, "The first tokens only")
      ->check(CLI::PositiveNumber);
  return file;
}

}  // namespace inspect
