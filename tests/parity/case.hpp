// A golden file as a test case: its inputs, what it expects, and how far the library is from that.
#pragma once

#include <algorithm>
#include <cmath>
#include <seqbayes/sequence/sequence.hpp>
#include <set>
#include <sstream>

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
  [[nodiscard]] bool has_initial_state() const { return start_.empty(); }
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
    for (const std::string& name : outputs_) {
      if (!compared_.contains(name)) throw Error("output \"" + name + "\" was not compared");
    }
    return worst_;
  }

  Tensors<Scalar> inputs;

 private:
  /// An output without a twin for the run without initial state is the same in both runs. "_f64"
  /// are the float64 numbers beside those of 50 digits.
  template <class Actual, class Slice>
  void compare(const std::string& name, const Actual& actual, Slice slice) {
    const bool twin = expected_.has(name + start_);
    observe(twin ? name + start_ : name, actual, slice);
    if (expected_.has(name + "_f64")) observe(name + "_f64", actual, slice);
  }

  template <class Actual, class Slice>
  void observe(const std::string& name, const Actual& actual, Slice slice) {
    const MatrixView<double> expected = slice(name);
    if (actual.rows() != expected.rows() || actual.cols() != expected.cols()) {
      throw Error("output \"" + name + "\" has another shape than the library's");
    }
    double largest = 1;
    for (const double entry : expected_.at(name).values) {
      largest = std::max(largest, std::abs(entry));
    }
    compared_.insert(name);
    const auto difference = (actual.template cast<double>() - as_matrix(expected)).cwiseAbs();
    for (Index i = 0; i < difference.rows(); ++i) {
      for (Index j = 0; j < difference.cols(); ++j) {
        worst_.raise(difference(i, j) / largest, name, form_);
      }
    }
  }

  std::map<std::string, std::string> metadata_;
  Tensors<double> expected_;
  Index length_;
  std::set<std::string> outputs_;
  std::set<std::string> compared_;
  std::string start_;
  std::string form_;
  Deviation worst_;
};

}  // namespace parity
