#include "compiler/simplify/simplify.h"

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

LogicalResult simplify(ModuleOp module) {
  for (auto function : module.getOps<func::FuncOp>()) {
    if (function.isExternal()) {
      continue;
    }
    function.walk([&](Operation *op) {
      Value source = passedOn(op);
      if (source && op->getNumResults() >= 1) {
        op->getResult(0).replaceAllUsesWith(source);
      }
    });
    // A dropped cast may have made what the function returns.
    Operation *end = function.getBody().front().getTerminator();
    function.setType(FunctionType::get(module.getContext(), function.getArgumentTypes(), end->getOperandTypes()));
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

namespace {

class SimplifyPass : public PassWrapper<SimplifyPass, OperationPass<ModuleOp>> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(SimplifyPass)
  StringRef getArgument() const override { return "simplify"; }
  StringRef getDescription() const override {
    return "Drop casts between float types, identities, repeated and unused ops";
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
