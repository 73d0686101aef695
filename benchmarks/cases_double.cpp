#include "cases.hpp"

void seqbayes::benchmarks::add_double(Cases& cases) {
  constexpr int any = Eigen::Dynamic;
  add_two<double, 64, 64>(cases);
  add_two<double, 128, 128>(cases);
  for (const Index d : {32, 64, 128}) add_grid<double, any, any>(cases, d, d);
}
