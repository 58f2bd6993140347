// What is not understood is refused by name; what is damaged, with its place.
#include <gtest/gtest.h>

#include "test/support/small_tokenizer.h"

using namespace emoe;
using namespace emoe::test;

namespace {

// "CODE: message" of compiling `json`.
std::string outcome(const std::string &json) {
  absl::StatusOr<std::vector<uint8_t>> tables = compileJson(json);
  return tables.ok() ? "OK" : tables.status().ToString();
}

std::string changed(const std::string &from, const std::string &to) {
  std::string json = tokenizerJson(byteLevelJson(), {"h e", "l l"});
  size_t at = json.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return json.replace(at, from.size(), to);
}

struct Case {
  std::string json;
  std::vector<const char *> says;
};

void expectAll(const std::vector<Case> &cases) {
  for (const Case &c : cases) {
    std::string text = outcome(c.json);
    for (const char *part : c.says) {
      EXPECT_NE(text.find(part), std::string::npos) << "missing: " << part << "\nin: " << text;
    }
  }
}

std::string pattern(const char *regex) { return tokenizerJson(splitJson(regex)); }

TEST(Refusals, Patterns) {
  expectAll({
      {pattern("a(?!b)c"), {"UNIMPLEMENTED", "pre_tokenizer[0].pattern", "look-ahead", "end of an alternative"}},
      {pattern("a(?!bc)"), {"UNIMPLEMENTED", "looking ahead at more than one character"}},
      {pattern("(?<=a)b"), {"UNIMPLEMENTED", "looking behind"}},
      {pattern("(?>a)b"), {"UNIMPLEMENTED", "atomic group"}},
      {pattern("^a"), {"UNIMPLEMENTED", "^"}},
      {pattern(R"(a\b)"), {"UNIMPLEMENTED", "\\b"}},
      {pattern(R"((a)\1)"), {"UNIMPLEMENTED", "\\1"}},
      {pattern(R"(\p{Greek}+)"), {"UNIMPLEMENTED", "property Greek", "byte"}},
      {pattern("(?x: a)"), {"UNIMPLEMENTED", "group (?x:"}},
      {pattern("a++a"), {"UNIMPLEMENTED", "possessive"}},
      {pattern("a*"), {"UNIMPLEMENTED", "empty text"}},
      {pattern("(?:a*)+b"), {"UNIMPLEMENTED", "may be empty"}},
      {pattern("a+b"), {"UNIMPLEMENTED", "quadratic time"}},
      {pattern(R"([\r\n]+\s*x|[\r\n])"), {"UNIMPLEMENTED", "quadratic time"}},
      {pattern("a{2}+"), {"UNIMPLEMENTED", "quantifier behind {}"}},
      {pattern("a**"), {"UNIMPLEMENTED", "repeat of a repeat"}},
      {pattern("(?i:stra\u00dfe)"), {"UNIMPLEMENTED", "\"st\" without regard to case"}},
      {pattern("(?i:\u00e9)"), {"UNIMPLEMENTED", "beyond ASCII under (?i)"}},
      {pattern("(?:a{1000}){1000}"), {"UNIMPLEMENTED", "too large"}},
      {pattern(std::string(200, '(').append("a").append(200, ')').c_str()), {"UNIMPLEMENTED", "nesting this deep"}},
      {pattern("(a"), {"INVALID_ARGUMENT", "without its )"}},
      {pattern("a)"), {"INVALID_ARGUMENT", "unmatched )"}},
      {pattern("[a"), {"INVALID_ARGUMENT", "without its ]"}},
      {pattern("[]a]"), {"INVALID_ARGUMENT", "empty class"}},
      {pattern("[z-a]"), {"INVALID_ARGUMENT", "end is before its begin"}},
      {pattern("+a"), {"INVALID_ARGUMENT", "nothing to repeat"}},
      {pattern("a\\"), {"INVALID_ARGUMENT", "backslash at the end"}},
      {pattern(R"(\x{110000})"), {"INVALID_ARGUMENT", "above 10FFFF"}},
      {pattern("a{3,2}"), {"INVALID_ARGUMENT", "most is below its least"}},
  });
}

TEST(Refusals, Features) {
  auto preTokenizer = [](const char *json) { return tokenizerJson(json); };
  expectAll({
      {preTokenizer(R"({"type": "Metaspace", "replacement": "_"})"), {"UNIMPLEMENTED", "pre_tokenizer: Metaspace", "ByteLevel"}},
      {preTokenizer("null"), {"UNIMPLEMENTED", "no pre-tokenizer"}},
      {preTokenizer(R"({"type": "Digits"})"), {"UNIMPLEMENTED", "without ByteLevel"}},
      {preTokenizer(R"({"type": "Sequence", "pretokenizers": [{"type": "Digits"}, {"type": "ByteLevel"}]})"),
       {"UNIMPLEMENTED", "pre_tokenizer[1].add_prefix_space"}},
      {preTokenizer(R"({"type": "Sequence", "pretokenizers": [{"type": "ByteLevel"}, {"type": "Digits"}]})"),
       {"UNIMPLEMENTED", "behind ByteLevel"}},
      {preTokenizer(R"({"type": "Split", "pattern": {"Regex": "a"}, "behavior": "Sideways"})"),
       {"UNIMPLEMENTED", "pre_tokenizer.behavior", "Sideways"}},
      {preTokenizer(R"({"type": "Split", "pattern": 3, "behavior": "Isolated"})"), {"INVALID_ARGUMENT", "pre_tokenizer.pattern"}},
      {tokenizerJson(byteLevelJson(), {}, R"({"type": "Lowercase"})"), {"UNIMPLEMENTED", "normalizer: Lowercase"}},
      {tokenizerJson(byteLevelJson(), {}, R"({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "NFKC"}]})"),
       {"UNIMPLEMENTED", "normalizer[1]: NFKC"}},
      {tokenizerJson(byteLevelJson(), {}, R"({"type": "Sequence", "normalizers": []})"), {"OK"}},
      {changed("\"type\":\"BPE\"", "\"type\":\"Unigram\""), {"UNIMPLEMENTED", "model.type: Unigram"}},
      {changed("\"ignore_merges\":false", "\"byte_fallback\":true"), {"UNIMPLEMENTED", "model.byte_fallback"}},
      {changed("\"ignore_merges\":false", "\"dropout\":0.1"), {"UNIMPLEMENTED", "model.dropout"}},
      {changed("\"ignore_merges\":false", "\"end_of_word_suffix\":\"</w>\""), {"UNIMPLEMENTED", "model.end_of_word_suffix"}},
      {changed("\"type\":\"ByteLevel\"},\"model\"", "\"type\":\"Metaspace\"},\"model\""), {"UNIMPLEMENTED", "decoder: Metaspace"}},
      {changed("\"post_processor\":null", "\"post_processor\":{\"type\":\"BertProcessing\"}"),
       {"UNIMPLEMENTED", "post_processor: BertProcessing"}},
      {changed("\"post_processor\":null", R"("post_processor":{"type":"TemplateProcessing","single":[
          {"Sequence":{"id":"A"}},{"SpecialToken":{"id":"<|end|>"}}],"special_tokens":{"<|end|>":{"ids":[258]}}})"),
       {"UNIMPLEMENTED", "behind it"}},
  });
}

TEST(Refusals, Damage) {
  std::string deep = "{\"model\":" + std::string(100000, '[');
  expectAll({
      {"", {"INVALID_ARGUMENT", "not JSON"}},
      {"[]", {"INVALID_ARGUMENT", "JSON object"}},
      {"{}", {"INVALID_ARGUMENT", "no tokenizer.json"}},
      {deep, {"INVALID_ARGUMENT", "nests too deeply"}},
      {changed("\"h e\"", "\"h x y\""), {"INVALID_ARGUMENT", "model.merges[0]"}},
      {changed("\"h e\"", "[\"h\", 3]"), {"INVALID_ARGUMENT", "model.merges[0]"}},
      {changed("\"h e\"", "[\"h\", \"q\"]"), {"INVALID_ARGUMENT", "model.merges[0]", "\"hq\"", "model.vocab"}},
      {changed("\"ll\":257", "\"ll\":256"), {"INVALID_ARGUMENT", "two tokens with id 256"}},
      {changed("\"ll\":257", "\"ll\":-1"), {"INVALID_ARGUMENT", "\"ll\"", "no id"}},
      {changed("\"ll\":257", "\"ll\":99999999"), {"INVALID_ARGUMENT", "\"ll\"", "no id"}},
      {changed("\"id\":258", "\"id\":3"), {"INVALID_ARGUMENT", "added_tokens[0]", "another token's"}},
      {changed("\"content\":\"<|end|>\"", "\"content\":\"he\""), {"INVALID_ARGUMENT", "added_tokens[0]", "model.vocab says 256"}},
      {changed("\"special\":true", "\"special\":7"), {"INVALID_ARGUMENT", "added_tokens[0]", "special"}},
      {changed("\"<|end|>\"", "\"" + std::string(300, 'x') + "\""), {"UNIMPLEMENTED", "added token 258", "255 bytes"}},
  });
}

} // namespace
