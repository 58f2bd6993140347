// The prover accepts what is equal and refuses what is not: a wrong expert, a transposed square matrix, a wrong scale.
#include "compiler/raise/prove.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"

#include "gtest/gtest.h"

namespace emoe {
namespace {

// Functions return pairs (original, replacement); each pair is a claim from the function's float arguments.
class ProveTest : public testing::Test {
protected:
  ProveTest() {
    context.loadDialect<EmoeDialect, onnx::OnnxDialect, mlir::func::FuncDialect>();
    context.getDiagEngine().registerHandler([this](mlir::Diagnostic &diagnostic) {
      message += diagnostic.str();
      return mlir::success();
    });
  }

  // Proves the pairs in order; how many are proven before the first that is not.
  size_t prove(const std::string &text, mlir::ArrayRef<unsigned> caches = {}) {
    module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
    EXPECT_TRUE(module) << message;
    auto function = module->lookupSymbol<mlir::func::FuncOp>("main");
    prover = std::make_unique<EvaluatingProver>(function, nullptr);
    auto results = function.getBody().front().getTerminator()->getOperands();
    size_t proven = 0;
    for (unsigned i = 0; i + 1 < results.size(); i += 2, ++proven) {
      Claim claim;
      claim.pattern = "test";
      for (mlir::BlockArgument argument : function.getArguments()) {
        if (!llvm::is_contained(caches, argument.getArgNumber())) {
          claim.inputs.push_back(argument);
        }
      }
      if (!caches.empty()) {
        claim.pastKey = function.getArgument(caches[0]);
        claim.pastValue = function.getArgument(caches[1]);
      }
      claim.outputs = {results[i]};
      claim.replacements = {results[i + 1]};
      if (mlir::failed(prover->prove(claim))) {
        return proven;
      }
    }
    return proven;
  }

  mlir::MLIRContext context;
  mlir::OwningOpRef<mlir::ModuleOp> module;
  std::unique_ptr<EvaluatingProver> prover;
  std::string message;
};

constexpr char kLinear[] = R"(
  onnx.tensor @w : tensor<8x8xf32> <"f", 64, f32, [8, 1]>
  emoe.weight @right [8, 8] <"f", 64, f32, [1, 8]>
  emoe.weight @transposed [8, 8] <"f", 64, f32, [8, 1]>
  emoe.weight @shifted [8, 8] <"f", 68, f32, [1, 8]>
  func.func @main(%x: tensor<1x?x8xf32>) -> (tensor<1x?x8xf32>, tensor<1x?x8xf32>) {
    %w = onnx.initializer @w : tensor<8x8xf32>
    %0 = onnx.MatMul %x, %w : (tensor<1x?x8xf32>, tensor<8x8xf32>) -> tensor<1x?x8xf32>
    %rows = onnx.to_rows %x : tensor<1x?x8xf32> -> tensor<?x8xf32>
    %1 = emoe.linear %rows @WEIGHT : (tensor<?x8xf32>) -> tensor<?x8xf32>
    %2 = onnx.from_rows %1 : tensor<?x8xf32> -> tensor<1x?x8xf32>
    return %0, %2 : tensor<1x?x8xf32>, tensor<1x?x8xf32>
  })";

std::string with(std::string text, const std::string &what, const std::string &by) {
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size())) {
    text.replace(at, what.size(), by);
  }
  return text;
}

TEST_F(ProveTest, AcceptsEqualValues) { EXPECT_EQ(prove(with(kLinear, "WEIGHT", "right")), 1u) << message; }

TEST_F(ProveTest, RefusesATransposedSquareMatrix) {
  EXPECT_EQ(prove(with(kLinear, "WEIGHT", "transposed")), 0u);
  EXPECT_NE(message.find("pattern 'test' is not proven: the largest difference is"), std::string::npos) << message;
}

TEST_F(ProveTest, RefusesAWeightThatIsOneElementOff) { EXPECT_EQ(prove(with(kLinear, "WEIGHT", "shifted")), 0u); }

TEST_F(ProveTest, RefusesAClaimThatReplacesAValueByItself) {
  EXPECT_EQ(prove(R"(func.func @main(%x: tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>) {
    %0 = onnx.Exp %x : (tensor<?x8xf32>) -> tensor<?x8xf32>
    %1 = onnx.to_rows %0 : tensor<?x8xf32> -> tensor<?x8xf32>
    return %0, %1 : tensor<?x8xf32>, tensor<?x8xf32>
  })"), 0u);
  EXPECT_NE(message.find("something computed from it"), std::string::npos) << message;
}

TEST_F(ProveTest, RefusesZerosThatShowNothing) {
  EXPECT_EQ(prove(R"(func.func @main(%x: tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>) {
    %0 = onnx.Sub %x, %x : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
    %n = onnx.Neg %x : (tensor<?x8xf32>) -> tensor<?x8xf32>
    %1 = emoe.add %x, %n : tensor<?x8xf32>
    return %0, %1 : tensor<?x8xf32>, tensor<?x8xf32>
  })"), 0u);
  EXPECT_NE(message.find("shows nothing"), std::string::npos) << message;
}

// Two experts of one layer as a stack, gathered by the chosen ids; the replacement names slices of the stack.
std::string expertsText(const std::string &first, const std::string &second, int64_t layerBytes) {
  std::string text;
  for (int64_t layer : {0, 1}) {
    std::string id = std::to_string(layer), at = std::to_string(layer * layerBytes);
    text += "onnx.tensor @stack" + id + " : tensor<2x4x4xf32> <\"f\", " + at + ", f32, [16, 4, 1]>\n";
    for (int64_t e : {0, 1}) {
      text += "emoe.weight @w" + id + std::to_string(e) + " [4, 4] <\"f\", " + std::to_string(layer * layerBytes + e * 64) +
              ", f32, [4, 1]>\n";
    }
  }
  text += "func.func @main(%x: tensor<?x4xf32>, %l: tensor<?x2xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>, "
          "tensor<?x4xf32>, tensor<?x4xf32>) {\n"
          "%k = onnx.constant dense<1> : tensor<1xi64>\n %a = onnx.constant dense<2> : tensor<1xi64>\n";
  for (std::string id : {"0", "1"}) {
    std::string experts = id == "0" ? first : second;
    text += with(R"(
      %vL, %iL = onnx.TopK %l, %k : (tensor<?x2xf32>, tensor<1xi64>) -> (tensor<?x1xf32>, tensor<?x1xi64>)
      %sL = onnx.initializer @stackL : tensor<2x4x4xf32>
      %gL = onnx.GatherND %sL, %iL : (tensor<2x4x4xf32>, tensor<?x1xi64>) -> tensor<?x4x4xf32>
      %cL = onnx.Unsqueeze %x, %a : (tensor<?x4xf32>, tensor<1xi64>) -> tensor<?x4x1xf32>
      %hL = onnx.MatMul %gL, %cL : (tensor<?x4x4xf32>, tensor<?x4x1xf32>) -> tensor<?x4x1xf32>
      %rL = onnx.Relu %hL : (tensor<?x4x1xf32>) -> tensor<?x4x1xf32>
      %dL = onnx.MatMul %gL, %rL : (tensor<?x4x4xf32>, tensor<?x4x1xf32>) -> tensor<?x4x1xf32>
      %yL = onnx.Squeeze %dL, %a : (tensor<?x4x1xf32>, tensor<1xi64>) -> tensor<?x4xf32>
      %zL = onnx.Mul %yL, %vL : (tensor<?x4xf32>, tensor<?x1xf32>) -> tensor<?x4xf32>
      %eL, %wL = emoe.route none %l {top_k = 1} : (tensor<?x2xf32>) -> (tensor<?x1xi32>, tensor<?x1xf32>)
      %mL = emoe.moe relu %x, %eL, %wL {layer = L, up = [EXPERTS], down = [EXPERTS]}
        : (tensor<?x4xf32>, tensor<?x1xi32>, tensor<?x1xf32>) -> tensor<?x4xf32>
      )",
                 "L", id);
    text = with(text, "EXPERTS", experts);
  }
  return text + "return %z0, %m0, %z1, %m1 : tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>\n}";
}

TEST_F(ProveTest, EvaluatesOneMemberOfAClassOnly) {
  EXPECT_EQ(prove(expertsText("@w00, @w01", "@w10, @w11", 128)), 2u) << message;
  EXPECT_EQ(prover->evaluated(), 1u);
  EXPECT_EQ(prover->alike(), 1u);
}

TEST_F(ProveTest, RefusesSwappedExperts) { EXPECT_EQ(prove(expertsText("@w01, @w00", "@w10, @w11", 128)), 0u); }

TEST_F(ProveTest, FindsSwappedExpertsInALaterMemberOfAClass) {
  EXPECT_EQ(prove(expertsText("@w00, @w01", "@w11, @w10", 128)), 1u);
  EXPECT_NE(message.find("is not proven"), std::string::npos) << message;
}

TEST_F(ProveTest, FindsAnExpertUsedTwice) { EXPECT_EQ(prove(expertsText("@w00, @w01", "@w10, @w10", 128)), 1u); }

// One head of width 2; the cache comes first, and a token sees those before it.
constexpr char kAttention[] = R"(
  func.func @main(%q: tensor<1x1x?x2xf32>, %k: tensor<1x1x?x2xf32>, %v: tensor<1x1x?x2xf32>,
                  %pk: tensor<1x1x?x2xf32> {onnx.name = "past.key"},
                  %pv: tensor<1x1x?x2xf32> {onnx.name = "past.value"}) -> (tensor<1x1x?x2xf32>, tensor<1x1x?x2xf32>) {
    %keys = onnx.Concat %pk, %k {axis = 2 : i64} : (tensor<1x1x?x2xf32>, tensor<1x1x?x2xf32>) -> tensor<1x1x?x2xf32>
    %values = onnx.Concat %pv, %v {axis = 2 : i64} : (tensor<1x1x?x2xf32>, tensor<1x1x?x2xf32>) -> tensor<1x1x?x2xf32>
    %t = onnx.Transpose %keys {perm = array<i64: 0, 1, 3, 2>} : (tensor<1x1x?x2xf32>) -> tensor<1x1x2x?xf32>
    %s = onnx.MatMul %q, %t : (tensor<1x1x?x2xf32>, tensor<1x1x2x?xf32>) -> tensor<1x1x?x?xf32>
    %c = onnx.constant dense<0.5> : tensor<f32>
    %scaled = onnx.Mul %s, %c : (tensor<1x1x?x?xf32>, tensor<f32>) -> tensor<1x1x?x?xf32>
    %ones = onnx.Sub %s, %s : (tensor<1x1x?x?xf32>, tensor<1x1x?x?xf32>) -> tensor<1x1x?x?xf32>
    %ninf = onnx.constant dense<-1.0e30> : tensor<f32>
    %low = onnx.Add %ones, %ninf : (tensor<1x1x?x?xf32>, tensor<f32>) -> tensor<1x1x?x?xf32>
    %past = onnx.Shape %pk {start = 2 : i64, end = 3 : i64} : (tensor<1x1x?x2xf32>) -> tensor<1xi64>
    %one = onnx.constant dense<1> : tensor<1xi64>
    %after = onnx.Add %past, %one : (tensor<1xi64>, tensor<1xi64>) -> tensor<1xi64>
    %mask = onnx.Trilu %low, %after {upper = 1 : i64} : (tensor<1x1x?x?xf32>, tensor<1xi64>) -> tensor<1x1x?x?xf32>
    %masked = onnx.Add %scaled, %mask : (tensor<1x1x?x?xf32>, tensor<1x1x?x?xf32>) -> tensor<1x1x?x?xf32>
    %p = onnx.Softmax %masked : (tensor<1x1x?x?xf32>) -> tensor<1x1x?x?xf32>
    %y = onnx.MatMul %p, %values : (tensor<1x1x?x?xf32>, tensor<1x1x?x2xf32>) -> tensor<1x1x?x2xf32>
    %rq = onnx.to_rows %q : tensor<1x1x?x2xf32> -> tensor<?x2xf32>
    %rk = onnx.to_rows %k : tensor<1x1x?x2xf32> -> tensor<?x2xf32>
    %rv = onnx.to_rows %v : tensor<1x1x?x2xf32> -> tensor<?x2xf32>
    %a = emoe.attention %rq, %rk, %rv {layer = 7, heads = 1, kv_heads = 1, head_dim = 2, scale = SCALE : f32}
      : (tensor<?x2xf32>, tensor<?x2xf32>, tensor<?x2xf32>) -> tensor<?x2xf32>
    %z = onnx.from_rows %a : tensor<?x2xf32> -> tensor<1x1x?x2xf32>
    return %y, %z : tensor<1x1x?x2xf32>, tensor<1x1x?x2xf32>
  })";

TEST_F(ProveTest, GivesAttentionItsCache) {
  EXPECT_EQ(prove(with(kAttention, "SCALE", "0.5"), {3, 4}), 1u) << message;
}

TEST_F(ProveTest, RefusesAnotherScale) {
  EXPECT_EQ(prove(with(kAttention, "SCALE", "0.501"), {3, 4}), 0u);
  EXPECT_NE(message.find("the largest difference is"), std::string::npos) << message;
}

TEST_F(ProveTest, RefusesKeysAndValuesExchanged) {
  EXPECT_EQ(prove(with(kAttention, "SCALE", "0.5"), {4, 3}), 0u);
}

} // namespace
} // namespace emoe
