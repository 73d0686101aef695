// One legend over all panels of a figure; gnuplot's own keys keep to one panel.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace study {

/// Colours are Okabe and Ito's colour-blind safe ones; markers differ as well.
struct Style {
  std::string name, colour, dash = "solid";
  int marker = 7;    ///< gnuplot's point type; 0 for none
  double width = 2;  ///< 0 for no line
};

constexpr int figure_width = 960;  ///< pixels, as all heights

class Legend {
 public:
  explicit Legend(std::vector<Style> entries) : entries_(std::move(entries)) {
    std::size_t longest = 0;
    for (const Style& entry : entries_) longest = std::max(longest, entry.name.size());
    // As many columns as keep names apart; a letter of any font takes 7.2 pixels at most.
    columns_ = longest <= 34 ? 3 : longest <= 56 ? 2 : 1;
  }

  [[nodiscard]] double height() const {
    return 18 + line_height * static_cast<double>((entries_.size() + columns_ - 1) / columns_);
  }

  /// gnuplot's commands for a figure of this height, within its first plot.
  [[nodiscard]] std::string script(double figure_height) const {
    std::string text;
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      const Style& entry = entries_[i];
      const double x = 0.05 + 0.96 * static_cast<double>(i % columns_) / double(columns_);
      const double y = 1 - (14 + line_height * static_cast<double>(i / columns_)) / figure_height;
      if (entry.width > 0) {
        text += fmt::format(
            "set arrow from screen {:.4f},{:.4f} to screen {:.4f},{:.4f} nohead lc rgb '{}' lw {} "
            "dt {}\n",
            x, y, x + 0.04, y, entry.colour, entry.width, entry.dash);
      }
      if (entry.marker > 0) {
        text += fmt::format("set label '' at screen {:.4f},{:.4f} point pt {} ps 0.7 lc rgb '{}'\n",
                            x + 0.02, y, entry.marker, entry.colour);
      }
      text +=
          fmt::format("set label \"{}\" at screen {:.4f},{:.4f} left\n", entry.name, x + 0.048, y);
    }
    return text;
  }

 private:
  static constexpr int line_height = 20;
  std::vector<Style> entries_;
  std::size_t columns_;
};

}  // namespace study
