/// @file
/// The parts of a state, one by one.
#pragma once

#include <type_traits>

#include <seqbayes/sequence/sequence.hpp>

namespace seqbayes {

/// Calls f(name, part) for each matrix or scalar of what a state consists of, as far as it is
/// known: for the state itself, or for what its member for_each_part(f) says.
template <class Scalar, class Part, class F>
void for_each_part(const char* name, const Part& part, const F& f) {
  if constexpr (requires { part.for_each_part(f); }) {
    part.for_each_part(f);
  } else if constexpr (detail::DenseExpression<Part> || std::is_same_v<Part, Scalar>) {
    f(name, part);
  }
}

namespace detail {

/// a == b, for matrices of any widths, too.
template <class Part>
bool equal(const Part& a, const Part& b) {
  if constexpr (DenseExpression<Part>) {
    return a.rows() == b.rows() && a.cols() == b.cols() && a.cwiseEqual(b).all();
  } else {
    return a == b;
  }
}

}  // namespace detail
}  // namespace seqbayes
