// The figures of a report: a gnuplot script that reads the CSV files beside it and writes SVGs.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "csv.hpp"
#include "legend.hpp"

namespace inspect {

struct Figure {
  std::string name, title, caption;
};
inline const std::vector<Figure>& figures() {
  static const std::vector<Figure> list{
      {"overview", "At a glance",
       "Above left: what each filter gains over remembering nothing. The others show the head that "
       "forgets least."},
      {"gain", "Gain over time",
       "Effective gain b = k'&kappa;, the share of a surprise that a write removes at its own key; "
       "means over windows of tokens. A reset layer's gain is the &beta; it was given (DeltaNet's "
       "is "
       "GatedDeltaNet's). A propagated covariance lowers the gain where the direction of a key is "
       "already known. Layers of the latent-input family always write with |k|&sup2; and are not "
       "shown."},
      {"recall", "Recall by age",
       "At up to 64 moments the memory is asked for every key written so far: cosine between its "
       "answer and the value stored, by the age of the association. At age 0 the value has just "
       "been "
       "written. The thin dotted line answers every key with the mean value."},
      {"reliability", "Claimed against actual error",
       "Before each write a filter claims that its error is s = k'Pk + r. Tokens are sorted by "
       "that "
       "claim into eight groups, a point each; both axes are relative to the mean square of the "
       "values, the error of remembering nothing. On the diagonal the claim is honest, below it "
       "too "
       "cautious, above it too sure. &sigma;&#8320;&sup2; is fitted, so the mean is right: look at "
       "the slope. A flat curve means that the layer does not know which of its predictions are "
       "good."},
      {"evidence", "Evidence along the stream",
       "Log evidence gathered since the first token against the model's own GatedDeltaNet, per "
       "value "
       "channel: where a curve climbs, the layer predicts the values better."}};
  return list;
}

/// Assembles the gnuplot script.
class FigureScript {
 public:
  explicit FigureScript(const Results& results) : results_(results) {
    text_ << "# gnuplot figures.gp\n"
             "set datafile separator comma\n"
             "set datafile columnheaders\n"
             "set encoding utf8\n"
             "set border 3 lc rgb '#444444'\n"
             "set tics nomirror out scale 0.6 tc rgb '#222222'\n"
             "set grid lc rgb '#e6e6e6' lw 1 lt 1\n"
             "unset key\n"
             "set lmargin 9\nset rmargin 2\nset tmargin 2\nset bmargin 3.5\n"
             "set title offset 0,-0.5\nset xlabel offset 0,0.4\n"
             "of_head(h, y) = column('head') == h ? y : NaN\n"
             "of(h, name, y) = column('head') == h && strcol('layer') eq name ? y : NaN\n";
    panels("gain", Which::filters, "", "gain k'κ", [&](const Head& head) { gain(head); });
    panels("recall", Which::all, "the mean value", "cosine",
           [&](const Head& head) { recall(head); });
    panels("reliability", Which::filters, "honest", "actual, likewise",
           [&](const Head& head) { reliability(head); });
    panels("evidence", Which::filters, "", "nats a channel",
           [&](const Head& head) { evidence(head); });
    overview();
  }

  [[nodiscard]] std::string text() const { return text_.str(); }

 private:
  enum class Which { all, filters };

  [[nodiscard]] bool is_drawn(std::size_t point, Which which) const {
    return results_.grid[point].same_as.empty() &&
           (which == Which::all || results_.heads.front().runs[point].is_filter);
  }

  /// "A = B" where B coincides with A on this stream.
  [[nodiscard]] std::string label(const GridPoint& point) const {
    std::string text = point.name;
    for (const GridPoint& other : results_.grid) {
      if (other.same_as == point.name) text += " = " + other.name;
    }
    return text;
  }

  /// One panel a head, two in a row, under one legend.
  template <class Panel>
  void panels(const std::string& name, Which which, const std::string& reference,
              const std::string& y_label, Panel&& panel) {
    const int rows = static_cast<int>(results_.heads.size() + 1) / 2;
    const auto key = legend(which, reference, name == "reliability");
    const double head_height = 290, height = key.height() + head_height * rows;
    open(name, height);
    for (std::size_t i = 0; i < results_.heads.size(); ++i) {
      const auto row = static_cast<double>(i / 2);
      const Head& head = results_.heads[i].head;
      frame(i % 2 == 0 ? 0 : 0.5, (rows - 1 - row) * head_height / height, head_height / height);
      if (i == 0) text_ << key.script(height);
      text_ << fmt::format("set title 'head {}, mean decay {:.3g}'\nset ylabel \"{}\"\n",
                           head.number, head.log_decay.array().exp().mean(), y_label);
      panel(head);
    }
    text_ << "unset multiplot\nunset output\n";
  }

  void open(const std::string& name, double height) {
    text_ << fmt::format(
        "\nset terminal svg size {},{:.0f} font 'Helvetica,Arial,sans-serif,13' "
        "background '#ffffff' name '{}'\nset output '{}.svg'\nset multiplot\n",
        study::figure_width, height, name, name);
  }

  /// A panel half as wide as the figure.
  void frame(double left, double bottom, double height) {
    text_ << fmt::format(
        "\nset origin {:.4f},{:.4f}\nset size 0.5,{:.4f}\nunset logscale\nset autoscale\n"
        "set xtics autofreq\nset ytics autofreq\nunset arrow\nunset label\n",
        left, bottom, height);
  }

  /// Of the layers drawn and, unless it has no name, of the reference.
  [[nodiscard]] study::Legend legend(Which which, const std::string& reference,
                                     bool with_markers) const {
    std::vector<study::Style> entries;
    for (std::size_t i = 0; i < results_.grid.size(); ++i) {
      if (!is_drawn(i, which)) continue;
      const GridPoint& point = results_.grid[i];
      const bool marked = with_markers && is_drawn(i, Which::filters);
      entries.push_back(
          {label(point), point.colour, point.dash, marked ? marker(point) : 0, point.width});
    }
    if (!reference.empty()) entries.push_back({reference, "#222222", "(2,3)", 0, 1.2});
    return study::Legend(std::move(entries));
  }

  static constexpr const char* reference_style = "lc rgb '#222222' lw 1.2 dt (2,3)";

  static std::string style(const GridPoint& point) {
    return fmt::format("lc rgb '{}' lw {} dt {}", point.colour, point.width, point.dash);
  }
  static int marker(const GridPoint& point) { return point.dash == "solid" ? 7 : 6; }

  /// Plots `data(point)`, which ends in how it is drawn, for each layer; then `more`.
  template <class Data>
  void plot(Which which, const std::string& more, Data&& data) {
    text_ << "plot ";
    for (std::size_t i = 0; i < results_.grid.size(); ++i) {
      if (!is_drawn(i, which)) continue;
      const GridPoint& point = results_.grid[i];
      text_ << fmt::format("{} {}, \\\n     ", data(point), style(point));
    }
    text_ << (more.empty() ? "NaN" : more) << "\n";
  }

  void gain(const Head& head) {
    const Index windows = std::min<Index>(32, head.length() / 4);
    text_ << fmt::format("set xlabel 'token'\nset xrange [0:{}]\nset yrange [0:1.02]\n",
                         head.length());
    plot(Which::filters, "", [&](const GridPoint& point) {
      return fmt::format(
          "'gain.csv' using 'token':(of_head({}, column('{}'))) bins={} binvalue=avg with lines",
          head.number, point.name, windows);
    });
  }

  void recall(const Head& head) {
    text_ << "set xlabel 'age of the association, tokens'\nset yrange [0:1.02]\nset logscale x\n"
             "set xtics ('0' 0.5, '1' 1, '3' 3, '10' 10, '30' 30, '100' 100, '300' 300, "
             "'1000' 1000, '3000' 3000, '10000' 10000)\n"
          << fmt::format("set xrange [0.4:{}]\n", head.length());
    const auto line = [&](const std::string& name) {
      return fmt::format(
          "'recall.csv' using (column('lag') < 1 ? 0.5 : column('lag')):(of({}, '{}', "
          "column('cosine'))) with lines",
          head.number, name);
    };
    plot(Which::all, line("(mean value)") + " " + reference_style,
         [&](const GridPoint& point) { return line(point.name); });
  }

  void reliability(const Head& head) {
    text_ << "set xlabel 'claimed error, relative to no memory'\nset logscale xy\n"
             "set autoscale xfix\nset autoscale yfix\n";
    for (const char axis : {'x', 'y'}) {
      text_ << fmt::format("set {}tics (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)\n", axis);
    }
    plot(Which::filters, fmt::format("x with lines {}", reference_style),
         [&](const GridPoint& point) {
           const auto relative = [](const char* name) {
             return fmt::format("column('{}') / column('mean_square_value')", name);
           };
           return fmt::format(
               "'reliability.csv' using ({}):(of({}, '{}', {})) with linespoints pt {} ps 0.5",
               relative("claimed"), head.number, point.name, relative("actual"), marker(point));
         });
  }

  void evidence(const Head& head) {
    text_ << fmt::format("set xlabel 'token'\nset xrange [0:{}]\n", head.length());
    plot(Which::filters, "", [&](const GridPoint& point) {
      return fmt::format(
          "'evidence.csv' using 'token':(of_head({}, column('{}'))) bins=128 binvalue=avg with "
          "lines",
          head.number, point.name);
    });
  }

  /// Evidence of all heads, and the other views of the head that forgets least.
  void overview() {
    const auto slowest = std::ranges::max_element(results_.heads, {}, [](const HeadRuns& head) {
      return head.head.log_decay.array().exp().mean();
    });
    const Head& head = slowest->head;
    const auto key = legend(Which::all, "no memory; mean value; honest", true);
    const double panel_height = 300, height = key.height() + 2 * panel_height;
    const double upper = panel_height / height;
    const auto panel = [&](double left, double bottom, const std::string& title,
                           const std::string& y_label) {
      frame(left, bottom, upper);
      text_ << fmt::format("set title '{}'\nset ylabel \"{}\"\n", title, y_label);
    };
    open("overview", height);
    panel(0, upper, "log evidence above no memory, all heads", "nats a value");
    text_ << key.script(height);
    text_ << fmt::format("set xlabel 'head'\nset xrange [{}:{}]\nset xtics 1\n",
                         static_cast<double>(results_.heads.front().head.number) - 0.5,
                         static_cast<double>(results_.heads.back().head.number) + 0.5);
    plot(Which::filters, fmt::format("0 with lines {}", reference_style),
         [&](const GridPoint& point) {
           const auto i = static_cast<double>(results_.index_of(point.name));
           const auto shift = 0.8 * (i / static_cast<double>(results_.grid.size() - 1) - 0.5);
           return fmt::format(
               "'summary.csv' using (column('head') + {:.2f}):(strcol('layer') eq '{}' ? "
               "column('above_no_memory') : NaN) with points pt {} ps 0.8",
               shift, point.name, marker(point));
         });
    panel(0.5, upper, fmt::format("head {}: gain over time", head.number), "gain k'κ");
    gain(head);
    panel(0, 0, fmt::format("head {}: recall by age", head.number), "cosine");
    recall(head);
    panel(0.5, 0, fmt::format("head {}: claimed against actual error", head.number),
          "actual, likewise");
    reliability(head);
    text_ << "unset multiplot\nunset output\n";
  }

  const Results& results_;
  std::ostringstream text_;
};

/// A path as one word of a shell command.
inline std::string shell_word(const std::string& text) {
  std::string word = "'";
  for (const char c : text) word += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return word + "'";
}

/// Writes figures.gp and runs it. Returns whether the SVGs are there.
inline bool draw(const Results& results, const std::filesystem::path& directory) {
  std::ofstream(directory / "figures.gp") << FigureScript(results).text();
  if (std::system("command -v gnuplot >/dev/null 2>&1") != 0) return false;
  return std::system(
             fmt::format("cd {} && gnuplot figures.gp", shell_word(directory.string())).c_str()) ==
         0;
}

}  // namespace inspect
