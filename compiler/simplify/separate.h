// What optimisers of exporters put together becomes what it was made of, where patterns are looked for in the parts.
#ifndef EMOE_COMPILER_SIMPLIFY_SEPARATE_H_
#define EMOE_COMPILER_SIMPLIFY_SEPARATE_H_

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace emoe {

// Skip(Simplified)LayerNormalization becomes additions and the norm: what is added may be a part of a mixture. A product
// with weights that the graph puts side by side (packed query, key and value) becomes one product for each; a Split of
// them, and a GroupQueryAttention that takes them packed, take the products.
void separate(mlir::func::FuncOp function);

} // namespace emoe

#endif // EMOE_COMPILER_SIMPLIFY_SEPARATE_H_
