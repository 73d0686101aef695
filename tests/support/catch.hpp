// Catch2 2.13 or 3, whichever is installed. With both, Approx and `containing`, for a part of
// a text, are in the global namespace.
#pragma once

#include <string>

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
using Catch::Approx;
inline auto containing(const std::string& text) { return Catch::Matchers::ContainsSubstring(text); }
#else
#include <catch2/catch.hpp>
inline auto containing(const std::string& text) { return Catch::Matchers::Contains(text); }
#endif
