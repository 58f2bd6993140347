#include "compiler/bitwidth/choose.h"

#include <algorithm>
#include <random>

#include "gtest/gtest.h"

namespace emoe {
namespace {

using Experts = std::vector<std::vector<WidthOption>>;

Experts randomExperts(std::mt19937 &random, size_t experts) {
  std::uniform_real_distribution<double> unit(0, 1);
  Experts result(experts);
  for (auto &options : result) {
    options.resize(2 + random() % 4);
    for (WidthOption &option : options) {
      option = {unit(random) * unit(random), unit(random)};
    }
  }
  return result;
}

// The least cost of all combinations within the bound; infinite if there is none.
double leastCost(const Experts &experts, double bound) {
  double best = INFINITY;
  std::vector<int> choice(experts.size(), 0);
  while (true) {
    if (totalLoss(experts, choice) <= bound) {
      best = std::min(best, totalCost(experts, choice));
    }
    size_t i = 0;
    while (i < choice.size() && ++choice[i] == static_cast<int>(experts[i].size())) {
      choice[i++] = 0;
    }
    if (i == choice.size()) {
      return best;
    }
  }
}

double dearestStep(const Experts &experts) {
  double dearest = 0;
  for (const auto &options : experts) {
    auto [low, high] = std::minmax_element(options.begin(), options.end(),
                                           [](auto &a, auto &b) { return a.cost < b.cost; });
    dearest = std::max(dearest, high->cost - low->cost);
  }
  return dearest;
}

TEST(ChooseTest, IsWithinTheBoundAndOneStepOfTheOptimum) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    Experts experts = randomExperts(random, 1 + round % 6);
    for (double share : {0.05, 0.2, 0.5, 0.9}) {
      double bound = share * static_cast<double>(experts.size()) / 4, best = leastCost(experts, bound);
      std::vector<int> choice = chooseWidths(experts, bound);
      if (best == INFINITY) {
        double least = 0;
        for (const auto &options : experts) {
          least += std::min_element(options.begin(), options.end(), [](auto &a, auto &b) { return a.loss < b.loss; })->loss;
        }
        EXPECT_DOUBLE_EQ(totalLoss(experts, choice), least);
        continue;
      }
      EXPECT_LE(totalLoss(experts, choice), bound + 1e-12);
      EXPECT_LE(totalCost(experts, choice), best + dearestStep(experts));
      EXPECT_GE(totalCost(experts, choice), best - 1e-12);
    }
  }
}

TEST(ChooseTest, FollowsTheHull) {
  // The middle option lies above the line between the others: never worth it.
  Experts experts(10, {{0.0, 4}, {0.9, 3}, {1.0, 2}});
  std::vector<int> choice = chooseWidths(experts, 5.5);
  EXPECT_EQ(std::count(choice.begin(), choice.end(), 2), 5);
  EXPECT_EQ(std::count(choice.begin(), choice.end(), 0), 5);
}

TEST(ChooseTest, PrefersRobustExperts) {
  Experts experts(8, {{0.0, 8}, {1.0, 4}});
  experts[3][1].loss = experts[6][1].loss = 0.01;
  std::vector<int> choice = chooseWidths(experts, 0.5);
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(choice[i], i == 3 || i == 6 ? 1 : 0) << i;
  }
}

TEST(ChooseTest, ZeroBoundKeepsTheBest) {
  Experts experts(4, {{0.5, 1}, {0.0, 16}, {0.0, 12}, {0.1, 8}});
  EXPECT_EQ(chooseWidths(experts, 0), std::vector<int>(4, 2)); // of equal losses the cheaper
}

TEST(ChooseTest, AtCostUsesWhatIsThere) {
  std::mt19937 random(11);
  for (int round = 0; round < 200; ++round) {
    Experts experts = randomExperts(random, 5);
    double all = 0, least = 0;
    for (const auto &options : experts) {
      auto [low, high] = std::minmax_element(options.begin(), options.end(),
                                             [](auto &a, auto &b) { return a.cost < b.cost; });
      all += high->cost;
      least += low->cost;
    }
    double limit = least + (all - least) * 0.4;
    std::vector<int> choice = chooseWidthsAtCost(experts, limit);
    EXPECT_LE(totalCost(experts, choice), limit + 1e-12);
    // No cheaper choice at the same loss: the knapsack the other way round finds nothing a step cheaper.
    EXPECT_GE(leastCost(experts, totalLoss(experts, choice)), totalCost(experts, choice) - dearestStep(experts));
  }
}

} // namespace
} // namespace emoe
