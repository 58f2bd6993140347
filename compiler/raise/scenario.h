// What a model is called with when it is evaluated: small numbers of tokens, ids, positions, masks and caches.
#ifndef EMOE_COMPILER_RAISE_SCENARIO_H_
#define EMOE_COMPILER_RAISE_SCENARIO_H_

#include "compiler/raise/evaluate.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace emoe {

// A call of `tokens` tokens after `past` ones.
struct Scenario {
  int64_t tokens = 5, past = 3;
  uint64_t seed = 0;
};

// The name that an argument or result of an imported function had in its file; empty if it has none.
llvm::StringRef fileName(mlir::func::FuncOp function, unsigned index, bool isResult = false);

// Does the function take keys and values of earlier tokens?
bool hasCache(mlir::func::FuncOp function);

// A tensor of uniform random floats in [-1, 1); the same for the same seed and shape.
Tensor randomFloats(Dims shape, uint64_t seed);

// The shape of a value of `type` in the scenario: an unknown extent is the number of tokens, but of two unknown
// extents the second is that of all positions (an attention mask). nullopt if the rank is unknown.
std::optional<Dims> shapeIn(mlir::Type type, const Scenario &scenario);

// Values for all arguments of an imported function, in order: token ids as given ([1, tokens]), positions from `past`
// on, masks of ones, caches of random floats. An error names an argument of unknown purpose.
mlir::FailureOr<std::vector<Tensor>> argumentsFor(mlir::func::FuncOp function, const Scenario &scenario,
                                                  llvm::ArrayRef<int64_t> ids);

// Token ids below `vocabulary`.
std::vector<int64_t> randomIds(const Scenario &scenario, int64_t vocabulary);

// Rows of the largest table that token ids may index: of Gather and emoe.embedding on an integer argument; 0 if none.
int64_t vocabularyOf(mlir::func::FuncOp function);

} // namespace emoe

#endif // EMOE_COMPILER_RAISE_SCENARIO_H_
