// emoe-dump prints what is in the bundle, and says by its exit code what is wrong with one.
#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "llvm/Support/JSON.h"
#include "test/support/small_model.h"

namespace emoe {
namespace {

struct Result {
  std::string out;
  int code;
};

Result dump(const std::string &arguments) {
  Result result;
  FILE *pipe = popen((std::string(EMOE_DUMP) + " " + arguments + " 2>&1").c_str(), "r");
  char buffer[4096];
  while (size_t got = fread(buffer, 1, sizeof(buffer), pipe)) {
    result.out.append(buffer, got);
  }
  result.code = WEXITSTATUS(pclose(pipe));
  return result;
}

class EmoeDump : public testing::Test {
protected:
  void SetUp() override {
    path = testing::TempDir() + "emoe-dump-" + std::to_string(getpid()) + ".emoe";
    BundleContents contents = test::smallModel();
    ASSERT_TRUE(writeBundle(contents, path).ok());
  }
  void TearDown() override { unlink(path.c_str()); }
  std::string path;
};

TEST_F(EmoeDump, PrintsFactsStepsAndRecords) {
  Result result = dump("--records " + path);
  EXPECT_EQ(result.code, 0);
  for (const char *line : {"model: small, 12345 parameters, vocab 100, hidden 64, layers 2, context 512\n",
                           "tokens: first 1, stop [2, 99]\n", "from: modèle.onnx 0123456789abcdef\n",
                           "tensor 0: embedding [100, 64] q8g32f16 panels of 16, offset 0, 7616 bytes\n",
                           "tensor 1: norm [1, 64] f32 row-major, offset 7616, 256 bytes\n",
                           "buf6: fixed 0, per token 512, slot 6, rows wanted\n",
                           "step 1: norm buf0, w:norm, buf1\n", "step 2: kv_append buf0, buf1, keys0, values0\n",
                           "step 9: experts of layer 1 buf1, buf2, buf3, buf4, buf5\n",
                           "step 11: logits buf0, w:head, buf6 on wanted rows\n", "logits: buf6\n",
                           "experts of layer 1: 3, top_k 2\n", "  record 1: variant 1, offset 8192, crcs 0x"}) {
    EXPECT_NE(result.out.find(line), std::string::npos) << line << "\nin:\n" << result.out;
  }
  EXPECT_EQ(dump(path).out.find("  record "), std::string::npos);
}

TEST_F(EmoeDump, PrintsJson) {
  Result result = dump("--json --records " + path);
  EXPECT_EQ(result.code, 0);
  auto parsed = llvm::json::parse(result.out);
  ASSERT_TRUE(static_cast<bool>(parsed)) << result.out;
  const llvm::json::Object &root = *parsed->getAsObject();
  EXPECT_EQ(root.getObject("model")->getInteger("vocab"), 100);
  EXPECT_EQ(root.getArray("steps")->size(), 12u);
  EXPECT_EQ((*root.getArray("steps"))[1].getAsObject()->getString("kernel"), llvm::StringRef("norm"));
  const auto &layer = *(*root.getArray("experts"))[1].getAsObject();
  EXPECT_EQ((*layer.getArray("records"))[0].getAsObject()->getArray("crcs")->size(), 3u);
}

TEST_F(EmoeDump, ExitCodesSayWhatIsWrong) {
  EXPECT_EQ(dump("").code, 2);
  EXPECT_EQ(dump("--nonsense " + path).code, 2);
  EXPECT_EQ(dump(path + " " + path).code, 2);
  EXPECT_EQ(dump("--help").code, 0);
  EXPECT_EQ(dump("/nonexistent.emoe").code, 4);
  EXPECT_EQ(dump(path + " >/dev/full 2>/dev/null #").code, 4);  // the rest of the line is a comment
  ASSERT_EQ(truncate(path.c_str(), 8192), 0);
  Result result = dump(path);
  EXPECT_EQ(result.code, 3);
  EXPECT_NE(result.out.find("cut short"), std::string::npos) << result.out;
}

} // namespace
} // namespace emoe
