#include "compiler/simplify/simplify.h"

#include "compiler/simplify/separate.h"
#include "compiler/simplify/unroll.h"
#include "dialects/onnx/onnx.h"
#include "mlir/IR/Dominance.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Transforms/CSE.h"

using namespace mlir;

namespace emoe {

// The operand that the op only passes on, or null.
static Value passedOn(Operation *op) {
  if (isa<onnx::IdentityOp>(op)) {
    return op->getOperand(0);
  }
  if (isa<onnx::CastOp, onnx::CastLikeOp>(op)) {
    bool fromFloat = isa<mlir::FloatType>(getElementTypeOrSelf(op->getOperand(0).getType()));
    bool toFloat = isa<mlir::FloatType>(getElementTypeOrSelf(op->getResult(0).getType()));
    return fromFloat && toFloat ? op->getOperand(0) : Value();
  }
  return {};
}

// The extent of the last axis, by the weight that makes it if the type does not say it; dynamic if nothing does.
static int64_t lastExtent(Value value) {
  for (int steps = 0; value && steps < 16; ++steps) {
    auto type = dyn_cast<RankedTensorType>(value.getType());
    if (type && type.getRank() > 0 && !type.isDynamicDim(type.getRank() - 1)) {
      return type.getDimSize(type.getRank() - 1);
    }
    Operation *op = value.getDefiningOp();
    if (isa_and_nonnull<onnx::MatMulOp>(op)) {
      value = op->getOperand(1);
    } else if (isa_and_nonnull<onnx::AddOp>(op)) {
      int64_t other = lastExtent(op->getOperand(1));
      if (!ShapedType::isDynamic(other) && other != 1) {
        return other;
      }
      value = op->getOperand(0);
    } else if (isa_and_nonnull<onnx::RotaryEmbeddingOp, onnx::MsRotaryEmbeddingOp>(op)) {
      value = op->getOperand(0);
    } else {
      break;
    }
  }
  return ShapedType::kDynamic;
}

// Caches whose head size the file leaves open have that of the attention which reads them.
static void refineCaches(func::FuncOp function) {
  function.walk([&](onnx::MsGroupQueryAttentionOp op) {
    int64_t heads = op.getNumHeads(), kvHeads = op.getKvNumHeads(), width = lastExtent(op.getQuery());
    int64_t parts = op.getKey() ? heads : heads + 2 * kvHeads;
    if (ShapedType::isDynamic(width) || parts < 1 || width % parts != 0) {
      return;
    }
    for (Value cache : {op.getPastKey(), op.getPastValue()}) {
      auto argument = dyn_cast_or_null<BlockArgument>(cache);
      auto type = argument ? dyn_cast<RankedTensorType>(argument.getType()) : RankedTensorType();
      if (type && type.getRank() == 4) {
        argument.setType(RankedTensorType::get(
            {type.getDimSize(0), type.isDynamicDim(1) ? kvHeads : type.getDimSize(1), type.getDimSize(2),
             type.isDynamicDim(3) ? width / parts : type.getDimSize(3)},
            type.getElementType()));
      }
    }
  });
}

LogicalResult simplify(ModuleOp module) {
  for (auto function : module.getOps<func::FuncOp>()) {
    if (function.isExternal()) {
      continue;
    }
    refineCaches(function);
    unrollLoops(function);
    function.walk([&](Operation *op) {
      Value source = passedOn(op);
      if (source && op->getNumResults() >= 1) {
        op->getResult(0).replaceAllUsesWith(source);
      }
    });
    separate(function);
    // A dropped cast may have made what the function returns.
    Operation *end = function.getBody().front().getTerminator();
    function.setType(FunctionType::get(module.getContext(), function.getBody().front().getArgumentTypes(), end->getOperandTypes()));
    IRRewriter rewriter(module.getContext());
    DominanceInfo dominance(function);
    eliminateCommonSubExpressions(rewriter, dominance, function);
    for (Operation &op : llvm::make_early_inc_range(llvm::reverse(function.getBody().front()))) {
      if (isOpTriviallyDead(&op)) {
        op.erase();
      }
    }
  }
  return success();
}

void routeLikeOrtCpu(ModuleOp module) {
  module.walk([](Operation *op) {
    if (auto quantised = dyn_cast<onnx::MsQMoEOp>(op)) {
      quantised.setUseSparseMixer(0);
      if (!quantised.getRouterWeights()) {
        quantised.setNormalizeRoutingWeights(1);
      }
    } else if (auto mixture = dyn_cast<onnx::MsMoEOp>(op)) {
      mixture.setUseSparseMixer(0);
    }
  });
}

namespace {

class SimplifyPass : public PassWrapper<SimplifyPass, OperationPass<ModuleOp>> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(SimplifyPass)
  StringRef getArgument() const override { return "simplify"; }
  StringRef getDescription() const override {
    return "Write out loops over experts; drop casts between float types, identities, repeated and unused ops";
  }
  void runOnOperation() override {
    if (failed(simplify(getOperation()))) {
      signalPassFailure();
    }
  }
};

} // namespace

void registerSimplifyPasses() { PassRegistration<SimplifyPass>(); }

} // namespace emoe
