#include "runtime/bundle/crc32c.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace emoe::rt {
namespace {

// RFC 3720, appendix B.4.
TEST(Crc32c, MatchesPublishedVectors) {
  std::vector<uint8_t> zeros(32, 0), ones(32, 0xFF), up(32);
  for (int i = 0; i < 32; ++i) up[i] = static_cast<uint8_t>(i);
  for (auto crc : {Crc32c, Crc32cPortable}) {
    EXPECT_EQ(crc("123456789", 9, 0), 0xE3069283u);
    EXPECT_EQ(crc(zeros.data(), 32, 0), 0x8A9136AAu);
    EXPECT_EQ(crc(ones.data(), 32, 0), 0x62A8AB43u);
    EXPECT_EQ(crc(up.data(), 32, 0), 0x46DD794Eu);
    EXPECT_EQ(crc(nullptr, 0, 0), 0u);
  }
}

TEST(Crc32c, AgreesWithTablesForEveryLengthAlignmentAndSplit) {
  std::mt19937 random(1);
  std::vector<uint8_t> bytes(300);
  for (uint8_t &byte : bytes) byte = static_cast<uint8_t>(random());
  for (size_t start = 0; start < 9; ++start) {
    for (size_t length = 0; start + length <= 280; ++length) {
      const uint8_t *p = bytes.data() + start;
      uint32_t whole = Crc32cPortable(p, length);
      ASSERT_EQ(Crc32c(p, length), whole) << start << " " << length;
      size_t split = length == 0 ? 0 : random() % length;
      ASSERT_EQ(Crc32c(p + split, length - split, Crc32c(p, split)), whole) << start << " " << length << " " << split;
    }
  }
}

// Long enough for the streams that run side by side, with every rest behind them that matters.
TEST(Crc32c, AgreesWithTablesForLongTexts) {
  std::mt19937 random(2);
  std::vector<uint8_t> bytes(4 * 3072 + 16);
  for (uint8_t &byte : bytes) byte = static_cast<uint8_t>(random());
  for (size_t start : {0, 1, 5}) {
    for (size_t blocks = 1; blocks <= 4; ++blocks) {
      for (size_t length : {blocks * 3072 - 1, blocks * 3072, blocks * 3072 + 1, blocks * 3072 + 8}) {
        ASSERT_EQ(Crc32c(bytes.data() + start, length, 77), Crc32cPortable(bytes.data() + start, length, 77))
            << start << " " << length;
      }
    }
  }
}

}  // namespace
}  // namespace emoe::rt
