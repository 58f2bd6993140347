#include "runtime/experts/schedule.h"

#include <gtest/gtest.h>

#include <vector>

namespace emoe::rt {
namespace {

constexpr uint32_t kLayers = 4;
constexpr uint64_t kBytes = 1000;  // of a record; the device takes 10 ns a byte: 10 us

// Runs layer steps of a program whose layers are `gap` apart, on a device that takes 10 ns a byte.
struct Program {
  Schedule schedule;
  std::vector<char> memory = std::vector<char>(Schedule::BytesNeeded(kLayers));
  uint64_t now = 1000;
  uint32_t layer = 0;

  explicit Program(uint64_t bytes_per_token = UINT64_MAX) {
    schedule.Init(kLayers, PrefetchState::kLearning, bytes_per_token, memory.data());
  }
  void Begin() { schedule.StepBegins(layer, 1, now); }
  void End(uint64_t gap) {
    schedule.StepEnds(layer, 1, now);
    now += gap;
    layer = (layer + 1) % kLayers;
  }
  // A demanded record that was waited for.
  void Demand() {
    schedule.Submitted(kBytes, now);
    now += 10 * kBytes;
    schedule.Ended(kBytes, 0, true, now);
  }
  // What it needs to know: the speed, and every layer's time.
  void Learn(uint64_t gap) {
    for (uint32_t i = 0; i < 2 * kLayers; ++i) {
      Begin();
      Demand();
      End(gap);
    }
  }
  bool Predict(uint32_t of, uint32_t expert, float q) {
    if (!schedule.Allow(q, kBytes, now)) return false;
    schedule.Started(of, expert, q, kBytes, now);
    in_flight += kBytes;
    return true;
  }
  // All reads in flight end, seen late.
  void EndReads() {
    if (in_flight != 0) schedule.Ended(in_flight, 0, false, now);
    in_flight = 0;
  }
  uint64_t in_flight = 0;
};

TEST(Schedule, LearnsBeforeItPredicts) {
  Program p;
  p.Begin();
  EXPECT_EQ(p.schedule.state(), PrefetchState::kLearning);
  EXPECT_FALSE(p.Predict(1, 0, 1));
  p.Learn(50000);
  p.Begin();
  EXPECT_EQ(p.schedule.state(), PrefetchState::kOn);
  EXPECT_NEAR(p.schedule.ns_per_byte(), 10, 1e-9);
}

TEST(Schedule, ReadsOnlyIntoIdleTime) {
  Program p;
  p.Learn(25000);
  p.Begin();
  p.End(0);  // the next layer's experts are known in 25 us: two records fit, a third would end 5 us late
  EXPECT_TRUE(p.Predict(1, 0, 0.25f));
  EXPECT_TRUE(p.Predict(1, 1, 0.25f));
  EXPECT_FALSE(p.Predict(1, 2, 0.45f));
  EXPECT_TRUE(p.Predict(1, 3, 0.55f));   // saves 5 us with chance 0.55, delays by 5 us with chance 0.45
  EXPECT_FALSE(p.Predict(1, 4, 0.99f));  // would only start after that
}

TEST(Schedule, CountsWhatIsStillToBeComputed) {
  Program p;
  p.Learn(0);
  p.Begin();
  p.schedule.Computed(4, 40000);
  p.schedule.Left(0, p.now);
  EXPECT_FALSE(p.Predict(1, 0, 0.9f));
  p.schedule.Left(2, p.now);  // 20 us
  EXPECT_TRUE(p.Predict(1, 0, 0.9f));
}

TEST(Schedule, UnlikelyRecordsAreNotRead) {
  Program p;
  p.Learn(1000000);
  p.Begin();
  p.End(0);
  EXPECT_FALSE(p.Predict(1, 0, Schedule::kLeastChance / 2));
}

TEST(Schedule, KeepsItsByteBudget) {
  Program p(3 * kBytes);
  p.Learn(1000000);
  int allowed = 0;
  for (uint32_t step = 0; step < kLayers; ++step) {  // one token
    p.Begin();
    p.End(0);
    for (uint32_t expert = 0; expert < 5; ++expert) allowed += p.Predict((step + 1) % kLayers, expert, 0.9f);
    p.now += 1000000;
  }
  EXPECT_EQ(allowed, 3);
}

TEST(Schedule, AddsUpWhatItSavedAndDelayed) {
  Program p;
  p.Learn(25000);
  p.Begin();
  p.End(0);
  uint32_t next = p.layer;
  ASSERT_TRUE(p.Predict(next, 0, 0.9f));
  ASSERT_TRUE(p.Predict(next, 1, 0.9f));
  ASSERT_TRUE(p.Predict(next, 2, 0.9f));  // ends in 30 us
  p.now += 20000;
  p.schedule.Ended(kBytes, 2 * kBytes, false, p.now);
  p.schedule.Ended(kBytes, kBytes, false, p.now);
  p.schedule.Loaded(next, 0, false);
  p.schedule.Loaded(next, 1, false);
  p.now += 5000;
  p.Begin();
  EXPECT_EQ(p.schedule.pending(), 3u);
  EXPECT_EQ(p.schedule.loaded(), 2u);
  EXPECT_TRUE(p.schedule.Use(next, 1, p.now));
  EXPECT_FALSE(p.schedule.Use(next, 7, p.now));
  std::vector<uint32_t> dropped;
  p.schedule.Settle(next, {kBytes, 1, 1}, p.now, [](void *user, uint32_t, uint32_t expert) {
    static_cast<std::vector<uint32_t> *>(user)->push_back(expert);
  }, &dropped);
  const PrefetchCounters &c = p.schedule.counters();
  EXPECT_EQ(dropped, std::vector<uint32_t>{0});  // in memory for nothing; 2 is still in flight
  EXPECT_EQ(c.used, 1u);
  EXPECT_EQ(c.wasted, 2u);
  EXPECT_EQ(c.saved_ns, 10000u);
  EXPECT_EQ(c.delayed_ns, 5000u);  // what is left of record 2
  EXPECT_NEAR(c.expected, 2.7, 1e-6);
  EXPECT_EQ(p.schedule.pending(), 0u);
}

// Every prediction is wrong and late: it stops, tries again, and stops for longer.
TEST(Schedule, PausesWhenItDoesNotPay) {
  Program p;
  p.Learn(25000);
  std::vector<uint64_t> pauses;
  uint64_t steps = 0, paused_at = 0;
  bool waste = false;
  for (; steps < 20000 && pauses.size() < 3; ++steps) {
    p.Begin();
    p.schedule.Settle(p.layer, {kBytes, 0, 0}, p.now, nullptr, nullptr);
    if (waste) p.now += 25000;
    p.EndReads();
    PrefetchState state = p.schedule.state();
    bool paused = state == PrefetchState::kUnprofitable || state == PrefetchState::kSaturated;
    if (paused && paused_at == 0) paused_at = steps;
    if (state == PrefetchState::kOn && paused_at != 0) {
      pauses.push_back(steps - paused_at);
      paused_at = 0;
    }
    p.End(0);
    for (uint32_t expert = 0; expert < 3; ++expert) p.Predict(p.layer, expert, 1);
    // The estimate was wrong, and so were the predictions: the layer asks after 5 us.
    p.now += 5000;
    waste = true;
  }
  ASSERT_EQ(pauses.size(), 3u);
  EXPECT_GE(pauses[0], 100u);
  EXPECT_GT(pauses[1], pauses[0]);
  EXPECT_GT(pauses[2], pauses[1]);
  EXPECT_GE(p.schedule.counters().pauses, 3u);
}

TEST(Schedule, PausesWhenTheStorageIsSaturated) {
  Program p;
  p.Learn(100);  // a layer lasts 0.1 us, a record takes 10
  for (int i = 0; i < 200; ++i) {
    p.Begin();
    p.schedule.Settle(p.layer, {kBytes, 0, 0}, p.now, nullptr, nullptr);
    p.End(100);
    EXPECT_FALSE(p.Predict(p.layer, 0, 0.9f));
  }
  EXPECT_EQ(p.schedule.state(), PrefetchState::kSaturated);
  EXPECT_EQ(p.schedule.counters().reads, 0u);
}

// Predictors that promise too much are believed less.
TEST(Schedule, CorrectsChances) {
  Program p;
  p.Learn(1000000);
  uint64_t read = 0, asked = 0;
  for (int i = 0; i < 400; ++i) {
    p.Begin();
    p.schedule.Settle(p.layer, {}, p.now, nullptr, nullptr);
    p.End(0);
    ++asked;
    if (p.Predict(p.layer, 0, 0.9f)) {
      ++read;
      p.now += 10000;
      p.schedule.Ended(kBytes, 0, false, p.now);
      p.schedule.Loaded(p.layer, 0, false);
    }
    p.now += 1000000;
  }
  EXPECT_LT(read, asked / 2);
}

TEST(Schedule, ForgetsFailedReads) {
  Program p;
  p.Learn(1000000);
  p.Begin();
  p.End(0);
  ASSERT_TRUE(p.Predict(p.layer, 3, 0.9f));
  p.schedule.Ended(kBytes, 0, false, p.now + 10000);
  p.schedule.Loaded(p.layer, 3, true);
  EXPECT_FALSE(p.schedule.Pending(p.layer, 3));
  EXPECT_EQ(p.schedule.counters().failed, 1u);
  p.Begin();
  EXPECT_FALSE(p.schedule.Use(p.layer, 3, p.now));
}

// Reads that would have ended while what is in memory was computed cost nothing: sparing them saves nothing.
TEST(Schedule, SavesOnlyWaiting) {
  for (uint64_t pairs : {1, 2}) {
    Program p;
    p.Learn(25000);
    p.schedule.Computed(1, 10000);  // a pair takes as long as a read
    p.Begin();
    p.End(0);
    ASSERT_TRUE(p.Predict(p.layer, 0, 0.9f));
    p.now += 25000;
    p.EndReads();
    p.schedule.Loaded(p.layer, 0, false);
    p.Begin();
    EXPECT_TRUE(p.schedule.Use(p.layer, 0, p.now));
    p.schedule.Settle(p.layer, {0, pairs, 1}, p.now, nullptr, nullptr);
    EXPECT_EQ(p.schedule.counters().saved_ns, pairs == 1 ? 10000u : 0u);
  }
}

// A record that cost more to check than the read that it spared, and most are not used.
TEST(Schedule, PausesWhenCheckingCostsMore) {
  Program p;
  p.Learn(1000000);
  for (int i = 0; i < 200 && p.schedule.state() != PrefetchState::kUnprofitable; ++i) {
    p.Begin();
    if (i % 2 == 0) p.schedule.Use(p.layer, 0, p.now);
    p.schedule.Settle(p.layer, {}, p.now, nullptr, nullptr);
    p.End(0);
    if (p.Predict(p.layer, 0, 0.9f)) {
      p.now += 10000;
      p.EndReads();
      p.schedule.Loaded(p.layer, 0, false);
      p.schedule.Spent(40000);
    }
    p.now += 1000000;
  }
  EXPECT_EQ(p.schedule.state(), PrefetchState::kUnprofitable);
}

// Every record comes in time and is used, but predicting takes longer than the reads that it spares.
TEST(Schedule, PausesWhenPredictingCostsMore) {
  for (uint64_t cost : {1000u, 40000u}) {
    Program p;
    p.Learn(1000000);
    for (int i = 0; i < 100 && p.schedule.state() == PrefetchState::kOn; ++i) {
      p.Begin();
      if (i != 0) p.schedule.Use(p.layer, 0, p.now);
      p.schedule.Settle(p.layer, {}, p.now, nullptr, nullptr);
      p.End(0);
      p.schedule.Predicted(cost);
      if (p.Predict(p.layer, 0, 0.9f)) {
        p.now += 10000;
        p.EndReads();
        p.schedule.Loaded(p.layer, 0, false);
      }
      p.now += 1000000;
    }
    EXPECT_EQ(p.schedule.state(), cost == 1000u ? PrefetchState::kOn : PrefetchState::kUnprofitable);
  }
}

TEST(Schedule, KnowsHowIdleTheStorageIs) {
  Program p;
  EXPECT_EQ(p.schedule.IdleShare(p.now), 1);
  p.Demand();
  EXPECT_NEAR(p.schedule.IdleShare(p.now), 0, 1e-9);
  EXPECT_NEAR(p.schedule.IdleShare(p.now + 30000), 0.75, 1e-9);
}

}  // namespace
}  // namespace emoe::rt
