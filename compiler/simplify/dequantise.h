// Quantised weights of the graph (MatMulNBits, DequantizeLinear, GatherBlockQuantized, QMoE) as matrices with names.
#ifndef EMOE_COMPILER_SIMPLIFY_DEQUANTISE_H_
#define EMOE_COMPILER_SIMPLIFY_DEQUANTISE_H_

#include "frontends/weights.h"
#include "mlir/IR/BuiltinOps.h"

namespace emoe {

// Replaces codes, scales and zero points that lie in the file by one tensor each, "<quantised:...>", which the store
// decodes where it is read: MatMulNBits becomes a MatMul, DequantizeLinear of a weight that weight, GatherBlockQuantized
// a Gather, and a QMoE keeps float weights and no scales. Errors name a node whose quantisation is not known, or whose
// bytes only one device understands: `device` is who the model was exported for ("cuda"), or empty.
mlir::LogicalResult nameQuantised(mlir::ModuleOp module, WeightStore &store, llvm::StringRef device);

} // namespace emoe

#endif // EMOE_COMPILER_SIMPLIFY_DEQUANTISE_H_
