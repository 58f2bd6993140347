// The phase adapt-bitwidth: sensitivities, candidates, the choice and its verification, for the pipeline.
#ifndef EMOE_COMPILER_BITWIDTH_RUN_H_
#define EMOE_COMPILER_BITWIDTH_RUN_H_

#include "compiler/bitwidth/adapt_bitwidth.h"
#include "compiler/calibrate/models.h"
#include "compiler/calibrate/run.h"

namespace emoe {

struct AdaptRun {
  AdaptOptions adapt;
  Rounding rounding = Rounding::Compensated; // as the rounder's
  std::vector<ExpertFormat> formats;         // from fewest bytes to most; empty: defaultFormats
  uint64_t memory = 1u << 30;                // for packed records and slots beside the resident weights
  unsigned threads = 0;                      // 0: as many as the machine has
  std::string saveSensitivity;               // file for what was measured and predicted; empty: none
};

struct AdaptedWidths {
  WidthDecision decision;
  WidthProblem problem;
  std::vector<ExpertFormat> formats;
  uint64_t weights = 0; // of all experts
};

// `module` has its dense layouts; expert layouts are chosen here and set by applyWidths. Everything must outlive the call.
absl::StatusOr<AdaptedWidths> runAdaptation(mlir::ModuleOp module, const WeightStore &store, const LiveOptions &live,
                                            const QuantiseOptions &dense, LiveBundle &reference, const Texts &texts,
                                            const Calibration &calibration, CalibratedRounder &rounder,
                                            const AdaptRun &run);

// What the bundle says about it.
std::unique_ptr<fb::WidthsT> widthsTable(const AdaptedWidths &widths, const AdaptRun &run);

// What was decided, line by line, for the log.
std::vector<std::string> describe(const AdaptedWidths &widths, const AdaptOptions &options);

} // namespace emoe

#endif // EMOE_COMPILER_BITWIDTH_RUN_H_
