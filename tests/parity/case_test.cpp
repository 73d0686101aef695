// seqbayes_parity has to notice: what counts as a deviation, and what as a broken file.
#include "parity/case.hpp"

#include "adapters/safetensors_bytes.hpp"
#include "support/catch.hpp"

using parity::Case;
using parity::Error;
using safetensors_test::entry;

namespace {

/// Two tokens of one head: a key q of width 1, o = {1, -4}, and o = {3, 4} without initial state.
seqbayes::safetensors::File golden_file(const std::string& outputs = "o,o_zero_init",
                                        const std::string& has_initial_state = "true",
                                        double second_of_f64 = -4) {
  const double numbers[] = {0.5, 0.25, 1, -4, 3, 4, 1, second_of_f64};
  const std::string header = R"({"__metadata__":{"op":"some","T":"2","H":"1","dk":"1","dv":"1",)"
                             R"("zero":"0","half":"0.5","huge":"1e300","scale":"2.0",)"
                             R"("has_initial_state":")" +
                             has_initial_state + R"(","outputs":")" + outputs + "\"}," +
                             entry("q", R"("F64")", "[2,1,1]", "[0,16]") + "," +
                             entry("o", R"("F64")", "[2,1,1]", "[16,32]") + "," +
                             entry("o_zero_init", R"("F64")", "[2,1,1]", "[32,48]") + "," +
                             entry("o_f64", R"("F64")", "[2,1,1]", "[48,64]") + "}";
  const std::string data(reinterpret_cast<const char*>(numbers), sizeof numbers);
  return seqbayes::safetensors::File::parse(safetensors_test::file_of(header, data));
}

/// Compares `o` of both runs, the first with the value of token 1 given.
Case<double> compared(double second) {
  Case<double> golden(golden_file());
  golden.begin_form("scan");
  golden.begin("");
  golden.compare_tokens("o", 0, Eigen::Vector2d(1, second));
  golden.begin("_zero_init");
  golden.compare_tokens("o", 0, Eigen::Vector2d(3, 4));
  return golden;
}

}  // namespace

TEST_CASE("Numbers that agree don't deviate") {
  CHECK(compared(-4).worst().size == 0);
  CHECK(compared(-4).worst().passed());
}

TEST_CASE("A deviation is relative to the largest expected number and names its place") {
  const auto worst = compared(-4.5).worst();
  CHECK(worst.size == 0.5 / 4);
  CHECK(worst.where == "o by scan");
  CHECK_FALSE(worst.passed());
}

TEST_CASE("Not a number deviates infinitely, wherever it is") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto worst = compared(nan).worst();
  CHECK(worst.size == std::numeric_limits<double>::infinity());
  CHECK_FALSE(worst.passed());
}

TEST_CASE("The stored number is that of the run and of the token") {
  Case<double> golden(golden_file());
  golden.begin("_zero_init");
  golden.compare_token("o", 0, 1, seqbayes::Vector<double, 1>(4));
  golden.begin("");
  golden.compare_token("o", 0, 0, seqbayes::Vector<double, 1>(1));
  CHECK(golden.worst().size == 0);
}

TEST_CASE("An output that nobody compared is an error") {
  Case<double> golden(golden_file());
  golden.begin("");
  golden.compare_tokens("o", 0, Eigen::Vector2d(1, -4));
  CHECK_THROWS_WITH(golden.worst(), "output \"o_zero_init\" was not compared");
  CHECK_THROWS_WITH(Case<double>(golden_file("")).worst(), "no output of the file was compared");
}

TEST_CASE("A file without a stored state has one run, from none") {
  Case<double> with(golden_file());
  with.begin("");
  CHECK(with.has_initial_state());
  with.begin("_zero_init");
  CHECK_FALSE(with.has_initial_state());

  Case<double> without(golden_file("o", "false"));
  without.begin("");
  CHECK_FALSE(without.has_initial_state());
  without.compare_tokens("o", 0, Eigen::Vector2d(1, -4));
  CHECK(without.worst().size == 0);

  CHECK_THROWS_WITH(Case<double>(golden_file("o", "maybe")),
                    "metadata \"has_initial_state\" is neither true nor false");
}

TEST_CASE("A plain recursion is measured as the library is, and is no aim of it") {
  const auto worst = [](double of_library, double of_recursion) {
    Case<double> golden(golden_file("o,o_f64", "true", of_recursion));
    golden.begin("");
    golden.compare_tokens("o", 0, Eigen::Vector2d(1, of_library));
    return golden.worst();
  };
  CHECK(worst(-4, -4.5).size == 0);
  CHECK(worst(-4, -4.5).recursion == 0.5 / 4);
  CHECK(worst(-4.5, -4).size == 0.5 / 4);
  CHECK(worst(-4.5, -4).recursion == 0.0);
  CHECK(worst(-4, std::numeric_limits<double>::quiet_NaN()).recursion ==
        std::numeric_limits<double>::infinity());
  CHECK_FALSE(compared(-4).worst().recursion.has_value());

  // Its reference has to be compared all the same.
  Case<double> golden(golden_file("o_f64,o_zero_init"));
  golden.begin("_zero_init");
  golden.compare_tokens("o", 0, Eigen::Vector2d(3, 4));
  CHECK_THROWS_WITH(golden.worst(), "output \"o\" was not compared");
}

TEST_CASE("Another shape, a missing tensor and missing metadata are errors") {
  Case<double> golden(golden_file("o"));
  golden.begin("");
  CHECK_THROWS_AS(golden.compare_tokens("o", 0, Eigen::Vector3d(1, -4, 0)), Error);
  CHECK_THROWS_AS(golden.compare_token("o", 0, 2, seqbayes::Vector<double, 1>(1)), Error);
  CHECK_THROWS_AS(golden.compare_head("o", 2, Eigen::Vector2d(1, -4)), Error);
  CHECK_THROWS_WITH(golden.compare_tokens("var", 0, Eigen::Vector2d(1, -4)),
                    "there is no tensor \"var\"");
  CHECK_THROWS_WITH(golden.number("info_scale"), "there is no metadata \"info_scale\"");
  CHECK(golden.count("T") == 2);
  CHECK_THROWS_AS(golden.count("zero"), Error);
  CHECK_THROWS_AS(golden.count("half"), Error);
  CHECK_THROWS_AS(golden.count("huge"), Error);
  CHECK_THROWS_WITH(golden.number("op"), "metadata \"op\" is not a number");
}

TEST_CASE("The query is scaled, other tensors are not") {
  Case<float> golden(golden_file());
  golden.scale_query();
  CHECK(golden.sequence(0).query.row(1)[0] == 0.5F);
  CHECK(golden.inputs.tokens("o", 0).row(1)[0] == -4.0F);
}
