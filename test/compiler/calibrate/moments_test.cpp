#include "compiler/calibrate/moments.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace emoe {
namespace {

struct Rows {
  Rows(int64_t columns, size_t count, int64_t stride) : values(count * stride), rows(count) {
    std::mt19937 random(columns + count);
    std::normal_distribution<float> normal;
    for (size_t i = 0; i < count; ++i) {
      for (int64_t c = 0; c < columns; ++c) {
        values[i * stride + c] = normal(random);
      }
      rows[i] = {&values[i * stride], 0.01f * (i % 7)};
    }
  }
  std::vector<float> values;
  std::vector<WeightedRow> rows;
};

Moment zeros(Moment::Kind kind, int64_t columns) {
  return {kind, columns, std::vector<float>(kind == Moment::Kind::Full ? columns * columns : columns)};
}

TEST(Moments, EqualTheSumOfOuterProducts) {
  for (int64_t columns : {1, 3, 32, 64, 100, 130}) {
    for (size_t count : {1, 5, 64, 200}) {
      Rows rows(columns, count, columns + 5);
      Moment full = zeros(Moment::Kind::Full, columns), diagonal = zeros(Moment::Kind::Diagonal, columns);
      addRows(full, rows.rows);
      addRows(full, rows.rows);
      mirror(full);
      addRows(diagonal, rows.rows);
      addRows(diagonal, rows.rows);
      for (int64_t i = 0; i < columns; ++i) {
        for (int64_t j = 0; j < columns; ++j) {
          double expected = 0, size = 0;
          for (const WeightedRow &row : rows.rows) {
            double term = 2.0 * row.factor * row.values[i] * row.values[j];
            expected += term;
            size += std::fabs(term);
          }
          ASSERT_NEAR(full.values[i * columns + j], expected, 1e-6 + 2e-6 * size) << columns << " " << count;
          if (i == j) {
            ASSERT_NEAR(diagonal.values[i], expected, 1e-6 + 2e-6 * size) << columns << " " << count;
            EXPECT_EQ(full.diagonal(i), full.values[i * columns + i]);
          }
        }
      }
    }
  }
}

TEST(Moments, NoRowsAddNothing) {
  Moment full = zeros(Moment::Kind::Full, 5), none;
  addRows(full, {});
  addRows(none, Rows(5, 2, 5).rows);
  EXPECT_EQ(full.values, std::vector<float>(25));
  EXPECT_TRUE(none.values.empty());
}

TEST(Moments, AreAsFullAsMemoryAllows) {
  using Kind = Moment::Kind;
  std::vector<MomentShape> layers(3, {64, 32, 8});
  const uint64_t full = 3 * 8 * 4 * (64 * 64 + 32 * 32), diagonal = 3 * 8 * 4 * (64 + 32);
  const uint64_t layer = 3 * 4 * (64 * 64 + 32 * 32);
  EXPECT_EQ(momentBytes(layers, {Kind::Full, Kind::None}), full);
  MomentKinds kinds = chooseMoments(layers, full);
  EXPECT_TRUE(kinds.expert == Kind::Full && kinds.layer == Kind::None);
  kinds = chooseMoments(layers, full - 1);
  EXPECT_TRUE(kinds.expert == Kind::Diagonal && kinds.layer == Kind::Full);
  EXPECT_EQ(momentBytes(layers, kinds), layer + diagonal);
  kinds = chooseMoments(layers, layer + diagonal - 1);
  EXPECT_TRUE(kinds.expert == Kind::Diagonal && kinds.layer == Kind::None);

  std::vector<LayerMoments> moments = makeMoments(layers, {Kind::Diagonal, Kind::Full});
  ASSERT_EQ(moments.size(), 3u);
  EXPECT_EQ(moments[2].experts.size(), 8u);
  EXPECT_EQ(&moments[2].inputOf(3), &moments[2].input);
  moments = makeMoments(layers, {Kind::Full, Kind::None});
  EXPECT_EQ(&moments[2].hiddenOf(3), &moments[2].experts[3].hidden);
}

} // namespace
} // namespace emoe
