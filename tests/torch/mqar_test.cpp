// examples/torch/mqar_task.hpp: what the texts are. The program itself: mqar_program_test.cpp.
#include <cmath>
#include <map>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "../../examples/torch/mqar_task.hpp"
#include "support/catch.hpp"

namespace mqar_test {
namespace {

using mqar::Batch, mqar::Kind, mqar::Random, mqar::Task;
using Numbers = std::vector<std::int64_t>;

Numbers row(const torch::Tensor& tensor, std::int64_t i) {
  const auto* first = tensor[i].data_ptr<std::int64_t>();
  return {first, first + tensor.size(1)};
}

// What a reader finds who knows the number of writes alone: each key's values, in order.
std::map<std::int64_t, Numbers> written(const Numbers& tokens, std::size_t writes) {
  std::map<std::int64_t, Numbers> values;
  for (std::size_t i = 0; i < writes; ++i) values[tokens[2 * i]].push_back(tokens[2 * i + 1]);
  return values;
}

// Checks one text; every key has been written `times` times.
void check_text(const Kind& kind, std::int64_t vocabulary, std::size_t times, const Numbers& tokens,
                const Numbers& positions, const Numbers& answers) {
  const auto writes = times * std::size_t(kind.pairs);
  const auto values = written(tokens, writes);
  std::set<std::int64_t> all_values, asked;
  REQUIRE(values.size() == std::size_t(kind.pairs));
  for (const auto& [key, of_key] : values) {
    CHECK((key >= 1 && key < vocabulary / 2));
    CHECK(of_key.size() == times);
    for (const std::int64_t value : of_key) {
      CHECK((value >= vocabulary / 2 && value < vocabulary));
      all_values.insert(value);
    }
  }
  CHECK(all_values.size() == writes);
  for (std::size_t i = 0; i < positions.size(); ++i) {
    const auto position = std::size_t(positions[i]);
    REQUIRE((position >= 2 * writes && position < tokens.size()));
    CHECK(position % 2 == 0);
    const std::int64_t key = tokens[position];
    REQUIRE(values.count(key) == 1);
    CHECK(answers[i] == values.at(key).back());
    CHECK(asked.insert(key).second);
  }
  CHECK(std::set(positions.begin(), positions.end()).size() == positions.size());
}

TEST_CASE("mqar: each key is asked for once, and its label is its value, its last if forgetting") {
  Random random(std::mt19937_64(5));
  for (const bool forgetting : {false, true}) {
    for (const Kind kind : {Kind{64, 4}, Kind{48, 8}, Kind{96, 16}}) {
      const Batch batch = Task(64, forgetting).draw(kind, 50, random);
      REQUIRE(batch.tokens.size(1) == kind.length);
      for (std::int64_t b = 0; b < 50; ++b) {
        check_text(kind, 64, forgetting ? 2 : 1, row(batch.tokens, b), row(batch.positions, b),
                   row(batch.answers, b));
      }
    }
  }
}

TEST_CASE("mqar: keys, values and fillers use all that they may, evenly") {
  Random random(std::mt19937_64(6));
  const int texts = 4000;
  const Batch batch = Task(16).draw({12, 2}, texts, random);
  std::map<std::int64_t, int> keys, values, fillers;
  for (std::int64_t b = 0; b < texts; ++b) {
    const Numbers tokens = row(batch.tokens, b), positions = row(batch.positions, b);
    const std::set<std::int64_t> asked(positions.begin(), positions.end());
    for (std::int64_t t = 0; t < 12; ++t) {
      if (asked.count(t) == 0) ++(t >= 4 ? fillers : t % 2 == 0 ? keys : values)[tokens[size_t(t)]];
    }
  }
  CHECK(keys.size() == 7);
  CHECK(values.size() == 8);
  CHECK(fillers.size() == 16);
  const auto even = [](const std::map<std::int64_t, int>& counts, double draws) {
    const double expected = draws / double(counts.size());
    for (const auto& [token, count] : counts) {
      CHECK(std::abs(count - expected) < 5 * std::sqrt(expected));
    }
  };
  even(keys, 2 * texts);
  even(values, 2 * texts);
  even(fillers, 6 * texts);
}

TEST_CASE("mqar, forgetting: all writes are in random order") {
  Random random(std::mt19937_64(7));
  const int texts = 3000;
  const Batch batch = Task(32, true).draw({12, 2}, texts, random);
  int pairwise = 0;  // a key twice in a row: of the 6 orders of a, a, b, b in 4
  for (std::int64_t b = 0; b < texts; ++b) {
    const Numbers tokens = row(batch.tokens, b);
    if (tokens[0] == tokens[2] || tokens[2] == tokens[4] || tokens[4] == tokens[6]) ++pairwise;
  }
  CHECK(pairwise == Approx(texts * 4 / 6.0).margin(5 * std::sqrt(texts * 2 / 9.0)));
}

TEST_CASE("mqar: near slots are likelier, by i^(a - 1) for the first key, a = 0.01") {
  Random random(std::mt19937_64(8));
  const int texts = 20000, slots = 12;
  const Batch batch = Task(64).draw({2 * 2 + 2 * slots, 2}, texts, random);
  std::vector<double> first(slots), second(slots), weight(slots);
  double sum = 0;
  for (int i = 0; i < slots; ++i) sum += weight[size_t(i)] = std::pow(i + 1, 0.01 - 1);
  for (double& w : weight) w /= sum;
  for (std::int64_t b = 0; b < texts; ++b) {
    const Numbers positions = row(batch.positions, b);
    ++first[size_t(positions[0] - 4) / 2];
    ++second[size_t(positions[1] - 4) / 2];
  }
  for (size_t i = 0; i < slots; ++i) {
    // Of the second: it is drawn from what the first, j, has left.
    double p = 0;
    for (size_t j = 0; j < slots; ++j) {
      if (j != i) p += weight[j] * weight[i] / (1 - weight[j]);
    }
    const auto margin = [&](double q) { return 4.5 * std::sqrt(q * (1 - q) / texts); };
    CHECK(first[i] / texts == Approx(weight[i]).margin(margin(weight[i])));
    CHECK(second[i] / texts == Approx(p).margin(margin(p)));
  }
}

TEST_CASE("mqar: a seed's texts, the same everywhere") {
  Random random(std::mt19937_64(9));
  const Batch plain = Task(32).draw({12, 2}, 1, random);
  const Batch twice = Task(32, true).draw({12, 2}, 1, random);
  CHECK(row(plain.tokens, 0) == Numbers{14, 19, 4, 26, 4, 20, 14, 11, 29, 7, 0, 16});
  CHECK(row(twice.tokens, 0) == Numbers{8, 30, 5, 16, 5, 19, 8, 17, 8, 13, 5, 20});
}

TEST_CASE("mqar: more pairs than fit are refused") {
  Random random(std::mt19937_64(1));
  const auto refuses = [&](const Task& task, Kind kind) {
    CHECK_THROWS_AS(task.draw(kind, 1, random), std::invalid_argument);
  };
  CHECK_NOTHROW(Task(16).draw({28, 7}, 1, random));
  refuses(Task(16), {27, 7});        // slots
  refuses(Task(16), {99, 8});        // keys
  refuses(Task(16, true), {99, 5});  // values
  refuses(Task(16, true), {17, 3});
  refuses(Task(16), {99, 0});
}

}  // namespace
}  // namespace mqar_test
