#include "compiler/predict/predict.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <random>

#include "compiler/bundle/writer.h"
#include "runtime/bundle/memory_provider.h"
#include "runtime/bundle/predictors.h"
#include "test/support/small_model.h"

namespace emoe {
namespace {

using Kind = rt::PredictorKind;

// Tokens whose experts `next` gives, layer after layer, from what was given before (of the same token).
Trace makeTrace(std::vector<TraceLayer> layers, uint64_t tokens, uint32_t seed,
                const std::function<std::vector<int32_t>(std::mt19937 &, size_t layer, const std::vector<int32_t> &row)> &next) {
  Trace trace;
  trace.layers = std::move(layers);
  trace.documents = {{0, tokens, 0}};
  trace.domains = {"made"};
  std::mt19937 random(seed);
  for (uint64_t t = 0; t < tokens; ++t) {
    std::vector<int32_t> row;
    for (size_t l = 0; l < trace.layers.size(); ++l) {
      std::vector<int32_t> ids = next(random, l, row);
      row.insert(row.end(), ids.begin(), ids.end());
    }
    trace.experts.insert(trace.experts.end(), row.begin(), row.end());
  }
  return trace;
}

// The third layer's expert is the exclusive or of those of the two before: each alone says nothing.
std::vector<int32_t> exclusiveOr(std::mt19937 &random, size_t layer, const std::vector<int32_t> &row) {
  return {layer < 2 ? int32_t(random() % 4) : row[0] ^ row[1]};
}

// Each layer's experts are those of the layer before, one further.
std::vector<int32_t> shifted(std::mt19937 &random, size_t layer, const std::vector<int32_t> &row) {
  if (layer == 0) {
    int32_t a = random() % 20, b = (a + 1 + random() % 19) % 20;
    return {std::min(a, b), std::max(a, b)};
  }
  int32_t a = (row[row.size() - 2] + 1) % 20, b = (row[row.size() - 1] + 1) % 20;
  return {std::min(a, b), std::max(a, b)};
}

TEST(Fit, PriorsAreFrequencies) {
  // Expert 0 always, expert 1 half of the time, expert 2 the other half, expert 3 never.
  Trace trace = makeTrace({{4, 2}}, 1000, 1, [](std::mt19937 &, size_t, const std::vector<int32_t> &) {
    static int turn = 0;
    return std::vector<int32_t>{0, 1 + turn++ % 2};
  });
  LayerTables tables = fitTables(trace)[0];
  ASSERT_EQ(tables.prior.size(), 4u);
  auto logOdds = [&](size_t e) { return tables.scale * tables.prior[e]; };
  EXPECT_GT(logOdds(0), 6);
  EXPECT_NEAR(logOdds(1), 0, tables.scale);
  EXPECT_NEAR(logOdds(2), 0, tables.scale);
  EXPECT_NEAR(logOdds(3), std::log(2.0 / 1002), tables.scale) << "four imagined tokens: half an expert each";
  EXPECT_TRUE(tables.far.empty()) << "one layer knows its last token only";
  EXPECT_TRUE(tables.ranks.empty());
}

TEST(Fit, PairsLearnWhatFollowsWhat) {
  std::vector<TraceLayer> layers(3, TraceLayer{20, 2});
  Trace fit = makeTrace(layers, 2000, 1, shifted), heldOut = makeTrace(layers, 500, 2, shifted);
  std::vector<LayerTables> tables = fitTables(fit);
  std::vector<Quality> table = judge(heldOut, tables, Kind::kTable), prior = judge(heldOut, tables, Kind::kStatic);
  EXPECT_LT(table[0].recall, 0.25) << "the first layer is random";
  EXPECT_GT(table[1].recall, 0.99);
  EXPECT_GT(table[2].recall, 0.99);
  EXPECT_LT(prior[1].recall, 0.25);
  EXPECT_NEAR(table[3].recall, (table[0].recall + table[1].recall + table[2].recall) / 3, 1e-12);
}

TEST(Fit, ExactKeysKnowWhatPairsCannotSay) {
  std::vector<TraceLayer> layers(3, TraceLayer{4, 1});
  Trace fit = makeTrace(layers, 2000, 1, exclusiveOr), heldOut = makeTrace(layers, 1000, 2, exclusiveOr);
  FitOptions pairsOnly;
  pairsOnly.exact = false;
  std::vector<LayerTables> exact = fitTables(fit), pairs = fitTables(fit, pairsOnly);
  EXPECT_EQ(exact[2].keys.size(), 16u);
  EXPECT_TRUE(pairs[2].keys.empty());
  EXPECT_EQ(judge(heldOut, exact, Kind::kTable)[2].recall, 1);
  EXPECT_LT(judge(heldOut, pairs, Kind::kTable)[2].recall, 0.5);

  FitOptions few;
  few.mostExactBytes = 3 * (4 + 2);
  std::vector<LayerTables> cut = fitTables(fit, few);
  ASSERT_EQ(cut[2].keys.size(), 3u);
  EXPECT_LT(cut[2].keys[0], cut[2].keys[1]);
  EXPECT_LT(cut[2].keys[1], cut[2].keys[2]);
}

TEST(Fit, LargeLayersHaveNoPairs) {
  FitOptions options;
  options.mostPairBytes = 2 * 20 * 20 - 1;
  std::vector<LayerTables> tables =
      fitTables(makeTrace(std::vector<TraceLayer>(2, TraceLayer{20, 2}), 100, 1, shifted), options);
  EXPECT_TRUE(tables[1].near.empty());
  EXPECT_FALSE(tables[1].prior.empty());
}

TEST(Fit, DocumentsAreApart) {
  // Within a document every token repeats the last; documents begin anew after each two tokens.
  Trace trace = makeTrace({{8, 1}}, 4000, 3, [](std::mt19937 &random, size_t, const std::vector<int32_t> &) {
    static int32_t last = 0;
    static int turn = 0;
    return std::vector<int32_t>{turn++ % 2 == 0 ? last = int32_t(random() % 8) : last};
  });
  Trace whole = trace;
  trace.documents.clear();
  for (uint64_t t = 0; t < 4000; t += 2) {
    trace.documents.push_back({t, 2, 0});
  }
  EXPECT_EQ(fitTables(trace)[0].repeat[0], 127) << "always, as far as 8 bits say";
  EXPECT_LT(fitTables(whole)[0].repeat[0], 127);
  double apart = judge(trace, fitTables(trace), Kind::kPreviousToken)[0].recall;
  double together = judge(whole, fitTables(whole), Kind::kPreviousToken)[0].recall;
  EXPECT_NEAR(apart, 0.5 + 0.5 / 8, 0.03) << "the first token of a document has none before";
  EXPECT_NEAR(together, 0.5 + 0.5 / 8, 0.03);
}

// Traces of others leave layers out: -1. Nothing is learnt from them, and nothing is judged by them.
TEST(Fit, WhatWasNotRecordedIsLeftOut) {
  std::vector<TraceLayer> layers(3, TraceLayer{20, 2});
  Trace fit = makeTrace(layers, 2000, 1, shifted), heldOut = makeTrace(layers, 500, 2, shifted);
  for (Trace *trace : {&fit, &heldOut}) {
    for (uint64_t t = 0; t < trace->count(); t += 5) {
      trace->experts[t * 6 + 2 * (t % 3) + 1] = -1;
    }
  }
  std::vector<Quality> table = judge(heldOut, fitTables(fit), Kind::kTable);
  EXPECT_EQ(table[0].tokens + table[1].tokens + table[2].tokens, 3 * 500u - 100);
  EXPECT_GT(table[1].recall, 0.9);
  EXPECT_GT(table[2].recall, 0.9);
}

TEST(Judge, CountsByHand) {
  // Prior: 2 before 0 before 1 before 3. Used {2}, {0}, {1}, {3}: one is first, one second.
  Trace trace;
  trace.layers = {{4, 1}};
  trace.experts = {2, 0, 1, 3};
  LayerTables tables;
  tables.experts = 4;
  tables.topK = 1;
  tables.scale = 0.1f;
  tables.prior = {5, 0, 10, -10};
  Quality q = judge(trace, {tables}, Kind::kStatic)[0];
  EXPECT_EQ(q.tokens, 4u);
  EXPECT_EQ(q.recall, 0.25);
  EXPECT_EQ(q.recall2k, 0.5);
  EXPECT_EQ(q.precision2k, 0.25);
  EXPECT_EQ(q.recallLow, 0.25) << "one block: its own mean";
  Quality none = judge(trace, {tables}, Kind::kNone)[0];
  EXPECT_EQ(none.recall, 0);
  EXPECT_EQ(none.precision2k, 0);
}

// An ahead that is right with the given chance, else random.
void addAhead(Trace &trace, double right, uint32_t seed) {
  std::mt19937 random(seed);
  for (uint64_t t = 0; t < trace.count(); ++t) {
    for (size_t l = 0; l < trace.layers.size(); ++l) {
      uint32_t experts = trace.layers[l].experts, ranked = rt::RankedExperts(experts, trace.layers[l].topK);
      std::vector<int32_t> ids(experts);
      for (uint32_t e = 0; e < experts; ++e) {
        ids[e] = e;
      }
      std::shuffle(ids.begin(), ids.end(), random);
      for (uint32_t j = 0; j < trace.layers[l].topK; ++j) {
        if (random() % 1000 < 1000 * right) {
          std::swap(ids[j], *std::find(ids.begin(), ids.end(), trace.experts[t * trace.row() + trace.column(l) + j]));
        }
      }
      for (uint32_t r = 0; r < ranked; ++r) {
        trace.ahead.push_back(l == 0 ? -1 : ids[r]);
      }
    }
  }
}

TEST(Choose, TheBestOnHeldOutTextAndLookAheadBeforeTables) {
  std::vector<TraceLayer> layers(3, TraceLayer{20, 2});
  Trace fit = makeTrace(layers, 2000, 1, shifted), heldOut = makeTrace(layers, 1000, 2, shifted);
  addAhead(fit, 0.9, 3);
  addAhead(heldOut, 0.9, 4);
  Predictors chosen = buildPredictors(fit, heldOut, {});
  EXPECT_EQ(chosen.layers[0].predictor, Kind::kStatic) << "nothing helps with what is random";
  EXPECT_EQ(chosen.layers[1].predictor, Kind::kTable) << "always right, and look-ahead is not";
  EXPECT_EQ(chosen.layers[1].judged.size(), 4u);
  EXPECT_EQ(chosen.layers[0].judged.size(), 3u) << "no layer is before the first";

  fit.ahead.clear();
  heldOut.ahead.clear();
  addAhead(fit, 0.999, 5);
  addAhead(heldOut, 0.999, 6);
  EXPECT_EQ(buildPredictors(fit, heldOut, {}).layers[1].predictor, Kind::kLookAhead) << "a table has to be clearly better";

  PredictOptions without;
  without.lookAhead = {false, false, true};
  EXPECT_EQ(buildPredictors(fit, heldOut, without).layers[1].predictor, Kind::kTable);
  EXPECT_EQ(buildPredictors(fit, heldOut, without).layers[2].predictor, Kind::kLookAhead);
}

TEST(Choose, DefaultsAreStatedWithoutTraces) {
  Trace nothing;
  nothing.layers.assign(2, TraceLayer{20, 2});
  PredictOptions options;
  options.lookAhead = {false, true};
  options.hidden = 0.25;
  Predictors chosen = buildPredictors(nothing, nothing, options);
  EXPECT_EQ(chosen.layers[0].predictor, Kind::kPreviousToken);
  EXPECT_EQ(chosen.layers[1].predictor, Kind::kLookAhead);
  EXPECT_EQ(chosen.layers[1].reason, "default: nothing was measured");
  EXPECT_TRUE(chosen.section.empty());
  EXPECT_EQ(chosen.index[1]->parts, 0u);
  EXPECT_DOUBLE_EQ(chosen.layers[0].breakEven, 0.8);
}

TEST(Choose, BreakEvenIsThatOfIdleStorage) {
  EXPECT_DOUBLE_EQ(breakEven(1), 0.5);
  EXPECT_DOUBLE_EQ(breakEven(0), 1) << "storage that is always busy: never";
  EXPECT_DOUBLE_EQ(breakEven(0.5), 2.0 / 3);
}

// What was built is what the runtime reads out of the bundle.
TEST(Section, GoesThroughABundleUnchanged) {
  std::mt19937 random(7);
  auto pick = [](std::mt19937 &random, size_t, const std::vector<int32_t> &) {
    int32_t left = random() % 3;
    return left == 0 ? std::vector<int32_t>{1, 2} : left == 1 ? std::vector<int32_t>{0, 2} : std::vector<int32_t>{0, 1};
  };
  std::vector<TraceLayer> layers(2, TraceLayer{3, 2});
  Trace fit = makeTrace(layers, 300, 1, pick), heldOut = makeTrace(layers, 100, 2, pick);
  addAhead(fit, 0.5, 3);
  addAhead(heldOut, 0.5, 4);
  PredictOptions options;
  options.allTables = true;
  options.lookAhead = {false, false}; // the small model has no such step
  Predictors built = buildPredictors(fit, heldOut, options);
  BundleContents contents = test::smallModel();
  contents.index.predictors = std::move(built.index);
  contents.tables = built.section;
  absl::StatusOr<std::vector<uint8_t>> bytes = writeBundleToMemory(contents);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  rt::MemoryProvider provider(bytes->data(), bytes->size());
  rt::Bundle bundle;
  ASSERT_TRUE(rt::OpenBundle(provider, &bundle).ok());
  std::vector<uint64_t> section((bundle.tables.length + 7) / 8);
  ASSERT_TRUE(rt::ReadSection(provider, bundle.tables, section.data()).ok());
  rt::LayerPredictor read[2];
  ASSERT_TRUE(rt::ReadPredictors(bundle, section.data(), read).ok());
  for (size_t l = 0; l < 2; ++l) {
    SCOPED_TRACE(l);
    rt::LayerPredictor expected = built.tables[l].view(built.layers[l].predictor);
    auto same = [](const void *a, const void *b, size_t size) { return a && b && std::memcmp(a, b, size) == 0; };
    EXPECT_EQ(read[l].kind, expected.kind);
    EXPECT_EQ(read[l].scale, expected.scale);
    EXPECT_TRUE(same(read[l].prior, expected.prior, 3));
    EXPECT_TRUE(same(read[l].repeat, expected.repeat, 2));
    EXPECT_TRUE(same(read[l].near, expected.near, 9));
    EXPECT_TRUE(same(read[l].far, expected.far, 9));
    EXPECT_EQ(read[l].key_count, 9u);
    EXPECT_TRUE(same(read[l].keys, expected.keys, 18));
    EXPECT_TRUE(same(read[l].rows, expected.rows, 27));
    EXPECT_EQ(l == 0, read[l].ranks == nullptr);
    EXPECT_TRUE(l == 0 || same(read[l].ranks, expected.ranks, 4));
    EXPECT_EQ(bundle.predictors[l].quality.size, built.layers[l].judged.size());
    EXPECT_EQ(bundle.predictors[l].quality[0].recall, static_cast<float>(built.layers[l].judged[0].recall));
  }
  rt::CloseBundle(&bundle);
}

} // namespace
} // namespace emoe
