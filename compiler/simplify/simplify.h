// simplify: import clean-up. What says nothing about the model goes before patterns are looked for.
#ifndef EMOE_COMPILER_SIMPLIFY_SIMPLIFY_H_
#define EMOE_COMPILER_SIMPLIFY_SIMPLIFY_H_

#include "mlir/IR/BuiltinOps.h"

namespace emoe {

// Loops of a known length are written out (unroll.h). Float types are storage: casts between them go, as do identities and inference-time dropouts, operations that are
// computed twice (exporters repeat shapes and positions for every layer), and what nothing needs.
mlir::LogicalResult simplify(mlir::ModuleOp module);

// Gives fused mixtures (com.microsoft MoE and QMoE) the routing that ONNX Runtime's CPU kernels have where it is not the
// operators' specification: QMoE without router_weights divides by the sum of the chosen whatever
// normalize_routing_weights says, and use_sparse_mixer is not looked at. Ties still go to the lowest expert.
void routeLikeOrtCpu(mlir::ModuleOp module);

void registerSimplifyPasses();

} // namespace emoe

#endif // EMOE_COMPILER_SIMPLIFY_SIMPLIFY_H_
