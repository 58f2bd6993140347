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
