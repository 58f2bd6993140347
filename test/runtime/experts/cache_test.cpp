#include "runtime/experts/cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <vector>

namespace emoe::rt {
namespace {

struct Fixture {
  std::vector<uint64_t> memory;
  ExpertCache cache;
  Fixture(uint32_t keys, uint32_t slots, CachePolicy policy)
      : memory((ExpertCache::BytesNeeded(keys, slots) + 7) / 8) {
    cache.Init(keys, slots, policy, memory.data());
  }
};

// The same by maps, with the worth of a key written down as its definition says.
struct Model {
  CachePolicy policy;
  uint32_t slots;
  double now = 0, clock = 0;
  std::map<uint32_t, std::vector<std::pair<double, double>>> uses;  // time, weight
  std::map<uint32_t, double> last;
  std::map<uint32_t, int> resident;  // key -> pins
  double Worth(uint32_t key) {
    if (policy == CachePolicy::kLru) return last[key];
    double worth = 0;
    for (auto [time, weight] : uses[key]) worth += weight * std::exp2((time - now) / 64);
    return worth;
  }
};

TEST(Cache, AgreesWithTheDefinition) {
  for (CachePolicy policy : {CachePolicy::kLfu, CachePolicy::kLru}) {
    for (uint32_t seed = 0; seed < 30; ++seed) {
      std::mt19937 random(seed);
      uint32_t keys = random() % 30 + 4, slots = random() % 8 + 2;
      Fixture f(keys, slots, policy);
      Model m{policy, slots, 0, 0, {}, {}, {}};
      std::map<uint32_t, int32_t> slot_of;
      uint64_t hits = 0, misses = 0;
      for (int step = 0; step < 400; ++step) {
        uint32_t tokens = random() % 3 + 1;
        f.cache.Advance(tokens);
        m.now += tokens;
        std::vector<uint32_t> pinned;
        for (uint32_t i = 0; i < random() % slots + 1; ++i) {
          uint32_t key = std::min(random() % keys, random() % keys), uses = random() % 4 + 1;
          if (std::find(pinned.begin(), pinned.end(), key) != pinned.end()) continue;
          m.uses[key].push_back({m.now, uses});
          m.last[key] = ++m.clock;
          int32_t slot = f.cache.Use(key, uses);
          bool known = m.resident.count(key);
          ASSERT_EQ(slot >= 0, known);
          (known ? hits : misses)++;
          if (!known) {
            uint32_t victim = keys;
            if (m.resident.size() == slots) {
              double least = 1e300;
              for (auto &[other, pins] : m.resident) {
                if (pins == 0) least = std::min(least, m.Worth(other));
              }
              slot = f.cache.Acquire(key);
              for (auto &[other, at] : slot_of) {
                if (at == slot) victim = other;
              }
              bool all_pinned = least == 1e300;
              ASSERT_EQ(slot < 0, all_pinned);
              if (all_pinned) continue;
              ASSERT_LT(victim, keys);
              EXPECT_EQ(m.resident[victim], 0) << "a pinned record was evicted";
              EXPECT_NEAR(m.Worth(victim), least, 1e-9 * (1 + least));
              EXPECT_EQ(f.cache.Find(victim), -1);
              m.resident.erase(victim);
              slot_of.erase(victim);
            } else {
              slot = f.cache.Acquire(key);
              ASSERT_GE(slot, 0);
            }
            EXPECT_FALSE(f.cache.valid(slot));
            if (random() % 8 == 0) {  // the read failed
              f.cache.Abandon(slot);
              EXPECT_EQ(f.cache.Find(key), -1);
              continue;
            }
            f.cache.Commit(slot);
            for (auto &[other, at] : slot_of) EXPECT_NE(at, slot);
            slot_of[key] = slot;
            m.resident[key] = 0;
          }
          EXPECT_EQ(slot, slot_of[key]);
          EXPECT_TRUE(f.cache.valid(slot));
          ++m.resident[key];
          pinned.push_back(key);
        }
        for (uint32_t key : pinned) {
          f.cache.Unpin(slot_of[key]);
          --m.resident[key];
        }
      }
      EXPECT_EQ(f.cache.counters().hits, hits);
      EXPECT_EQ(f.cache.counters().misses, misses);
    }
  }
}

TEST(Cache, LfuForgetsAndNeverOverflows) {
  Fixture f(3, 2, CachePolicy::kLfu);
  for (uint32_t key : {0u, 1u}) {
    f.cache.Use(key, key == 0 ? 1000 : 1);
    int32_t slot = f.cache.Acquire(key);
    f.cache.Commit(slot);
    f.cache.Unpin(slot);
  }
  f.cache.Advance(1000000);  // through many rescalings
  int32_t slot = f.cache.Use(1, 1);
  ASSERT_GE(slot, 0);
  f.cache.Unpin(slot);
  f.cache.Use(2, 1);
  slot = f.cache.Acquire(2);
  EXPECT_EQ(slot, f.cache.Find(2));
  EXPECT_EQ(f.cache.Find(0), -1) << "what was loved long ago makes room";
  EXPECT_GE(f.cache.Find(1), 0);
}

TEST(Cache, PolicyNames) {
  CachePolicy policy;
  EXPECT_TRUE(ParseCachePolicy("lru", 3, &policy));
  EXPECT_EQ(policy, CachePolicy::kLru);
  EXPECT_TRUE(ParseCachePolicy("lfu", 3, &policy));
  EXPECT_EQ(policy, CachePolicy::kLfu);
  EXPECT_FALSE(ParseCachePolicy("lfux", 4, &policy));
  EXPECT_FALSE(ParseCachePolicy("", 0, &policy));
}

}  // namespace
}  // namespace emoe::rt
