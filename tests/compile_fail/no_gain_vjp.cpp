// expect: scan_vjp has no derivatives of this covariance policy
#include <seqbayes/seqbayes.hpp>

using namespace seqbayes;

struct Half {
  static constexpr bool has_variance = false, propagates = false;
  template <class Scalar, int Dk>
  using State = Empty;
  template <class Scalar, int Dk, int Dv>
  using Options = LayerOptions<Scalar, Dk, Dv>;
  static void check_options(const auto&) {}
  static void add_inputs(InputWidths&, const auto&) {}
  static Empty initial(const auto&) { return {}; }
  static void check(Empty, const auto&) {}
  template <int Dk, class Scalar>
  static Scalar gain(const auto&, const Token<Scalar>& token, const auto&, Empty, auto& gain) {
    gain = token.key.template vector<Dk>() / Scalar(2);
    return Scalar(0);
  }
};
static_assert(CovariancePolicy<Half>);

int main() {
  const Layer<double, 4, 3, AssociativeRegression, ScalarDecay, Half> layer;
  return int(scan_vjp(layer, layer.initial_state(), Sequence<double>{}, {}).query.rows());
}
