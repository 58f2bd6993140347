// The whole model, before and after raising.
#include "compiler/raise/prove.h"

using namespace mlir;

namespace emoe {

static std::vector<Operation *> opsOf(func::FuncOp function) {
  std::vector<Operation *> ops;
  function.walk([&](Operation *op) { ops.push_back(op); });
  return ops;
}

// The result with the logits: the one that is called so, else the first.
static Value logitsOf(func::FuncOp function) {
  auto results = function.getBody().front().getTerminator()->getOperands();
  for (unsigned i = 0; i < results.size(); ++i) {
    if (fileName(function, i, /*isResult=*/true) == "logits") {
      return results[i];
    }
  }
  return results.empty() ? Value() : results[0];
}

LogicalResult proveModel(ModuleOp original, ModuleOp raised, const WeightStore *store, bool realWeights) {
  auto before = original.lookupSymbol<func::FuncOp>("main"), after = raised.lookupSymbol<func::FuncOp>("main");
  if (!before || !after || before.isExternal() || after.isExternal()) {
    return raised.emitError("cannot prove the model: it has no function @main before or after raising");
  }
  auto ids = after.getNumArguments() == 1 || after.getNumArguments() == 2 ? dyn_cast<RankedTensorType>(after.getArgument(0).getType())
                                          : RankedTensorType();
  Value logits = logitsOf(before), raisedLogits = logitsOf(after);
  if (!ids || ids.getRank() != 1 || !logits || !raisedLogits) {
    return after.emitError("cannot prove the model: @main must take token ids [T] and return logits");
  }
  std::unique_ptr<RealWeights> real = store ? std::make_unique<RealWeights>(*store) : nullptr;
  if (realWeights && !real) {
    return raised.emitError("cannot prove the model on its own weights: they are not at hand");
  }
  SymbolIndex symbols(original), raisedSymbols(raised);
  std::vector<Operation *> ops = opsOf(before), raisedOps = opsOf(after);
  ByteRanges shared = sharedRanges(ops, raisedOps, symbols, raisedSymbols);
  // Small enough for residual sums and router logits of real widths not to run away.
  RandomWeights random(3, 0.25, real.get(), &shared);
  WeightSource &weights = realWeights ? static_cast<WeightSource &>(*real) : random;

  Scenario scenario{/*tokens=*/4, /*past=*/0, /*seed=*/3};
  std::vector<int64_t> tokens = randomIds(scenario, std::max(vocabularyOf(before), vocabularyOf(after)));
  auto arguments = argumentsFor(before, scenario, tokens);
  if (failed(arguments)) {
    return failure();
  }
  Evaluator evaluator(symbols, weights), raisedEvaluator(raisedSymbols, weights);
  evaluator.exactScalars = exactScalarsOf(raisedOps);
  for (auto [argument, tensor] : llvm::zip(before.getArguments(), *arguments)) {
    evaluator.set(argument, tensor);
  }
  raisedEvaluator.set(after.getArgument(0), Tensor::of({scenario.tokens}, tokens));
  if (after.getNumArguments() == 2) { // the encoder's result, [1, S, width] before
    for (const Tensor &tensor : *arguments) {
      if (tensor.kind == Tensor::Kind::Float && tensor.rank() == 3) {
        raisedEvaluator.set(after.getArgument(1), tensor.reshaped({tensor.shape[1], tensor.shape[2]}));
      }
    }
    if (!raisedEvaluator.has(after.getArgument(1))) {
      return after.emitError("cannot prove the model: it takes rows that the original does not");
    }
  }
  if (failed(evaluator.run(logits)) || failed(raisedEvaluator.run(raisedLogits))) {
    return failure();
  }
  // Rounded constants act in every layer; their differences add up.
  double tolerance = 10 * toleranceOf(ops, symbols, real.get(), evaluator.exactScalars);
  return compare(after, realWeights ? "the model (its own weights)" : "the model (random weights)",
                 evaluator.get(logits), raisedEvaluator.get(raisedLogits), tolerance);
}

} // namespace emoe
