// What a live run hits and what a replay of its trace says: the same numbers, for every policy and any number of slots.
#include <gtest/gtest.h>

#include "compiler/plan/next_use.h"
#include "compiler/plan/replay.h"
#include "test/runtime/engine/fake_model.h"

namespace emoe {
namespace {

using namespace rt::fake;

void record(void *user, uint64_t, uint32_t layer, const int32_t *ids, uint32_t topK) {
  auto &rows = *static_cast<std::vector<std::vector<int32_t>> *>(user);
  for (uint32_t i = 0; i < topK; ++i) {
    rows[layer].push_back(ids[i]);
  }
}

// Runs tokens in documents of `length`; the trace in decode order.
rt::SessionStats live(Model &model, rt::SessionOptions options, const std::vector<int32_t> &tokens, size_t length,
                      Trace *trace, uint64_t *slots) {
  std::vector<std::vector<int32_t>> rows(kLayers);
  options.trace = record;
  options.trace_user = &rows;
  rt::Status status;
  SessionPtr session = Make(model, options, &status);
  EXPECT_TRUE(status.ok()) << status.what << " " << status.detail;
  *trace = {};
  trace->layers.assign(kLayers, {kExperts, kTopK});
  for (size_t at = 0; at < tokens.size(); at += length) {
    session->Reset();
    size_t count = std::min(length, tokens.size() - at);
    status = session->Forward(&tokens[at], count, rt::Want::kLast);
    EXPECT_TRUE(status.ok()) << status.what;
    trace->documents.push_back({at, count, 0});
  }
  for (size_t t = 0; t < tokens.size(); ++t) {
    for (int layer = 0; layer < kLayers; ++layer) {
      auto begin = rows[layer].begin() + static_cast<std::ptrdiff_t>(t * kTopK);
      std::vector<int32_t> ids(begin, begin + kTopK);
      std::sort(ids.begin(), ids.end());
      trace->experts.insert(trace->experts.end(), ids.begin(), ids.end());
    }
  }
  *slots = session->plan().slots;
  return session->stats();
}

TEST(Live, HitsAreThoseOfTheReplay) {
  Model model;
  std::vector<int32_t> tokens = Tokens(90);
  rt::SessionOptions options = Options(1);
  options.prefetch = false;
  options.direct = rt::DirectMode::kOff;
  options.memory.budget = 1;
  rt::Status status;
  EXPECT_EQ(Make(model, options, &status), nullptr);
  const uint64_t floor = status.detail;

  // Tables from a first run; the plan holds them.
  Trace trace;
  uint64_t slots = 0;
  options.memory.budget = 0;
  live(model, options, tokens, 30, &trace, &slots);
  NextUseTables tables = fitNextUse(trace);
  auto &nextUse = model.bundle.plan.next_use;
  nextUse.discount = tables.discount;
  nextUse.scale = tables.scale;
  nextUse.usual = {tables.usual.data(), tables.usual.size()};
  nextUse.blocks = {tables.blocks.data(), tables.blocks.size()};
  nextUse.rows = {tables.rows.data(), tables.rows.size()};
  ASSERT_GT(tables.blocks.size(), 0u);

  uint64_t runs = 0, hits = 0;
  for (uint32_t policy = 0; policy < rt::kCachePolicies; ++policy) {
    const char *name = rt::CachePolicyName(static_cast<rt::CachePolicy>(policy));
    for (bool perLayer : {false, true}) {
      // Through the plan's own choice, as a bundle gives it.
      const rt::CacheChoice choice{0, perLayer ? 2u : 0u, 16, static_cast<rt::CachePolicy>(policy), 1, 75, perLayer};
      model.bundle.plan.choices = {&choice, 1};
      for (uint64_t extra : {0, 5, 11}) {
        for (uint32_t chunk : {1u, 4u}) {
          options.memory.budget = floor + extra * (kRecordBytes + 4096);
          options.memory.chunk = chunk;
          options.policy = extra == 5 ? name : nullptr;
          rt::SessionStats stats = live(model, options, tokens, 30, &trace, &slots);
          rt::CacheParameters parameters;
          ASSERT_TRUE(rt::ChooseCache(model.bundle, slots, options.policy, &parameters));
          ASSERT_EQ(parameters.policy, static_cast<rt::CachePolicy>(policy));
          ReplayOptions replayed;
          replayed.chunk = chunk;
          ReplayCounts counts = replay(trace, static_cast<uint32_t>(slots), parameters, replayed);
          EXPECT_EQ(stats.hits, counts.hits) << name << " per layer " << perLayer << " slots " << slots << " chunk " << chunk;
          EXPECT_EQ(stats.misses, counts.misses);
          hits += counts.hits;
          ++runs;
        }
      }
      model.bundle.plan.choices = {};
    }
  }
  EXPECT_EQ(runs, 60u);
  EXPECT_GT(hits, 1000u);
}

} // namespace
} // namespace emoe
