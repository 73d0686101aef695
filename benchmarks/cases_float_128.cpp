#include "cases.hpp"

void seqbayes::benchmarks::add_float_128(Cases& cases) { add_grid<float, 128, 128>(cases); }
