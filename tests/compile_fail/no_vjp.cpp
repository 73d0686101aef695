// expect: scan_vjp has no derivatives of this layer
#include <seqbayes/seqbayes.hpp>

struct OwnLayer : seqbayes::MesaNet<double> {
  using seqbayes::MesaNet<double>::MesaNet;
};

int main() {
  const OwnLayer layer({.key_dim = 2, .value_dim = 2});
  const auto grad =
      seqbayes::scan_vjp(layer, layer.initial_state(), seqbayes::Sequence<double>{}, {});
  return int(grad.query.rows());
}
