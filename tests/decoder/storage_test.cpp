// States of decoders in 16 bits: the error of their roundings, and covariances that stay ones.
#include <Eigen/Eigenvalues>

#include <laws/layers.hpp>
#include <laws/run.hpp>

namespace laws::storage_test {
namespace {

using seqbayes::Decoder;
using Delta = seqbayes::GatedDeltaNet<float>;
using Bayes = seqbayes::BayesianLayer<float>;

template <class Layer>
Stream<float> stream_for(const Layer& layer, Index length, std::uint64_t seed = 3) {
  return draw_stream(layer.inputs(), length, seed).template as<float>();
}

/// Storage of `bits` rounds each entry by half a unit, 2^-bits of its size, at each fold. Decays of
/// at most g leave of earlier roundings a geometric sum; they add up at random or, at worst, all in
/// one direction: |error| <= unit / 2 |S| / (1 - g^m).
template <class Storage>
double error_of_storage(Index pending, double decay) {
  const Delta layer({.key_dim = 32, .value_dim = 24});
  auto x = stream_for(layer, 600);
  x.fields.log_decay.setConstant(float(std::log(decay)));
  auto state = layer.initial_state();
  Decoder<Delta, Storage> decoder(layer, state, {.pending = pending});
  double worst = 0, memory = 0;
  for (Index t = 0; t < 600; ++t) {
    layer.step(state, x.view().token(t));
    decoder.step(x.view().token(t));
    if (t % 50 != 49) continue;
    worst = std::max(worst, double((decoder.state().mean - state.mean).norm()));
    memory = std::max(memory, double(state.mean.norm()));
  }
  return worst / memory;
}

TEST_CASE("Memory in 16 bits has the error of its roundings") {
  for (const Index pending : {1, 8, 32}) {
    for (const double decay : {0.5, 0.9, 0.99}) {
      const double folds = 1 / (1 - std::pow(decay, double(pending)));
      INFO("pending " << pending << ", decay " << decay);
      const double coarse = error_of_storage<Eigen::bfloat16>(pending, decay);
      const double fine = error_of_storage<Eigen::half>(pending, decay);
      CHECK(coarse <= std::ldexp(folds, -9));
      CHECK(fine <= std::ldexp(folds, -12));
      CHECK(coarse >= 4 * fine);  // 8 times in exact proportion
      CHECK(fine >= 1e-6);        // it is stored so
    }
  }
}

TEST_CASE("A covariance in 16 bits stays positive semidefinite and no smaller than it was") {
  const Bayes layer({.key_dim = 24, .value_dim = 4});
  auto x = stream_for(layer, 400);
  x.fields.observation_noise.setConstant(0.01f);
  for (Index t = 30; t < 400; ++t) x.fields.key.row(t) = x.fields.key.row(t % 30);
  auto state = layer.initial_state();
  for (const Index pending : {1, 8}) {
    state = layer.initial_state();
    Decoder<Bayes, Eigen::bfloat16> decoder(layer, state, {.pending = pending});
    for (Index t = 0; t < 400; ++t) {
      layer.step(state, x.view().token(t));
      decoder.step(x.view().token(t));
      const Matrix<double> p = decoder.state().covariance.cast<double>();
      CHECK(p.selfadjointView<Eigen::Lower>().eigenvalues().minCoeff() >=
            -1e-6 * p.diagonal().maxCoeff());
      // Roundings only add variance, and each is of 2^-9 of 24 entries at most as large.
      const double ratio = p.trace() / double(state.covariance.trace());
      CHECK(ratio >= 1 - 1e-3);
      CHECK(ratio <= 1.6);
    }
  }
}

}  // namespace
}  // namespace laws::storage_test
