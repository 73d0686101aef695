// A figure of a study: closed forms as lines, simulations as points with standard errors. Written
// as NAME.csv, NAME.gp (a gnuplot script that reads the former) and, if gnuplot is there, NAME.svg.
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "legend.hpp"

namespace study {

/// `error` is the standard error of a simulated y; 0 for a prediction.
struct Point {
  double x = 0, y = 0, error = 0;
};
using Points = std::vector<Point>;

struct Curve {
  std::size_t style = 0;  ///< index into `Figure::styles`
  Points predicted, simulated;
};

struct Panel {
  std::string title, x_label, y_label;
  std::vector<Curve> curves;
  std::string options;  ///< gnuplot commands: set logscale y, set yrange [0:1], ...
};

struct Figure {
  std::string name;
  std::vector<Style> styles;
  std::vector<Panel> panels;  ///< two in a row; one alone is as wide
};

/// Mean and standard error of samples.
class Mean {
 public:
  void add(double sample) {
    ++count_;
    const double step = sample - mean_;
    mean_ += step / count_;
    squares_ += step * (sample - mean_);
  }
  [[nodiscard]] double count() const { return count_; }
  [[nodiscard]] Point at(double x) const {
    return {x, mean_, std::sqrt(squares_ / (count_ - 1) / count_)};
  }

 private:
  double count_ = 0, mean_ = 0, squares_ = 0;
};

namespace detail {

inline void write_csv(const Figure& figure, const std::filesystem::path& path) {
  std::ofstream out(path);
  out << "panel,curve,kind,x,y,standard_error,panel_title,curve_name\n";
  for (std::size_t i = 0; i < figure.panels.size(); ++i) {
    const Panel& panel = figure.panels[i];
    for (const Curve& curve : panel.curves) {
      const auto rows = [&](const char* kind, const Points& points) {
        for (const Point& point : points) {
          out << fmt::format("{},{},{},{:.8g},{:.8g},{:.3g},\"{}\",\"{}\"\n", i + 1,
                             curve.style + 1, kind, point.x, point.y, point.error, panel.title,
                             figure.styles[curve.style].name);
        }
      };
      rows("predicted", curve.predicted);
      rows("simulated", curve.simulated);
    }
  }
  out.close();
  if (!out) throw std::runtime_error(path.string() + ": the file cannot be written");
}

constexpr int panel_height = 330;

inline std::string plot(const Figure& figure, std::size_t number) {
  std::vector<std::string> drawn;
  for (const Curve& curve : figure.panels[number].curves) {
    const Style& style = figure.styles[curve.style];
    const auto of = [&](const char* kind) {
      return fmt::format(
          "'{0}.csv' using (of({1}, {2}, '{3}', column('x'))):(of({1}, {2}, '{3}', "
          "column('y')))",
          figure.name, number + 1, curve.style + 1, kind);
    };
    if (!curve.predicted.empty()) {
      drawn.push_back(fmt::format("{} with lines lc rgb '{}' lw {} dt {}", of("predicted"),
                                  style.colour, style.width, style.dash));
    }
    if (!curve.simulated.empty()) {
      drawn.push_back(fmt::format("{}:'standard_error' with yerrorbars pt {} ps 0.7 lc rgb '{}'",
                                  of("simulated"), style.marker, style.colour));
    }
  }
  return fmt::format("plot {}\n", fmt::join(drawn, ", \\\n     "));
}

inline std::string script(const Figure& figure) {
  const std::size_t columns = figure.panels.size() == 1 ? 1 : 2;
  const auto rows = static_cast<double>((figure.panels.size() + columns - 1) / columns);
  const Legend legend(figure.styles);
  const double height = legend.height() + panel_height * rows;
  std::string text = fmt::format(
      "# gnuplot {0}.gp\n"
      "set terminal svg size {1},{2:.0f} font 'Helvetica,Arial,sans-serif,13' background '#ffffff' "
      "name '{0}'\n"
      "set output '{0}.svg'\nset datafile separator comma\nset datafile columnheaders\n"
      "set encoding utf8\nset border 3 lc rgb '#444444'\n"
      "set tics nomirror out scale 0.6 tc rgb '#222222'\nset grid lc rgb '#e6e6e6' lw 1 lt 1\n"
      "of(p, c, k, y) = column('panel') == p && column('curve') == c && strcol('kind') eq k ? y : "
      "NaN\nunset key\nset lmargin 9.5\nset rmargin 2\nset tmargin 2\nset bmargin "
      "3.5\n"
      "set title offset 0,-0.5\nset xlabel offset 0,0.4\nset ylabel offset 1,0\nset bars 0\nset "
      "multiplot\n",
      figure.name, figure_width, height);
  for (std::size_t i = 0; i < figure.panels.size(); ++i) {
    const Panel& panel = figure.panels[i];
    const double row = static_cast<double>(i / columns);
    const double share = 1 / static_cast<double>(columns);
    text += fmt::format(
        "\nset origin {},{:.4f}\nset size {},{:.4f}\nunset logscale\nset autoscale\n"
        "set format y '%g'\nset ytics autofreq\n"
        "set title \"{}\"\nset xlabel \"{}\"\nset ylabel \"{}\"\n{}\n",
        share * static_cast<double>(i % columns), (rows - 1 - row) * panel_height / height, share,
        panel_height / height, panel.title, panel.x_label, panel.y_label, panel.options);
    text += i == 0 ? legend.script(height) : "unset arrow\nunset label\n";
    text += plot(figure, i);
  }
  return text + "unset multiplot\nunset output\n";
}

}  // namespace detail

/// Writes the figure's files to `directory`. Returns whether the SVG is among them.
inline bool write(const Figure& figure, const std::filesystem::path& directory) {
  std::filesystem::create_directories(directory);
  detail::write_csv(figure, directory / (figure.name + ".csv"));
  std::ofstream(directory / (figure.name + ".gp")) << detail::script(figure);
  std::string folder = "'";  // one word of a shell command
  for (const char c : directory.string()) folder += c == '\'' ? "'\\''" : std::string(1, c);
  return std::system("command -v gnuplot >/dev/null 2>&1") == 0 &&
         std::system(fmt::format("cd {}' && gnuplot '{}.gp'", folder, figure.name).c_str()) == 0;
}

/// Writes it and says where it is.
inline void write_and_report(const Figure& figure, const std::filesystem::path& directory) {
  const bool drawn = write(figure, directory);
  fmt::print("{}\n", (directory / (figure.name + (drawn ? ".svg" : ".csv"))).string());
  if (!drawn) fmt::print(stderr, "no figure {0}.svg, as gnuplot did not run\n", figure.name);
}

/// 1, 2, 3, ... thinned to about `per_decade` numbers a decade, up to `last`.
inline std::vector<int> spaced(int last, double per_decade) {
  std::vector<int> numbers;
  for (double x = 1; x <= last + 0.5; x *= std::pow(10, 1 / per_decade)) {
    const int n = static_cast<int>(std::lround(x));
    if (numbers.empty() || n > numbers.back()) numbers.push_back(n);
  }
  return numbers;
}

}  // namespace study
