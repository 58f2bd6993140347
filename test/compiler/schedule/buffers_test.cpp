// Slot assignment: what is live together never shares memory, and what is not does.
#include "compiler/schedule/buffers.h"

#include <gtest/gtest.h>
#include <random>

namespace emoe {
namespace {

BufferLife life(uint64_t bytes, size_t first, size_t last) { return {0, bytes, false, first, last}; }

uint64_t totalBytes(const std::vector<BufferLife> &buffers, const std::vector<size_t> &slots) {
  std::vector<uint64_t> sizes;
  for (size_t i = 0; i < buffers.size(); ++i) {
    sizes.resize(std::max(sizes.size(), slots[i] + 1));
    sizes[slots[i]] = std::max(sizes[slots[i]], buffers[i].perToken);
  }
  uint64_t total = 0;
  for (uint64_t size : sizes) {
    total += size;
  }
  return total;
}

TEST(AssignSlots, SharesAmongBuffersThatFollowEachOther) {
  std::vector<BufferLife> buffers{life(100, 0, 1), life(80, 2, 3), life(90, 4, 9)};
  EXPECT_EQ(totalBytes(buffers, assignSlots(buffers)), 100u);
}

TEST(AssignSlots, KeepsAStepsInputAndOutputApart) {
  std::vector<BufferLife> buffers{life(64, 0, 1), life(64, 1, 2)};
  std::vector<size_t> slots = assignSlots(buffers);
  EXPECT_NE(slots[0], slots[1]);
}

TEST(AssignSlots, NeverOverlapsOnRandomLives) {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    std::vector<BufferLife> buffers;
    for (int i = 0; i < 40; ++i) {
      size_t first = random() % 60;
      buffers.push_back(life(1 + random() % 1000, first, first + random() % 12));
    }
    std::vector<size_t> slots = assignSlots(buffers);
    uint64_t sum = 0;
    for (size_t i = 0; i < buffers.size(); ++i) {
      sum += buffers[i].perToken;
      for (size_t j = 0; j < i; ++j) {
        bool together = buffers[i].first <= buffers[j].last && buffers[j].first <= buffers[i].last;
        EXPECT_FALSE(together && slots[i] == slots[j]) << "round " << round << ": " << i << ", " << j;
      }
    }
    EXPECT_LT(totalBytes(buffers, slots), sum) << "round " << round;
  }
}

} // namespace
} // namespace emoe
