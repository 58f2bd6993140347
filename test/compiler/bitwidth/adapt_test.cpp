// The procedure against an evaluator whose loss is known: a sum over experts that the predictions get only about right.
#include "compiler/bitwidth/adapt.h"

#include <cmath>
#include <map>
#include <random>

#include "gtest/gtest.h"

namespace emoe {
namespace {

constexpr size_t kLayers = 4, kExperts = 16;

class FakeEvaluator : public CandidateEvaluator {
public:
  explicit FakeEvaluator(const WidthProblem &problem) : problem(problem) {}

  absl::StatusOr<Comparison> evaluate(const Assignment &assignment, uint64_t) override {
    ++calls;
    double sum = floor;
    for (size_t layer = 0; layer < assignment.size(); ++layer) {
      for (size_t expert = 0; expert < assignment[layer].size(); ++expert) {
        sum += amplification[layer] * surprise[(layer * 7 + expert) % 5] *
               problem.error[layer][expert][assignment[layer][expert]];
      }
    }
    Comparison comparison;
    comparison.tokens = 1000;
    comparison.divergence = sum + 3 * sum * sum; // not additive
    comparison.rise = 100 * std::expm1(1.5 * comparison.divergence);
    return comparison;
  }
  uint64_t recordBytes(size_t layer, size_t layout) const override { return problem.bytes[layer][layout]; }

  double floor = 1e-4;
  std::vector<double> amplification = {4e-4, 1e-4, 2e-4, 6e-4}, surprise = {1, 0.8, 1.3, 0.9, 1.1};
  int calls = 0;

private:
  const WidthProblem &problem;
};

WidthProblem makeProblem(bool flat = false) {
  std::mt19937 random(1);
  WidthProblem problem;
  problem.formats = {"ternary", "2", "3", "4", "8"};
  for (size_t layer = 0; layer < kLayers; ++layer) {
    problem.bytes.push_back({170, 212, 312, 425, 850});
    problem.error.emplace_back();
    problem.probability.emplace_back();
    for (size_t expert = 0; expert < kExperts; ++expert) {
      double size = flat ? 1 : std::exp2(static_cast<double>(random() % 64) / 8 - 4);
      problem.error.back().push_back({size * 4, size * 2, size * 0.5, size * 0.12, size * 0.0005});
      problem.probability.back().push_back(flat ? 0.125 : std::min(0.9, 0.125 * size / 3));
    }
  }
  return problem;
}

AdaptOptions within(double percent, WidthPolicy policy = WidthPolicy::Adapt) {
  AdaptOptions options;
  options.tolerance.value = percent;
  options.policy = policy;
  return options;
}

TEST(AdaptTest, StaysWithinAndNearTheTolerance) {
  WidthProblem problem = makeProblem();
  uint64_t before = UINT64_MAX;
  for (double percent : {0.5, 1.0, 2.0, 5.0}) {
    FakeEvaluator evaluator(problem);
    auto decision = adaptWidths(problem, evaluator, within(percent));
    ASSERT_TRUE(decision.ok()) << decision.status();
    double loss = evaluator.evaluate(decision->assignment, 0)->rise;
    EXPECT_LE(loss, percent);
    EXPECT_GE(loss, 0.85 * percent);
    EXPECT_DOUBLE_EQ(loss, decision->verified.rise);
    EXPECT_NEAR(decision->predicted, loss, 0.5 * loss);
    EXPECT_EQ(decision->bytes, assignedBytes(problem, decision->assignment));
    EXPECT_LT(decision->bytes, before);
    before = decision->bytes;
    EXPECT_EQ(decision->policy, WidthPolicy::Adapt);
    ASSERT_TRUE(decision->uniformAtLoss.measured);
    EXPECT_LT(decision->bytes, decision->uniformAtLoss.bytes);
    ASSERT_TRUE(decision->random.measured);
    EXPECT_GT(decision->random.loss, 1.3 * loss);
    EXPECT_LE(decision->verifications, 30);
  }
}

TEST(AdaptTest, DivergenceIsATolerance) {
  WidthProblem problem = makeProblem();
  FakeEvaluator evaluator(problem);
  AdaptOptions options;
  options.tolerance = {Tolerance::Measure::Divergence, 0.02};
  auto decision = adaptWidths(problem, evaluator, options);
  ASSERT_TRUE(decision.ok()) << decision.status();
  EXPECT_LE(decision->verified.divergence, 0.02);
  EXPECT_GE(decision->verified.divergence, 0.017);
}

TEST(AdaptTest, TakesTheCheapestWhereTheToleranceIsWide) {
  WidthProblem problem = makeProblem();
  FakeEvaluator evaluator(problem);
  auto decision = adaptWidths(problem, evaluator, within(300));
  ASSERT_TRUE(decision.ok()) << decision.status();
  EXPECT_EQ(decision->assignment, uniformAssignment(problem, 0));
}

TEST(AdaptTest, RefusesWhatNoFormatKeeps) {
  WidthProblem problem = makeProblem();
  FakeEvaluator evaluator(problem);
  evaluator.floor = 0.02;
  auto decision = adaptWidths(problem, evaluator, within(1));
  ASSERT_EQ(decision.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(decision.status().message().find("8 for all experts already loses 3."), absl::string_view::npos)
      << decision.status();
}

TEST(AdaptTest, SaysSoWhereTheChoiceDoesNotPay) {
  // Sensitivities that mislead: the evaluator's own are upside down.
  WidthProblem problem = makeProblem(), truth = problem;
  for (auto &layer : truth.error) {
    std::vector<std::vector<double>> reversed;
    for (const std::vector<double> &expert : layer) {
      reversed.emplace_back();
      for (double error : expert) {
        reversed.back().push_back(error / expert[0] / expert[0]);
      }
    }
    layer = reversed;
  }
  FakeEvaluator evaluator(truth);
  auto decision = adaptWidths(problem, evaluator, within(1));
  ASSERT_TRUE(decision.ok()) << decision.status();
  EXPECT_EQ(decision->policy, WidthPolicy::Uniform);
  ASSERT_EQ(decision->notes.size(), 1u);
  EXPECT_NE(decision->notes[0].find("does not pay"), std::string::npos);
  EXPECT_EQ(decision->assignment, uniformAssignment(problem, decision->assignment[0][0]));
  EXPECT_LE(decision->verified.rise, 1);
}

TEST(AdaptTest, EdgemoeFillsByImportance) {
  WidthProblem problem = makeProblem();
  FakeEvaluator evaluator(problem);
  auto ours = adaptWidths(problem, evaluator, within(1));
  auto edgemoe = adaptWidths(problem, evaluator, within(1, WidthPolicy::Edgemoe));
  auto random = adaptWidths(problem, evaluator, within(1, WidthPolicy::Random));
  auto uniform = adaptWidths(problem, evaluator, within(1, WidthPolicy::Uniform));
  for (auto *decision : {&ours, &edgemoe, &random, &uniform}) {
    ASSERT_TRUE(decision->ok()) << decision->status();
    EXPECT_LE((*decision)->verified.rise, 1);
  }
  EXPECT_LE(ours->bytes, edgemoe->bytes);
  EXPECT_LT(edgemoe->bytes, random->bytes);
  EXPECT_LT(random->bytes, uniform->bytes);
  // One more expert at the lower width would be too many: the bracket is tight.
  EXPECT_GE(edgemoe->verified.rise, 0.8);
}

TEST(AdaptTest, EqualBytesForEveryPolicy) {
  WidthProblem problem = makeProblem();
  problem.weights = 800 * kLayers * kExperts; // ternary-like formats take 1.7 bits of them
  FakeEvaluator evaluator(problem);
  AdaptOptions options;
  options.tolerance = {Tolerance::Measure::Bits, 2.6};
  const double most = 2.6 / 8 * static_cast<double>(problem.weights);
  std::map<WidthPolicy, double> loss;
  for (WidthPolicy policy : {WidthPolicy::Adapt, WidthPolicy::Edgemoe, WidthPolicy::Random, WidthPolicy::Uniform}) {
    options.policy = policy;
    auto decision = adaptWidths(problem, evaluator, options);
    ASSERT_TRUE(decision.ok()) << decision.status();
    EXPECT_LE(static_cast<double>(decision->bytes), most);
    if (policy != WidthPolicy::Uniform) {
      EXPECT_GE(static_cast<double>(decision->bytes), 0.99 * most);
    }
    loss[policy] = decision->verified.rise;
  }
  EXPECT_LT(loss[WidthPolicy::Adapt], loss[WidthPolicy::Edgemoe]);
  EXPECT_LT(loss[WidthPolicy::Edgemoe], loss[WidthPolicy::Random]);
  EXPECT_LT(loss[WidthPolicy::Random], loss[WidthPolicy::Uniform]);
  options.tolerance.value = 1.5;
  EXPECT_EQ(adaptWidths(problem, evaluator, options).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(AdaptTest, RandomOrdersFollowTheSeed) {
  WidthProblem problem = makeProblem();
  Assignment assignment = uniformAssignment(problem, 1);
  std::fill(assignment[0].begin(), assignment[0].end(), uint8_t{3});
  Assignment one = shuffled(problem, assignment, 1), two = shuffled(problem, assignment, 2);
  EXPECT_NE(one, two);
  EXPECT_EQ(one, shuffled(problem, assignment, 1));
  EXPECT_EQ(assignedBytes(problem, one), assignedBytes(problem, assignment));
  problem.bytes[2][4] += 1; // sizes differ: each layer keeps its own widths
  one = shuffled(problem, assignment, 1);
  EXPECT_EQ(one[0], assignment[0]);
}

TEST(MissTest, ChancesFillTheBudget) {
  std::vector<double> probability = {0.5, 0.3, 0.1, 0.1, 0.01}, bytes = {10, 10, 20, 10, 10};
  for (double budget : {5.0, 20.0, 45.0}) {
    std::vector<double> chances = missChances(probability, bytes, budget);
    double kept = 0;
    for (size_t i = 0; i < bytes.size(); ++i) {
      kept += bytes[i] * (1 - chances[i]);
    }
    EXPECT_NEAR(kept, budget, 1e-6);
    EXPECT_LT(chances[0], chances[1]);
    EXPECT_DOUBLE_EQ(chances[2], chances[3]);
  }
  for (double chance : missChances(probability, bytes, 60)) {
    EXPECT_NEAR(chance, 0, 1e-6);
  }
}

TEST(MissTest, ABudgetMovesBitsToWhatStays) {
  // With room for a few, what is chosen often is resident whatever its width; bytes count where they are missed.
  WidthProblem problem = makeProblem(/*flat=*/true);
  for (auto &layer : problem.probability) {
    for (size_t expert = 0; expert < layer.size(); ++expert) {
      layer[expert] = expert < 2 ? 0.9 : 0.1;
    }
  }
  std::vector<double> amplification(kLayers, 1e-4);
  auto experts = widthOptions(problem, amplification, 8000, uniformAssignment(problem, 1));
  EXPECT_LT(experts[0][2].cost, experts[5][2].cost);
  experts = widthOptions(problem, amplification, 0, uniformAssignment(problem, 1));
  EXPECT_GT(experts[0][2].cost, experts[5][2].cost);
}

} // namespace
} // namespace emoe
