// What patterns cut, against what a backtracking matcher (Oniguruma) cuts; the expectations were worked out by its
// rules, and test/e2e/tokenizer_diff.py compares many more with the real one.
#include <gtest/gtest.h>

#include "compiler/tokenizer/tables.h"
#include "runtime/text/split.h"
#include "test/support/small_tokenizer.h"

using namespace emoe;
using namespace emoe::test;

namespace {

// The pieces, joined by '|'.
std::string pieces(const std::string &preTokenizer, const std::string &text) {
  absl::StatusOr<std::vector<uint8_t>> bytes = compileJson(tokenizerJson(preTokenizer));
  if (!bytes.ok()) {
    return std::string(bytes.status().message());
  }
  Tables tables(*bytes);
  rt::Tokenizer tokenizer;
  rt::Status status = rt::OpenTokenizer(tables.data(), tables.size(), &tokenizer);
  if (!status.ok()) {
    return status.what;
  }
  rt::Splitter splitter(tokenizer, reinterpret_cast<const uint8_t *>(text.data()), 0, text.size());
  std::string result;
  rt::Piece piece;
  uint32_t last = 0;
  while (splitter.Next(&piece)) {
    EXPECT_LT(piece.begin, piece.end);
    EXPECT_GE(piece.begin, last);
    last = piece.end;
    result += (result.empty() ? "" : "|") + text.substr(piece.begin, piece.end - piece.begin);
  }
  EXPECT_FALSE(splitter.overran());
  return result;
}

std::string cut(const std::string &pattern, const std::string &text) { return pieces(splitJson(pattern), text); }

TEST(Split, TheFirstAlternativeWinsNotTheLongest) {
  EXPECT_EQ(cut("a|ab|b", "abab"), "a|b|a|b");
  EXPECT_EQ(cut("ab|a|b", "abab"), "ab|ab");
  EXPECT_EQ(cut("(?:a|ab)(?:c|bcd)", "abcd"), "abcd");
  EXPECT_EQ(cut("(?:a|ab)(?:bcd|c)|abc", "abce"), "abc|e");
}

TEST(Split, RepeatsAreGreedyUnlessLazy) {
  EXPECT_EQ(cut("a+|b", "aaab"), "aaa|b");
  EXPECT_EQ(cut("a+?|b", "aaab"), "a|a|a|b");
  EXPECT_EQ(cut("a{2,3}|a|b", "aaaaaab"), "aaa|aaa|b");
  EXPECT_EQ(cut("a{2,3}?|a", "aaaaa"), "aa|aa|a");
  EXPECT_EQ(cut("a{2}|b", "aaab"), "aa|a|b");
  EXPECT_EQ(cut("a{,2}b|a", "aaab"), "a|aab");
  EXPECT_EQ(cut("a?b", "aabb"), "a|ab|b");
  EXPECT_EQ(cut("x{1,}y*", "xxyyx"), "xxyy|x");
  EXPECT_EQ(cut("a{|b", "a{b"), "a{|b");  // no quantifier: literal
}

TEST(Split, TrailingLookAhead) {
  EXPECT_EQ(cut(R"(\s+(?!\S)|\s+|\S+)", "a   b  "), "a|  | |b|  ");
  EXPECT_EQ(cut(R"(\s+(?!\S)|\s+|\S+)", " b"), " |b");
  EXPECT_EQ(cut(R"([a-z]+(?=[0-9])|[a-z]+|[0-9])", "ab1cd"), "ab|1|cd");
  EXPECT_EQ(cut(R"(a+(?!b|c)|a|b|c)", "aaab"), "aa|a|b");
  EXPECT_EQ(cut("[^\n]$|\n|.", "ab\ncd"), "a|b|\n|c|d");
  EXPECT_EQ(cut("ab$|a|b|\n", "ab\nab"), "ab|\n|ab");
}

TEST(Split, PossessiveRepeatsThatDoNotMatter) {
  EXPECT_EQ(cut(R"([^\p{L}]?+\p{L}+|\d++[\r\n]*)", "?ab12\n"), "?ab|12\n");
}

TEST(Split, Classes) {
  EXPECT_EQ(cut(R"([^\s\p{L}]+|\p{L}+)", "ab,;c d"), "ab|,;|c| |d");
  EXPECT_EQ(cut(R"([\]\-a]+|.)", "]-ab"), "]-a|b");
  EXPECT_EQ(cut("[a-]+|.", "a-b"), "a-|b");
  EXPECT_EQ(cut(R"([\p{L}&&[^a-c]]+)", "abxyz"), "ab|xyz");
  EXPECT_EQ(cut("[a-c[x-z]]+", "axm"), "ax|m");
  EXPECT_EQ(cut(R"([\x{3b1}-\u03c9]+|\x41)", "A\u03b1\u03b2B"), "A|\u03b1\u03b2|B");
  EXPECT_EQ(cut(R"(\p{Lu}\p{Ll}*)", "HelloWorld"), "Hello|World");
  EXPECT_EQ(cut(R"(\P{L}+)", "a12b"), "a|12|b");
  EXPECT_EQ(cut(R"(\p{^L}+)", "a12b"), "a|12|b");
  EXPECT_EQ(cut(R"(\p{Han}+)", "a\u6f22\u5b57\u304b"), "a|\u6f22\u5b57|\u304b");
  EXPECT_EQ(cut(R"([[:space:]]+)", "a \tb"), "a| \t|b");
  EXPECT_EQ(cut(".", "a\nb"), "a|\n|b");
  EXPECT_EQ(cut(R"(\w+|[^\w\s]+)", "a\u00b2 \u00b2,\u00b2"), "a\u00b2| |\u00b2|,\u00b2");  // Oniguruma: by place
}

TEST(Split, WithoutRegardToCase) {
  EXPECT_EQ(cut("(?i:'s|'re)", "x'Sy'rE"), "x|'S|y|'rE");
  EXPECT_EQ(cut("'(?i:[sk])|.", "'\u017f'\u212a's"), "'\u017f|'\u212a|'s");  // long s and kelvin fold to s and k
  EXPECT_EQ(cut("(?i)ab|(?-i:c)d", "ABcDCD"), "AB|cD|CD");
  EXPECT_EQ(cut("a(?i:b)c", "aBcAbc"), "aBc|Abc");
}

TEST(Split, CharactersOfAllLengths) {
  EXPECT_EQ(cut(R"(\p{L}+|\s)", "a\u00e9\u6f22\U00020000 \u3000"), "a\u00e9\u6f22\U00020000| |\u3000");
  EXPECT_EQ(cut(R"(\p{L}(?!\S)|\p{L})", "\u6f22\U00020000\u00e9"), "\u6f22|\U00020000|\u00e9");
}

TEST(Split, RealPatterns) {
  const char *llama3 = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  EXPECT_EQ(cut(llama3, "It's 12345 apples,\n\n  and\tI'LL  go...\r\n   \n x"),
            "It|'s| |123|45| apples|,\n\n| | and|\tI|'LL| | go|...\r\n|   \n| x");
  EXPECT_EQ(pieces(byteLevelJson(), "It's 12345 apples,\n\n  and I'LL"), "It|'s| 12345| apples|,|\n\n | and| I|'|LL");
}

TEST(Split, Behaviours) {
  auto behave = [](const char *behaviour, bool invert) { return pieces(splitJson("-", behaviour, invert), "-a--b-"); };
  EXPECT_EQ(behave("Isolated", false), "-|a|-|-|b|-");
  EXPECT_EQ(behave("Removed", false), "a|b");
  EXPECT_EQ(behave("Removed", true), "-|-|-|-");
  EXPECT_EQ(behave("Contiguous", false), "-|a|--|b|-");
  EXPECT_EQ(behave("MergedWithPrevious", false), "-|a-|-|b-");
  EXPECT_EQ(behave("MergedWithNext", false), "-a|-|-b|-");
  EXPECT_EQ(behave("MergedWithPrevious", true), "-a|-|-b|-");
}

TEST(Split, StagesWorkOnThePiecesOfTheOnesBefore) {
  std::string json = R"({"type": "Sequence", "pretokenizers": [
      {"type": "Digits", "individual_digits": true},
      {"type": "Split", "pattern": {"String": "a."}, "behavior": "Isolated", "invert": false},
      {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}]})";
  EXPECT_EQ(pieces(json, "xa.y12 z"), "x|a|.|y|1|2| z");  // ByteLevel's pattern cuts "a." again
  // The look-ahead sees the end of the piece, not the text behind it.
  EXPECT_EQ(pieces(R"({"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": true},
      {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}]})", "a  1"), "a|  |1");
  EXPECT_EQ(pieces(R"({"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": false},
      {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]})", "a 12\u00bd b"), "a |12\u00bd| b");
}

} // namespace
