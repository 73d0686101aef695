// report.html: the numbers and figures of a stream in one file that needs no other.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "figures.hpp"

namespace inspect {

inline std::string escape(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out += c;
    }
  }
  return out;
}

/// The <svg> element of a figure. gnuplot gives the same ids to the symbols of every file, so they
/// get the figure's name in front: ids are unique in the report.
inline std::string read_svg(const std::filesystem::path& directory, const std::string& name) {
  std::ifstream in(directory / (name + ".svg"));
  std::string text{std::istreambuf_iterator<char>(in), {}};
  text.erase(0, std::min(text.find("<svg"), text.size()));
  for (const std::string before : {"id='", "id=\"", "href='#"}) {
    for (auto at = text.find(before); at != text.npos; at = text.find(before, at)) {
      at += before.size();
      text.insert(at, name + "_");
    }
  }
  return text;
}

inline constexpr const char* report_style = R"(
body { font: 15px/1.5 Helvetica, Arial, sans-serif; color: #222; background: #fff;
       max-width: 980px; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; font-size: 13px; margin: 0.5em 0 1.5em; }
th, td { padding: 2px 9px; text-align: right; border-bottom: 1px solid #e4e4e4; }
th:first-child, td:first-child { text-align: left; }
th { border-bottom: 1px solid #888; }
tr.best td { font-weight: bold; }
svg { max-width: 100%; height: auto; }
p.caption, .note { color: #555; font-size: 13.5px; })";

inline std::string head_table(const Results& results, const HeadRuns& head) {
  const std::size_t best = winner(head);
  const double nothing = memoryless_evidence(head.head);
  std::string html =
      "<table><tr><th>layer<th>log evidence<th>above no memory<th>NIS, half 2<th>mean gain";
  for (const LagRange& range : lag_ranges) html += fmt::format("<th>recall {}", range.name);
  html +=
      "<th>&sigma;&#8320;&sup2;<th>&omega; / &sigma;&#8320;&sup2;<th>noise scale<th>&rho;</tr>\n";
  for (std::size_t i = 0; i < head.runs.size(); ++i) {
    const Run& run = head.runs[i];
    const Dials dials = run.fit.dials();
    const GridPoint& point = results.grid[i];
    html += fmt::format("<tr{}><td>{}", i == best ? " class=best" : "", escape(point.name));
    const double evidence = evidence_per_value(head.head, run);
    html += run.is_filter ? fmt::format("<td>{:.4f}<td>{:+.4f}<td>{:.2f}", evidence,
                                        evidence - nothing, run.held_out_nis)
                          : "<td>-<td>-<td>-";
    html += fmt::format("<td>{:.3f}", run.trace.gain.mean());
    for (const LagRange& range : lag_ranges) {
      html += fmt::format("<td>{:.2f}", merge(run.trace.recall, range.first, range.last).cosine());
    }
    html += run.is_filter ? fmt::format("<td>{:.2g}", dials.prior_variance) : "<td>-";
    html += run.fit.has_noise
                ? fmt::format("<td>{:.2g}<td>{:.2g}", dials.process_noise, dials.noise_scale)
                : "<td>-<td>-";
    html += run.fit.has_rho ? fmt::format("<td>{:.2g}", dials.rho) : "<td>-";
    html += "</tr>\n";
  }
  return html + "</table>\n";
}

inline std::string ablation_table(const Results& results) {
  std::string html =
      "<h2>What of it matters</h2>\n<p class=caption>Log evidence in nats a value over no memory, "
      "mean "
      "over heads, dials fitted for each entry. Down: how much of the covariance is kept. Across: "
      "whether the memory decays as recorded, and whether the observation noise follows the "
      "recorded "
      "&beta; or is constant. The reset layer's gain is &beta; itself.</p>\n"
      "<table><tr><th>covariance kept";
  for (const char* column : Ablation::columns) html += fmt::format("<th>{}", column);
  for (std::size_t row = 0; row < Ablation::rows.size(); ++row) {
    html += fmt::format("</tr>\n<tr><td>{}", Ablation::rows[row]);
    for (std::size_t column = 0; column < Ablation::columns.size(); ++column) {
      const double mean = mean_ablation(results, row, column);
      html += std::isnan(mean) ? "<td>-" : fmt::format("<td>{:+.3f}", mean);
    }
  }
  return html + "</tr></table>\n";
}

inline std::string explanation(const Results& results) {
  Index floored = 0;
  for (const HeadRuns& head : results.heads) floored += head.head.floored;
  return fmt::format(
      R"html(<h2>How to read it</h2>
<p>Every layer sees the same keys, values, decays and write strengths &beta;; they were made for a
GatedDeltaNet, so it is at home here and the others are guests. Its gates were trained for what the
model outputs, not to predict values: that another layer predicts the values better does not say that
the model would be better with it. <b>Log evidence</b> is the log
density, in nats for each token and value channel, with which a filter predicts the next value
before it sees it. "No memory" draws every value from one Gaussian of the best width. A difference
of 0.1 is 10 % more density for each of the {} values of a head. Layers of the latent-input family
(LinearAttention to GatedLinearAttention) predict nothing about the next value, so they have no
evidence to compare.</p>
<p><b>Dials.</b> A recorded stream has no noise variances, so they are fitted for each head by
maximising the evidence (<code>seqbayes::dynamics::fit_noise</code>). The write strength fixes the shape of the observation noise,
r = scale &times; &sigma;&#8320;&sup2; (1 &minus; &beta;|k|&sup2;) / &beta;; the scale is a dial because
nothing says that &beta; was trained as a gain of this filter. Reset layers take &beta; as it is and
have &sigma;&#8320;&sup2; alone. A filter needs 0 &lt; &beta;|k|&sup2; &lt; 1: &beta; is kept within
[10<sup>-6</sup>, 0.999 / |k|&sup2;], which changed {} tokens here.
One to four dials a head are few beside {} values, but they are fitted on the same values: the column
"NIS, half 2" is not.</p>
<p><b>NIS</b> is the mean of squared innovation over claimed variance, |&nu;|&sup2; / (s d<sub>v</sub>),
on the second half of the stream with dials fitted on the first: 1 is honest, less is too cautious,
more is too sure. <b>Recall</b> is the cosine between a stored value and what the memory answers to
its key 1 to 7, 8 to 63, and 64 or more tokens later. The dials were chosen to predict, not to recall:
a filter may buy predictions of the near future with what it keeps of the past.</p>
<p><b>Rows.</b> "BayesianLayer (rho)" blends full propagation (&rho; = 0) into the reset layer
(&rho; = 1), so on the stream it is fitted to it can't do worse than BayesianLayer or GatedDeltaNet.
"BayesianLayer (no gates)" ignores what the model says about time: no decay, and the same observation
noise for every value. The table "What of it matters" has the steps between. With a scalar decay
GatedLinearAttention is Ssd and KimiDeltaAttention is GatedDeltaNet. Retention uses the mean of the
decays as its constant one.</p>
)html",
      results.heads.front().head.value.size(), floored, results.heads.front().head.value.size());
}

inline void write_report(const Results& results, const std::filesystem::path& directory,
                         bool with_figures) {
  const Stream& stream = results.stream;
  std::ofstream out(directory / "report.html");
  out << "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      << "<title>Recorded stream</title>\n<style>" << report_style << "\n</style></head><body>\n"
      << fmt::format("<h1>{}{}</h1>\n",
                     escape(std::filesystem::path(stream.file).filename().string()),
                     stream.layer.empty() ? "" : ", " + escape(stream.layer))
      << fmt::format("<p>{} of {} tokens, {} of {} heads, key width {}, value width {}. {}</p>\n",
                     stream.length, stream.recorded_length, results.heads.size(),
                     stream.heads_recorded, stream.key_dim, stream.value_dim,
                     escape(results.check));
  out << "<p>Log evidence, nats a value over no memory:</p>\n<ul>\n";
  for (const std::string& line : verdicts(results)) out << "<li>" << escape(line) << "</li>\n";
  out << "</ul>\n";
  if (!with_figures) out << "<p class=note>Without figures: gnuplot was not run.</p>\n";
  for (const Figure& figure : figures()) {
    if (!with_figures) break;
    out << fmt::format("<h2>{}</h2>\n<p class=caption>{}</p>\n", figure.title, figure.caption)
        << read_svg(directory, figure.name) << "\n";
  }
  out << ablation_table(results) << "<h2>All numbers</h2>\n";
  for (const HeadRuns& head : results.heads) {
    out << fmt::format(
               "<h3>head {}</h3>\n<p class=note>mean decay {:.4g} a token, mean &beta; {:.3f}, "
               "recall of the mean value alone {:.2f}</p>\n",
               head.head.number, head.head.log_decay.array().exp().mean(),
               head.head.write_strength.mean(), mean_value_cosine(head.head))
        << head_table(results, head);
  }
  out << explanation(results);
  if (!stream.metadata.empty()) out << "<h2>Recorded with the file</h2>\n<ul class=note>\n";
  for (const auto& [key, value] : stream.metadata) {
    out << fmt::format("<li>{}: {}</li>\n", escape(key), escape(value));
  }
  out << (stream.metadata.empty() ? "" : "</ul>\n") << "</body></html>\n";
  out.close();
  if (!out) throw std::runtime_error((directory / "report.html").string() + " cannot be written");
}

}  // namespace inspect
