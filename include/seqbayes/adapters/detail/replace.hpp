/// @file
/// Files that are whole at any time.
#pragma once

#include <filesystem>
#include <system_error>

namespace seqbayes::detail {

/// `write(path)` beside the file, which it then replaces. What it throws leaves the file as it was.
template <class Write>
void replace(const std::filesystem::path& file, const Write& write) {
  std::filesystem::path partial = file;
  partial += ".partial";
  try {
    write(partial);
    std::filesystem::rename(partial, file);
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove(partial, ignored);
    throw;
  }
}

}  // namespace seqbayes::detail
