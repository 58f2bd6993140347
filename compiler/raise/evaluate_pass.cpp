// The pass `evaluate`: for tests of the evaluator; see test/compiler/raise/evaluate.
#include "compiler/raise/evaluate.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassRegistry.h"

using namespace mlir;

namespace emoe {

namespace {

class EvaluatePass : public PassWrapper<EvaluatePass, OperationPass<ModuleOp>> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(EvaluatePass)
  StringRef getArgument() const override { return "evaluate"; }
  StringRef getDescription() const override {
    return "Print what each function without arguments returns. A weight's elements are their own indices in the "
           "file. Functions run in order and share caches and states; `position` on a function says how many tokens "
           "came before";
  }

  void runOnOperation() override {
    SymbolIndex symbols(getOperation());
    CountingWeights weights;
    Evaluator evaluator(symbols, weights);
    for (func::FuncOp function : getOperation().getOps<func::FuncOp>()) {
      if (function.isExternal() || function.getNumArguments() != 0) {
        continue;
      }
      if (auto position = function->getAttrOfType<IntegerAttr>("position")) {
        evaluator.position = position.getInt();
      }
      SmallVector<Value> results(function.getBody().front().getTerminator()->getOperands());
      if (failed(evaluator.run(results))) {
        return signalPassFailure();
      }
      for (Value result : results) {
        print(function.getName(), result.getType(), evaluator.get(result));
      }
    }
  }

private:
  static void print(StringRef function, Type type, const Tensor &tensor) {
    llvm::outs() << '@' << function << ": ";
    llvm::interleave(tensor.shape, llvm::outs(), "x");
    llvm::outs() << (tensor.shape.empty() ? "" : "x") << cast<ShapedType>(type).getElementType() << " [";
    for (int64_t n = 0; n < tensor.size(); ++n) {
      llvm::outs() << (n ? ", " : "");
      if (tensor.kind == Tensor::Kind::Float) {
        llvm::outs() << llvm::format("%.6g", tensor.f()[n]);
      } else {
        llvm::outs() << tensor.i()[n];
      }
    }
    llvm::outs() << "]\n";
  }
};

} // namespace

void registerProvePasses() { PassRegistration<EvaluatePass>(); }

} // namespace emoe
