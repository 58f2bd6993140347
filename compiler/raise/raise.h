// raise: recover the model from an ONNX graph.
#ifndef EMOE_COMPILER_RAISE_RAISE_H_
#define EMOE_COMPILER_RAISE_RAISE_H_

#include "compiler/raise/claim.h"
#include "frontends/weights.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "mlir/IR/BuiltinOps.h"

namespace emoe {

class Raiser;

// Replaces the onnx ops of @main by emoe ops, @main's type by (tensor<?xi32>) -> tensor<?xVxf32>, and sets the module's
// emoe.model = {vocab, hidden, layers} (and limitPositions'). `store` gives the values of rotary frequencies; `prover`, if not null, checks
// each replacement first. Emits errors that name the node, what was understood of its inputs, and what to do.
// `extend`, if given, adds handlers of further forms (docs/adding.md).
mlir::LogicalResult raiseModel(mlir::ModuleOp module, const WeightStore &store, Prover *prover,
                               llvm::function_ref<void(Raiser &)> extend = nullptr);

// Sets emoe.model's `positions` to how many tokens all embeddings of positions have rows for, if there are any.
void limitPositions(mlir::ModuleOp module);

void registerRaisePasses();

} // namespace emoe

#endif // EMOE_COMPILER_RAISE_RAISE_H_
