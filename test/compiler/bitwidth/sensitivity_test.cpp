// Predicted output errors against errors measured by running a gated expert on the very tokens.
#include "compiler/bitwidth/sensitivity.h"

#include <cmath>
#include <random>

#include "gtest/gtest.h"

namespace emoe {
namespace {

constexpr int64_t kInput = 48, kHidden = 32, kTokens = 400;

struct Case {
  ExpertValues values;
  std::vector<std::vector<float>> tokens;
  std::vector<float> weights;
  LayerMoments layer;
};

std::vector<float> hiddenOf(const ExpertValues &values, const float *x) {
  std::vector<float> hidden(kHidden);
  for (int64_t unit = 0; unit < kHidden; ++unit) {
    float up = dotProduct(&values.up[unit * kInput], x, kInput);
    float gate = dotProduct(&values.gate[unit * kInput], x, kInput);
    hidden[unit] = gate / (1 + std::exp(-gate)) * up;
  }
  return hidden;
}

std::vector<float> outputOf(const ExpertValues &values, const float *x) {
  std::vector<float> hidden = hiddenOf(values, x), output(kInput);
  for (int64_t row = 0; row < kInput; ++row) {
    output[row] = dotProduct(&values.down[row * kHidden], hidden.data(), kHidden);
  }
  return output;
}

void addMoment(Moment &moment, int64_t columns, const float *x, float factor) {
  moment.kind = Moment::Kind::Full;
  moment.columns = columns;
  moment.values.resize(columns * columns);
  for (int64_t c = 0; c < columns; ++c) {
    addScaled(&moment.values[c * columns], x, factor * x[c], columns);
  }
}

Case makeCase(uint32_t seed, float spread) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Case made;
  made.values.input = kInput;
  made.values.hidden = kHidden;
  auto fill = [&](std::vector<float> &matrix) {
    matrix.resize(kInput * kHidden);
    for (float &value : matrix) {
      value = spread * normal(random);
    }
  };
  fill(made.values.gate);
  fill(made.values.up);
  fill(made.values.down);
  made.layer.experts.resize(1);
  ExpertMoments &moments = made.layer.experts[0];
  for (int64_t token = 0; token < kTokens; ++token) {
    std::vector<float> x(kInput);
    float shared = normal(random);
    for (float &value : x) {
      value = normal(random) + 0.7f * shared;
    }
    float weight = 0.1f + 0.8f * static_cast<float>(random() % 1000) / 1000;
    std::vector<float> hidden = hiddenOf(made.values, x.data());
    addMoment(moments.input, kInput, x.data(), weight * weight);
    addMoment(moments.hidden, kHidden, hidden.data(), weight * weight);
    moments.tokens += 1;
    moments.weightSquares += weight * weight;
    made.tokens.push_back(std::move(x));
    made.weights.push_back(weight);
  }
  return made;
}

double measuredError(const Case &made, const RoundedExpert &rounded, const RoundingGrid &grid) {
  ExpertValues values = made.values;
  expandRounded(rounded.gate, kHidden, kInput, grid, values.gate.data());
  expandRounded(rounded.up, kHidden, kInput, grid, values.up.data());
  expandRounded(rounded.down, kInput, kHidden, grid, values.down.data());
  double sum = 0;
  for (int64_t token = 0; token < kTokens; ++token) {
    std::vector<float> exact = outputOf(made.values, made.tokens[token].data());
    std::vector<float> lossy = outputOf(values, made.tokens[token].data());
    for (int64_t row = 0; row < kInput; ++row) {
      double off = made.weights[token] * (exact[row] - lossy[row]);
      sum += off * off;
    }
  }
  return sum;
}

const RoundingGrid kGrids[] = {RoundingGrid::ternary(64), RoundingGrid::centred(2, 64), RoundingGrid::centred(3, 64),
                               RoundingGrid::integer(4, 32), RoundingGrid::integer(8, 32)};

TEST(SensitivityTest, PredictsTheOutputError) {
  for (uint32_t seed : {1, 2, 3}) {
    Case made = makeCase(seed, 0.1f * static_cast<float>(seed));
    ExpertSensitivity sensitivity(made.values, made.layer, 0);
    double before = INFINITY;
    for (const RoundingGrid &grid : kGrids) {
      RoundedExpert rounded = roundExpert(made.values, sensitivity.curvature(), grid, Rounding::Compensated);
      double predicted = sensitivity.error(rounded), measured = measuredError(made, rounded, grid);
      EXPECT_GT(predicted, measured / 2) << seed << " " << grid.levels;
      EXPECT_LT(predicted, measured * 2) << seed << " " << grid.levels;
      EXPECT_LT(predicted, before);
      before = predicted;
    }
  }
}

TEST(SensitivityTest, CompensationHelpsTheOutput) {
  Case made = makeCase(4, 0.2f);
  ExpertSensitivity sensitivity(made.values, made.layer, 0);
  for (const RoundingGrid &grid : {RoundingGrid::ternary(64), RoundingGrid::centred(3, 64)}) {
    double nearest =
        measuredError(made, roundExpert(made.values, sensitivity.curvature(), grid, Rounding::Nearest), grid);
    double compensated =
        measuredError(made, roundExpert(made.values, sensitivity.curvature(), grid, Rounding::Compensated), grid);
    EXPECT_LT(compensated, 0.7 * nearest);
  }
}

TEST(SensitivityTest, SharedMomentsAreDividedAmongExperts) {
  Case made = makeCase(5, 0.2f);
  ExpertSensitivity alone(made.values, made.layer, 0);
  // A second expert that took three times as much of the same tokens.
  LayerMoments shared;
  shared.input = made.layer.experts[0].input;
  shared.hidden = made.layer.experts[0].hidden;
  shared.experts.resize(2);
  for (auto [expert, share] : {std::pair(0, 0.25f), {1, 0.75f}}) {
    ExpertMoments &own = shared.experts[expert];
    own.weightSquares = share * made.layer.experts[0].weightSquares;
    own.hidden.kind = Moment::Kind::Diagonal;
    own.hidden.columns = kHidden;
    for (int64_t c = 0; c < kHidden; ++c) {
      own.hidden.values.push_back(share * shared.hidden.diagonal(c));
    }
  }
  const RoundingGrid grid = RoundingGrid::centred(2, 64);
  RoundedExpert rounded = roundExpert(made.values, alone.curvature(), grid, Rounding::Compensated);
  double whole = alone.error(rounded);
  EXPECT_NEAR(ExpertSensitivity(made.values, shared, 0).error(rounded), whole / 4, whole * 1e-4);
  EXPECT_NEAR(ExpertSensitivity(made.values, shared, 1).error(rounded), whole * 3 / 4, whole * 1e-4);
}

TEST(SensitivityTest, UnusedExpertsCostNothing) {
  Case made = makeCase(6, 0.2f);
  LayerMoments unused;
  unused.experts.resize(1);
  for (auto [moment, columns] : {std::pair(&unused.experts[0].input, kInput), {&unused.experts[0].hidden, kHidden}}) {
    moment->kind = Moment::Kind::Full;
    moment->columns = columns;
    moment->values.resize(columns * columns);
  }
  ExpertSensitivity sensitivity(made.values, unused, 0);
  RoundedExpert rounded =
      roundExpert(made.values, sensitivity.curvature(), RoundingGrid::ternary(64), Rounding::Compensated);
  EXPECT_EQ(sensitivity.error(rounded), 0);
}

} // namespace
} // namespace emoe
