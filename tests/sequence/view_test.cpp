// Views look at the caller's memory, whatever owns it and however its rows are spaced.
#include <array>
#include <vector>

#include <seqbayes/sequence/sequence.hpp>

#include <support/catch.hpp>

using seqbayes::Index;
using seqbayes::Matrix;
using seqbayes::MatrixView;
using seqbayes::RowView;
using seqbayes::Sequence;

namespace {

/// The view's entries as a matrix.
Matrix<float> read(const MatrixView<float>& view) {
  Matrix<float> all(view.rows(), view.cols());
  for (Index t = 0; t < view.rows(); ++t) {
    for (Index i = 0; i < view.cols(); ++i) all(t, i) = view.row(t)[i];
  }
  return all;
}

Matrix<float> counting(Index rows, Index cols) {
  Matrix<float> all(rows, cols);
  for (Index i = 0; i < all.size(); ++i) all.data()[i] = float(i);
  return all;
}

TEST_CASE("A view of a matrix") {
  const Matrix<float> owner = counting(5, 3);
  const MatrixView<float> view = owner;
  CHECK(view.data() == owner.data());
  CHECK(view.rows() == 5);
  CHECK(view.cols() == 3);
  CHECK(view.row_stride() == 3);
  CHECK(!view.empty());
  CHECK(read(view) == owner);
}

TEST_CASE("A view of a block keeps the stride of the whole") {
  const Matrix<float> owner = counting(6, 10);
  const MatrixView<float> view = owner.block(1, 2, 4, 3);
  CHECK(view.data() == owner.data() + 12);
  CHECK(view.row_stride() == 10);
  CHECK(read(view) == owner.block(1, 2, 4, 3));
  CHECK(read(MatrixView<float>(owner.col(7))) == owner.col(7));
  CHECK(read(MatrixView<float>(owner.middleCols<4>(3))) == owner.middleCols(3, 4));
  CHECK(read(MatrixView<float>(owner.row(2))) == owner.row(2));
  CHECK(read(MatrixView<float>(owner.topRows(2))) == owner.topRows(2));
}

TEST_CASE("Views of matrices with static widths") {
  const Eigen::Matrix<float, 4, 3, Eigen::RowMajor> all = counting(4, 3);
  CHECK(read(MatrixView<float>(all)) == all);
  const Eigen::Matrix<float, Eigen::Dynamic, 3, Eigen::RowMajor> some = counting(5, 3);
  CHECK(read(MatrixView<float>(some)) == some);
  const Eigen::Matrix<float, 1, 3> row = counting(1, 3);
  CHECK(read(MatrixView<float>(row)) == row);
}

TEST_CASE("A vector is a column, one entry a token") {
  const Eigen::VectorXf vector = counting(6, 1);
  const MatrixView<float> view = vector;
  CHECK(view.cols() == 1);
  CHECK(view.rows() == 6);
  CHECK(read(view) == vector);
  CHECK(read(MatrixView<float>(vector.segment(2, 3))) == vector.segment(2, 3));

  // Every second entry; a column of a column-major matrix.
  const Eigen::Map<const Eigen::VectorXf, 0, Eigen::InnerStride<2>> strided(vector.data(), 3);
  const MatrixView<float> every_second = strided;
  CHECK(every_second.row_stride() == 2);
  CHECK(read(every_second) == Eigen::Vector3f(0, 2, 4));
  const Eigen::MatrixXf columns = counting(3, 4);
  CHECK(read(MatrixView<float>(columns.col(2))) == columns.col(2));
}

TEST_CASE("Raw pointers, std::vector and maps") {
  const std::vector<float> memory = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  CHECK(read({memory.data(), 3, 2}) == counting(3, 2));
  const MatrixView<float> apart(memory.data(), 3, 2, 4);
  Matrix<float> expected(3, 2);
  expected << 0, 1, 4, 5, 8, 9;
  CHECK(read(apart) == expected);

  const Eigen::Map<const Matrix<float>, 0, Eigen::OuterStride<>> map(memory.data(), 3, 2,
                                                                     Eigen::OuterStride<>(4));
  CHECK(read(map) == expected);
  CHECK(MatrixView<float>(map).row_stride() == 4);

  // One row for every token: stride 0.
  const MatrixView<float> repeated(memory.data() + 5, 3, 2, 0);
  CHECK(read(repeated) == Eigen::RowVector2f(5, 6).replicate(3, 1));
}

TEST_CASE("Rows of a view are views") {
  const Matrix<float> owner = counting(6, 10);
  const MatrixView<float> view = owner.middleCols(2, 3);
  const RowView<float> row = view.row(4);
  CHECK(row.data() == owner.data() + 42);
  CHECK(row.size() == 3);
  CHECK(row.vector() == Eigen::Vector3f(42, 43, 44));
  CHECK(row.vector<3>() == Eigen::Vector3f(42, 43, 44));

  const MatrixView<float> part = view.rows(2, 3);
  CHECK(part.rows() == 3);
  CHECK(read(part) == owner.block(2, 2, 3, 3));
  CHECK(read(part.rows(1, 1)) == owner.block(3, 2, 1, 3));
  CHECK(view.rows(6, 0).rows() == 0);
}

TEST_CASE("A row view of a vector") {
  const Eigen::Vector4f column = counting(4, 1);
  const Eigen::RowVectorXf row = counting(1, 5);
  CHECK(RowView<float>(column).vector() == column);
  CHECK(RowView<float>(row).vector() == row.transpose());
  CHECK(RowView<float>(row.segment(1, 2)).vector() == Eigen::Vector2f(1, 2));
  const std::array<float, 3> raw = {7, 8, 9};
  CHECK(RowView<float>(raw.data(), 3)[2] == 9);
}

TEST_CASE("An empty view has no width, and rows alone don't make it full") {
  CHECK(MatrixView<float>().empty());
  CHECK(MatrixView<float>().rows() == 0);
  CHECK(MatrixView<float>().row(5).empty());
  CHECK(MatrixView<float>().rows(3, 4).empty());
  CHECK(RowView<float>().empty());
  const Matrix<float> no_tokens(0, 3);
  CHECK(!MatrixView<float>(no_tokens).empty());
  CHECK(MatrixView<float>(no_tokens).cols() == 3);
  const Matrix<float> no_width(3, 0);
  CHECK(MatrixView<float>(no_width).empty());
}

TEST_CASE("A sequence's tokens") {
  const Matrix<float> query = counting(5, 2), key = counting(5, 6), value = counting(5, 3);
  const Eigen::VectorXf decay = -counting(5, 1);
  Sequence<float> x;
  x.query = query;
  x.key = key.middleCols(1, 2);
  x.value = value;
  x.log_decay = decay;
  CHECK(x.length() == 5);

  const seqbayes::Token<float> token = x.token(3);
  CHECK(token.query.vector() == query.row(3).transpose());
  CHECK(token.key.vector() == key.row(3).segment(1, 2).transpose());
  CHECK(token.log_decay[0] == -3);
  CHECK(token.write_strength.empty());

  const Sequence<float> part = x.tokens(1, 3);
  CHECK(part.length() == 3);
  CHECK(part.key.data() == key.data() + 7);
  CHECK(read(part.key) == key.block(1, 1, 3, 2));
  CHECK(part.process_noise.empty());
  CHECK(part.tokens(2, 1).token(0).log_decay[0] == -3);
  CHECK(x.tokens(5, 0).length() == 0);
  CHECK(x.tokens(5, 0).key.cols() == 2);
}

/// `for_each_field` is the only list of fields: it names each once.
TEST_CASE("Every field has a name and a place") {
  seqbayes::Fields<int> fields;
  std::vector<std::string> names;
  seqbayes::for_each_field(
      [&](const char* name, seqbayes::Domain, int& field) {
        names.emplace_back(name);
        field += 1;
      },
      fields);
  CHECK(names.size() == sizeof(fields) / sizeof(int));
  seqbayes::for_each_field([](auto, auto, const int& field) { CHECK(field == 1); }, fields);
  std::sort(names.begin(), names.end());
  CHECK(std::unique(names.begin(), names.end()) == names.end());
}

TEST_CASE("Widths of inputs") {
  using seqbayes::InputWidth;
  CHECK(InputWidth(3).accepts(3));
  CHECK(!InputWidth(3).accepts(1));
  CHECK(!InputWidth(3).accepts(0));
  CHECK(InputWidth::one_or(3).accepts(1));
  CHECK(InputWidth::one_or(3).accepts(3));
  CHECK(!InputWidth::one_or(3).accepts(2));
  CHECK(!InputWidth::one_or(3).accepts(0));
  CHECK(InputWidth(3).optional().accepts(0));
  CHECK(InputWidth::one_or(3).optional().accepts(1));
}

}  // namespace
