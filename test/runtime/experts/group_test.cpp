#include "runtime/experts/group.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

namespace emoe::rt {
namespace {

TEST(Group, HoldsEveryPairOnceInOrder) {
  std::mt19937 random(2);
  for (int round = 0; round < 200; ++round) {
    uint32_t tokens = random() % 20 + 1, top_k = random() % 4 + 1, experts = random() % 9 + 1;
    std::vector<int32_t> ids(tokens * top_k), tokens_of(ids.size()), pairs_of(ids.size());
    std::map<int32_t, std::vector<int32_t>> expected;
    for (size_t pair = 0; pair < ids.size(); ++pair) {
      ids[pair] = static_cast<int32_t>(random() % experts);
      expected[ids[pair]].push_back(static_cast<int32_t>(pair));
    }
    std::vector<uint32_t> starts(experts + 1);
    std::vector<ExpertGroup> groups(experts);
    uint32_t count = 0;
    ASSERT_TRUE(GroupByExpert(ids.data(), tokens, top_k, experts, starts.data(), tokens_of.data(), pairs_of.data(),
                              groups.data(), &count).ok());
    ASSERT_EQ(count, expected.size());
    uint32_t i = 0;
    for (auto &[expert, pairs] : expected) {
      const ExpertGroup &group = groups[i++];
      EXPECT_EQ(group.expert, static_cast<uint32_t>(expert));
      EXPECT_EQ(std::vector<int32_t>(pairs_of.begin() + group.first, pairs_of.begin() + group.first + group.count), pairs);
      for (uint32_t j = 0; j < group.count; ++j) {
        EXPECT_EQ(tokens_of[group.first + j], pairs_of[group.first + j] / static_cast<int32_t>(top_k));
      }
    }
  }
}

TEST(Group, RefusesExpertsThatDoNotExist) {
  for (int32_t bad : {-1, 4, INT32_MAX, INT32_MIN}) {
    std::vector<int32_t> ids{0, 3, bad}, tokens_of(3), pairs_of(3);
    std::vector<uint32_t> starts(5);
    std::vector<ExpertGroup> groups(4);
    uint32_t count = 0;
    Status status = GroupByExpert(ids.data(), 3, 1, 4, starts.data(), tokens_of.data(), pairs_of.data(), groups.data(),
                                  &count);
    EXPECT_EQ(status.code, StatusCode::kBadBundle);
    EXPECT_EQ(status.detail2, 2u);
  }
}

}  // namespace
}  // namespace emoe::rt
