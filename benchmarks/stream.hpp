// Random input, made field by field as layers ask for it, and room for the output: shared by all
// layers, so that the caches hold the same for each.
#pragma once

#include <map>
#include <memory>
#include <random>
#include <seqbayes/seqbayes.hpp>
#include <string_view>
#include <tuple>

namespace seqbayes::benchmarks {

/// T tokens of each field, at each width asked for. Keys have unit norm, noises and decays are
/// moderate, so that nothing overflows, vanishes or is denormal however long a scan is.
template <class Scalar>
class Stream {
 public:
  explicit Stream(Index length) : length_(length) {}

  /// The fields that `inputs` names, those of one entry or Dk at one entry. Optional ones stay
  /// empty.
  Sequence<Scalar> sequence(const InputWidths& inputs) {
    Sequence<Scalar> x;
    for_each_field(
        [&](std::string_view name, Domain domain, const InputWidth& input, auto& made, auto& view) {
          if (input.width == 0 || input.may_be_empty) return;
          Matrix<Scalar>& entries = made[input.or_one ? 1 : input.width];
          if (entries.size() == 0) {
            entries.resize(length_, input.or_one ? 1 : input.width);
            fill(name, domain, entries);
          }
          view = entries;
        },
        inputs, made_, x);
    return x;
  }

  Workspace<Scalar> workspace;
  Output<Scalar> output;           ///< Of filters.
  MeanOutput<Scalar> mean_output;  ///< Of other layers, and where the mean alone is asked for.

 private:
  void fill(std::string_view name, Domain domain, Matrix<Scalar>& entries) {
    std::uniform_real_distribution<Scalar> uniform(0, 1);
    const bool any_sign = domain == Domain::finite;
    for (Scalar& entry : entries.reshaped()) {
      entry = any_sign ? 2 * uniform(random_) - 1 : uniform(random_);
    }
    if (domain == Domain::log_decay) entries *= Scalar(-0.03);
    if (domain == Domain::positive) entries.array() += Scalar(0.1);
    if (name == "process_noise") entries *= Scalar(0.01);
    if (any_sign && name != "value") entries.rowwise().normalize();
    if (name == "erase_write") entries *= Scalar(0.5);  // DPLR has to contract
  }

  Index length_;
  std::minstd_rand random_{1};
  Fields<std::map<Index, Matrix<Scalar>>> made_;
};

/// The stream of this length, for as long as somebody holds it.
template <class Scalar>
std::shared_ptr<Stream<Scalar>> shared_stream(Index length) {
  static std::map<Index, std::weak_ptr<Stream<Scalar>>> streams;
  auto stream = streams[length].lock();
  if (!stream) streams[length] = stream = std::make_shared<Stream<Scalar>>(length);
  return stream;
}

}  // namespace seqbayes::benchmarks
