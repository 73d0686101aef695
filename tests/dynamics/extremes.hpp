// Closed forms at extreme arguments: in double, against the same form in 100 digits, whose
// exponents have no end. That shows what double loses: cancellation, overflow, 0 / 0. That the
// forms are right is for the other tests, against runs and sums.
#pragma once

#include <support/catch.hpp>

#include <algorithm>
#include <boost/multiprecision/cpp_bin_float.hpp>
#include <cmath>
#include <iomanip>
#include <limits>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <seqbayes/dynamics/geometric.hpp>

namespace dynamics_test {

using Digits100 = boost::multiprecision::number<boost::multiprecision::cpp_bin_float<100>,
                                                boost::multiprecision::et_off>;
using Counts = std::vector<seqbayes::dynamics::Count>;
template <class T>
using List = std::vector<T>;

/// All choices of one entry of each list.
template <class T>
List<List<T>> product(const List<List<T>>& lists) {
  List<List<T>> all{{}};
  for (const List<T>& list : lists) {
    List<List<T>> longer;
    for (const auto& begun : all) {
      for (const T& entry : list) {
        longer.push_back(begun);
        longer.back().push_back(entry);
      }
    }
    all = std::move(longer);
  }
  return all;
}

/// How far double is off, in units of what it may be off, and where that is worst.
struct Worst {
  double ratio = 0;
  std::string where = "nowhere";
};

/// Compares f(x, n) in double with 100 digits. Each number may be off by `units` + `units` / 8
/// times its condition number in rounding units; the condition number is the sum of |d ln f / d ln
/// x_i|, by differences in 100 digits. Below 1e-300 double runs out of exponents, above 1e300
/// anything as large will do. Returns how many numbers there are.
template <class F>
std::size_t compare(const F& f, const List<double>& x, const Counts& n, double units,
                    Worst& worst) {
  const Digits100 step = ldexp(Digits100(1), -110), least("1e-300"), most("1e300");
  const List<double> got = f(x, n);
  if (got.empty()) return 0;
  List<Digits100> wide(x.begin(), x.end());
  const List<Digits100> want = f(wide, n);
  List<Digits100> condition(want.size(), Digits100(0));
  for (Digits100& argument : wide) {
    const Digits100 here = std::exchange(argument, argument * (1 - step));
    const List<Digits100> beside = f(wide, n);
    argument = here;
    for (std::size_t i = 0; i < std::min(want.size(), beside.size()); ++i) {
      condition[i] += abs(Digits100(beside[i] - want[i])) / step;
    }
  }
  for (std::size_t i = 0; i < want.size(); ++i) {
    const Digits100 size = abs(want[i]);
    if (size > most && std::abs(got[i]) > 1e299) continue;
    const Digits100 allowed =
        units * std::numeric_limits<double>::epsilon() / 2 * (size + condition[i] / 8) + least;
    const double ratio = std::isfinite(got[i]) ? double(abs(Digits100(got[i] - want[i])) / allowed)
                                               : std::numeric_limits<double>::infinity();
    if (ratio <= worst.ratio) continue;
    std::ostringstream text;
    text << std::setprecision(17) << "number " << i << " is " << got[i] << ", exactly "
         << want[i].str(17) << ", condition " << double(condition[i] / size) << ", at";
    for (const double entry : x) text << ' ' << entry;
    for (const auto count : n) text << ' ' << count;
    worst = {ratio, text.str()};
  }
  return want.size();
}

/// Compares f(x, n), a list of numbers, in all choices of x and n or, where these are many, some
/// 400 spread over them. `f` may return none for what is out of its domain.
template <class F>
void check_extremes(const List<List<double>>& x_lists, const List<Counts>& n_lists, const F& f,
                    double units = 64) {
  const auto all_n = product(n_lists);
  const auto all_x = product(x_lists);
  const std::size_t size = all_n.size() * all_x.size(), most = 400;
  // Steps that share no factor with the sizes of lists, if these have none beyond 7: no repetition.
  const std::size_t stride = size <= most ? 1 : 210 * (3 * size / most) + 1;
  Worst worst;
  std::size_t compared = 0;
  for (std::size_t i = 0; i < std::min(size, most); ++i) {
    const std::size_t chosen = i * stride % size;
    compared +=
        compare(f, all_x[chosen % all_x.size()], all_n[chosen / all_x.size()], units, worst);
  }
  INFO(worst.where);
  CHECK(worst.ratio <= 1);
  CHECK(compared > 0);
}

/// [0, 1], with its ends and their neighbourhoods.
inline const List<double> shares{0, 1e-300, 1e-17, 1e-9, 0.3, 0.97, 1 - 1e-9, 1 - 0x1p-53, 1};
/// Positive numbers of all sizes, and those with 0.
inline const List<double> positive{1e-270, 1e-150, 1e-17, 1e-6, 0.3, 7, 1e8, 1e20, 1e150, 1e270};
inline const List<double> levels{0, 1e-270, 1e-17, 1e-4, 0.7, 1, 1e6, 1e17, 1e270};
inline const Counts counts{0, 1, 2, 3, 10, 1000, 1000000000};
inline const Counts from_one{1, 2, 3, 10, 1000, 1000000000};

}  // namespace dynamics_test
