#include "runtime/text/sample.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <vector>

#include "runtime/text/math.h"

namespace emoe::rt {
namespace {

TEST(Math, AgreesWithTheLibrary) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 100000; ++i) {
    double x = std::uniform_real_distribution<double>(-700, 700)(random);
    EXPECT_NEAR(Exp(x) / std::exp(x), 1, 1e-15) << x;
    double y = std::exp(x);
    EXPECT_NEAR(Log(y), std::log(y), 1e-15 * std::max(1.0, std::fabs(std::log(y)))) << y;
  }
  EXPECT_EQ(Exp(0), 1);
  EXPECT_EQ(Log(1), 0);
  EXPECT_EQ(Exp(-1000), 0);
  EXPECT_TRUE(std::isinf(Exp(1000)));
  EXPECT_TRUE(std::isnan(Exp(NAN)));
}

// Known answers of Random123: counter and key all zero, and all ones.
TEST(Draw, IsPhilox) {
  uint64_t bits = uint64_t{0x6627e8d5} << 32 | 0xe169c58d;
  EXPECT_EQ(Draw(0, 0), static_cast<double>(bits >> 11) * 0x1p-53);
  double sum = 0;
  for (uint64_t i = 0; i < 10000; ++i) sum += Draw(1, i);
  EXPECT_NEAR(sum / 10000, 0.5, 0.01);
  EXPECT_NE(Draw(1, 5), Draw(2, 5));
}

TEST(Sample, GreedyTakesTheFirstOfEquals) {
  std::vector<float> logits{1, 3, 2, 3, NAN};
  Candidate memory[5];
  SampleOptions options;
  options.temperature = 0;
  EXPECT_EQ(Sample(logits.data(), 5, options, 0, memory), 1);
  EXPECT_EQ(Best(logits.data(), 5), 1);
}

TEST(Sample, NeverChoosesWhatIsNoNumber) {
  Candidate memory[4];
  std::vector<float> none{NAN, NAN, NAN};
  std::vector<float> some{NAN, -INFINITY, 0.5f, NAN};
  for (float temperature : {0.0f, 1.0f}) {
    SampleOptions options;
    options.temperature = temperature;
    EXPECT_EQ(Sample(none.data(), 3, options, 0, memory), -1);
    EXPECT_EQ(Sample(some.data(), 4, options, 0, memory), 2);
  }
  std::vector<float> infinite{0, INFINITY, 1};
  EXPECT_EQ(Sample(infinite.data(), 3, {}, 0, memory), 1);
}

// The definition, with sorted vectors and the library's exp.
std::map<int, double> Probabilities(const std::vector<float> &logits, const SampleOptions &o) {
  std::vector<std::pair<double, int>> all;
  for (size_t i = 0; i < logits.size(); ++i) all.push_back({-logits[i], static_cast<int>(i)});
  std::sort(all.begin(), all.end());
  if (o.top_k != 0 && o.top_k < all.size()) all.resize(o.top_k);
  auto softmax = [&](double temperature) {
    std::vector<double> p;
    double sum = 0;
    for (auto &c : all) p.push_back(std::exp((all[0].first - c.first) / temperature)), sum += p.back();
    for (double &x : p) x /= sum;
    return p;
  };
  std::vector<double> p = softmax(1);
  double reached = 0;
  for (size_t i = 0; i < p.size() && o.top_p < 1; ++i) {
    reached += p[i];
    if (reached >= o.top_p) {
      all.resize(i + 1);
      break;
    }
  }
  p = softmax(1);
  while (all.size() > 1 && p[all.size() - 1] < o.min_p * p[0]) all.pop_back();
  p = softmax(o.temperature);
  std::map<int, double> result;
  for (size_t i = 0; i < all.size(); ++i) result[all[i].second] = p[i];
  return result;
}

TEST(Sample, DrawsByTheDefinition) {
  std::mt19937 random(5);
  for (int round = 0; round < 40; ++round) {
    std::vector<float> logits(50);
    for (float &x : logits) x = std::normal_distribution<float>(0, 2)(random);
    logits[3] = logits[17];
    SampleOptions o;
    o.seed = round;
    o.top_k = std::vector<uint32_t>{0, 1, 5, 40, 1000}[round % 5];
    o.top_p = std::vector<float>{1, 0.9f, 0.3f}[round % 3];
    o.min_p = std::vector<float>{0, 0.05f, 0.5f, 1}[round % 4];
    o.temperature = std::vector<float>{0.8f, 1, 2}[round / 3 % 3];
    std::map<int, double> expected = Probabilities(logits, o);
    std::map<int, int> counts;
    std::vector<Candidate> memory(50);
    const int draws = 4000;
    for (int i = 0; i < draws; ++i) ++counts[Sample(logits.data(), 50, o, i, memory.data())];
    for (auto &[token, count] : counts) EXPECT_TRUE(expected.count(token)) << round << " " << token;
    for (auto &[token, p] : expected) EXPECT_NEAR(counts[token] / double{draws}, p, 0.04) << round << " " << token;
  }
}

TEST(Sample, DependsOnSeedAndPositionAlone) {
  std::vector<float> logits(100);
  for (int i = 0; i < 100; ++i) logits[i] = static_cast<float>(i % 10);
  std::vector<Candidate> memory(100);
  SampleOptions options;
  options.seed = 42;
  int32_t at_nine = Sample(logits.data(), 100, options, 9, memory.data());
  for (int i = 0; i < 9; ++i) Sample(logits.data(), 100, options, i, memory.data());
  EXPECT_EQ(Sample(logits.data(), 100, options, 9, memory.data()), at_nine);
}

TEST(Likelihood, AgreesWithTheDefinition) {
  std::vector<float> logits{1, 2, 3, -50, 80};
  double sum = 0;
  for (float x : logits) sum += std::exp(static_cast<double>(x));
  for (uint32_t i = 0; i < 5; ++i) {
    EXPECT_NEAR(NegativeLogLikelihood(logits.data(), 5, i), std::log(sum) - logits[i], 1e-12);
  }
}

}  // namespace
}  // namespace emoe::rt
