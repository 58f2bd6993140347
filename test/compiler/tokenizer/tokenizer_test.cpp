// Whole files: bookmoe's tokenizer.json, the facts of a model beside it, and a bundle that holds a tokenizer alone.
#include "compiler/tokenizer/tokenizer.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <unistd.h>

#include "runtime/bundle/bundle.h"
#include "runtime/bundle/memory_provider.h"
#include "test/support/small_tokenizer.h"

using namespace emoe;
using namespace emoe::test;

namespace {

const std::string kModel = EMOE_SOURCE_DIR "/test/models/bookmoe-5m/";

TEST(CompileTokenizer, Bookmoe) {
  TokenizerFacts facts;
  facts.firstToken = 0;
  facts.vocab = 4096;
  absl::StatusOr<std::vector<uint8_t>> bytes = compileTokenizer(kModel + "tokenizer.json", facts);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_LT(bytes->size(), 256u << 10);
  absl::StatusOr<std::vector<uint8_t>> again = compileTokenizer(kModel + "tokenizer.json", facts);
  EXPECT_EQ(*again, *bytes); // the same file gives the same bytes
  Tables tables(*bytes);
  rt::Tokenizer tokenizer;
  ASSERT_TRUE(rt::OpenTokenizer(tables.data(), tables.size(), &tokenizer).ok());
  EXPECT_EQ(tokenizer.vocab, 4096u);
  EXPECT_TRUE(rt::IsSpecial(tokenizer, 0));
  std::ifstream file(kModel + "eval_prose.txt", std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  ASSERT_GT(text.size(), 1000u);
  Encoded encoded = encode(tokenizer, text);
  ASSERT_TRUE(encoded.status.ok());
  EXPECT_EQ(encoded.ids[0], 0);
  EXPECT_LT(encoded.ids.size() * 2, text.size());
  encoded.ids.erase(encoded.ids.begin());
  EXPECT_EQ(decode(tokenizer, encoded.ids), text);
}

TEST(CompileTokenizer, AnotherModelsTokenizer) {
  TokenizerFacts facts;
  facts.vocab = 1000;
  absl::Status status = compileTokenizer(kModel + "tokenizer.json", facts).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("token 4095 is beyond the model's 1000 rows"), std::string::npos) << status;
  facts = {};
  facts.firstToken = 5000;
  status = compileTokenizer(kModel + "tokenizer.json", facts).status();
  EXPECT_NE(status.message().find("has no token 5000"), std::string::npos) << status;
  EXPECT_EQ(compileTokenizer(kModel + "nothing.json", {}).status().code(), absl::StatusCode::kNotFound);
}

// The first token, for a tokenizer.json with or without a template beside a tokenizer_config.json; `configured` is
// bos_token_id. -2: refused.
int32_t firstToken(const std::string &templateProcessing, const std::string &config, int32_t configured) {
  std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("tokenizer_test." + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  std::ifstream in(kModel + "tokenizer.json", std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  size_t at = text.find("\"post_processor\"");
  size_t end = text.find('}', at) + 1;
  if (!templateProcessing.empty()) {
    text.replace(at, end - at, "\"post_processor\": " + templateProcessing);
  }
  std::ofstream(folder / "tokenizer.json") << text;
  if (!config.empty()) {
    std::ofstream(folder / "tokenizer_config.json") << config;
  }
  TokenizerFacts facts;
  facts.firstToken = configured;
  absl::StatusOr<std::vector<uint8_t>> tables = compileTokenizer((folder / "tokenizer.json").string(), facts);
  std::filesystem::remove_all(folder);
  return tables.ok() ? firstTokenOf(*tables) : -2;
}

TEST(CompileTokenizer, WhatHeadsAText) {
  const std::string kPlain = R"({"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [], "special_tokens": {}})";
  const std::string kHeaded = R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
    {"Sequence": {"id": "A", "type_id": 0}}], "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [0],
    "tokens": ["<|endoftext|>"]}}})";
  const std::string kNamed = R"("bos_token": "<|endoftext|>")";
  // Nobody else says anything: bos_token_id. Token 5 stands for what a configuration may name.
  EXPECT_EQ(firstToken("", "", 0), 0);
  EXPECT_EQ(firstToken("", "", 5), 5);
  EXPECT_EQ(firstToken("", "", -1), -1);
  EXPECT_EQ(firstToken("", "{" + kNamed + "}", 0), 0); // as bookmoe has it
  // The tokenizer has none: Qwen's files, whose config.json names one all the same.
  EXPECT_EQ(firstToken("", R"({"add_bos_token": false, "bos_token": null})", 0), -1);
  EXPECT_EQ(firstToken("", R"({"bos_token": null})", 0), -1);
  EXPECT_EQ(firstToken("", R"({"add_bos_token": false, )" + kNamed + "}", 0), -1);
  // A template decides, with one or without.
  EXPECT_EQ(firstToken(kPlain, "", 0), -1);
  EXPECT_EQ(firstToken(kHeaded, "", 5), 0);
  EXPECT_EQ(firstToken(kHeaded, R"({"bos_token": null})", 5), 0);
  // add_bos_token decides before it, as Hugging Face's classes rewrite the template for it.
  EXPECT_EQ(firstToken(kHeaded, R"({"add_bos_token": false})", 0), -1);
  EXPECT_EQ(firstToken(kPlain, R"({"add_bos_token": true, )" + kNamed + "}", 5), 0);
  EXPECT_EQ(firstToken("", R"({"add_bos_token": true, "bos_token": {"content": "<|endoftext|>"}})", -1), 0);
  EXPECT_EQ(firstToken("", R"({"add_bos_token": true})", 5), 5);
  EXPECT_EQ(firstToken("", R"({"add_bos_token": null})", 5), 5);
  // What cannot be understood is refused.
  EXPECT_EQ(firstToken("", R"({"add_bos_token": true})", -1), -2);
  EXPECT_EQ(firstToken("", R"({"add_bos_token": 1})", 0), -2);
  EXPECT_EQ(firstToken("", R"({"bos_token": 1})", 0), -2);
  EXPECT_EQ(firstToken("", "{", 0), -2);
}

TEST(WriteTokenizerBundle, OpensAndEncodes) {
  std::string path = (std::filesystem::temp_directory_path() / ("tokenizer_test." + std::to_string(getpid()))).string();
  absl::Status written = writeTokenizerBundle(kModel + "tokenizer.json", path);
  ASSERT_TRUE(written.ok()) << written;
  std::ifstream file(path, std::ios::binary);
  std::vector<char> bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  std::filesystem::remove(path);
  rt::MemoryProvider provider(reinterpret_cast<uint8_t *>(bytes.data()), bytes.size());
  rt::Bundle bundle;
  ASSERT_TRUE(rt::OpenBundle(provider, &bundle).ok());
  EXPECT_FALSE(bundle.has_model);
  ASSERT_TRUE(bundle.tokenizer.present);
  std::vector<uint64_t> section(bundle.tokenizer.length / 8 + 1);
  ASSERT_TRUE(rt::ReadSection(provider, bundle.tokenizer, section.data()).ok());
  rt::Tokenizer tokenizer;
  ASSERT_TRUE(rt::OpenTokenizer(section.data(), bundle.tokenizer.length, &tokenizer).ok());
  EXPECT_EQ(tokenizer.first_token, 0); // config.json beside it
  EXPECT_EQ(decode(tokenizer, encode(tokenizer, "It was").ids), "<|endoftext|>It was");
  rt::CloseBundle(&bundle);
}

} // namespace
