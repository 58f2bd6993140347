// partition-experts: part the model over the storage hierarchy: weights that stay in memory, and one record per expert.
#ifndef EMOE_COMPILER_PARTITION_PARTITION_H_
#define EMOE_COMPILER_PARTITION_PARTITION_H_

#include <vector>

#include "dialects/emoe/emoe.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/SymbolTable.h"

namespace emoe {

// The shape of one expert: gate (if any) and up are [hidden, model], down is [model, hidden].
struct ExpertShape {
  int64_t model = 0, hidden = 0;
  bool gated = false;
  bool biased = false;  // vectors of biases lie behind the panels of gate and up, and behind those of down
};

// How a record with this shape and layout lies (schema/FORMAT.md, expert records): panels of gate and up interleaved,
// then down (in layout `down`; null: the same); chunks end at panel borders and are as large as EMOE_CHUNK_BYTES allows. A
// panel larger than a chunk is cut every EMOE_CHUNK_BYTES.
VariantAttr layOutRecord(const ExpertShape &shape, LayoutAttr layout, LayoutAttr down = {});

// A variant's layout is that of gate and up. Down has it too, unless the records' attribute `down_layouts`, parallel to
// the variants, says otherwise.
LayoutAttr downLayout(RecordsOp records, size_t variant);
void setDownLayouts(RecordsOp records, llvm::ArrayRef<LayoutAttr> layouts);

// The shape of `moe`'s experts; emits an error if they differ from each other. `symbols` is the module's table.
mlir::FailureOr<ExpertShape> expertShape(MoeOp moe, mlir::SymbolTable &symbols);

// Sets `placement` on every weight and adds one emoe.records op per mixture layer.
mlir::LogicalResult partitionExperts(mlir::ModuleOp module);

void registerPartitionPasses();

} // namespace emoe

#endif // EMOE_COMPILER_PARTITION_PARTITION_H_
