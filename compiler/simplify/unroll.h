// Control flow over experts (P5) becomes what exporters without it write: a loop written out, each expert by itself.
#ifndef EMOE_COMPILER_SIMPLIFY_UNROLL_H_
#define EMOE_COMPILER_SIMPLIFY_UNROLL_H_

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace emoe {

// Writes out Loops that run a number of times that the file says, and Scans along axes whose size it says; at most 2^20 ops
// in all. Then takes the branch of each If that only skips work on no rows: its condition is that an index list is not
// empty, and without rows both branches give the same. Everything else stays as it is.
void unrollLoops(mlir::func::FuncOp function);

} // namespace emoe

#endif // EMOE_COMPILER_SIMPLIFY_UNROLL_H_
