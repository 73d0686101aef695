// A golden file as a test case: its inputs, what it expects, and how far the library is from that.
#pragma once

#include <algorithm>
#include <cmath>
#include <seqbayes/sequence/sequence.hpp>
#include <set>
#include <sstream>
#include <string_view>

#include "report.hpp"
#include "tensors.hpp"

namespace parity {

template <class Scalar>
class Case {
 public:
  explicit Case(const File& file)
      : inputs(file), metadata_(file.metadata()), expected_(file), length_(count("T")) {
    std::istringstream names(text("outputs"));
    for (std::string name; std::getline(names, name, ',');) outputs_.insert(name);
    if (metadata_.contains("has_initial_state")) {
      const std::string stored = text("has_initial_state");
      if (stored != "true" && stored != "false") {
        throw Error("metadata \"has_initial_state\" is neither true nor false");
      }
      stored_state_ = stored == "true";
    }
  }

  [[nodiscard]] Index length() const { return length_; }
  [[nodiscard]] Index heads() const { return count("H"); }
  [[nodiscard]] Index key_dim() const { return count("dk"); }
  [[nodiscard]] Index value_dim() const { return count("dv"); }

  [[nodiscard]] std::string text(const std::string& name) const {
    const auto found = metadata_.find(name);
    if (found == metadata_.end()) throw Error("there is no metadata \"" + name + '"');
    return found->second;
  }
  [[nodiscard]] double number(const std::string& name) const {
    std::istringstream stream(text(name));
    double value = 0;
    if (!(stream >> value)) throw Error("metadata \"" + name + "\" is not a number");
    return value;
  }

  [[nodiscard]] Index count(const std::string& name) const {
    const double value = number(name);
    if (!(value >= 1 && value <= 1e6 && value == std::floor(value))) {
      throw Error("metadata \"" + name + "\" is not a count");
    }
    return Index(value);
  }

  /// The fields that have one name in all golden files.
  [[nodiscard]] seqbayes::Sequence<Scalar> sequence(Index h) const {
    seqbayes::Sequence<Scalar> x;
    const auto view = [&](const char* name, MatrixView<Scalar>& field) {
      if (inputs.has(name)) field = inputs.tokens(name, h);
    };
    view("q", x.query);
    view("k", x.key);
    view("v", x.value);
    view("g", x.log_decay);
    view("beta", x.write_strength);
    view("omega", x.process_noise);
    view("r", x.observation_noise);
    return x;
  }

  /// The query that layers take is scaled already.
  void scale_query() {
    const auto scale = static_cast<Scalar>(number("scale"));
    for (Scalar& entry : inputs.at("q").values) entry *= scale;
  }

  /// What is compared from here on: the run from the stored state (start "") or without one
  /// ("_zero_init") ...
  void begin(const std::string& start) { start_ = start; }
  /// ... in the execution form of that name.
  void begin_form(const std::string& form) { form_ = form; }
  /// Whether that run starts from a stored state: a file that has none has one run, named "".
  [[nodiscard]] bool has_initial_state() const { return start_.empty() && stored_state_; }
  [[nodiscard]] bool expects(const std::string& name) const { return outputs_.contains(name); }

  /// All tokens of head h with the [T, H, ...] output `name`.
  template <class Actual>
  void compare_tokens(const std::string& name, Index h, const Actual& actual) {
    compare(name, actual, [&](const auto& used) { return expected_.tokens(used, h); });
  }
  /// Token t of head h.
  template <class Actual>
  void compare_token(const std::string& name, Index h, Index t, const Actual& actual) {
    compare(name, actual, [&](const auto& used) {
      const MatrixView<double> all = expected_.tokens(used, h);
      return t < all.rows() ? all.rows(t, 1) : MatrixView<double>();
    });
  }
  /// Head h with the [H, ...] output `name`.
  template <class Actual>
  void compare_head(const std::string& name, Index h, const Actual& actual) {
    compare(name, actual, [&](const auto& used) { return expected_.head(used, h); });
  }

  /// The largest deviation. An output of the file that was never compared is an error.
  [[nodiscard]] Deviation worst() const {
    if (compared_.empty()) throw Error("no output of the file was compared");
    Deviation worst = worst_;
    for (const std::string& name : outputs_) {
      if (name.ends_with(recursion)) {
        raise_recursion(worst, name);
      } else if (!compared_.contains(name)) {
        throw Error("output \"" + name + "\" was not compared");
      }
    }
    return worst;
  }

  Tensors<Scalar> inputs;

 private:
  /// An output without a twin for the run without initial state is the same in both runs.
  template <class Actual, class Slice>
  void compare(const std::string& name, const Actual& actual, Slice slice) {
    const bool twin = expected_.has(name + start_);
    observe(twin ? name + start_ : name, actual, slice);
  }

  /// Outputs of this suffix are what a plain float64 recursion makes of those without, which have
  /// been evaluated with more digits: no aim of the library's, but what its deviation is beside.
  static constexpr std::string_view recursion = "_f64";

  void raise_recursion(Deviation& worst, const std::string& name) const {
    const std::string reference = name.substr(0, name.size() - recursion.size());
    if (!compared_.contains(reference))
      throw Error("output \"" + reference + "\" was not compared");
    const auto& plain = expected_.at(name).values;
    const auto& exact = expected_.at(reference).values;
    if (plain.size() != exact.size()) {
      throw Error("output \"" + name + "\" has another shape than \"" + reference + '"');
    }
    const double scale = largest(reference);
    for (std::size_t i = 0; i < plain.size(); ++i) {
      worst.raise_recursion(std::abs(plain[i] - exact[i]) / scale);
    }
  }

  /// max(1, max |expected|)
  double largest(const std::string& name) const {
    double largest = 1;
    for (const double entry : expected_.at(name).values) {
      largest = std::max(largest, std::abs(entry));
    }
    return largest;
  }

  template <class Actual, class Slice>
  void observe(const std::string& name, const Actual& actual, Slice slice) {
    const MatrixView<double> expected = slice(name);
    if (actual.rows() != expected.rows() || actual.cols() != expected.cols()) {
      throw Error("output \"" + name + "\" has another shape than the library's");
    }
    const double scale = largest(name);
    compared_.insert(name);
    const auto difference = (actual.template cast<double>() - as_matrix(expected)).cwiseAbs();
    for (Index i = 0; i < difference.rows(); ++i) {
      for (Index j = 0; j < difference.cols(); ++j) {
        worst_.raise(difference(i, j) / scale, name, form_);
      }
    }
  }

  std::map<std::string, std::string> metadata_;
  Tensors<double> expected_;
  Index length_;
  std::set<std::string> outputs_;
  bool stored_state_ = true;
  std::set<std::string> compared_;
  std::string start_;
  std::string form_;
  Deviation worst_;
};

}  // namespace parity
