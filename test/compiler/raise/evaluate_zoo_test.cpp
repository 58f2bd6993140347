// Whole models by real exporters, imported and evaluated, against the logits that ONNX Runtime computed: this holds the
// importer and the evaluator, on which every proof rests, to an independent implementation.
#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "compiler/raise/evaluate.h"
#include "compiler/raise/scenario.h"
#include "frontends/onnx/onnx.h"
#include "mlir/IR/MLIRContext.h"
#include "test/support/safetensors.h"

#include "gtest/gtest.h"

namespace emoe {
namespace {

std::string sharedFolder() {
  const char *set = std::getenv("EMOE_SHARED");
  return set ? set : EMOE_SOURCE_DIR "/../shared";
}

struct Model {
  const char *name;
  double tolerance = 1e-4; // ONNX Runtime computes in float32, or in float16 where the file does
};

class EvaluateZoo : public testing::TestWithParam<Model> {};

TEST_P(EvaluateZoo, GivesTheLogitsOfOnnxRuntime) {
  std::string folder = sharedFolder() + "/zoo/" + GetParam().name;
  if (!std::filesystem::exists(folder)) {
    GTEST_SKIP() << folder << " is missing (set EMOE_SHARED)";
  }
  mlir::MLIRContext context;
  WeightStore store;
  auto module = onnx::importModel(folder + "/model.onnx", context, store);
  ASSERT_TRUE(module.ok()) << module.status();
  auto function = (*module)->lookupSymbol<mlir::func::FuncOp>("main");
  ASSERT_TRUE(function);

  auto ids = test::readSafeTensor(folder + "/ref.safetensors", "input_ids").as<int64_t>();
  auto expected = test::readSafeTensor(folder + "/ref.safetensors", "logits").as<float>();
  ASSERT_FALSE(ids.empty());
  Scenario scenario{static_cast<int64_t>(ids.size()), /*past=*/0, /*seed=*/1};
  auto arguments = argumentsFor(function, scenario, ids);
  ASSERT_TRUE(mlir::succeeded(arguments));

  SymbolIndex symbols(**module);
  RealWeights weights(store);
  Evaluator evaluator(symbols, weights);
  for (auto [argument, tensor] : llvm::zip(function.getArguments(), *arguments)) {
    evaluator.set(argument, tensor);
  }
  mlir::Value logits = function.getBody().front().getTerminator()->getOperand(0);
  ASSERT_TRUE(mlir::succeeded(evaluator.run(logits)));
  Tensor actual = evaluator.get(logits);
  ASSERT_EQ(actual.size(), static_cast<int64_t>(expected.size()));
  double worst = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    worst = std::max(worst, std::abs(actual.f()[i] - expected[i]));
  }
  RecordProperty("largest_difference", std::to_string(worst));
  std::printf("%s: largest |difference| %.3g over %zu logits\n", GetParam().name, worst, expected.size());
  EXPECT_LE(worst, GetParam().tolerance);
}

std::string nameOf(const testing::TestParamInfo<Model> &info) {
  std::string name = info.param.name;
  std::replace_if(name.begin(), name.end(), [](char c) { return !std::isalnum(c); }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(
    Exports, EvaluateZoo,
    testing::Values(Model{"deepseek_v3-hf5-batched_mm"}, Model{"gemma4-hf5-batched_mm"},
                    Model{"gpt_oss-hf5-batched_mm"}, Model{"granitemoe-hf5-batched_mm"},
                    Model{"lfm2_moe-hf5-batched_mm"}, Model{"mixtral-hf5-batched_mm"}, Model{"olmoe-hf5-batched_mm"},
                    Model{"phimoe-hf5-batched_mm"}, Model{"qwen2_moe-hf5-batched_mm"},
                    Model{"qwen3_moe-hf5-batched_mm"}, Model{"qwen3_moe-hf5-batched_mm-float16", 0.05},
                    Model{"qwen3_moe-hf5-batched_mm-torchdynamo"}, Model{"qwen3_moe-hf5-grouped_mm"},
                    Model{"qwen3_moe-optimum"}, Model{"qwen3_moe-optimum-ext2"}),
    nameOf);

} // namespace
} // namespace emoe
