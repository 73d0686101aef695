// What users fill in may be named in part, without a compiler's complaint: tests are compiled with
// -Wextra, in which g++ warns of members that have no initializer.
#include <seqbayes/segments/scan.hpp>
#include <seqbayes/seqbayes.hpp>

#include <support/catch.hpp>

TEST_CASE("Aggregates may be filled in by name, member by member") {
  using Filter = seqbayes::BayesianLayer<double>;
  const seqbayes::Matrix<double> some = seqbayes::Matrix<double>::Ones(4, 3);

  const seqbayes::Sequence<double> x{.key = some};
  CHECK(x.key.rows() == 4);
  CHECK(x.query.rows() == 0);
  const seqbayes::Cotangent<Filter> by_mean{.mean = some};
  CHECK(by_mean.mean.rows() == 4);
  CHECK(by_mean.log_evidence == 0);
  const seqbayes::Cotangent<Filter> by_evidence{.log_evidence = 2};
  CHECK(by_evidence.mean.rows() == 0);
  CHECK(by_evidence.variance.size() == 0);
  CHECK_FALSE(by_evidence.state);
  const Filter::Options options{.prior_variance = 2};
  CHECK(options.key_dim == 0);
  const seqbayes::PreconditionedGatedDeltaNet<double>::Options preconditioned{.value_dim = 3};
  CHECK(preconditioned.key_dim == 0);
  const seqbayes::MesaNet<double>::Options mesa{.value_dim = 3};
  CHECK(mesa.key_dim == 0);
  const seqbayes::KalmanLinearAttention<double>::Options kla{.value_dim = 3};
  CHECK(kla.key_dim == 0);
  const Filter filter({.key_dim = 2, .value_dim = 2});
  const seqbayes::LearnedNoise<Filter>::Options learned{.filter = filter};
  CHECK(learned.filter.key_dim() == 2);
  const seqbayes::StudentT<Filter>::Options student{.filter = filter};
  CHECK(student.filter.key_dim() == 2);
  const seqbayes::Split split{.pieces = 2};
  CHECK(split.columns == 1);
  const Filter::State state{.mean = some};
  CHECK(state.covariance.size() == 0);
}
