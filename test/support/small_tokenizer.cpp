#include "test/support/small_tokenizer.h"

#include <cstdlib>
#include <cstring>

#include "compiler/tokenizer/read_json.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"
#include "runtime/text/utf8.h"

namespace emoe::test {

static std::string utf8(uint32_t code) {
  uint8_t text[4];
  return std::string(reinterpret_cast<char *>(text), rt::WriteUtf8(code, text));
}

std::string tokenizerJson(const std::string &preTokenizer, const std::vector<std::string> &merges,
                          const std::string &normalizer, bool ignoreMerges) {
  llvm::json::Object vocab;
  int64_t id = 0;
  uint32_t next = 256;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    vocab[utf8(printable ? byte : next++)] = id++;
  }
  llvm::json::Array mergeList;
  for (const std::string &merge : merges) {
    std::string token = merge;
    token.erase(token.find(' '), 1);
    vocab[token] = id++;
    mergeList.push_back(merge);
  }
  auto token = [&](const char *content, bool special, bool strips, bool word, bool normalised) {
    return llvm::json::Object{{"id", id++},          {"content", content},      {"special", special},
                              {"lstrip", strips},    {"rstrip", strips},        {"single_word", word},
                              {"normalized", normalised}};
  };
  llvm::json::Object root{
      {"added_tokens", llvm::json::Array{token("<|end|>", true, false, false, false),
                                         token("<|pad|>", true, true, false, false),
                                         token("tool", false, false, true, false), token("  ", false, false, false, true)}},
      {"normalizer", cantFail(llvm::json::parse(normalizer))},
      {"pre_tokenizer", cantFail(llvm::json::parse(preTokenizer))},
      {"post_processor", nullptr},
      {"decoder", llvm::json::Object{{"type", "ByteLevel"}}},
      {"model", llvm::json::Object{{"type", "BPE"},
                                   {"ignore_merges", ignoreMerges},
                                   {"vocab", std::move(vocab)},
                                   {"merges", std::move(mergeList)}}}};
  std::string text;
  llvm::raw_string_ostream(text) << llvm::json::Value(std::move(root));
  return text;
}

std::string byteLevelJson() { return R"({"type": "ByteLevel", "add_prefix_space": false, "use_regex": true})"; }

std::string splitJson(const std::string &regex, const std::string &behaviour, bool invert) {
  std::string text;
  llvm::raw_string_ostream(text) << llvm::json::Value(llvm::json::Object{
      {"type", "Sequence"},
      {"pretokenizers",
       llvm::json::Array{llvm::json::Object{{"type", "Split"},
                                            {"pattern", llvm::json::Object{{"Regex", regex}}},
                                            {"behavior", behaviour},
                                            {"invert", invert}},
                         llvm::json::Object{{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}});
  return text;
}

absl::StatusOr<std::vector<uint8_t>> compileJson(const std::string &json) {
  absl::StatusOr<TokenizerModel> model = readTokenizerJson(json);
  return model.ok() ? writeTokenizerTables(*model) : model.status();
}

Tables::Tables(const std::vector<uint8_t> &source)
    : memory(static_cast<uint8_t *>(std::malloc(source.empty() ? 1 : source.size()))), bytes(source.size()) {
  if (bytes > 0) {
    std::memcpy(memory, source.data(), bytes);
  }
}
Tables::~Tables() { std::free(memory); }

Encoded encode(const rt::Tokenizer &tokenizer, const std::string &text, rt::EncodeOptions options) {
  Encoded result;
  std::vector<uint8_t> exact(text.begin(), text.end());
  size_t scratchBytes = rt::EncodeScratchBytes(tokenizer, exact.data(), exact.size());
  void *scratch = std::malloc(scratchBytes);
  size_t count = 0;
  result.status = rt::Encode(tokenizer, exact.data(), exact.size(), options, scratch, scratchBytes, nullptr, 0, &count);
  if (result.status.ok()) {
    result.ids.resize(count);
    result.status = rt::Encode(tokenizer, exact.data(), exact.size(), options, scratch, scratchBytes,
                               result.ids.data(), count, &count);
  }
  std::free(scratch);
  return result;
}

std::string decode(const rt::Tokenizer &tokenizer, const std::vector<int32_t> &ids) {
  std::string text;
  rt::Utf8Stream stream;
  for (int32_t id : ids) {
    size_t bytes;
    const uint8_t *token = rt::TokenBytes(tokenizer, id, &bytes);
    std::vector<char> out(rt::Utf8Stream::OutputBytes(bytes));
    text.append(out.data(), stream.Push(token, bytes, out.data()));
  }
  char rest[rt::Utf8Stream::OutputBytes(0)];
  text.append(rest, stream.Finish(rest));
  return text;
}

} // namespace emoe::test
