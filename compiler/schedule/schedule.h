// schedule: turn the model function into the straight-line program that the runtime executes: which kernels, on which
// buffers, in which order.
#ifndef EMOE_COMPILER_SCHEDULE_SCHEDULE_H_
#define EMOE_COMPILER_SCHEDULE_SCHEDULE_H_

#include "dialects/emoe/emoe.h"
#include "mlir/IR/BuiltinOps.h"

namespace emoe {

struct ScheduleOptions {
  bool exact = false;  // float32 activations at any width, instead of int8 for 8- and 4-bit weights
  unsigned kvBits = 32;  // of cached keys and values: 32 or 16
};

// Replaces @main by emoe.kernel, emoe.table and one emoe.program. Needs partition-experts' placements.
mlir::LogicalResult schedule(mlir::ModuleOp module, const ScheduleOptions &options);

void registerSchedulePasses();

} // namespace emoe

#endif // EMOE_COMPILER_SCHEDULE_SCHEDULE_H_
