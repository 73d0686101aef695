#include "cases.hpp"

void seqbayes::benchmarks::add_float_other(Cases& cases) {
  constexpr int any = Eigen::Dynamic;
  add_two<float, 32, 32>(cases);
  add_two<float, 256, 256>(cases);
  add_two<float, 64, 128>(cases);
  add_two<float, 128, 64>(cases);
  for (const Index d : {32, 64, 100, 128}) add_grid<float, any, any>(cases, d, d);
  add_two<float, any, any>(cases, 256, 256);
}
