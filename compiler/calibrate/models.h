// Live bundles of the raised model: the reference, and all candidates in one.
#ifndef EMOE_COMPILER_CALIBRATE_MODELS_H_
#define EMOE_COMPILER_CALIBRATE_MODELS_H_

#include <memory>
#include <vector>

#include "compiler/bundle/assemble.h"
#include "compiler/calibrate/live_bundle.h"
#include "compiler/calibrate/moments.h"
#include "compiler/quantise/quantise.h"

namespace emoe {

struct LiveOptions {
  ModelFacts facts;
  const Target *target = nullptr; // of this machine
  bool exact = false;             // as in ScheduleOptions; the reference always computes in float32
  unsigned kvBits = 32;           // likewise; the reference always keeps float32
};

// The model in its file's own types. `raised` is the module after the phase raise; it is not changed. Diagnostics go to
// its context; the status says what failed.
absl::StatusOr<std::unique_ptr<LiveBundle>> makeReference(mlir::ModuleOp raised, const WeightStore &store,
                                                          const LiveOptions &options);

// The model with dense weights as `quantise` says and each expert in any of `layouts` (an Assignment's numbers index
// them), down in the layout of `downs` at the same place (empty: the same ones). Experts are rounded by `rounder` (null: to
// nearest), which is thread-safe and outlives the bundle, unless `pack` is given. Packed records are kept in memory up to
// `cacheBytes`, so the same record of two candidates must have the same bytes.
absl::StatusOr<std::unique_ptr<LiveBundle>>
makeCandidates(mlir::ModuleOp raised, const WeightStore &store, const LiveOptions &options,
               const QuantiseOptions &quantise, const std::vector<LayoutAttr> &layouts, uint64_t cacheBytes,
               LiveBundle::PackRecord pack = {}, Rounder *rounder = nullptr, std::vector<LayoutAttr> downs = {});

// The shapes of the mixture layers, in order.
absl::StatusOr<std::vector<MomentShape>> momentShapes(mlir::ModuleOp raised);
std::vector<TraceLayer> traceLayers(mlir::ModuleOp raised);

} // namespace emoe

#endif // EMOE_COMPILER_CALIBRATE_MODELS_H_
