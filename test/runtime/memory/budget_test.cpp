#include "runtime/memory/budget.h"

#include <gtest/gtest.h>
#include <string.h>

#include <vector>

#include "runtime/memory/arena.h"
#include "runtime/memory/usage.h"

namespace emoe::rt {
namespace {

// A bundle with numbers alone: what the solver reads.
struct Numbers {
  std::vector<Record> records{std::vector<Record>(8)};
  std::vector<Variant> variants{Variant{}};
  std::vector<MoeLayer> moe;
  std::vector<Buffer> buffers{{0, 1000, 0, Rows::kAll}, {64, 400, 1, Rows::kAll}, {0, 40000, 0, Rows::kWanted}};
  std::vector<KvLayer> kv{{2, 64}, {2, 64}};
  Bundle bundle;
  Numbers() {
    variants[0].record_bytes = 5 * 4096;
    for (int i = 0; i < 3; ++i) moe.push_back({8, 2, {variants.data(), 1}, {records.data(), 8}});
    Refresh();
    bundle.resident.length = 100000;
    bundle.tokenizer.length = 5000;
    bundle.bytes_held = 10000;
    bundle.model.vocab = 1000;
    bundle.plan.context = 100;
    bundle.plan.chunk = 32;
  }
  void Refresh() {
    bundle.moe_layers = {moe.data(), moe.size()};
    bundle.buffers = {buffers.data(), buffers.size()};
    bundle.kv_layers = {kv.data(), kv.size()};
  }
};

TEST(Budget, AccountsForEveryPart) {
  Numbers n;
  MemoryOptions o;
  o.tokenizer = true;
  o.threads = 3;
  o.chunk = 32;
  MemoryPlan p;
  ASSERT_TRUE(PlanMemory(n.bundle, o, &p).ok());
  EXPECT_EQ(p.capacity, 112u);
  EXPECT_EQ(p.kv, 2 * 2 * 64 * sizeof(float) * 2 * 112u);
  n.bundle.kv_bits = 16;
  MemoryPlan halves;
  ASSERT_TRUE(PlanMemory(n.bundle, o, &halves).ok());
  EXPECT_EQ(halves.kv, p.kv / 2);
  EXPECT_EQ(halves.total, p.total - p.kv / 2);
  n.bundle.kv_bits = 32;
  EXPECT_EQ(p.resident, 102400u);
  EXPECT_EQ(p.tokenizer, 8192u);
  EXPECT_EQ(p.index, 12288u);
  EXPECT_EQ(p.stacks, (2 + kReaderThreads) * kStackBytes);
  EXPECT_EQ(p.records, 24u);
  EXPECT_EQ(p.slots, 24u);  // without a budget all records stay
  EXPECT_EQ(p.slot_bytes, 5 * 4096u);
  // Slot 0: the larger of 1000 a token and 40000 for the one wanted row; slot 1: 64 + 400 a token.
  EXPECT_EQ(p.activations, (40000u + 12864u + 4095) / 4096 * 4096);
  EXPECT_EQ(p.total, p.process + p.index + p.image + p.arena());
  EXPECT_LE(p.total, p.recommended);
  o.all_logits = true;
  MemoryPlan all;
  ASSERT_TRUE(PlanMemory(n.bundle, o, &all).ok());
  EXPECT_EQ(all.activations, (32 * 40000u + 12864u + 4095) / 4096 * 4096);
}

// An embedding of 50000 bytes behind 50048 others is left in the file where not all records fit, and only there.
TEST(Budget, PagedTensorsMakeRoomForRecords) {
  Numbers n;
  std::vector<Tensor> tensors = {{{}, 0, 50048, 1, 12512, {32, 0, 0, 0, 0, 1}},
                                 {{}, 50048, 50176, 112, 112, {32, 0, 0, 0, 0, 16}, true}};
  n.bundle.tensors = {tensors.data(), tensors.size()};
  n.bundle.resident.length = 50048 + 50176;
  MemoryOptions o;
  o.chunk = 2;
  MemoryPlan all, p;
  ASSERT_TRUE(PlanMemory(n.bundle, o, &all).ok());
  EXPECT_EQ(all.panels, 0u);
  EXPECT_EQ(all.resident, 102400u);
  // Two panels of 7168 bytes, and two places of three pages to read them to.
  const uint64_t saved = 102400 - 53248 - 40960;
  for (uint64_t budget : {all.floor, all.recommended - 1}) {
    o.budget = budget;
    ASSERT_TRUE(PlanMemory(n.bundle, o, &p).ok());
    EXPECT_EQ(p.panels, 40960u);
    EXPECT_EQ(p.resident, 53248u);
    EXPECT_LE(p.total, budget);
    EXPECT_EQ(p.total, p.process + p.index + p.image + p.arena());
    EXPECT_EQ(p.floor, all.floor);
    EXPECT_EQ(p.recommended, all.recommended);
  }
  o.budget = all.recommended;
  ASSERT_TRUE(PlanMemory(n.bundle, o, &p).ok());
  EXPECT_EQ(p.panels, 0u);
  // Not asked for, and where it would save nothing.
  o.budget = 0;
  o.page = false;
  MemoryPlan without;
  ASSERT_TRUE(PlanMemory(n.bundle, o, &without).ok());
  EXPECT_EQ(without.floor, all.floor + saved);
  EXPECT_EQ(without.recommended, all.recommended);
  o.budget = without.floor;
  ASSERT_TRUE(PlanMemory(n.bundle, o, &p).ok());
  EXPECT_EQ(p.panels, 0u);
  o = {};
  o.chunk = 32;  // 7 panels are all there are
  ASSERT_TRUE(PlanMemory(n.bundle, o, &all).ok());
  o.budget = all.floor;
  ASSERT_TRUE(PlanMemory(n.bundle, o, &p).ok());
  EXPECT_EQ(p.panels, 0u);
}

// Longer chunks only where they take nothing from the experts and little of all: see kLongChunk.
TEST(Budget, ChunksGrowWhileAllFits) {
  Numbers n;
  n.bundle.plan.context = 4096;
  MemoryOptions o;
  MemoryPlan p;
  // Nothing asked for, and weights that dwarf the activations.
  n.bundle.resident.length = 64 << 20;
  ASSERT_TRUE(PlanMemory(n.bundle, o, &p).ok());
  EXPECT_EQ(p.chunk, kLongChunk);
  EXPECT_EQ(MostRows(n.bundle, 0), kLongChunk);
  EXPECT_EQ(p.slots, p.records);
  const uint64_t total = p.total, floor = p.floor;
  // What works is what works with short chunks.
  o.budget = floor;
  ASSERT_TRUE(PlanMemory(n.bundle, o, &p).ok());
  EXPECT_EQ(p.chunk, 32u);
  EXPECT_EQ(p.floor, floor);
  o.budget = floor - 1;
  EXPECT_EQ(PlanMemory(n.bundle, o, &p).code, StatusCode::kBudget);
  // All experts stay in what is recommended.
  o.budget = p.recommended;
  ASSERT_TRUE(PlanMemory(n.bundle, o, &p).ok());
  EXPECT_EQ(p.slots, p.records);
  // As much memory as that needs, and a page less; a tenth of a record less than all records need.
  o.budget = total;
  ASSERT_TRUE(PlanMemory(n.bundle, o, &p).ok());
  EXPECT_EQ(p.chunk, kLongChunk);
  EXPECT_EQ(p.total, total);
  o.budget = total - 4096;
  ASSERT_TRUE(PlanMemory(n.bundle, o, &p).ok());
  EXPECT_EQ(p.chunk, kLongChunk / 2);
  EXPECT_EQ(p.slots, p.records);
  EXPECT_LE(p.total, o.budget);
  o.budget = 0;
  o.expert_bytes = 23 * 5 * 4096;
  ASSERT_TRUE(PlanMemory(n.bundle, o, &p).ok());
  EXPECT_EQ(p.chunk, 32u);
  o.expert_bytes = 0;
  // A context that is shorter, and a small model.
  o.context = 100;
  ASSERT_TRUE(PlanMemory(n.bundle, o, &p).ok());
  EXPECT_EQ(p.chunk, 64u);
  o.context = 0;
  n.buffers[1].per_token = 1 << 20;
  n.Refresh();
  ASSERT_TRUE(PlanMemory(n.bundle, o, &p).ok());
  EXPECT_EQ(p.chunk, 32u);
  n.bundle.plan.chunk = 2 * kLongChunk;
  ASSERT_TRUE(PlanMemory(n.bundle, o, &p).ok());
  EXPECT_EQ(p.chunk, 2 * kLongChunk);
  EXPECT_EQ(MostRows(n.bundle, 0), 2 * kLongChunk);
  EXPECT_EQ(MostRows(n.bundle, 7), 7u);
}

TEST(Budget, RecordsOfSeveralSizesTakeWhatTheyAre) {
  Numbers n;
  n.variants = {Variant{}, Variant{}};
  n.variants[0].record_bytes = 5 * 4096;
  n.variants[1].record_bytes = 4096;
  for (size_t i = 0; i < n.records.size(); ++i) n.records[i].variant = i % 2;
  for (MoeLayer &layer : n.moe) layer.variants = {n.variants.data(), 2};
  MemoryOptions o;
  o.chunk = 32;
  MemoryPlan p;
  ASSERT_TRUE(PlanMemory(n.bundle, o, &p).ok());
  EXPECT_EQ(p.expert_bytes, 12 * 6 * 4096u);
  EXPECT_EQ(p.record_bytes, p.expert_bytes);
  EXPECT_EQ(p.mean_slots(), 24u);
  const uint64_t floor = p.floor, most = p.recommended;
  for (o.budget = floor; o.budget <= most; o.budget += 977) {
    ASSERT_TRUE(PlanMemory(n.bundle, o, &p).ok());
    EXPECT_LE(p.total, o.budget);
    EXPECT_LT(o.budget - p.total, 2 * kPageBytes);
    EXPECT_GE(p.expert_bytes, kFewestSlots * p.slot_bytes);
    EXPECT_LE(p.expert_bytes, p.slots * p.slot_bytes);
  }
  o.budget = most;
  ASSERT_TRUE(PlanMemory(n.bundle, o, &p).ok());
  EXPECT_EQ(p.expert_bytes, p.record_bytes);
  EXPECT_EQ(p.slots, 24u);
}

TEST(Budget, EveryBudgetIsKeptAndUsed) {
  Numbers n;
  MemoryOptions o;
  o.chunk = 32;
  MemoryPlan p;
  ASSERT_TRUE(PlanMemory(n.bundle, o, &p).ok());
  uint64_t floor = p.floor, most = p.recommended, slots = 0;
  for (uint64_t budget = floor; budget <= most + 50000; budget += 977) {
    o.budget = budget;
    ASSERT_TRUE(PlanMemory(n.bundle, o, &p).ok());
    EXPECT_LE(p.total, budget);
    EXPECT_GE(p.slots, kFewestSlots);
    EXPECT_GE(p.slots, slots);
    EXPECT_EQ(p.floor, floor);
    EXPECT_EQ(p.recommended, most);
    EXPECT_EQ(p.total, p.process + p.index + p.image + p.arena());
    if (p.slots < p.records) {
      EXPECT_LT(budget - p.total, p.slot_bytes + 2 * kPageBytes);
    }
    slots = p.slots;
  }
  EXPECT_EQ(slots, 24u);
  EXPECT_EQ(p.expert_bytes, 24 * p.slot_bytes);
  for (uint64_t budget : {uint64_t{1}, floor / 2, floor - 1}) {
    o.budget = budget;
    Status status = PlanMemory(n.bundle, o, &p);
    EXPECT_EQ(status.code, StatusCode::kBudget);
    EXPECT_EQ(status.detail, floor);
  }
}

TEST(Budget, NoMoreForRecordsThanAskedFor) {
  Numbers n;
  MemoryOptions o;
  o.chunk = 32;
  MemoryPlan p;
  constexpr uint64_t kRecord = 5 * 4096;
  for (uint64_t bytes : {uint64_t{1}, 2 * kRecord, 5 * kRecord + 4095, 24 * kRecord, 100 * kRecord}) {
    o.expert_bytes = bytes;
    ASSERT_TRUE(PlanMemory(n.bundle, o, &p).ok());
    uint64_t whole = bytes / 4096 * 4096;
    EXPECT_EQ(p.expert_bytes, whole < 2 * kRecord ? 2 * kRecord : whole > 24 * kRecord ? 24 * kRecord : whole);
    EXPECT_LE(p.total, p.recommended);
  }
}

TEST(Budget, RefusesOptionsOutOfRange) {
  Numbers n;
  MemoryPlan p;
  auto code = [&](auto change) {
    MemoryOptions o;
    change(o);
    return PlanMemory(n.bundle, o, &p).code;
  };
  EXPECT_EQ(code([](MemoryOptions &o) { o.threads = 0; }), StatusCode::kUsage);
  EXPECT_EQ(code([](MemoryOptions &o) { o.threads = kMostThreads + 1; }), StatusCode::kUsage);
  EXPECT_EQ(code([](MemoryOptions &o) { o.context = kLongestContext + 1; }), StatusCode::kUsage);
  EXPECT_EQ(code([](MemoryOptions &o) { o.chunk = kLargestChunk + 1; }), StatusCode::kUsage);
  EXPECT_EQ(code([](MemoryOptions &o) { o.context = 1; }), StatusCode::kOk);
  EXPECT_EQ(p.chunk, 1u);
  n.bundle.model.positions = 50;
  EXPECT_EQ(code([](MemoryOptions &o) { o.context = 50; }), StatusCode::kOk);
  EXPECT_EQ(code([](MemoryOptions &o) { o.context = 51; }), StatusCode::kUsage);
}

TEST(Budget, OverflowIsTheBundlesFault) {
  for (int what = 0; what < 4; ++what) {
    Numbers n;
    if (what == 0) n.buffers[1].per_token = UINT64_MAX / 2;
    if (what == 1) n.buffers[1].fixed = UINT64_MAX - 5;
    if (what == 2) n.kv[1] = {UINT32_MAX, UINT32_MAX};
    if (what == 3) n.bundle.resident.length = UINT64_MAX - 1;
    MemoryPlan p;
    EXPECT_EQ(PlanMemory(n.bundle, {}, &p).code, StatusCode::kBadBundle) << what;
  }
}

TEST(Budget, NoExpertsNeedNoSlots) {
  Numbers n;
  n.bundle.moe_layers = {};
  MemoryPlan p;
  ASSERT_TRUE(PlanMemory(n.bundle, {}, &p).ok());
  EXPECT_EQ(p.slots, 0u);
  EXPECT_EQ(p.floor, p.recommended);
}

TEST(Arena, HandsOutAlignedPartsUntilItIsUsedUp) {
  Arena arena;
  ASSERT_TRUE(arena.Map(8192).ok());
  EXPECT_NE(arena.Take(1, 1), nullptr);
  void *aligned = arena.Take(64, 4096);
  ASSERT_NE(aligned, nullptr);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(aligned) % 4096, 0u);
  EXPECT_EQ(arena.Take(4033, 1), nullptr);
  EXPECT_NE(arena.Take(4032, 1), nullptr);
  EXPECT_EQ(arena.Take(1, 1), nullptr);
  EXPECT_EQ(arena.TakeArray<uint64_t>(UINT64_MAX / 4), nullptr);
  arena.Unmap();
}

TEST(Usage, SeesWhatIsTouched) {
  Arena arena;
  uint64_t before = AnonymousBytes();
  ASSERT_GT(before, 0u);
  ASSERT_TRUE(arena.Map(32 << 20).ok());
  uint64_t mapped = AnonymousBytes();
  EXPECT_LT(mapped, before + (4u << 20));
  memset(arena.base(), 1, 32 << 20);
  EXPECT_GE(AnonymousBytes() + (1u << 20), before + (32u << 20)) << "the kernel counts in batches";
  arena.Unmap();
  EXPECT_GT(AvailableBytes(), 0u);
}

}  // namespace
}  // namespace emoe::rt
