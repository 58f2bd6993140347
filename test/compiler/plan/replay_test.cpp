#include "compiler/plan/replay.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "test/compiler/plan/support.h"

namespace emoe {
namespace {

using test::makeTrace;
using test::randomTrace;

rt::CacheParameters policy(rt::CachePolicy policy) {
  rt::CacheParameters parameters;
  parameters.policy = policy;
  return parameters;
}

TEST(Replay, ByHand) {
  // One layer, one expert a token: 0 1 0 2 0 1.
  const int32_t order[] = {0, 1, 0, 2, 0, 1};
  Trace trace = makeTrace({{3, 1}}, 6, [&](uint64_t t, size_t) { return std::vector<int32_t>{order[t]}; });
  EXPECT_EQ(replay(trace, 2, policy(rt::CachePolicy::kLru)).hits, 2u);  // 2 takes 1's slot
  EXPECT_EQ(replayBelady(trace, 2).hits, 2u);                          // so it has to
  EXPECT_EQ(replay(trace, 1, policy(rt::CachePolicy::kLru)).hits, 0u);
  EXPECT_EQ(replay(trace, 3, policy(rt::CachePolicy::kLfu)).hits, 3u);
  EXPECT_EQ(replayBelady(trace, 3).misses, 3u);
}

// LRU by a list, Belady by trying everything: on traces small enough.
uint64_t slowLru(const Trace &trace, size_t slots) {
  std::vector<int32_t> list; // most recent last
  uint64_t hits = 0;
  for (uint64_t t = 0; t < trace.count(); ++t) {
    int32_t base = 0;
    for (size_t l = 0; l < trace.layers.size(); ++l) {
      std::vector<int32_t> missing, step;
      for (uint32_t i = 0; i < trace.layers[l].topK; ++i) {
        int32_t key = base + trace.experts[t * trace.row() + trace.column(l) + i];
        auto found = std::find(list.begin(), list.end(), key);
        step.push_back(key);
        if (found == list.end()) {
          missing.push_back(key);
        } else {
          ++hits;
          list.erase(found);
        }
      }
      while (list.size() + step.size() > slots) {
        list.erase(list.begin());
      }
      list.insert(list.end(), step.begin(), step.end());
      base += static_cast<int32_t>(trace.layers[l].experts);
    }
  }
  return hits;
}

TEST(Replay, LruAgreesWithAList) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    Trace trace = randomTrace(seed, {{6, 2}, {9, 3}, {4, 1}}, 200);
    for (uint32_t slots : {3u, 4u, 6u, 9u, 13u, 19u}) {
      EXPECT_EQ(replay(trace, slots, policy(rt::CachePolicy::kLru)).hits, slowLru(trace, slots)) << seed << " " << slots;
    }
  }
}

// The most hits of any choice of what stays, step by step.
uint64_t mostHits(const Trace &trace, uint32_t slots) {
  std::map<uint32_t, uint64_t> best{{0, 0}}; // sets of resident keys -> hits
  for (uint64_t t = 0; t < trace.count(); ++t) {
    uint32_t base = 0;
    for (size_t l = 0; l < trace.layers.size(); ++l) {
      uint32_t used = 0;
      for (uint32_t i = 0; i < trace.layers[l].topK; ++i) {
        used |= 1u << (base + static_cast<uint32_t>(trace.experts[t * trace.row() + trace.column(l) + i]));
      }
      base += trace.layers[l].experts;
      std::map<uint32_t, uint64_t> next;
      for (auto [set, hits] : best) {
        uint64_t now = hits + static_cast<uint64_t>(__builtin_popcount(set & used));
        uint32_t all = set | used;
        for (uint32_t kept = all;; kept = (kept - 1) & all) {
          if ((kept & used) == used && static_cast<uint32_t>(__builtin_popcount(kept)) <= slots) {
            next[kept] = std::max(next[kept], now);
          }
          if (kept == 0) {
            break;
          }
        }
      }
      best = std::move(next);
    }
  }
  uint64_t most = 0;
  for (auto [set, hits] : best) {
    most = std::max(most, hits);
  }
  return most;
}

TEST(Replay, NothingIsBetterThanBelady) {
  for (uint32_t seed = 0; seed < 12; ++seed) {
    Trace trace = randomTrace(seed, {{4, 1}, {5, 2}}, 14);
    for (uint32_t slots : {2u, 3u, 4u, 6u}) {
      EXPECT_EQ(replayBelady(trace, slots).hits, mostHits(trace, slots)) << seed << " " << slots;
    }
  }
  Trace trace = randomTrace(5, {{16, 2}, {16, 2}, {16, 4}}, 400);
  for (uint32_t slots : {4u, 9u, 17u, 30u, 47u}) {
    uint64_t most = replayBelady(trace, slots).hits;
    for (uint32_t i = 0; i < rt::kCachePolicies; ++i) {
      for (bool perLayer : {false, true}) {
        rt::CacheParameters parameters = policy(static_cast<rt::CachePolicy>(i));
        parameters.per_layer = perLayer;
        ReplayCounts counts = replay(trace, slots, parameters);
        EXPECT_LE(counts.hits, most) << i << " " << slots;
        EXPECT_EQ(counts.hits + counts.misses, 400u * 8);
      }
    }
  }
}

TEST(Replay, PredictionsKeepAndPrefetch) {
  Trace trace = randomTrace(2, {{16, 2}, {16, 2}, {16, 2}}, 500);
  rt::CacheParameters parameters = policy(rt::CachePolicy::kNextUse);
  ReplayOptions oracle;
  oracle.ahead = [&](uint64_t token, size_t layer, float *probability) {
    std::fill_n(probability, 16, 0.0f);
    for (uint32_t i = 0; i < 2; ++i) {
      probability[trace.experts[token * trace.row() + trace.column(layer) + i]] = 1;
    }
    return true;
  };
  ReplayCounts plain = replay(trace, 12, parameters), kept = replay(trace, 12, parameters, oracle);
  EXPECT_NE(kept.hits, plain.hits) << "what is expected decides what goes";
  EXPECT_LE(kept.hits, replayBelady(trace, 12).hits);
  EXPECT_EQ(kept.prefetched, 0u);
  oracle.prefetch = 2;
  ReplayCounts fetched = replay(trace, 12, parameters, oracle);
  EXPECT_EQ(fetched.prefetched, fetched.prefetchHits) << "an oracle reads nothing in vain";
  EXPECT_GE(fetched.hits, 500u * 4) << "all but the first layer's";
}

TEST(Replay, ChunksUseEachExpertOnce) {
  Trace trace = randomTrace(3, {{8, 2}, {8, 2}}, 100);
  ReplayOptions chunks;
  chunks.chunk = 10;
  ReplayCounts counts = replay(trace, 6, policy(rt::CachePolicy::kLfu), chunks);
  uint64_t uses = 0;
  for (uint64_t first = 0; first < 100; first += 10) {
    for (size_t l = 0; l < 2; ++l) {
      std::set<int32_t> used;
      for (uint64_t t = first; t < first + 10; ++t) {
        used.insert(trace.experts.begin() + static_cast<std::ptrdiff_t>(t * 4 + 2 * l),
                    trace.experts.begin() + static_cast<std::ptrdiff_t>(t * 4 + 2 * l + 2));
      }
      uses += used.size();
    }
  }
  EXPECT_EQ(counts.hits + counts.misses, uses);
}

} // namespace
} // namespace emoe
