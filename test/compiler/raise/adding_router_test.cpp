// The worked example of docs/adding.md: a router that the raiser does not know, added from outside in under 60 lines.
#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>

#include "compiler/raise/prove.h"
#include "compiler/raise/raise.h"
#include "compiler/raise/raiser.h"
#include "gtest/gtest.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/Parser/Parser.h"

namespace emoe {

// example begins
// exp(log_softmax(logits)): a softmax, for an exporter that keeps logarithms of scores.
static mlir::LogicalResult expOfLogSoftmax(Raiser &raiser, mlir::Operation *op) {
  auto logs = op->getOperand(0).getDefiningOp<onnx::LogSoftmaxOp>();
  if (!logs) {
    return mlir::success();
  }
  // Rows with an element for each expert are logits; their meaning as scores knows where they come from.
  const Meaning logits = raiser.of(logs->getOperand(0));
  std::optional<Meaning> scores = logits.is(Kind::Rows) ? raiser.asScores(logits) : std::nullopt;
  const int64_t rank = logits.extents.size();
  if (!scores || raiser.axisAttr(logs, -1, rank) != rank - 1) {
    return mlir::success();
  }
  scores->route.score = ScoreFunction::Softmax;
  raiser.set(op->getResult(0), *scores);
  return mlir::success();
}

static void addLogSoftmaxRouter(Raiser &raiser) { raiser.add("Exp", expOfLogSoftmax); }
// example ends

namespace {

const char *const kModel = R"(
onnx.tensor @embed : tensor<32x16xf32> #emoe.source<"m", 0, f32, [16, 1]>
onnx.tensor @router : tensor<16x4xf32> #emoe.source<"m", 4096, f32, [4, 1]>
onnx.tensor @gate_up : tensor<4x16x16xf32> #emoe.source<"m", 8192, f32, [256, 16, 1]>
onnx.tensor @down : tensor<4x16x8xf32> #emoe.source<"m", 12288, f32, [128, 8, 1]>
func.func @main(%ids: tensor<1x?xi64> {onnx.name = "input_ids"}) -> tensor<1x?x32xf32> {
  %embed = onnx.initializer @embed : tensor<32x16xf32>
  %router = onnx.initializer @router : tensor<16x4xf32>
  %gate_up = onnx.initializer @gate_up : tensor<4x16x16xf32>
  %down = onnx.initializer @down : tensor<4x16x8xf32>
  %one = onnx.constant dense<1> : tensor<i64>
  %flat = onnx.constant dense<[-1, 16]> : tensor<2xi64>
  %rows = onnx.constant dense<[1, -1, 16]> : tensor<3xi64>
  %last = onnx.constant dense<-1> : tensor<1xi64>
  %x = onnx.Gather %embed, %ids {axis = 0 : i64} : (tensor<32x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  %shape = onnx.Shape %ids : (tensor<1x?xi64>) -> tensor<2xi64>
  %total = onnx.Gather %shape, %one {axis = 0 : i64} : (tensor<2xi64>, tensor<i64>) -> tensor<i64>
  %before = onnx.Sub %total, %one : (tensor<i64>, tensor<i64>) -> tensor<i64>
  %a, %pk, %pv, %qk = onnx.com.microsoft.GroupQueryAttention %x, %x, %x, %before, %total
      {num_heads = 2 : i64, kv_num_heads = 2 : i64,
       operandSegmentSizes = array<i32: 1, 1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0>}
      : (tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<i64>, tensor<i64>)
      -> (tensor<1x?x16xf32>, tensor<*xf32>, tensor<*xf32>, tensor<*xf32>)
  %h = onnx.Add %x, %a : (tensor<1x?x16xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  %k = onnx.constant dense<2> : tensor<1xi64>
  %axis = onnx.constant dense<1> : tensor<1xi64>
  %t0 = onnx.constant dense<0.02> : tensor<f32>
  %t1 = onnx.constant dense<0.02> : tensor<f32>
  %away = onnx.constant dense<0xFF800000> : tensor<f32>
  %gone = onnx.constant dense<0xFF800000> : tensor<1x1xf32>
  %twice = onnx.constant dense<[1, 2, 1]> : tensor<3xi64>
  %slots = onnx.constant dense<[-1, 2, 16]> : tensor<3xi64>
  %hs = onnx.Reshape %h, %flat : (tensor<1x?x16xf32>, tensor<2xi64>) -> tensor<?x16xf32>
  %logits = onnx.MatMul %hs, %router : (tensor<?x16xf32>, tensor<16x4xf32>) -> tensor<?x4xf32>
  %logs = onnx.LogSoftmax %logits : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %scores = onnx.Exp %logs : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %weights, %chosen = onnx.TopK %scores, %k : (tensor<?x4xf32>, tensor<1xi64>) -> (tensor<?x2xf32>, tensor<?x2xi64>)
  %single = onnx.Unsqueeze %hs, %axis : (tensor<?x16xf32>, tensor<1xi64>) -> tensor<?x1x16xf32>
  %tiled = onnx.Tile %single, %twice : (tensor<?x1x16xf32>, tensor<3xi64>) -> tensor<?x2x16xf32>
  %repeated = onnx.Reshape %tiled, %flat : (tensor<?x2x16xf32>, tensor<2xi64>) -> tensor<?x16xf32>
  %pairWeights = onnx.Reshape %weights, %last : (tensor<?x2xf32>, tensor<1xi64>) -> tensor<?xf32>
  %pairIds = onnx.Reshape %chosen, %last : (tensor<?x2xi64>, tensor<1xi64>) -> tensor<?xi64>
  %idColumn = onnx.Unsqueeze %pairIds, %last : (tensor<?xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %column = onnx.Unsqueeze %repeated, %last : (tensor<?x16xf32>, tensor<1xi64>) -> tensor<?x16x1xf32>
  %wgu = onnx.GatherND %gate_up, %idColumn : (tensor<4x16x16xf32>, tensor<?x1xi64>) -> tensor<?x16x16xf32>
  %guc = onnx.MatMul %wgu, %column : (tensor<?x16x16xf32>, tensor<?x16x1xf32>) -> tensor<?x16x1xf32>
  %gu = onnx.Squeeze %guc, %last : (tensor<?x16x1xf32>, tensor<1xi64>) -> tensor<?x16xf32>
  %gate, %up = onnx.Split %gu {axis = 1 : i64, num_outputs = 2 : i64}
      : (tensor<?x16xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>)
  %sigmoid = onnx.Sigmoid %gate : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %silu = onnx.Mul %gate, %sigmoid : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %act = onnx.Mul %silu, %up : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %actc = onnx.Unsqueeze %act, %last : (tensor<?x8xf32>, tensor<1xi64>) -> tensor<?x8x1xf32>
  %wd = onnx.GatherND %down, %idColumn : (tensor<4x16x8xf32>, tensor<?x1xi64>) -> tensor<?x16x8xf32>
  %dc = onnx.MatMul %wd, %actc : (tensor<?x16x8xf32>, tensor<?x8x1xf32>) -> tensor<?x16x1xf32>
  %d = onnx.Squeeze %dc, %last : (tensor<?x16x1xf32>, tensor<1xi64>) -> tensor<?x16xf32>
  %weightColumn = onnx.Unsqueeze %pairWeights, %last : (tensor<?xf32>, tensor<1xi64>) -> tensor<?x1xf32>
  %weighted = onnx.Mul %d, %weightColumn : (tensor<?x16xf32>, tensor<?x1xf32>) -> tensor<?x16xf32>
  %perSlot = onnx.Reshape %weighted, %slots : (tensor<?x16xf32>, tensor<3xi64>) -> tensor<?x2x16xf32>
  %sum = onnx.ReduceSum %perSlot, %axis {keepdims = 0 : i64} : (tensor<?x2x16xf32>, tensor<1xi64>) -> tensor<?x16xf32>
  %moe = onnx.Reshape %sum, %rows : (tensor<?x16xf32>, tensor<3xi64>) -> tensor<1x?x16xf32>
  %y = onnx.Add %h, %moe : (tensor<1x?x16xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  %head = onnx.Transpose %embed {perm = array<i64: 1, 0>} : (tensor<32x16xf32>) -> tensor<16x32xf32>
  %out = onnx.MatMul %y, %head : (tensor<1x?x16xf32>, tensor<16x32xf32>) -> tensor<1x?x32xf32>
  return %out : tensor<1x?x32xf32>
}
)";

class AddingRouter : public ::testing::Test {
protected:
  bool raise(llvm::function_ref<void(Raiser &)> extend) {
    context.loadDialect<onnx::OnnxDialect, EmoeDialect, mlir::func::FuncDialect>();
    mlir::ScopedDiagnosticHandler handler(&context, [&](mlir::Diagnostic &diagnostic) { errors += diagnostic.str(); });
    module = mlir::parseSourceString<mlir::ModuleOp>(kModel, &context);
    if (!module) {
      return false;
    }
    EvaluatingProver prover(module->lookupSymbol<mlir::func::FuncOp>("main"), nullptr);
    return mlir::succeeded(raiseModel(*module, store, &prover, extend));
  }

  mlir::MLIRContext context;
  WeightStore store;
  mlir::OwningOpRef<mlir::ModuleOp> module;
  std::string errors;
};

TEST_F(AddingRouter, IsRefusedWithoutTheExample) {
  EXPECT_FALSE(raise(nullptr));
  EXPECT_NE(errors.find("is not part of a pattern that is recognised"), std::string::npos) << errors;
}

TEST_F(AddingRouter, IsRaisedAndProvenWithIt) {
  ASSERT_TRUE(raise(addLogSoftmaxRouter)) << errors;
  int routes = 0;
  module->walk([&](RouteOp op) {
    ++routes;
    EXPECT_EQ(op.getScore(), ScoreFunction::Softmax);
    EXPECT_EQ(static_cast<int64_t>(op.getTopK()), 2);
  });
  EXPECT_EQ(routes, 1);
}

TEST_F(AddingRouter, IsThePageOfTheDocumentation) {
  auto read = [](const std::string &path) {
    std::ifstream file(path);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  };
  const std::string own = read(EMOE_SOURCE_DIR "/test/compiler/raise/adding_router_test.cpp");
  const std::string page = read(EMOE_SOURCE_DIR "/docs/adding.md");
  const std::string begin = "// example begins\n", end = "// example ends";
  const size_t from = own.find(begin) + begin.size();
  const std::string example = own.substr(from, own.find(end) - from);
  EXPECT_LT(std::count(example.begin(), example.end(), '\n'), 60);
  EXPECT_NE(page.find("```cpp\n" + example + "```"), std::string::npos) << "docs/adding.md shows another example";
}

} // namespace
} // namespace emoe
