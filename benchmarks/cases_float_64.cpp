#include "cases.hpp"

void seqbayes::benchmarks::add_float_64(Cases& cases) { add_grid<float, 64, 64>(cases); }
