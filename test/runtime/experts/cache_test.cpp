#include "runtime/experts/cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace emoe::rt {
namespace {

struct Fixture {
  std::vector<MoeLayer> layers;
  std::vector<uint64_t> memory;
  ExpertCache cache;
  Fixture(const std::vector<std::pair<uint32_t, uint32_t>> &shape, uint32_t slots, const CacheParameters &parameters) {
    for (auto [experts, top_k] : shape) layers.push_back({experts, top_k, {}, {}});
    Span<MoeLayer> span{layers.data(), layers.size()};
    memory.assign((ExpertCache::BytesNeeded(span, slots) + 7) / 8, 0x7777777777777777u);
    cache.Init(span, slots, 0, parameters, memory.data());
  }
  // One layer's step for one token as the expert runner does it; the letters of what missed, a for key 0.
  std::string Step(const std::string &keys, uint32_t uses = 1) {
    std::string missed;
    std::vector<int32_t> slots;
    for (char c : keys) {
      int32_t slot = cache.Use(static_cast<uint32_t>(c - 'a'), uses);
      if (slot < 0) missed += c;
      if (slot >= 0) slots.push_back(slot);
    }
    for (char c : missed) {
      int32_t slot = cache.Acquire(static_cast<uint32_t>(c - 'a'));
      EXPECT_GE(slot, 0);
      cache.Commit(slot);
      slots.push_back(slot);
    }
    for (int32_t slot : slots) cache.Unpin(slot);
    return missed;
  }
  std::string Token(const std::vector<std::string> &steps) {
    cache.Advance(1);
    std::string missed;
    for (const std::string &keys : steps) missed += Step(keys);
    return missed;
  }
  std::string Resident() const {
    std::string all;
    uint32_t keys = 0;
    for (const MoeLayer &layer : layers) keys += layer.experts;
    for (uint32_t key = 0; key < keys; ++key) {
      if (cache.Find(key) >= 0) all += static_cast<char>('a' + key);
    }
    return all;
  }
};

CacheParameters Policy(CachePolicy policy, uint16_t half_life = 64) {
  CacheParameters parameters;
  parameters.policy = policy;
  parameters.half_life = half_life;
  return parameters;
}

// Two layers of four experts: a b c d, e f g h; one is used in each.
const std::vector<std::pair<uint32_t, uint32_t>> kTwo = {{4, 1}, {4, 1}};

TEST(Cache, LruByHand) {
  Fixture f(kTwo, 3, Policy(CachePolicy::kLru));
  EXPECT_EQ(f.Token({"a", "e"}), "ae");
  EXPECT_EQ(f.Token({"b", "e"}), "b");
  EXPECT_EQ(f.Resident(), "abe");
  EXPECT_EQ(f.Token({"a", "f"}), "f");  // b is the one used longest ago
  EXPECT_EQ(f.Resident(), "aef");
  EXPECT_EQ(f.Token({"b", "e"}), "be");  // e goes for b although it is used next, then a for e
  EXPECT_EQ(f.Resident(), "bef");
  EXPECT_EQ(f.cache.counters().hits, 2u);
  EXPECT_EQ(f.cache.counters().misses, 6u);
  EXPECT_EQ(f.cache.counters().evictions, 3u);
}

TEST(Cache, LruBelowOneTokenHitsNothing) {
  Fixture f({{4, 1}, {4, 1}, {4, 1}}, 2, Policy(CachePolicy::kLru));
  for (int i = 0; i < 9; ++i) f.Token({"a", "e", "i"});
  EXPECT_EQ(f.cache.counters().hits, 0u);
  CacheParameters shared = Policy(CachePolicy::kLru);
  shared.per_layer = true;
  Fixture g({{4, 1}, {4, 1}, {4, 1}}, 2, shared);
  for (int i = 0; i < 9; ++i) g.Token({"a", "e", "i"});
  EXPECT_EQ(g.cache.counters().hits, 8u) << "slots per layer keep something";
}

TEST(Cache, LfuByHand) {
  Fixture f(kTwo, 3, Policy(CachePolicy::kLfu, 0));
  f.Token({"a", "e"});
  f.Token({"a", "e"});
  EXPECT_EQ(f.Token({"b", "f"}), "bf");  // a 2, e 2, b 1: f takes b's slot
  EXPECT_EQ(f.Resident(), "aef");
  EXPECT_EQ(f.Token({"c", "g"}), "cg");  // f goes, then c
  EXPECT_EQ(f.Resident(), "aeg");
  f.cache.Advance(4);
  f.Step("c", 4);
  EXPECT_EQ(f.Resident(), "ace") << "four tokens used c: five uses, more than all others; g goes";
}

TEST(Cache, LfuForgetsAndNeverOverflows) {
  Fixture f({{3, 1}}, 2, Policy(CachePolicy::kLfu));
  f.Step("a", 1000);
  f.cache.Advance(1);
  f.Step("b", 1);
  f.cache.Advance(1000000);  // through many rescalings
  EXPECT_EQ(f.Step("b"), "");
  f.cache.Advance(1);
  EXPECT_EQ(f.Step("c"), "c");
  EXPECT_EQ(f.Resident(), "bc") << "what was loved long ago makes room";
}

// Layers of one expert each: the distance alone decides, and the paper's printed formula would decide otherwise.
TEST(Cache, EdgeMoeKeepsTheNextLayer) {
  Fixture f({{1, 1}, {1, 1}, {1, 1}, {1, 1}}, 3, Policy(CachePolicy::kEdgeMoe, 0));
  EXPECT_EQ(f.Token({"a", "b", "c"}), "abc");
  // At layer 3 all were used once; a is 1 layer ahead, b 2, c 3: c has the least f / d.
  EXPECT_EQ(f.Step("d"), "d");
  EXPECT_EQ(f.Resident(), "abd");
  EXPECT_EQ(f.Token({"a", "b"}), "");
  // At layer 2: a has 2 / 2, b 2 / 3, d 1 / 1.
  EXPECT_EQ(f.Step("c"), "c");
  EXPECT_EQ(f.Resident(), "acd");
}

TEST(Cache, LeastStaleByHand) {
  Fixture f({{3, 1}, {3, 1}, {3, 1}}, 4, Policy(CachePolicy::kLeastStale));  // a b c, d e f, g h i
  EXPECT_EQ(f.Token({"a", "d", "g"}), "adg");
  EXPECT_EQ(f.Token({"b"}), "b");
  EXPECT_EQ(f.Step("e"), "e");  // a's layer ran without using it
  EXPECT_EQ(f.Resident(), "bdeg");
  EXPECT_EQ(f.Step("h"), "h");  // d, for the same reason, although g was used later than d in the token before
  EXPECT_EQ(f.Resident(), "begh");
  EXPECT_EQ(f.Token({"a"}), "a");  // all others are still to run but b
  EXPECT_EQ(f.Resident(), "aegh");
  EXPECT_EQ(f.Step("f"), "f");  // e ran unused; a was used by this token; g and h are ahead
  EXPECT_EQ(f.Resident(), "afgh");
  EXPECT_EQ(f.Step("i"), "i");  // g, then the step's own
  EXPECT_EQ(f.Resident(), "afhi");
}

// usual of 65535, tables of scale 0.01.
struct Tables {
  std::vector<uint16_t> usual;
  std::vector<NextUseBlock> blocks;
  std::vector<int8_t> rows;
  CacheParameters Parameters(uint8_t recent, uint8_t power) const {
    CacheParameters parameters = Policy(CachePolicy::kNextUse);
    parameters.recent = recent;
    parameters.distance_power = power;
    parameters.scale = 0.01f;
    parameters.usual = {usual.data(), usual.size()};
    parameters.blocks = {blocks.data(), blocks.size()};
    parameters.rows = {rows.data(), rows.size()};
    return parameters;
  }
};

uint16_t Share(double p) { return static_cast<uint16_t>(std::lround(p * 65535)); }

// A record that was never used is worth what the tables say, times what they have earned: shares are compared.
TEST(Cache, NextUseByTables) {
  Tables t;
  t.usual = {Share(.5), Share(.3), Share(.2), Share(.3), Share(.4), Share(.4), Share(.1), Share(.1)};
  // After a token with c, layer 0 wants d less; a token that chose c wants g, not f. h is what the rest is compared with.
  t.blocks = {{0, 0, 0, 0}, {16, 0, 1, 1}};
  t.rows.assign(32, 0);
  t.rows[2 * 4 + 3] = -25;
  t.rows[16 + 2 * 4 + 2] = 60;
  t.rows[16 + 2 * 4 + 1] = -35;
  Fixture f(kTwo, 4, t.Parameters(0, 0));
  auto share = [&](char key) { return f.cache.Worth(static_cast<uint32_t>(key - 'a')) / f.cache.Worth('h' - 'a'); };
  f.Token({"b", "e"});
  EXPECT_NEAR(share('d'), 3, 1e-3);
  EXPECT_NEAR(share('f'), 4, 1e-3);
  f.Token({"c"});
  EXPECT_NEAR(share('d'), .5, 1e-2) << ".3 - .25 for later tokens";
  EXPECT_NEAR(share('f'), .5, 1e-2) << ".4 - .35 for this one";
  EXPECT_NEAR(share('g'), 7, 2e-2);
  f.Step("g");
  EXPECT_NEAR(share('f'), 4, 1e-2) << "the layer ran: what the token chose before it counts no longer";
  EXPECT_NEAR(share('d'), .5, 1e-2);
  f.cache.Advance(2);  // a chunk: nobody knows what its last token chose
  f.Step("a", 2);
  EXPECT_NEAR(share('d'), 3, 1e-2);
}

TEST(Cache, NextUseLearnsWhatToTrust) {
  Tables t;
  t.usual = {Share(.9), Share(.05), Share(.03), Share(.02)};
  Fixture wrong({{4, 1}}, 2, t.Parameters(0, 0)), right({{4, 1}}, 2, t.Parameters(0, 0));
  for (int i = 0; i < 60; ++i) {
    wrong.Token({"d"});
    right.Token({"a"});
  }
  // Of two records that were never used, what the tables say is worth as much as they have earned.
  EXPECT_LT(wrong.cache.Worth(0), 0.05);
  EXPECT_GT(right.cache.Worth(1), 0.01);
  EXPECT_GT(right.cache.Worth(1), 0.05 * 0.3);
}

TEST(Cache, NextUseHeedsExpectationsAndDistance) {
  Tables t;
  t.usual.assign(8, Share(.4));
  Fixture f(kTwo, 4, t.Parameters(0, 4));
  f.cache.Advance(1);
  EXPECT_EQ(f.Step("a"), "a");
  double said = f.cache.Worth(4);  // by the tables: .4 of what they have earned
  EXPECT_NEAR(f.cache.Worth(1), said / 2, 1e-9) << "two layers away instead of one";
  const float expected[] = {.9f, .1f, 0, 0};
  f.cache.Expect(1, expected);
  double later = 128.0 / 256 * said;
  EXPECT_NEAR(f.cache.Worth(4), .45 + later, 1e-6);
  EXPECT_NEAR(f.cache.Worth(5), .05 + later, 1e-6);
  f.Step("e");
  double after = f.cache.Worth(5);
  EXPECT_NEAR(f.cache.Worth(6), after, 1e-9) << "it ran: expectations are over";
  f.cache.Expect(1, expected);  // too late
  EXPECT_EQ(f.cache.Worth(5), after);
}

TEST(Cache, PinnedRecordsStay) {
  Tables t;
  t.usual = {Share(.1), Share(.9), Share(.2), 0, 0, 0, Share(.2), 0};
  CacheParameters parameters = t.Parameters(0, 0);
  parameters.policy = CachePolicy::kLru;
  parameters.pinned = 2;  // b, and c before g
  Fixture f(kTwo, 3, parameters);
  f.Token({"b", "e"});
  f.Token({"c", "f"});
  for (int i = 0; i < 9; ++i) f.Token({i % 2 ? "a" : "d", i % 2 ? "e" : "h"});
  EXPECT_EQ(f.Resident(), "bch");
  parameters.pinned = 8;  // clamped, so that every step finds room
  Fixture g(kTwo, 2, parameters);
  for (const char *key : {"b", "c", "a", "d"}) EXPECT_EQ(g.Token({key}), key);
}

TEST(Cache, SlotsPerLayerHoldTheirShare) {
  CacheParameters parameters = Policy(CachePolicy::kLfu);
  parameters.per_layer = true;
  Fixture f({{4, 1}, {8, 1}}, 7, parameters);  // 2 and 4 of 7, the rest to the first
  std::mt19937 random(1);
  for (int i = 0; i < 500; ++i) {
    f.Token({std::string(1, static_cast<char>('a' + random() % 4)), std::string(1, static_cast<char>('e' + random() % 8))});
  }
  std::string all = f.Resident();
  EXPECT_EQ(all.size(), 7u);
  EXPECT_EQ(std::count_if(all.begin(), all.end(), [](char c) { return c < 'e'; }), 3);
}

TEST(Cache, FewerSlotsThanAStepUses) {
  for (CachePolicy policy : {CachePolicy::kLru, CachePolicy::kNextUse}) {
    Fixture f({{6, 5}}, 2, Policy(policy));
    for (int token = 0; token < 4; ++token) {
      f.cache.Advance(1);
      std::vector<uint32_t> missing;
      std::vector<int32_t> held;
      for (uint32_t key = 0; key < 5; ++key) {
        int32_t slot = f.cache.Use(key, 1);
        if (slot < 0) {
          missing.push_back(key);
        } else {
          held.push_back(slot);
        }
      }
      for (uint32_t key : missing) {
        int32_t slot = f.cache.Acquire(key);
        if (slot < 0) {  // computed: the slots of this step serve it again
          for (int32_t pinned : held) f.cache.Unpin(pinned);
          held.clear();
          slot = f.cache.Acquire(key);
        }
        ASSERT_GE(slot, 0);
        f.cache.Commit(slot);
        held.push_back(slot);
      }
      for (int32_t pinned : held) f.cache.Unpin(pinned);
    }
    EXPECT_EQ(f.cache.counters().hits + f.cache.counters().misses, 20u);
  }
}

// A chunk that uses every expert of a layer reads through a few slots; what other layers hold and is worth more stays.
TEST(Cache, PrefillDoesNotFlush) {
  Fixture f({{20, 2}, {40, 2}}, 30, Policy(CachePolicy::kLfu));
  for (int i = 0; i < 10; ++i) {
    f.cache.Advance(8);
    for (uint32_t key = 0; key < 20; ++key) {
      int32_t slot = f.cache.Use(key, 8);
      if (slot < 0) {
        slot = f.cache.Acquire(key);
        f.cache.Commit(slot);
      }
      f.cache.Unpin(slot);
    }
  }
  f.cache.Advance(40);
  std::vector<int32_t> held;
  for (uint32_t key = 20; key < 60; ++key) ASSERT_EQ(f.cache.Use(key, 1), -1);
  for (uint32_t key = 20; key < 60; ++key) {
    int32_t slot = f.cache.Acquire(key);
    if (slot < 0) {
      for (int32_t pinned : held) f.cache.Unpin(pinned);
      held.clear();
      slot = f.cache.Acquire(key);
    }
    ASSERT_GE(slot, 0);
    f.cache.Commit(slot);
    held.push_back(slot);
  }
  for (uint32_t key = 0; key < 20; ++key) EXPECT_GE(f.cache.Find(key), 0);
}

TEST(Cache, PredictedRecordsComeOnlyForWorse) {
  Tables t;
  t.usual = {Share(.5), Share(.3), 0, 0, Share(.6), Share(.2), 0, 0};
  Fixture f(kTwo, 2, t.Parameters(0, 0));
  f.Token({"a", "e"});
  f.cache.Advance(1);
  f.Step("b");  // a .5 goes, e .6 stays
  EXPECT_EQ(f.Resident(), "be");
  EXPECT_EQ(f.cache.AcquireIfWorse(5, .3f), -1) << "e is worth more, b belongs to the step";
  f.Step("e");
  int32_t slot = f.cache.AcquireIfWorse(0, .4f);
  ASSERT_GE(slot, 0);
  EXPECT_EQ(f.Resident(), "ae");
  EXPECT_EQ(f.cache.AcquireIfWorse(1, 1), -1) << "a slot that is being read is pinned, e is the step's";
  EXPECT_EQ(f.cache.Use(4, 1), f.cache.Find(4));
  f.cache.Unpin(f.cache.Find(4));
  f.cache.Commit(slot);
  f.cache.Unpin(slot);
  EXPECT_EQ(f.Token({"a"}), "");
  EXPECT_EQ(f.cache.counters().prefetched, 1u);
  EXPECT_EQ(f.cache.counters().prefetch_hits, 1u);
  EXPECT_EQ(f.Token({"a"}), "");
  EXPECT_EQ(f.cache.counters().prefetch_hits, 1u) << "the first use counts";
  EXPECT_EQ(f.cache.AcquireIfWorse(6, 0), -1) << "what is worth nothing takes no slot";
}

TEST(Cache, AbandonedSlotsAreFree) {
  Fixture f(kTwo, 2, Policy(CachePolicy::kLfu));
  f.cache.Advance(1);
  EXPECT_EQ(f.cache.Use(0, 1), -1);
  int32_t slot = f.cache.Acquire(0);
  EXPECT_FALSE(f.cache.valid(slot));
  EXPECT_EQ(f.cache.Use(0, 1), -1) << "it is not there yet";
  f.cache.Abandon(slot);
  EXPECT_EQ(f.cache.Find(0), -1);
  EXPECT_EQ(f.Token({"b", "e"}), "be");
  EXPECT_EQ(f.cache.counters().evictions, 0u);
}

// The worth of every record written down as its definition says, over the whole history, for random shapes, policies,
// parameters and tables; the cache must evict the record that is least worth, and count alike.
struct Model {
  CacheParameters p;
  std::vector<MoeLayer> layers;
  std::vector<uint32_t> first;
  uint32_t slots = 0;
  struct Past {
    double time;
    uint32_t uses;
    uint64_t tick;
  };
  std::map<uint32_t, std::vector<Past>> past;
  std::vector<std::vector<uint32_t>> chosen;  // [layer]: of its last token
  std::vector<bool> ahead;
  uint64_t tick = 0, token_start = 0;
  double time = 0;
  uint32_t now = 0;
  std::set<uint32_t> resident;
  double weight[3] = {0.4, 0.3, 0.3};

  uint32_t LayerOf(uint32_t key) const {
    uint32_t layer = 0;
    while (layer + 1 < layers.size() && key >= first[layer + 1]) ++layer;
    return layer;
  }
  double Tables(uint32_t key) const {
    uint32_t target = LayerOf(key);
    double sum = 0;
    for (const NextUseBlock &block : p.blocks) {
      if (block.target != target) continue;
      // A target ahead hears of this token from the layers that ran, and of the token before from the others.
      bool ran = !ahead[block.source];
      bool counts = ahead[target] ? (block.same_token ? ran : !ran) : !block.same_token;
      if (!counts) continue;
      for (uint32_t expert : chosen[block.source]) {
        sum += p.rows[block.first + expert * layers[target].experts + key - first[target]];
      }
    }
    return sum;
  }
  double Frequency(uint32_t key, double half_life) const {
    auto found = past.find(key);
    double sum = 0;
    if (found == past.end()) return 0;
    for (const Past &use : found->second) {
      sum += use.uses * (half_life == 0 ? 1 : std::exp2((use.time - time) / half_life));
    }
    return half_life == 0 ? sum / time : sum * (std::exp2(1.0 / half_life) - 1);
  }
  double Recent(uint32_t key) const { return Frequency(key, p.half_life); }
  double Said(uint32_t key) const {
    if (p.usual.size == 0) return 0;
    return std::max(1e-4, p.usual[key] / 65535.0 + Tables(key) * static_cast<double>(p.scale));
  }
  void Learn(uint32_t key) {
    double all = 0, used = 0;
    for (const MoeLayer &layer : layers) used += layer.top_k;
    double said[3] = {Said(key), Frequency(key, 3), Recent(key)};
    for (int i = 0; i < 3; ++i) all += weight[i] * (said[i] + 1e-4);
    for (int i = 0; i < 3; ++i) weight[i] += (weight[i] * (said[i] + 1e-4) / all - weight[i]) / (8 * used);
  }
  double Worth(uint32_t key) const {
    uint32_t layer = LayerOf(key), count = static_cast<uint32_t>(layers.size());
    uint32_t distance = (layer + count - now - 1) % count + 1;
    auto found = past.find(key);
    double last = found == past.end() ? 0 : static_cast<double>(found->second.back().tick);
    switch (p.policy) {
      case CachePolicy::kLru:
        return last;
      case CachePolicy::kLfu:
        return Recent(key);
      case CachePolicy::kEdgeMoe:
        return Recent(key) / distance;
      case CachePolicy::kLeastStale:
        return last + (ahead[layer] ? 2e12 : last > static_cast<double>(token_start) ? 1e12 : 0);
      case CachePolicy::kNextUse:
        break;
    }
    double value = Recent(key);
    double mix = weight[0] * Said(key) + weight[1] * Frequency(key, 3) + weight[2] * value;
    value = (1 - p.recent / 255.0) * mix + p.recent / 255.0 * value;
    return value / std::pow(distance, p.distance_power / 4.0);
  }
};

TEST(Cache, AgreesWithTheDefinition) {
  uint64_t evictions = 0;
  for (uint32_t seed = 0; seed < 150; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    std::vector<std::pair<uint32_t, uint32_t>> shape;
    uint32_t keys = 0, most = 0;
    for (uint32_t i = 0; i < random() % 4 + 1; ++i) {
      uint32_t experts = random() % 9 + 2, top_k = random() % std::min(3u, experts) + 1;
      shape.push_back({experts, top_k});
      keys += experts;
      most = std::max(most, top_k);
    }
    Tables t;
    bool tables = random() % 3 != 0;
    for (uint32_t i = 0; tables && i < keys; ++i) t.usual.push_back(static_cast<uint16_t>(random() % 65536));
    for (uint16_t s = 0; tables && s < shape.size(); ++s) {
      for (uint16_t to = 0; to < shape.size(); ++to) {
        for (uint8_t same = 0; same < (s < to ? 2 : 1); ++same) {
          if (random() % 4 == 0) continue;
          t.blocks.push_back({static_cast<uint32_t>(t.rows.size()), s, to, same});
          for (uint32_t i = 0; i < shape[s].first * shape[to].first; ++i) {
            t.rows.push_back(static_cast<int8_t>(random() % 256));
          }
        }
      }
    }
    CacheParameters p = t.Parameters(static_cast<uint8_t>(random() % 256), static_cast<uint8_t>(random() % 9));
    p.policy = static_cast<CachePolicy>(seed % kCachePolicies);
    p.half_life = static_cast<uint16_t>(random() % 3 ? random() % 50 + 1 : 0);
    uint32_t slots = most + random() % 8;
    Fixture f(shape, slots, p);
    Model m;
    m.p = p;
    m.layers = f.layers;
    m.slots = slots;
    if (!tables) m.weight[0] = 0, m.weight[1] = m.weight[2] = 0.5;
    m.chosen.resize(shape.size());
    m.ahead.assign(shape.size(), true);
    for (uint32_t i = 0, at = 0; i < shape.size(); at += shape[i++].first) m.first.push_back(at);
    uint64_t hits = 0, misses = 0;
    for (int token = 0; token < 120; ++token) {
      f.cache.Advance(1);
      m.time += 1;
      m.token_start = m.tick;
      m.ahead.assign(shape.size(), true);
      for (uint32_t layer = 0; layer < shape.size(); ++layer) {
        if (random() % 50 == 0) break;  // the sequence was given up
        m.now = layer;
        std::set<uint32_t> step;
        while (step.size() < shape[layer].second) {
          step.insert(m.first[layer] + std::min(random(), random()) % shape[layer].first);
        }
        for (uint32_t key : step) m.Learn(key);
        m.ahead[layer] = false;
        m.chosen[layer].clear();
        std::vector<uint32_t> missing;
        for (uint32_t key : step) {
          m.past[key].push_back({m.time, 1, ++m.tick});
          m.chosen[layer].push_back(key - m.first[layer]);
          int32_t slot = f.cache.Use(key, 1);
          ASSERT_EQ(slot >= 0, m.resident.count(key) == 1);
          (slot >= 0 ? hits : misses)++;
          if (slot >= 0) {
            f.cache.Unpin(slot);
          } else {
            missing.push_back(key);
          }
        }
        for (uint32_t key : missing) {
          double least = 1e300;
          for (uint32_t other : m.resident) {
            if (step.count(other) == 0) least = std::min(least, m.Worth(other));
          }
          int32_t slot = f.cache.Acquire(key);
          ASSERT_GE(slot, 0);
          std::vector<uint32_t> gone;
          for (uint32_t other : m.resident) {
            if (f.cache.Find(other) < 0) gone.push_back(other);
          }
          ASSERT_EQ(gone.size(), m.resident.size() == slots ? 1u : 0u);
          if (!gone.empty()) {
            ASSERT_EQ(step.count(gone[0]), 0u) << "a record that the step uses was evicted";
            ASSERT_NEAR(m.Worth(gone[0]), least, 1e-9 * (1 + least));
            m.resident.erase(gone[0]);
            ++evictions;
          }
          if (random() % 20 == 0) {
            f.cache.Abandon(slot);
            continue;
          }
          f.cache.Commit(slot);
          f.cache.Unpin(slot);
          m.resident.insert(key);
        }
      }
    }
    EXPECT_EQ(f.cache.counters().hits, hits);
    EXPECT_EQ(f.cache.counters().misses, misses);
  }
  EXPECT_GT(evictions, 5000u);
}

TEST(Cache, PolicyNames) {
  for (uint32_t i = 0; i < kCachePolicies; ++i) {
    auto policy = static_cast<CachePolicy>(i);
    CachePolicy parsed;
    std::string name = CachePolicyName(policy);
    ASSERT_TRUE(ParseCachePolicy(name.data(), name.size(), &parsed));
    EXPECT_EQ(parsed, policy);
    EXPECT_FALSE(ParseCachePolicy(name.data(), name.size() - 1, &parsed));
  }
  CachePolicy parsed;
  EXPECT_FALSE(ParseCachePolicy("lfux", 4, &parsed));
  EXPECT_FALSE(ParseCachePolicy("", 0, &parsed));
}

TEST(CacheParameters, TheChoiceGoesBySlots) {
  Bundle bundle;
  CacheParameters chosen;
  ASSERT_TRUE(ChooseCache(bundle, 10, nullptr, &chosen));
  EXPECT_EQ(chosen.policy, CachePolicy::kLfu) << "a bundle without a plan";
  const CacheChoice choices[] = {{8, 0, 32, CachePolicy::kEdgeMoe, 4, 0, 0},
                                 {16, 3, 16, CachePolicy::kNextUse, 1, 99, 1},
                                 {32, 0, 8, CachePolicy::kLru, 0, 0, 0}};
  bundle.plan.choices = {choices, 3};
  struct {
    uint64_t slots;
    const char *policy;
    CachePolicy expected;
    uint16_t half_life;
  } cases[] = {{1, nullptr, CachePolicy::kEdgeMoe, 32},  {8, nullptr, CachePolicy::kEdgeMoe, 32},
               {15, nullptr, CachePolicy::kEdgeMoe, 32}, {16, nullptr, CachePolicy::kNextUse, 16},
               {99, nullptr, CachePolicy::kLru, 8},      {99, "next-use", CachePolicy::kNextUse, 16},
               {1, "lru", CachePolicy::kLru, 8},         {16, "lfu", CachePolicy::kLfu, 64}};
  for (const auto &c : cases) {
    ASSERT_TRUE(ChooseCache(bundle, c.slots, c.policy, &chosen));
    EXPECT_EQ(chosen.policy, c.expected) << c.slots;
    EXPECT_EQ(chosen.half_life, c.half_life) << c.slots;
  }
  ASSERT_TRUE(ChooseCache(bundle, 20, nullptr, &chosen));
  EXPECT_EQ(chosen.pinned, 3u);
  EXPECT_EQ(chosen.recent, 99u);
  EXPECT_TRUE(chosen.per_layer);
  EXPECT_FALSE(ChooseCache(bundle, 20, "belady", &chosen));
}

}  // namespace
// Records of one, two and five pages share a capacity in bytes: never exceeded, and used as far as the sizes allow.
TEST(ExpertCache, RecordsOfSeveralSizesShareACapacity) {
  constexpr uint32_t kExperts = 12, kSlots = 20;
  constexpr uint64_t kPages = 20;
  std::vector<Variant> variants(3);
  variants[0].record_bytes = 4096;
  variants[1].record_bytes = 2 * 4096;
  variants[2].record_bytes = 5 * 4096;
  std::vector<Record> records;
  for (uint32_t i = 0; i < kExperts; ++i) records.push_back({0, 0, i % 3});
  std::vector<MoeLayer> layers(2, {kExperts, 2, {variants.data(), 3}, {records.data(), kExperts}});
  Span<MoeLayer> span{layers.data(), layers.size()};
  for (CachePolicy policy : {CachePolicy::kLfu, CachePolicy::kLru, CachePolicy::kEdgeMoe, CachePolicy::kLeastStale,
                             CachePolicy::kNextUse}) {
    for (bool per_layer : {false, true}) {
      CacheParameters parameters;
      parameters.policy = policy;
      parameters.per_layer = per_layer;
      std::vector<uint64_t> memory((ExpertCache::BytesNeeded(span, kSlots) + 7) / 8);
      ExpertCache cache;
      cache.Init(span, kSlots, kPages * 4096, parameters, memory.data());
      std::mt19937 random(7);
      uint64_t most = 0;
      for (int token = 0; token < 400; ++token) {
        cache.Advance(1);
        for (uint32_t layer = 0; layer < 2; ++layer) {
          uint32_t first = random() % kExperts, second = (first + 1 + random() % (kExperts - 1)) % kExperts;
          for (uint32_t expert : {first, second}) {
            uint32_t key = layer * kExperts + expert;
            int32_t slot = cache.Use(key, 1);
            if (slot < 0) {
              slot = cache.Acquire(key);
              ASSERT_GE(slot, 0);
              cache.Commit(slot);
            }
            cache.Unpin(slot);
          }
          uint64_t pages = 0;
          for (uint32_t key = 0; key < 2 * kExperts; ++key) {
            if (cache.Find(key) >= 0) pages += variants[records[key % kExperts].variant].record_bytes / 4096;
          }
          ASSERT_LE(pages, kPages);
          most = std::max(most, pages);
        }
      }
      EXPECT_GE(most, kPages - 4);
    }
  }
}

}  // namespace emoe::rt
