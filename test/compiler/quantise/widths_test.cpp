// Files of widths: what lines mean, and which are refused.
#include "compiler/quantise/widths.h"

#include "compiler/quantise/width.h"
#include "gtest/gtest.h"

namespace emoe {
namespace {

TEST(Widths, LinesNameExpertsWidthsAndGroups) {
  auto rules = parseWidthRules("# a comment\n* * 4\n\n 2 15 ternary 256 # behind\r\n0 * 3/8 128/32\n1 1 16/32\n");
  ASSERT_TRUE(rules.ok()) << rules.status();
  ASSERT_EQ(rules->size(), 4u);
  EXPECT_FALSE((*rules)[0].layer || (*rules)[0].expert);
  EXPECT_EQ((*rules)[0].gateUp.bits, 4u);
  EXPECT_EQ((*rules)[0].down.bits, 4u);
  EXPECT_EQ((*rules)[0].gateUp.group, 0u);
  EXPECT_EQ((*rules)[1].layer, 2);
  EXPECT_EQ((*rules)[1].expert, 15);
  EXPECT_EQ((*rules)[1].gateUp.bits, kTernaryBits);
  EXPECT_EQ((*rules)[1].down.group, 256u);
  EXPECT_FALSE((*rules)[2].expert);
  EXPECT_EQ((*rules)[2].gateUp.bits, 3u);
  EXPECT_EQ((*rules)[2].gateUp.group, 128u);
  EXPECT_EQ((*rules)[2].down.bits, 8u);
  EXPECT_EQ((*rules)[2].down.group, 32u);
  EXPECT_EQ((*rules)[3].down.bits, 32u);
}

TEST(Widths, OtherLinesAreRefusedByNumber) {
  for (const char *line : {"0 1", "0 1 5", "0 1 4 48", "0 1 16 32", "-1 0 4", "x 0 4", "0 1 4 32 9", "0 1 4/", "0 1 4/2/2",
                           "0 1 4 32/16/16", "0 1 1", "0 1 4/16 32"}) {
    absl::Status status = parseWidthRules(std::string("* * 4\n") + line).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << line;
    EXPECT_EQ(status.message().substr(0, 7), "line 2:") << line;
  }
}

} // namespace
} // namespace emoe
