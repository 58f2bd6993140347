// Damaged tokenizer tables: opening says so, or encoding and decoding stay inside them, give ids of the vocabulary
// and end soon. Runs under the sanitizers, with tables and scratch of exactly their size.
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <random>

#include "test/support/small_tokenizer.h"

using namespace emoe;
using namespace emoe::test;

namespace {

const char *kPattern = R"([^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

std::vector<uint8_t> GoodTables() {
  absl::StatusOr<std::vector<uint8_t>> tables =
      compileJson(tokenizerJson(splitJson(kPattern), {"h e", "l l", "he ll", "hell o", "Ġ w", "a a", "aa aa"},
                                R"({"type": "NFC"})"));
  EXPECT_TRUE(tables.ok()) << tables.status();
  return *tables;
}

const std::vector<std::string> &Texts() {
  static const std::vector<std::string> texts = {
      "hello  world, tool's 12345 <|end|>\n\n   x <|pad|> tool",
      std::string(3000, 'a') + std::string(300, '\n') + "e\u0301\u0316\u0301 \u1112\u1161\u11ab \u0958\u212b \u6f22",
      "\xff\xfe\x80 \xf0\x9f\x98\x80\xf0\x9f <|pad|>\u3000\u00a0"};
  return texts;
}

// True if the tables were opened.
bool Survives(const std::vector<uint8_t> &bytes) {
  Tables tables(bytes);
  rt::Tokenizer tokenizer;
  rt::Status status = rt::OpenTokenizer(tables.data(), tables.size(), &tokenizer);
  if (!status.ok()) {
    EXPECT_TRUE(status.code == rt::StatusCode::kBadBundle || status.code == rt::StatusCode::kUnsupported);
    EXPECT_STRNE(status.what, "");
    return false;
  }
  for (const std::string &text : Texts()) {
    for (bool parse_special : {false, true}) {
      rt::EncodeOptions options;
      options.parse_special = parse_special;
      Encoded encoded = encode(tokenizer, text, options);
      if (!encoded.status.ok()) {
        EXPECT_EQ(encoded.status.code, rt::StatusCode::kBadBundle);
        continue;
      }
      EXPECT_LE(encoded.ids.size(), rt::MostTokens(text.size()));
      for (int32_t id : encoded.ids) EXPECT_TRUE(id >= 0 && static_cast<uint32_t>(id) < tokenizer.vocab);
      decode(tokenizer, encoded.ids);
    }
  }
  return true;
}

TEST(BadTables, TheGoodOnesAreGood) { EXPECT_TRUE(Survives(GoodTables())); }

TEST(BadTables, CutAnywhere) {
  std::vector<uint8_t> good = GoodTables();
  for (size_t size = 0; size < good.size(); ++size) {
    std::vector<uint8_t> cut(good.begin(), good.begin() + size);
    ASSERT_FALSE(Survives(cut)) << size;
    if (size >= sizeof(rt::TokenizerHeader)) {  // and with a header that says so
      rt::TokenizerHeader header;
      std::memcpy(&header, cut.data(), sizeof(header));
      header.bytes = static_cast<uint32_t>(size);
      std::memcpy(cut.data(), &header, sizeof(header));
      ASSERT_FALSE(Survives(cut)) << size;
    }
  }
}

TEST(BadTables, FlippedBits) {
  std::vector<uint8_t> good = GoodTables();
  rt::TokenizerHeader header;
  std::memcpy(&header, good.data(), sizeof(header));
  std::mt19937 random(20);
  auto start = std::chrono::steady_clock::now();
  int opened = 0;
  constexpr int kCases = 5000;
  for (int i = 0; i < kCases; ++i) {
    std::vector<uint8_t> bad = good;
    for (unsigned flips = 1 + random() % 2; flips > 0; --flips) {
      // Each array as often as the others, however small, and the header.
      uint32_t array = random() % (rt::kTokenizerArrays + 1);
      size_t begin = 0, bytes = sizeof(header);
      if (array < rt::kTokenizerArrays) {
        begin = header.arrays[array].offset;
        bytes = size_t(header.arrays[array].count) * rt::kElementBytes[array];
      }
      if (bytes > 0) bad[begin + random() % bytes] ^= 1u << random() % 8;
    }
    opened += Survives(bad);
  }
  std::printf("%d of %d damaged tables were opened\n", opened, kCases);
  EXPECT_GT(opened, kCases / 20);  // else the test tests nothing
  EXPECT_LT(opened, kCases);
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), 300.0);
}

TEST(BadTables, HeaderFieldsAtTheirLimits) {
  std::vector<uint8_t> good = GoodTables();
  for (size_t field = 0; field < sizeof(rt::TokenizerHeader); field += 4) {
    for (uint32_t value : {0u, 1u, 0x7fffffffu, 0x80000000u, 0xfffffffeu, 0xffffffffu}) {
      std::vector<uint8_t> bad = good;
      std::memcpy(bad.data() + field, &value, 4);
      Survives(bad);
    }
  }
}

TEST(BadTables, SplittingThatWouldTakeQuadraticTimeEndsWithAnError) {
  // Remove the acceptance of every state but one that is never reached: each search runs to the end in vain.
  std::vector<uint8_t> bad = GoodTables();
  rt::TokenizerHeader header;
  std::memcpy(&header, bad.data(), sizeof(header));
  std::memset(bad.data() + header.arrays[rt::kAccepts].offset, 0, header.arrays[rt::kAccepts].count);
  Tables tables(bad);
  rt::Tokenizer tokenizer;
  ASSERT_TRUE(rt::OpenTokenizer(tables.data(), tables.size(), &tokenizer).ok());
  Encoded encoded = encode(tokenizer, std::string(1 << 20, 'a'));
  EXPECT_EQ(encoded.status.code, rt::StatusCode::kBadBundle);
}

TEST(BadTables, Misaligned) {
  std::vector<uint8_t> good = GoodTables();
  std::vector<uint64_t> room(good.size() / 8 + 2);
  uint8_t *odd = reinterpret_cast<uint8_t *>(room.data()) + 1;
  std::memcpy(odd, good.data(), good.size());
  rt::Tokenizer tokenizer;
  EXPECT_EQ(rt::OpenTokenizer(odd, good.size(), &tokenizer).code, rt::StatusCode::kUsage);
}

}  // namespace
