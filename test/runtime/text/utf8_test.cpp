// What is valid is decided by an independent rule here: decode by hand, encode again, compare.
#include "runtime/text/utf8.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

using namespace emoe::rt;

namespace {

std::string Repaired(const std::string &text) {
  bool valid;
  const uint8_t *bytes = reinterpret_cast<const uint8_t *>(text.data());
  std::string out(RepairedBytes(bytes, text.size(), &valid), '\0');
  Repair(bytes, text.size(), reinterpret_cast<uint8_t *>(out.data()));
  EXPECT_EQ(valid, out == text);
  return out;
}

std::string Streamed(const std::string &text, const std::string &cuts) {
  Utf8Stream stream;
  std::string out;
  size_t at = 0;
  for (size_t i = 0; at < text.size(); ++i) {
    size_t bytes = std::min<size_t>(text.size() - at, static_cast<unsigned char>(cuts[i % cuts.size()]));
    std::string room(Utf8Stream::OutputBytes(bytes), '\0');
    size_t written = stream.Push(reinterpret_cast<const uint8_t *>(text.data()) + at, bytes, room.data());
    EXPECT_LE(written, room.size());
    // Only complete characters come out.
    EXPECT_EQ(Repaired(room.substr(0, written)), room.substr(0, written));
    out += room.substr(0, written);
    at += bytes;
  }
  char rest[Utf8Stream::OutputBytes(0)];
  out.append(rest, stream.Finish(rest));
  EXPECT_EQ(stream.pending(), 0u);
  return out;
}

TEST(Utf8, EveryScalarValueSurvives) {
  for (uint32_t code = 0; code < 0x110000; ++code) {
    if (code >= 0xd800 && code <= 0xdfff) continue;
    uint8_t text[4];
    uint32_t length = WriteUtf8(code, text);
    Utf8Head head = ReadUtf8(text, length);
    uint32_t valid_length;
    ASSERT_TRUE(head.valid && head.code == code && head.length == length) << code;
    ASSERT_TRUE(ReadValidUtf8(text, &valid_length) == code && valid_length == length) << code;
    for (uint32_t cut = 1; cut < length; ++cut) ASSERT_TRUE(ReadUtf8(text, cut).incomplete) << code;
  }
}

TEST(Utf8, InvalidSequencesBecomeOneReplacementPerMaximalSubpart) {
  const std::string r = "\xef\xbf\xbd";
  EXPECT_EQ(Repaired("a\x80z"), "a" + r + "z");
  EXPECT_EQ(Repaired("\xc0\xaf"), r + r);                  // overlong
  EXPECT_EQ(Repaired("\xe0\x9f\xbf"), r + r + r);          // overlong
  EXPECT_EQ(Repaired("\xed\xa0\x80"), r + r + r);          // surrogate
  EXPECT_EQ(Repaired("\xf4\x90\x80\x80"), r + r + r + r);  // above U+10FFFF
  EXPECT_EQ(Repaired("\xf5\xff"), r + r);
  EXPECT_EQ(Repaired("\xe2\x82"), r);                      // cut off
  EXPECT_EQ(Repaired("\xf0\x9f\x98"), r);                  // the same size, but not the same
  EXPECT_EQ(Repaired("\xf0\x9f\x98\x41"), r + "A");
  EXPECT_EQ(Repaired("\xe2\xe2\x82\xac"), r + "\xe2\x82\xac");
  EXPECT_EQ(Repaired(std::string("\0", 1)), std::string("\0", 1));
}

TEST(Utf8, StreamsTheSameTextWhereverItIsCut) {
  std::mt19937 random(3);
  const uint8_t kBytes[] = {0x41, 0x7f, 0x80, 0xbf, 0xc2, 0xc3, 0xe0, 0xe2, 0xed, 0xa0, 0x9f, 0xf0, 0x98, 0xf4, 0x90, 0xff};
  for (int i = 0; i < 20000; ++i) {
    std::string text, cuts;
    for (size_t n = random() % 12; n > 0; --n) text += static_cast<char>(kBytes[random() % sizeof(kBytes)]);
    for (size_t n = 1 + random() % 5; n > 0; --n) cuts += static_cast<char>(1 + random() % 4);
    ASSERT_EQ(Streamed(text, cuts), Repaired(text)) << testing::PrintToString(text);
  }
}

TEST(Utf8, HoldsBackOnlyWhatMayBeCompleted) {
  Utf8Stream stream;
  char out[64];
  const uint8_t euro[] = {0xe2, 0x82, 0xac};
  EXPECT_EQ(stream.Push(euro, 2, out), 0u);
  EXPECT_EQ(stream.pending(), 2u);
  EXPECT_EQ(stream.Push(euro + 2, 1, out), 3u);
  EXPECT_EQ(std::string(out, 3), "\xe2\x82\xac");
  const uint8_t never[] = {0xc0};
  EXPECT_EQ(stream.Push(never, 1, out), 3u);  // can never be completed: shown at once
  EXPECT_EQ(stream.pending(), 0u);
}

}  // namespace
