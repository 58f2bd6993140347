// Real exports, raised with every claim proven and then proven whole: on random weights and on their own.
#include <chrono>
#include <cstdlib>
#include <filesystem>

#include "compiler/raise/prove.h"
#include "compiler/raise/raise.h"
#include "compiler/simplify/simplify.h"
#include "frontends/onnx/onnx.h"
#include "mlir/IR/MLIRContext.h"

#include "gtest/gtest.h"

namespace emoe {
namespace {

class ProveModels : public testing::TestWithParam<const char *> {};

TEST_P(ProveModels, RaisesToTheSameModel) {
  const char *set = std::getenv("EMOE_SHARED");
  std::string path = std::string(set ? set : EMOE_SOURCE_DIR "/../shared") + "/" + GetParam() + "/model.onnx";
  if (!std::filesystem::exists(path)) {
    GTEST_SKIP() << path << " is missing (set EMOE_SHARED)";
  }
  mlir::MLIRContext context;
  WeightStore store;
  auto module = onnx::importModel(path, context, store);
  ASSERT_TRUE(module.ok()) << module.status();
  ASSERT_TRUE(mlir::succeeded(simplify(**module)));
  mlir::OwningOpRef<mlir::ModuleOp> original = (*module)->clone();

  auto start = std::chrono::steady_clock::now();
  EvaluatingProver prover((*module)->lookupSymbol<mlir::func::FuncOp>("main"), &store);
  ASSERT_TRUE(mlir::succeeded(raiseModel(**module, store, &prover)));
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf("%s: %zu claims evaluated, %zu like one of them, %.2f s with raising\n", GetParam(), prover.evaluated(),
              prover.alike(), seconds);
  EXPECT_GT(prover.evaluated(), 0u);
  EXPECT_TRUE(mlir::succeeded(proveModel(*original, **module, &store, /*realWeights=*/false)));
  EXPECT_TRUE(mlir::succeeded(proveModel(*original, **module, &store, /*realWeights=*/true)));
}

INSTANTIATE_TEST_SUITE_P(Exports, ProveModels,
                         testing::Values("models/bookmoe-5m/hf5", "models/bookmoe-5m/optimum",
                                         "models/bookmoe-28m/hf5", "zoo/qwen3_moe-hf5-batched_mm",
                                         "zoo/qwen3_moe-optimum", "zoo/olmoe-hf5-batched_mm",
                                         "zoo/mixtral-hf5-batched_mm"));

} // namespace
} // namespace emoe
