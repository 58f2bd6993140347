#include "runtime/experts/predict.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

namespace emoe::rt {
namespace {

double P(double log_odds) { return 1 / (1 + std::exp(-log_odds)); }

struct Fixture {
  std::vector<LayerPredictor> layers;
  std::vector<uint64_t> memory;
  Predictor predictor;
  explicit Fixture(std::vector<LayerPredictor> given) : layers(std::move(given)) {
    Span<LayerPredictor> span{layers.data(), layers.size()};
    memory.resize((Predictor::BytesNeeded(span) + 7) / 8);
    predictor.Init(span, memory.data());
  }
  void Token(std::vector<std::vector<int32_t>> ids) {
    for (uint32_t l = 0; l < ids.size(); ++l) predictor.Observe(l, ids[l].data(), 1);
  }
  std::vector<int32_t> Ranked(uint32_t layer) {
    Prediction p = predictor.Predict(layer, 1);
    return {p.ranked, p.ranked + p.ranked_count};
  }
  double Probability(uint32_t layer, uint32_t expert) { return predictor.Predict(layer, 1).probability[expert]; }
};

LayerPredictor Layer(PredictorKind kind, uint32_t experts, uint32_t top_k, const int8_t *prior = nullptr) {
  LayerPredictor layer;
  layer.kind = kind;
  layer.experts = experts;
  layer.top_k = top_k;
  layer.prior = prior;
  layer.scale = 0.5f;
  return layer;
}

TEST(Predict, NamesGoBothWays) {
  for (uint32_t i = 0; i < kPredictorKinds; ++i) {
    const char *name = PredictorName(static_cast<PredictorKind>(i));
    PredictorKind kind;
    ASSERT_TRUE(ParsePredictor(name, strlen(name), &kind));
    EXPECT_EQ(static_cast<uint32_t>(kind), i);
    EXPECT_FALSE(ParsePredictor(name, strlen(name) - 1, &kind));
  }
  EXPECT_STREQ(PredictorName(static_cast<PredictorKind>(5)), "unknown");
}

TEST(Predict, StaticRanksByThePriorAndTiesByTheLowestId) {
  const int8_t prior[] = {-4, 2, 2, 6, -8};
  Fixture f({Layer(PredictorKind::kStatic, 5, 2, prior)});
  EXPECT_EQ(f.Ranked(0), (std::vector<int32_t>{3, 1, 2, 0}));
  EXPECT_NEAR(f.Probability(0, 3), P(3), 1e-6);
  EXPECT_NEAR(f.Probability(0, 4), P(-4), 1e-6);
}

TEST(Predict, NothingIsRankedWithoutAPredictor) {
  const int8_t prior[] = {-4, 2, 2, 6};
  Fixture f({Layer(PredictorKind::kNone, 4, 1, prior)});
  EXPECT_EQ(f.Ranked(0), std::vector<int32_t>{});
  for (uint32_t e = 0; e < 4; ++e) EXPECT_NEAR(f.Probability(0, e), 0.25, 1e-6);
}

// Two layers: before the second runs, near is layer 0 of this token and far is layer 1 of the one before.
TEST(Predict, TableAddsTheLogOddsOfTheTwoLayersBefore) {
  const int8_t prior[] = {0, -2, -4};
  const int8_t near[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  const int8_t far[] = {10, 0, -10, 20, 0, -20, 30, 0, -30};
  LayerPredictor second = Layer(PredictorKind::kTable, 3, 2, prior);
  second.near = near;
  second.far = far;
  Fixture f({Layer(PredictorKind::kNone, 3, 1), second});
  EXPECT_NEAR(f.Probability(1, 1), P(-1), 1e-6) << "nothing observed: the prior";
  int32_t two = 2;
  f.predictor.Observe(0, &two, 1);
  EXPECT_NEAR(f.Probability(1, 0), P(0.5 * (0 + 7)), 1e-6) << "no token before: near alone";
  EXPECT_NEAR(f.Probability(1, 2), P(0.5 * (-4 + 9)), 1e-6);
  int32_t both[] = {0, 1};
  f.predictor.Observe(1, both, 1);
  EXPECT_NEAR(f.Probability(1, 0), P(0.5 * (0 + 10 + 20)), 1e-6) << "layer 0 of this token is not known: far alone";
  f.predictor.Observe(0, &two, 1);
  EXPECT_NEAR(f.Probability(1, 0), P(0.5 * (0 + 7 + 10 + 20)), 1e-6);
  EXPECT_NEAR(f.Probability(1, 1), P(0.5 * (-2 + 8)), 1e-6);
  EXPECT_NEAR(f.Probability(1, 2), P(0.5 * (-4 + 9 - 10 - 20)), 1e-6);
  EXPECT_EQ(f.Ranked(1), (std::vector<int32_t>{0, 1, 2}));
  f.predictor.Reset();
  EXPECT_NEAR(f.Probability(1, 1), P(-1), 1e-6) << "another sequence: the prior";
}

TEST(Predict, ExactKeysGoBeforePairs) {
  ASSERT_TRUE(HasExactKey(4, 2));
  EXPECT_FALSE(HasExactKey(17, 1));
  EXPECT_FALSE(HasExactKey(16, 3));
  EXPECT_FALSE(HasExactKey(1, 2));
  EXPECT_EQ(ExactSets(4, 2), 6u);
  EXPECT_EQ(ExactSets(8, 1), 8u);
  // Every set has its own number, whatever the order of its members.
  std::vector<uint32_t> seen;
  for (int32_t a = 0; a < 4; ++a) {
    for (int32_t b = a + 1; b < 4; ++b) {
      const int32_t up[] = {a, b}, down[] = {b, a};
      EXPECT_EQ(ExactSet(up, 2), ExactSet(down, 2));
      seen.push_back(ExactSet(up, 2));
    }
  }
  std::sort(seen.begin(), seen.end());
  std::vector<uint32_t> all(6);
  std::iota(all.begin(), all.end(), 0);
  EXPECT_EQ(seen, all);

  // Layers 0 and 1 have 4 experts, 2 used; layer 2 has 2 experts. {1, 3} -> 4, {0, 2} -> 1: key 4 * 6 + 1.
  const uint16_t keys[] = {0, 25, 35};
  const int8_t rows[] = {100, -100, 8, -8, 100, -100};
  const int8_t near[] = {1, 0, 1, 0, 1, 0, 1, 0}, far[] = {0, 3, 0, 3, 0, 3, 0, 3};
  LayerPredictor third = Layer(PredictorKind::kTable, 2, 1);
  third.near = near;
  third.far = far;
  third.keys = keys;
  third.rows = rows;
  third.key_count = 3;
  Fixture f({Layer(PredictorKind::kNone, 4, 2), Layer(PredictorKind::kNone, 4, 2), third});
  auto two_layers = [&](std::vector<int32_t> first, std::vector<int32_t> second) {
    f.predictor.Observe(0, first.data(), 1);
    f.predictor.Observe(1, second.data(), 1);
  };
  two_layers({1, 3}, {0, 2});
  EXPECT_NEAR(f.Probability(2, 0), P(4), 1e-6);
  EXPECT_NEAR(f.Probability(2, 1), P(-4), 1e-6);
  EXPECT_EQ(f.Ranked(2), (std::vector<int32_t>{0, 1}));
  int32_t one = 1;
  f.predictor.Observe(2, &one, 1);
  two_layers({1, 3}, {1, 2});  // not listed: near and far on top of one of two
  EXPECT_NEAR(f.Probability(2, 0), P(0.5 * 2), 1e-6);
  EXPECT_NEAR(f.Probability(2, 1), P(0.5 * 6), 1e-6);
  EXPECT_EQ(f.Ranked(2), (std::vector<int32_t>{1, 0}));
}

TEST(Predict, PreviousTokenRaisesWhatWasUsed) {
  const int8_t prior[] = {0, 0, 4, 0};
  const int8_t repeat[] = {6, -2};
  LayerPredictor layer = Layer(PredictorKind::kPreviousToken, 4, 1, prior);
  layer.repeat = repeat;
  Fixture f({layer});
  EXPECT_EQ(f.Ranked(0), (std::vector<int32_t>{2, 0}));
  f.Token({{3}});
  EXPECT_EQ(f.Ranked(0), (std::vector<int32_t>{3, 2}));
  EXPECT_NEAR(f.Probability(0, 3), P(3), 1e-6);
  EXPECT_NEAR(f.Probability(0, 2), P(1), 1e-6);
}

TEST(Predict, LookAheadCountsUntilTheLayerRan) {
  const int8_t prior[] = {9, 0, 0, 0, 0};
  const int8_t ranks[] = {4, 2, -2, -4, -8};
  LayerPredictor layer = Layer(PredictorKind::kLookAhead, 5, 2, prior);
  layer.ranks = ranks;
  Fixture f({Layer(PredictorKind::kNone, 5, 2), layer});
  ASSERT_TRUE(f.predictor.WantsLookAhead(1));
  ASSERT_FALSE(f.predictor.WantsLookAhead(0));
  const int32_t ahead[] = {2, 4, 1, 3}, used[] = {2, 3};
  f.predictor.LookAhead(1, ahead);
  f.predictor.Observe(0, used, 1);
  EXPECT_EQ(f.Ranked(1), (std::vector<int32_t>{2, 4, 1, 3}));
  EXPECT_NEAR(f.Probability(1, 4), P(1), 1e-6);
  EXPECT_NEAR(f.Probability(1, 0), P(-4), 1e-6);
  f.predictor.Observe(1, used, 1);
  EXPECT_EQ(f.Ranked(1)[0], 0) << "it said nothing of the next token: the prior";
}

TEST(Predict, WithoutTablesTheOrderIsStillThatOfTheSource) {
  Fixture ahead({Layer(PredictorKind::kLookAhead, 6, 1)});
  const int32_t best[] = {4, 2};
  ahead.predictor.LookAhead(0, best);
  EXPECT_EQ(ahead.Ranked(0), (std::vector<int32_t>{4, 2}));
  EXPECT_GT(ahead.Probability(0, 4), ahead.Probability(0, 2));
  EXPECT_GT(ahead.Probability(0, 2), ahead.Probability(0, 0));
  Fixture before({Layer(PredictorKind::kPreviousToken, 6, 1)});
  before.Token({{5}});
  EXPECT_EQ(before.Ranked(0), (std::vector<int32_t>{5, 0}));
  EXPECT_NEAR(before.Probability(0, 5), P(std::log(0.2) + 1.5), 1e-6);
  EXPECT_NEAR(before.Probability(0, 1), 1.0 / 6, 1e-6);
}

TEST(Predict, ScoresAreRankedAsRoutersChoose) {
  const float scores[] = {0.5f, 2, -1, 2, 0.5f};
  int32_t ranked[5];
  RankScores(scores, 5, 4, ranked);
  EXPECT_EQ(std::vector<int32_t>(ranked, ranked + 4), (std::vector<int32_t>{1, 3, 0, 4}));
  const float nan[] = {NAN, 1, NAN, 2};
  RankScores(nan, 4, 4, ranked);  // no order, but every expert once
  std::sort(ranked, ranked + 4);
  EXPECT_EQ(std::vector<int32_t>(ranked, ranked + 4), (std::vector<int32_t>{0, 1, 2, 3}));

  const float bias[] = {0, 0.25f, -0.25f};
  float sigmoid[] = {0, -2, 4}, softmax[] = {1, 0, 2}, none[] = {1, 2, 3}, same[] = {1, 2, 3};
  ChoiceScores(ScoreFunction::kSigmoid, bias, 3, sigmoid);
  EXPECT_FLOAT_EQ(sigmoid[0], 0.5f);
  EXPECT_FLOAT_EQ(sigmoid[1], static_cast<float>(P(-2)) + 0.25f);
  ChoiceScores(ScoreFunction::kSoftmax, bias, 3, softmax);
  EXPECT_FLOAT_EQ(softmax[2], static_cast<float>(std::exp(2) / (std::exp(2) + std::exp(1) + 1)) - 0.25f);
  ChoiceScores(ScoreFunction::kNone, bias, 3, none);
  EXPECT_FLOAT_EQ(none[1], 2.25f);
  ChoiceScores(ScoreFunction::kSigmoid, nullptr, 3, same);
  EXPECT_EQ(same[2], 3) << "the order is that of the logits";
}

TEST(Predict, IdsThatAreNoneAreIgnored) {
  Fixture f({Layer(PredictorKind::kPreviousToken, 4, 2)});
  f.Token({{1, 2}});
  f.Token({{1, 4}});
  f.Token({{-1, 0}});
  EXPECT_EQ(f.Ranked(0), (std::vector<int32_t>{1, 2, 0, 3}));
}

TEST(Predict, AChunkTouchesWhatAnyOfItsTokensUses) {
  const int8_t prior[] = {0, -6};
  Fixture f({Layer(PredictorKind::kTable, 2, 1, prior)});
  Prediction p = f.predictor.Predict(0, 5);
  EXPECT_NEAR(p.probability[0], 1 - std::pow(0.5, 5), 1e-6);
  EXPECT_NEAR(p.probability[1], 1 - std::pow(1 - P(-3), 5), 1e-6);
  // What the last token of a chunk used is what the next token sees.
  const int8_t repeat[] = {6, 0};
  LayerPredictor layer = Layer(PredictorKind::kPreviousToken, 3, 1);
  layer.repeat = repeat;
  Fixture g({layer});
  const int32_t chunk[] = {0, 1, 2};
  g.predictor.Observe(0, chunk, 3);
  EXPECT_EQ(g.Ranked(0)[0], 2);
}

TEST(Predict, CountsWhatWasFound) {
  const int8_t prior[] = {9, 8, 7, 6, 5, 4};
  Fixture f({Layer(PredictorKind::kStatic, 6, 2, prior)});
  const int32_t a[] = {0, 2}, b[] = {4, 5}, chunk[] = {0, 1, 0, 1};
  f.predictor.Observe(0, a, 1);  // nobody predicted
  f.predictor.Predict(0, 1);
  f.predictor.Observe(0, a, 1);
  f.predictor.Predict(0, 1);
  f.predictor.Observe(0, b, 1);
  f.predictor.Predict(0, 2);
  f.predictor.Observe(0, chunk, 2);  // chunks are not counted
  const PredictorCounters &c = f.predictor.counters(0);
  EXPECT_EQ(c.predicted, 2u);
  EXPECT_EQ(c.used, 4u);
  EXPECT_EQ(c.found_k, 1u);
  EXPECT_EQ(c.found_2k, 2u);
  EXPECT_EQ(c.ranked_2k, 8u);
}

TEST(Predict, ForcedKindReplacesThatOfEveryLayer) {
  const int8_t prior[] = {0, 1, 2};
  Fixture f({Layer(PredictorKind::kLookAhead, 3, 1, prior), Layer(PredictorKind::kNone, 3, 1, prior)});
  f.predictor.Force(PredictorKind::kStatic);
  EXPECT_EQ(f.Ranked(0), (std::vector<int32_t>{2, 1}));
  EXPECT_EQ(f.Ranked(1), (std::vector<int32_t>{2, 1}));
  EXPECT_FALSE(f.predictor.WantsLookAhead(0));
}

// Against a plain model with maps and doubles, over random sequences, layers and tables.
TEST(Predict, AgreesWithTheDefinition) {
  for (uint32_t seed = 0; seed < 40; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    uint32_t count = random() % 4 + 1;
    std::vector<LayerPredictor> layers(count);
    std::vector<std::vector<int8_t>> priors(count), nears(count), fars(count);
    for (LayerPredictor &layer : layers) {
      layer.kind = PredictorKind::kTable;
      layer.experts = random() % 12 + 2;
      layer.top_k = random() % std::min(layer.experts, 4u) + 1;
      layer.scale = 0.0625f;
    }
    auto noise = [&](size_t size) {
      std::vector<int8_t> values(size);
      for (int8_t &v : values) v = static_cast<int8_t>(random());
      return values;
    };
    for (uint32_t l = 0; l < count; ++l) {
      uint32_t experts = layers[l].experts;
      priors[l] = noise(experts);
      nears[l] = noise(layers[(l + count - 1) % count].experts * experts);
      fars[l] = noise(layers[(l + 2 * count - 2) % count].experts * experts);
      layers[l].prior = priors[l].data();
      layers[l].near = nears[l].data();
      layers[l].far = fars[l].data();
    }
    Fixture f(layers);
    std::vector<std::vector<int32_t>> history;  // of each run
    for (uint32_t run = 0; run < 60; ++run) {
      uint32_t l = run % count;
      const LayerPredictor &layer = layers[l];
      std::vector<double> expected(layer.experts);
      for (uint32_t e = 0; e < layer.experts; ++e) {
        double sum = priors[l][e];
        if (run >= 1) {
          for (int32_t i : history[run - 1]) sum += nears[l][i * layer.experts + e];
        }
        if (run >= 2 && count > 1) {  // a layer keeps its last experts only
          for (int32_t i : history[run - 2]) sum += fars[l][i * layer.experts + e];
        }
        expected[e] = P(sum * 0.0625);
      }
      Prediction p = f.predictor.Predict(l, 1);
      for (uint32_t e = 0; e < layer.experts; ++e) ASSERT_NEAR(p.probability[e], expected[e], 1e-5);
      ASSERT_EQ(p.ranked_count, RankedExperts(layer.experts, layer.top_k));
      for (uint32_t i = 1; i < p.ranked_count; ++i) {
        ASSERT_GE(expected[p.ranked[i - 1]] + 1e-5, expected[p.ranked[i]]);
      }
      std::vector<int32_t> ids(layer.experts);
      std::iota(ids.begin(), ids.end(), 0);
      std::shuffle(ids.begin(), ids.end(), random);
      ids.resize(layer.top_k);
      f.predictor.Observe(l, ids.data(), 1);
      history.push_back(ids);
    }
  }
}

}  // namespace
}  // namespace emoe::rt
