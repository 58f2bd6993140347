// Facts from the files beside a model.
#include "compiler/facts.h"

#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>

namespace emoe {
namespace {

class FactsTest : public testing::Test {
protected:
  void SetUp() override {
    char name[] = "/tmp/emoe-facts-XXXXXX";
    folder = mkdtemp(name);
  }
  void TearDown() override { (void)!std::system(("rm -r " + folder).c_str()); }
  std::string write(const std::string &name, const std::string &text) {
    std::string path = folder + "/" + name;
    std::ofstream(path) << text;
    return path;
  }
  std::string folder;
};

TEST_F(FactsTest, ReadsHuggingFaceConfigurations) {
  auto facts = readModelFacts(write("config.json", R"({"model_type": "qwen3_moe", "bos_token_id": 3,
      "eos_token_id": [5, 7], "max_position_embeddings": 1024})"), "");
  ASSERT_TRUE(facts.ok()) << facts.status();
  EXPECT_EQ(facts->architecture, "qwen3_moe");
  EXPECT_EQ(facts->context, 1024);
  EXPECT_EQ(facts->firstToken, 3);
  EXPECT_EQ(facts->stopTokens, (std::vector<int32_t>{5, 7}));
}

TEST_F(FactsTest, ReadsGenaiConfigurations) {
  auto facts = readModelFacts(write("genai_config.json", R"({"model": {"type": "gptoss", "bos_token_id": 1,
      "eos_token_id": 2, "context_length": 256}})"), "");
  ASSERT_TRUE(facts.ok()) << facts.status();
  EXPECT_EQ(facts->architecture, "gptoss");
  EXPECT_EQ(facts->context, 256);
  EXPECT_EQ(facts->stopTokens, std::vector<int32_t>{2});
}

TEST_F(FactsTest, TheGenerationConfigurationKnowsStopTokensBetter) {
  auto facts = readModelFacts(write("config.json", R"({"bos_token_id": null, "eos_token_id": 1})"),
                              write("generation_config.json", R"({"eos_token_id": [1, 9]})"));
  ASSERT_TRUE(facts.ok()) << facts.status();
  EXPECT_EQ(facts->firstToken, -1);
  EXPECT_EQ(facts->stopTokens, (std::vector<int32_t>{1, 9}));
}

TEST_F(FactsTest, NamesFileAndFieldOfWhatIsWrong) {
  for (const char *text : {R"({"eos_token_id": "end"})", R"({"eos_token_id": -4})", R"({"eos_token_id": [1, 2.5]})",
                           R"({"bos_token_id": 99999999999})"}) {
    auto facts = readModelFacts(write("config.json", text), "");
    ASSERT_FALSE(facts.ok()) << text;
    EXPECT_NE(std::string(facts.status().message()).find("config.json: "), std::string::npos);
    EXPECT_NE(std::string(facts.status().message()).find("_token_id"), std::string::npos) << facts.status();
  }
  EXPECT_EQ(readModelFacts(write("config.json", "[]"), "").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(readModelFacts(write("config.json", "{"), "").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(readModelFacts(folder + "/none.json", "").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(FactsTest, FindsFilesBesideTheModelAndOneFolderUp) {
  (void)!std::system(("mkdir " + folder + "/onnx").c_str());
  write("tokenizer.json", "{}");
  write("onnx/config.json", "{}");
  ModelFiles files = findModelFiles(folder + "/onnx/model.onnx");
  EXPECT_EQ(files.config, folder + "/onnx/config.json");
  EXPECT_EQ(files.tokenizer, folder + "/onnx/../tokenizer.json");
  EXPECT_EQ(files.generationConfig, "");
}

} // namespace
} // namespace emoe
