// From mapped weights to packed bytes: tensors of the resident section and experts' records.
#ifndef EMOE_COMPILER_BUNDLE_EXPERTS_H_
#define EMOE_COMPILER_BUNDLE_EXPERTS_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "compiler/codegen/round.h"
#include "frontends/weights.h"
#include "mlir/IR/BuiltinOps.h"

namespace emoe {

// An expert's weights: gate (null if not gated), up, down.
struct ExpertWeights {
  WeightOp gate, up, down;
  WeightOp gateBias, upBias, downBias; // null: zeros, if the record has biases at all
};

// [layer][expert], by the placements that partition-experts set.
absl::StatusOr<std::vector<std::vector<ExpertWeights>>> findExperts(mlir::ModuleOp module);

// Fills `out` (`bytes`: packedBytes of its layout) with a resident weight.
absl::Status packTensor(WeightOp weight, const WeightStore &store, uint8_t *out, uint64_t bytes);

// Fills `out` (variant.bytes) with an expert's record in the variant's layout, down in layout `down` (null: the same),
// whatever layout its weights have. Where a layout has scales, `rounder` chooses codes and scales; null: to nearest.
absl::Status packRecord(const ExpertWeights &expert, VariantAttr variant, const WeightStore &store, uint8_t *out,
                        Rounder *rounder = nullptr, LayoutAttr down = {});

} // namespace emoe

#endif // EMOE_COMPILER_BUNDLE_EXPERTS_H_
