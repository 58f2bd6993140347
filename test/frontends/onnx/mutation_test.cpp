// Damaged models: bits flipped, bytes replaced, ends cut off. Each gives a clear error or a module that verifies, in
// little time and memory; never a crash. The seed is fixed: a failure names its case.
#include <chrono>

#include <sys/resource.h>

#include "support.h"
#include "test/support/small_onnx.h"

namespace emoe::onnx::test {
namespace {

void checkCase(const TempFolder &folder, const std::string &bytes) {
  const auto start = std::chrono::steady_clock::now();
  Imported imported(folder.write("model.onnx", bytes));
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  EXPECT_LT(seconds.count(), 10.0);
  if (imported.ok()) {
    EXPECT_TRUE(mlir::succeeded(mlir::verify(**imported.module)));
    // What it names can be read.
    (*imported.module)->walk([&](TensorOp op) {
      auto type = mlir::cast<mlir::RankedTensorType>(op.getType());
      std::vector<float> values(static_cast<size_t>(type.getNumElements()));
      EXPECT_TRUE(imported.store
                      .readTensor(op.getSource(), absl::MakeSpan(type.getShape().data(), type.getShape().size()),
                                  values.data())
                      .ok());
    });
  } else {
    EXPECT_NE(imported.message().find("model.onnx"), std::string::npos) << imported.message();
    EXPECT_NE(imported.code(), absl::StatusCode::kUnknown);
    EXPECT_NE(imported.code(), absl::StatusCode::kInternal);
  }
}

long peakMegabytes() {
  struct rusage usage;
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss / 1024;
}

TEST(OnnxMutation, TheSampleItselfImports) {
  TempFolder folder;
  Imported imported(folder.write("model.onnx", emoe::test::onnxOfEverything()));
  EXPECT_TRUE(imported.ok()) << imported.message();
}

TEST(OnnxMutation, EveryTruncation) {
  const std::string good = emoe::test::onnxOfEverything();
  TempFolder folder;
  for (size_t size = 0; size < good.size(); ++size) {
    SCOPED_TRACE(size);
    checkCase(folder, good.substr(0, size));
  }
  EXPECT_LT(peakMegabytes(), 1024);
}

TEST(OnnxMutation, AThousandDamagedModels) {
  const std::string good = emoe::test::onnxOfEverything();
  TempFolder folder;
  for (unsigned seed = 0; seed < 1000; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    checkCase(folder, emoe::test::damaged(good, seed));
  }
  EXPECT_LT(peakMegabytes(), 1024);
}

} // namespace
} // namespace emoe::onnx::test
