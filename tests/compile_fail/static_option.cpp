// expect: no known conversion
#include <seqbayes/seqbayes.hpp>

int main() {
  // Options of a layer with other static widths.
  const seqbayes::Ssd<float, 8, 3>::Options options;
  const seqbayes::Ssd<float, 4, 3> layer(options);
}
