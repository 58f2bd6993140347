#include "compiler/calibrate/compare.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace emoe {
namespace {

// The definitions, in long double.
RowComparison slowly(const std::vector<float> &p, const std::vector<float> &q, uint32_t target) {
  auto logSum = [](const std::vector<float> &row) {
    long double most = *std::max_element(row.begin(), row.end()), sum = 0;
    for (float x : row) {
      sum += std::exp(x - most);
    }
    return most + std::log(sum);
  };
  long double logP = logSum(p), logQ = logSum(q), divergence = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    divergence += std::exp(p[i] - logP) * ((p[i] - logP) - (q[i] - logQ));
  }
  return {static_cast<double>(logP - p[target]), static_cast<double>(logQ - q[target]), static_cast<double>(divergence)};
}

TEST(Compare, EqualsTheDefinitions) {
  std::mt19937 random(5);
  for (uint32_t vocab : {2, 15, 16, 33, 4096}) {
    for (float spread : {0.1f, 5.0f, 40.0f}) {
      std::normal_distribution<float> normal(3, spread), noise(0, 0.05f * spread);
      std::vector<float> p(vocab), q(vocab);
      for (uint32_t i = 0; i < vocab; ++i) {
        p[i] = normal(random);
        q[i] = p[i] + noise(random) - 2;
      }
      RowComparison expected = slowly(p, q, vocab / 2), actual = compareRows(p.data(), q.data(), vocab, vocab / 2);
      EXPECT_NEAR(actual.reference, expected.reference, 1e-6) << vocab << " " << spread;
      EXPECT_NEAR(actual.candidate, expected.candidate, 1e-6) << vocab << " " << spread;
      EXPECT_NEAR(actual.divergence, expected.divergence, 1e-6 + 1e-6 * expected.divergence) << vocab << " " << spread;
    }
  }
}

TEST(Compare, ARowAgainstItselfDivergesByNothing) {
  std::vector<float> row{1, -3, 200, 7, 0.5f};
  EXPECT_EQ(compareRows(row.data(), row.data(), 5, 1).divergence, 0);
}

TEST(Compare, SummarisesByHand) {
  // Differences 0.1 and 0.3: mean 0.2, standard deviation sqrt(0.02), standard error 0.1.
  Comparison c = summarise({{1.0, 1.1, 0.5}, {2.0, 2.3, 0.7}});
  EXPECT_EQ(c.tokens, 2u);
  EXPECT_DOUBLE_EQ(c.reference, 1.5);
  EXPECT_DOUBLE_EQ(c.candidate, 1.7);
  EXPECT_NEAR(c.rise, 100 * (std::exp(0.2) - 1), 1e-9);
  EXPECT_NEAR(c.riseError, 100 * std::exp(0.2) * 0.1, 1e-9);
  EXPECT_DOUBLE_EQ(c.divergence, 0.6);
  EXPECT_NEAR(c.divergenceError, 0.1, 1e-12);
  EXPECT_EQ(summarise({}).tokens, 0u);
}

} // namespace
} // namespace emoe
