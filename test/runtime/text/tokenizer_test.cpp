// Encoding and decoding with tables of tokenizers small enough to be worked out by hand.
#include "runtime/text/tokenizer.h"

#include <gtest/gtest.h>

#include <chrono>

#include "compiler/tokenizer/tokenizer.h"
#include "test/support/small_tokenizer.h"

using namespace emoe;
using namespace emoe::test;

namespace {

using Ids = std::vector<int32_t>;

class TokenizerTest : public testing::Test {
 protected:
  void Open(const std::string &json) {
    absl::StatusOr<std::vector<uint8_t>> bytes = compileJson(json);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    tables = std::make_unique<Tables>(*bytes);
    rt::Status status = rt::OpenTokenizer(tables->data(), tables->size(), &tokenizer);
    ASSERT_TRUE(status.ok()) << status.what << " " << status.detail;
  }
  Ids Encode(const std::string &text, bool parse_special = false) {
    rt::EncodeOptions options;
    options.parse_special = parse_special;
    Encoded encoded = encode(tokenizer, text, options);
    EXPECT_TRUE(encoded.status.ok()) << encoded.status.what;
    return encoded.ids;
  }
  std::unique_ptr<Tables> tables;
  rt::Tokenizer tokenizer;
};

// Merges: 256 he, 257 ll, 258 hell, 259 hello, 260 Ġw, 261 aa, 262 aaaa; added: 263 <|end|>, 264 <|pad|>, 265 tool,
// 266 two spaces.
const std::vector<std::string> kMerges = {"h e", "l l", "he ll", "hell o", "Ġ w", "a a", "aa aa"};

TEST_F(TokenizerTest, MergesByRankWithinPieces) {
  Open(tokenizerJson(byteLevelJson(), kMerges));
  EXPECT_EQ(Encode("hello"), Ids({259}));
  EXPECT_EQ(Encode("hell"), Ids({258}));
  EXPECT_EQ(Encode("hel"), Ids({256, 'l'}));
  EXPECT_EQ(Encode("hello w"), Ids({259, 260}));
  EXPECT_EQ(Encode("aaa"), Ids({261, 'a'}));        // the leftmost of equal rank first
  EXPECT_EQ(Encode("aaaaa"), Ids({262, 'a'}));
  EXPECT_EQ(Encode("he'lle"), Ids({256, '\'', 257, 'e'}));  // 'll is a piece: "'" and "ll"
  EXPECT_EQ(Encode(""), Ids());
  EXPECT_EQ(Encode(std::string("\0\0", 2)), Ids({0, 0}));
}

TEST_F(TokenizerTest, LongPiecesMergeLikeShortOnes) {
  Open(tokenizerJson(byteLevelJson(), kMerges));
  for (size_t letters : {39, 40, 41, 42, 43, 1000, 1001, 1003}) {
    Ids expected(letters / 4, 262);
    if (letters % 4 >= 2) expected.push_back(261);
    if (letters % 2 == 1) expected.push_back('a');
    EXPECT_EQ(Encode(std::string(letters, 'a')), expected) << letters;
  }
}

TEST_F(TokenizerTest, OneLetterOfAHundredThousandIsFast) {
  Open(tokenizerJson(byteLevelJson(), kMerges));
  auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(Encode(std::string(131072, 'a')), Ids(131072 / 4, 262));
  EXPECT_EQ(Encode(std::string(131072, ' ')).size(), 131072u / 2);  // the added token of two spaces
  EXPECT_EQ(Encode(std::string(131072, '1')).size(), 131072u);
  // Quadratic time would take minutes; sanitizers slow this down, too.
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), 5.0);
}

TEST_F(TokenizerTest, SpecialTokensInTextAreTextUnlessAsked) {
  Open(tokenizerJson(byteLevelJson(), kMerges));
  EXPECT_EQ(Encode("he<|end|>", true), Ids({256, 263}));
  Ids plain = Encode("he<|end|>");
  EXPECT_EQ(plain, Ids({256, '<', '|', 'e', 'n', 'd', '|', '>'}));
  EXPECT_EQ(decode(tokenizer, plain), "he<|end|>");
  EXPECT_EQ(Encode("a  <|pad|> \n\tb", true), Ids({'a', 264, 'b'}));  // takes the space on both sides
  EXPECT_EQ(Encode("<|end|><|end|>", true), Ids({263, 263}));
  EXPECT_TRUE(rt::IsSpecial(tokenizer, 263));
  EXPECT_FALSE(rt::IsSpecial(tokenizer, 265));
  EXPECT_FALSE(rt::IsSpecial(tokenizer, -1));
  EXPECT_FALSE(rt::IsSpecial(tokenizer, 100000));
}

TEST_F(TokenizerTest, AddedTokensThatAreNotSpecialAlwaysCount) {
  Open(tokenizerJson(byteLevelJson(), kMerges));
  EXPECT_EQ(Encode("a tool."), Ids({'a', ' ', 265, '.'}));
  EXPECT_EQ(Encode("tools"), Ids({'t', 'o', 'o', 'l', 's'}));        // not a word of its own
  EXPECT_EQ(Encode("\xc3\xa9tool"), Ids({0xc3, 0xa9, 't', 'o', 'o', 'l'}));
  EXPECT_EQ(Encode("a   b"), Ids({'a', 266, ' ', 'b'}));
}

TEST_F(TokenizerTest, PrefixSpace) {
  Open(tokenizerJson(R"({"type": "ByteLevel", "add_prefix_space": true, "use_regex": true})", kMerges));
  EXPECT_EQ(Encode("w"), Ids({260}));
  EXPECT_EQ(Encode(" w"), Ids({260}));
  EXPECT_EQ(Encode("w<|end|>w", true), Ids({260, 263, 260}));
  EXPECT_EQ(Encode(""), Ids());
}

TEST_F(TokenizerTest, IgnoreMergesTakesWholeTokens) {
  // 257 "abc" cannot come out of merging: there is no rank for "a bc" before "ab" is made and stuck.
  std::vector<std::string> merges = {"a b", "b c", "a bc"};
  Open(tokenizerJson(byteLevelJson(), merges));
  EXPECT_EQ(Encode("abc"), Ids({256, 'c'}));
  Open(tokenizerJson(byteLevelJson(), merges, "null", true));
  EXPECT_EQ(Encode("abc"), Ids({258}));
  EXPECT_EQ(Encode("abca"), Ids({256, 'c', 'a'}));
}

TEST_F(TokenizerTest, NormalFormC) {
  Open(tokenizerJson(byteLevelJson(), {}, R"({"type": "NFC"})"));
  auto normal = [&](const std::string &text) { return decode(tokenizer, Encode(text, true)); };
  EXPECT_EQ(normal("e\u0301"), "\u00e9");
  EXPECT_EQ(normal("plain \u00e9 \u6f22"), "plain \u00e9 \u6f22");
  EXPECT_EQ(normal("\u1112\u1161\u11ab"), "\ud55c");                  // jamo
  EXPECT_EQ(normal("\ud558\u11ab"), "\ud55c");
  EXPECT_EQ(normal("\u0958"), "\u0915\u093c");                        // excluded from composition
  EXPECT_EQ(normal("\u212b"), "\u00c5");                              // singleton
  EXPECT_EQ(normal("a\u0315\u0300\u05ae\u0300b"), "\u00e0\u05ae\u0300\u0315b");  // NormalizationTest.txt, part 3
  EXPECT_EQ(normal("\u0390<|end|>\u03b9\u0308\u0301"), "\u0390<|end|>\u0390");
  EXPECT_EQ(normal("\u0301e"), "\u0301e");
  EXPECT_EQ(normal("\xff" "e\u0301"), "\ufffd\u00e9");
  // Marks beyond any reasonable number, in the worst order: sorted in linear time.
  std::string marks = "a", sorted = "a";
  for (int i = 0; i < 30000; ++i) marks += i % 2 ? "\u0316" : "\u0301";
  Ids ids = Encode(marks);
  EXPECT_EQ(ids.size(), 2u + 2 * 29999u);  // the first acute joins the a
  for (int i = 0; i < 15000; ++i) ASSERT_EQ(ids[2 + 2 * i + 1], 0x96) << i;
}

TEST_F(TokenizerTest, NormalisesAndPrefixesInOneBuffer) {
  Open(tokenizerJson(R"({"type": "ByteLevel", "add_prefix_space": true, "use_regex": true})", kMerges, R"({"type": "NFC"})"));
  // "tool" cuts the normalised text into pieces that each get their space.
  EXPECT_EQ(decode(tokenizer, Encode("e\u0301 tool,e\u0301<|end|>w", true)), " \u00e9 tool ,\u00e9<|end|> w");
}

TEST_F(TokenizerTest, InvalidUtf8IsReplacedFirst) {
  Open(tokenizerJson(byteLevelJson(), kMerges));
  EXPECT_EQ(Encode("he\xff"), Ids({256, 0xef, 0xbf, 0xbd}));
  EXPECT_EQ(Encode("\xf0\x9f\x98"), Ids({0xef, 0xbf, 0xbd}));
}

TEST_F(TokenizerTest, FirstTokenComesFromTheTemplateAndCanBeLeftOut) {
  std::string json = tokenizerJson(byteLevelJson(), kMerges);
  std::string none = "\"post_processor\":null";
  size_t at = json.find(none);
  ASSERT_NE(at, std::string::npos);
  json.replace(at, none.size(), R"("post_processor": {"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<|end|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
      "special_tokens": {"<|end|>": {"id": "<|end|>", "ids": [263], "tokens": ["<|end|>"]}}})");
  Open(json);
  EXPECT_EQ(tokenizer.first_token, 263);
  EXPECT_EQ(Encode("he"), Ids({263, 256}));
  EXPECT_EQ(Encode(""), Ids({263}));
  rt::EncodeOptions options;
  options.first_token = false;
  EXPECT_EQ(encode(tokenizer, "he", options).ids, Ids({256}));
}

TEST_F(TokenizerTest, WritesNoMoreThanThereIsRoomForAndCountsAll) {
  Open(tokenizerJson(byteLevelJson(), kMerges));
  std::string text = "he llo he";
  std::vector<uint64_t> scratch(rt::EncodeScratchBytes(tokenizer, text.data(), text.size()) / 8 + 1);
  int32_t ids[3] = {-7, -7, -7};
  size_t count = 0;
  ASSERT_TRUE(rt::Encode(tokenizer, text.data(), text.size(), {}, scratch.data(), scratch.size() * 8, ids, 2, &count).ok());
  EXPECT_EQ(count, Encode(text).size());
  EXPECT_EQ(ids[0], 256);
  EXPECT_EQ(ids[2], -7);
  rt::Status status = rt::Encode(tokenizer, text.data(), text.size(), {}, scratch.data(), 16, ids, 2, &count);
  EXPECT_EQ(status.code, rt::StatusCode::kUsage);
  EXPECT_EQ(status.detail, rt::EncodeScratchBytes(tokenizer, text.data(), text.size()));
}

TEST_F(TokenizerTest, IdsThatNameNothingDecodeToNothing) {
  Open(tokenizerJson(byteLevelJson(), kMerges));
  for (int32_t id : {-1, 267, 1 << 30, INT32_MIN}) {
    size_t bytes = 1;
    EXPECT_EQ(rt::TokenBytes(tokenizer, id, &bytes), nullptr);
    EXPECT_EQ(bytes, 0u);
  }
}

}  // namespace
