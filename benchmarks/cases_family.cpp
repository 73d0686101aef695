#include "cases.hpp"

void seqbayes::benchmarks::add_family(Cases& cases) {
  constexpr int any = Eigen::Dynamic;
  add_delta_family<float, 64, 64>(cases);
  add_delta_family<float, any, any>(cases, 128, 128);
  add_delta_family<double, any, any>(cases, 64, 64);
}
