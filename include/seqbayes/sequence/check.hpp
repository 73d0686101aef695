/// @file
/// Checks a sequence once, before a layer runs over it: shapes, missing fields, domains.
#pragma once

#include <limits>
#include <sstream>
#include <stdexcept>
#include <string>

#include <seqbayes/sequence/sequence.hpp>

namespace seqbayes {
namespace detail {

/// x - x is 0 exactly for finite x, for every scalar type including autodiff ones.
template <class Scalar>
bool is_finite(const Scalar& x) {
  return Scalar(x - x) == Scalar(0);
}

template <class Scalar>
bool is_in_domain(const Scalar& x, Domain domain) {
  switch (domain) {
    case Domain::finite: return is_finite(x);
    case Domain::non_negative: return x >= Scalar(0) && is_finite(x);
    case Domain::positive: return x > Scalar(0) && is_finite(x);
    case Domain::log_decay: return x <= Scalar(0);
    case Domain::log_factor: return x <= Scalar(0) || is_finite(x);
  }
  return false;
}

inline const char* describe(Domain domain) {
  switch (domain) {
    case Domain::finite: return "finite";
    case Domain::non_negative: return "finite and >= 0";
    case Domain::positive: return "finite and > 0";
    case Domain::log_decay: return "<= 0 (minus infinity is allowed)";
    case Domain::log_factor: return "finite or minus infinity";
  }
  return "";
}

inline std::string shape(Index rows, Index cols) {
  return std::to_string(rows) + " x " + std::to_string(cols);
}

inline std::string expected_shape(Index rows, const InputWidth& input) {
  std::string text = shape(rows, input.width);
  if (input.or_one && input.width != 1) text = shape(rows, 1) + " or " + text;
  return text;
}

/// The first row with an entry outside the domain, or -1. The common case, a native type with
/// nothing wrong, is a single vectorised pass.
template <class Scalar>
Index first_bad_row(const MatrixView<Scalar>& field, Domain domain) {
  for (Index t = 0; t < field.rows(); ++t) {
    const RowView<Scalar> row = field.row(t);
    bool good = true;
    for (Index i = 0; i < row.size(); ++i) good &= is_in_domain(row[i], domain);
    if (!good) return t;
  }
  return -1;
}

[[noreturn]] inline void fail(const std::string& what) {
  throw std::invalid_argument("seqbayes: " + what);
}

template <class Scalar>
void check_field(const char* name, Domain domain, const MatrixView<Scalar>& field,
                 const InputWidth& input, Index length) {
  if (input.width == 0) return;
  if (field.empty()) {
    if (input.may_be_empty) return;
    fail(std::string(name) + " is missing: this layer reads it, " + expected_shape(length, input));
  }
  if (field.rows() != length || !input.accepts(field.cols())) {
    fail(std::string(name) + " is " + shape(field.rows(), field.cols()) + ", expected " +
         expected_shape(length, input));
  }
  if (const Index t = first_bad_row(field, domain); t >= 0) {
    std::ostringstream text;
    text << name << " (" << shape(field.rows(), field.cols()) << ") has a bad entry in row " << t
         << ": every entry must be " << describe(domain);
    fail(text.str());
  }
}

}  // namespace detail

/// Checks `x` against what `layer.inputs()` reads. The query's rows set the length T.
/// @throws std::invalid_argument naming the field, its shape and its first bad row.
template <class Layer>
void check_inputs(const Layer& layer, const Sequence<typename Layer::Scalar>& x) {
  const InputWidths inputs = layer.inputs();
  for_each_field(
      [&](const char* name, Domain domain, const auto& field, const InputWidth& input) {
        detail::check_field(name, domain, field, input, x.length());
      },
      x, inputs);
}

}  // namespace seqbayes
