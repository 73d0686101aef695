/// @file
/// Checks a sequence once, before a layer runs over it: shapes, missing fields, domains.
#pragma once

#include <Eigen/Core>
#include <functional>
#include <limits>
#include <sstream>
#include <stdexcept>
#include <string>
#include <type_traits>

#include <seqbayes/sequence/sequence.hpp>

namespace seqbayes {
namespace detail {

/// x - x is 0 exactly for finite x, for every scalar type including autodiff ones.
template <class Scalar>
bool is_finite(const Scalar& x) {
  return Scalar(x - x) == Scalar(0);
}

/// Whether a token of this innovation variance says something of the memory and its noise.
template <class Scalar>
bool observes(const Scalar& innovation_variance) {
  return innovation_variance > Scalar(0) && is_finite(innovation_variance);
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

/// Whether all entries lie in the domain.
template <class Entries>
bool all_in_domain(const Entries& x, Domain domain) {
  using Scalar = typename Entries::Scalar;
  const auto fits = [domain](const Scalar& entry) {
    const bool finite = is_finite(entry);
    switch (domain) {
      case Domain::finite: return finite;
      case Domain::non_negative: return finite && entry >= Scalar(0);
      case Domain::positive: return finite && entry > Scalar(0);
      case Domain::log_decay: return entry <= Scalar(0);
      case Domain::log_factor: return entry <= Scalar(Eigen::NumTraits<Scalar>::highest());
    }
    return false;
  };
  for (Index i = 0; i < x.rows(); ++i) {
    for (Index j = 0; j < x.cols(); ++j) {
      if (!fits(x(i, j))) return false;
    }
  }
  return true;
}

/// Machine numbers take one vectorised pass: a sum keeps the NaN that x - x is for infinite x.
template <class Entries>
requires std::is_floating_point_v<typename Entries::Scalar>
[[gnu::flatten]] bool all_in_domain(const Entries& x, Domain domain) {
  using Scalar = typename Entries::Scalar;
  if (x.size() == 0) return true;
  const auto finite = [&x] { return (x - x).sum() == Scalar(0); };
  const auto least = [&x] { return x.template minCoeff<Eigen::PropagateNaN>(); };
  const auto most = [&x] { return x.template maxCoeff<Eigen::PropagateNaN>(); };
  switch (domain) {
    case Domain::finite: return finite();
    case Domain::non_negative: return finite() && least() >= Scalar(0);
    case Domain::positive: return finite() && least() > Scalar(0);
    case Domain::log_decay: return most() <= Scalar(0);
    case Domain::log_factor: return most() <= std::numeric_limits<Scalar>::max();
  }
  return false;
}

/// Whether all of `count` numbers are finite.
template <class Scalar>
bool all_finite(const Scalar* data, Index count) {
  return all_in_domain(Eigen::Map<const Eigen::Array<Scalar, Eigen::Dynamic, 1>>(data, count),
                       Domain::finite);
}

/// The first row with an entry outside the domain, or -1. Rows without gaps between them are one
/// pass.
template <class Scalar>
Index first_bad_row(const MatrixView<Scalar>& field, Domain domain) {
  using Entries = Eigen::Map<const Eigen::Array<Scalar, Eigen::Dynamic, 1>>;
  if (field.row_stride() == field.cols() &&
      all_in_domain(Entries(field.data(), field.rows() * field.cols()), domain)) {
    return -1;
  }
  for (Index t = 0; t < field.rows(); ++t) {
    if (!all_in_domain(Entries(field.row(t).data(), field.cols()), domain)) return t;
  }
  return -1;
}

[[noreturn]] inline void fail(const std::string& what) {
  throw std::invalid_argument("seqbayes: " + what);
}

template <class Scalar>
void check_shape(const char* name, const MatrixView<Scalar>& field, const InputWidth& input,
                 Index length) {
  if (input.width == 0) return;
  if (field.empty()) {
    if (input.may_be_empty) return;
    fail(std::string(name) + " is missing: this layer reads it, " + expected_shape(length, input));
  }
  if (field.rows() != length || !input.accepts(field.cols())) {
    fail(std::string(name) + " is " + shape(field.rows(), field.cols()) + ", expected " +
         expected_shape(length, input));
  }
}

template <class Scalar>
void check_field(const char* name, Domain domain, const MatrixView<Scalar>& field,
                 const InputWidth& input, Index length) {
  check_shape(name, field, input, length);
  if (input.width == 0) return;
  if (const Index t = first_bad_row(field, domain); t >= 0) {
    std::ostringstream text;
    text << name << " (" << shape(field.rows(), field.cols()) << ") has a bad entry in row " << t
         << ": every entry must be " << describe(domain);
    fail(text.str());
  }
}

template <class Scalar>
void check_shapes(const InputWidths& inputs, const Sequence<Scalar>& x) {
  for_each_field([&](const char* name, auto, const auto& field,
                     const InputWidth& input) { check_shape(name, field, input, x.length()); },
                 x, inputs);
}

template <class Scalar>
void check_fields(const InputWidths& inputs, const Sequence<Scalar>& x) {
  for_each_field(
      [&](const char* name, Domain domain, const auto& field, const InputWidth& input) {
        check_field(name, domain, field, input, x.length());
      },
      x, inputs);
}

/// Whether `size` entries from `data` on overlap with what a view looks at.
template <class Scalar>
bool shares_memory(const Scalar* data, Index size, const MatrixView<Scalar>& view) {
  if (size == 0 || view.empty() || view.rows() == 0) return false;
  const Scalar* end = view.row(view.rows() - 1).data() + view.cols();
  const std::less<> before;  // of any two pointers
  return before(view.data(), data + size) && before(data, end);
}

/// Refuses results in memory that the layer reads.
template <class Scalar>
void check_apart(const InputWidths& inputs, const Sequence<Scalar>& x, const char* set,
                 const char* result, const Scalar* data, Index size) {
  for_each_field(
      [&](const char* name, auto, const MatrixView<Scalar>& field, const InputWidth& input) {
        if (input.width == 0 || !shares_memory(data, size, field)) return;
        fail(std::string(set) + result + " shares memory with " + name);
      },
      x, inputs);
}

}  // namespace detail

/// Checks `x` against what `layer.inputs()` reads. The query's rows set the length T.
/// @throws std::invalid_argument naming the field, its shape and its first bad row.
template <class Layer>
void check_inputs(const Layer& layer, const Sequence<typename Layer::Scalar>& x) {
  detail::check_fields(layer.inputs(), x);
}

}  // namespace seqbayes
