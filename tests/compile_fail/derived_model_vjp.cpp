// expect: scan_vjp has no derivatives of this design model
#include <seqbayes/seqbayes.hpp>

using namespace seqbayes;

struct Doubled : AssociativeRegression {
  template <int Dv, class Scalar>
  static auto target(const Token<Scalar>& token, const auto&) {
    return token.value.template vector<Dv>() * Scalar(2);
  }
};

int main() {
  const Layer<double, 4, 3, Doubled, ScalarDecay, ResetCovariance> layer;
  return int(scan_vjp(layer, layer.initial_state(), Sequence<double>{}, {}).query.rows());
}
