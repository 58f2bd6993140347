#include "compiler/plan/choose.h"

#include <gtest/gtest.h>

#include "compiler/bundle/writer.h"
#include "runtime/bundle/memory_provider.h"
#include "test/compiler/plan/support.h"
#include "test/support/small_model.h"

namespace emoe {
namespace {

using test::makeTrace;
using test::randomTrace;

// Layer 1 chooses what layer 0 chose (plus 3), and layer 0 walks through a permutation: both are told by the tables.
Trace regular(uint64_t tokens, uint32_t seed) {
  std::mt19937 random(seed);
  int32_t state = 0;
  return makeTrace({{16, 1}, {16, 1}}, tokens, [&](uint64_t, size_t l) {
    if (l == 0) {
      state = random() % 8 == 0 ? static_cast<int32_t>(random() % 16) : (state * 5 + 3) % 16;
    }
    return std::vector<int32_t>{l == 0 ? state : (state + 3) % 16};
  });
}

TEST(NextUse, TablesSayWhatFollows) {
  NextUseTables tables = fitNextUse(regular(4000, 1));
  ASSERT_EQ(tables.usual.size(), 32u);
  ASSERT_EQ(tables.blocks.size(), 5u) << "two layers for each of the two, and layer 0 for layer 1 of the same token";
  for (const rt::NextUseBlock &block : tables.blocks) {
    if (block.source != 0 || (block.same_token == 0 && block.target != 0)) {
      continue; // weaker: it says the same in another way
    }
    for (int a = 0; a < 16; ++a) {
      int follows = block.same_token ? (a + 3) % 16 : (a * 5 + 3) % 16;
      const int8_t *row = &tables.rows[block.first + static_cast<size_t>(a) * 16];
      EXPECT_EQ(std::max_element(row, row + 16) - row, follows) << block.source << " " << a;
    }
  }
  double sum = 0;
  for (uint16_t usual : tables.usual) {
    sum += usual / 65535.0;
  }
  EXPECT_NEAR(sum, 2, 1e-3);
}

TEST(NextUse, FewBytesGiveFewerTablesOrNone) {
  Trace trace = randomTrace(1, {{16, 2}, {16, 2}, {16, 2}}, 300);
  NextUseOptions options;
  size_t all = fitNextUse(trace, options).rows.size();
  options.mostBytes = all - 1;
  size_t fewer = fitNextUse(trace, options).rows.size();
  EXPECT_LT(fewer, all);
  EXPECT_GT(fewer, 0u);
  options.mostBytes = 100;
  NextUseTables none = fitNextUse(trace, options);
  EXPECT_TRUE(none.blocks.empty());
  EXPECT_EQ(none.usual.size(), 48u);
}

TEST(Choose, IsNeverMuchWorseThanLruAndLfu) {
  const Trace traces[] = {randomTrace(1, {{32, 2}, {32, 2}, {32, 4}}, 900), regular(3000, 2),
                          randomTrace(9, {{8, 2}, {64, 4}}, 300)};
  for (const Trace &trace : traces) {
    uint64_t half = trace.count() / 2;
    auto [fit, heldOut] = splitTrace(trace, 0.25);
    PlanOptions options;
    options.slots = {4, 8, 16, 31};
    CachePlan plan = choosePlan(fit, heldOut, options);
    ASSERT_EQ(plan.choices.size(), 4u);
    for (const rt::HitPoint &point : plan.hitCurve) {
      EXPECT_GE(point.planned, std::max(point.lru, point.lfu) - 0.01f) << half << " " << point.slots;
      EXPECT_GE(point.belady, point.planned);
    }
    for (const rt::CacheChoice &choice : plan.choices) {
      if (choice.slots < tokenCycle(trace)) {
        EXPECT_FALSE(choice.policy == rt::CachePolicy::kLru && choice.per_layer == 0);
      }
    }
  }
}

// What the tables know closes some of the gap that frequency leaves.
TEST(Choose, TablesCloseTheGap) {
  PlanOptions options;
  options.slots = {8};
  CachePlan plan = choosePlan(regular(4000, 1), regular(2000, 2), options);
  const rt::HitPoint &point = plan.hitCurve[0];
  EXPECT_EQ(plan.choices[0].policy, rt::CachePolicy::kNextUse);
  EXPECT_GT(point.planned - point.lfu, 0.25f * (point.belady - point.lfu)) << point.lfu << " " << point.planned << " "
                                                                          << point.belady;
}

TEST(Choose, SplitsEachDomain) {
  Trace trace = randomTrace(1, {{8, 2}}, 100);
  trace.domains = {"a", "b"};
  trace.documents = {{0, 40, 0}, {40, 40, 0}, {80, 20, 1}};
  auto [fit, heldOut] = splitTrace(trace, 0.25);
  EXPECT_EQ(fit.count(), 75u);
  EXPECT_EQ(heldOut.count(), 25u);
  ASSERT_EQ(heldOut.documents.size(), 2u);
  EXPECT_EQ(heldOut.documents[0].tokens, 20u);
  EXPECT_EQ(heldOut.documents[1].domain, 1u);
  EXPECT_EQ(heldOut.experts[0], trace.experts[60 * 2]);
}

// A plan goes into a bundle, the runtime accepts it, and would do what the planner replayed.
TEST(Choose, TheRuntimeReadsThePlan) {
  Trace trace = randomTrace(4, {{3, 2}, {3, 2}}, 200); // the small model's layers
  auto [fit, heldOut] = splitTrace(trace, 0.5);
  PlanOptions options;
  options.slots = {2, 4, 5};
  CachePlan plan = choosePlan(fit, heldOut, options);
  BundleContents contents = test::smallModel();
  storePlan(plan, *contents.index.plan);
  absl::StatusOr<std::vector<uint8_t>> bytes = writeBundleToMemory(contents);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  rt::MemoryProvider provider(bytes->data(), bytes->size());
  rt::Bundle bundle;
  rt::Status status = rt::OpenBundle(provider, &bundle);
  ASSERT_TRUE(status.ok()) << status.what;
  EXPECT_EQ(bundle.plan.recommended_slots, plan.recommendedSlots);
  for (uint32_t slots : {1u, 2u, 3u, 4u, 6u}) {
    rt::CacheParameters read, planned = plan.parameters(slots);
    ASSERT_TRUE(rt::ChooseCache(bundle, slots, nullptr, &read));
    EXPECT_EQ(read.policy, planned.policy);
    EXPECT_EQ(replay(trace, std::max(2u, slots), read).hits, replay(trace, std::max(2u, slots), planned).hits);
  }
  rt::CloseBundle(&bundle);
}

} // namespace
} // namespace emoe
