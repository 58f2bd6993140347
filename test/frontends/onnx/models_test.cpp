// Real exports: every model that the tests have is read without a crash, and those of the patterns that raising knows
// are imported whole.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "dialects/onnx/onnx.h"
#include "frontends/onnx/onnx.h"
#include "gtest/gtest.h"
#include "llvm/Support/raw_ostream.h"
#include "mlir/IR/Verifier.h"

namespace emoe::onnx {
namespace {

namespace fs = std::filesystem;

// Folders of exports that may not be there: $EMOE_SHARED, else next to the source tree.
fs::path sharedFolder() {
  const char *path = std::getenv("EMOE_SHARED");
  return path ? path : EMOE_SOURCE_DIR "/../shared";
}

std::vector<std::string> modelsIn(const fs::path &folder) {
  std::vector<std::string> models;
  std::error_code error;
  for (const auto &entry : fs::recursive_directory_iterator(folder, error)) {
    if (entry.path().extension() == ".onnx") {
      models.push_back(entry.path().string());
    }
  }
  std::sort(models.begin(), models.end());
  return models;
}

// Patterns P2 and P3 of the design note; the others may lack ops or be broken on purpose.
bool mustImport(const std::string &path) {
  for (const char *part : {"/models/", "hf5-batched_mm/", "hf5-batched_mm-float16/", "hf5-batched_mm-bfloat16/",
                           "torchdynamo/", "qwen3_moe-optimum"}) {
    if (path.find(part) != std::string::npos) {
      return true;
    }
  }
  return false;
}

void importAll(const std::vector<std::string> &models) {
  for (const std::string &path : models) {
    SCOPED_TRACE(path);
    mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
    WeightStore store;
    const auto start = std::chrono::steady_clock::now();
    auto module = importModel(path, context, store);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    EXPECT_LT(seconds.count(), 10.0);
    if (!module.ok()) {
      std::printf("%s\n", std::string(module.status().message()).c_str());
      EXPECT_FALSE(mustImport(path)) << module.status();
      EXPECT_FALSE(module.status().message().empty());
      continue;
    }
    EXPECT_TRUE(mlir::succeeded(mlir::verify(**module)));
    // Every symbol lies inside its file.
    size_t tensors = 0;
    for (auto tensor : (*module)->getOps<TensorOp>()) {
      ++tensors;
      auto type = mlir::cast<mlir::RankedTensorType>(tensor.getType());
      if (type.getRank() == 2) {
        EXPECT_TRUE(store.check(tensor.getSource(), type.getDimSize(0), type.getDimSize(1)).ok());
      }
    }
    EXPECT_GT(tensors, 0u);
    std::printf("%s: %.3f s, %zu tensors\n", path.c_str(), seconds.count(), tensors);
  }
}

TEST(ImportModels, TheModelOfTheProject) {
  importAll({EMOE_SOURCE_DIR "/test/models/bookmoe-5m/model.onnx"});
}

TEST(ImportModels, EveryExportOfTheZoo) {
  const std::vector<std::string> models = modelsIn(sharedFolder());
  if (models.empty()) {
    GTEST_SKIP() << "no models under " << sharedFolder() << "; set EMOE_SHARED";
  }
  importAll(models);
}

} // namespace
} // namespace emoe::onnx
