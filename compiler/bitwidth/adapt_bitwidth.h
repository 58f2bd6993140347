// adapt-bitwidth: brings the adaptation of widths to a module.
#ifndef EMOE_COMPILER_BITWIDTH_ADAPT_BITWIDTH_H_
#define EMOE_COMPILER_BITWIDTH_ADAPT_BITWIDTH_H_

#include "compiler/bitwidth/adapt.h"
#include "compiler/bitwidth/format.h"
#include "compiler/bitwidth/rounder.h"
#include "frontends/weights.h"
#include "mlir/IR/BuiltinOps.h"

namespace emoe {

// Bytes of an expert's matrices in each format without the padding of records: [layer][format].
absl::StatusOr<std::vector<std::vector<uint64_t>>> expertBytes(mlir::ModuleOp module,
                                                               const std::vector<ExpertFormat> &formats);

absl::StatusOr<uint64_t> countExpertWeights(mlir::ModuleOp module);

// One pass over the experts' weights: errors of all formats, by `threads` threads, one expert in memory each.
absl::StatusOr<WidthProblem> measureSensitivity(mlir::ModuleOp module, const WeightStore &store,
                                                const Calibration &calibration, const std::vector<ExpertFormat> &formats,
                                                CalibratedRounder &rounder, unsigned threads,
                                                const std::function<void(double)> &progress);

// Sets the layouts of every expert's weights, and on each emoe.moe the attribute emoe.widths: its experts' format names.
mlir::LogicalResult applyWidths(mlir::ModuleOp module, const std::vector<ExpertFormat> &formats,
                                const Assignment &assignment);

// A sensitivity file is JSON: {"formats": [name, ...], "layers": [[{"probability": p, "losses": [nats, ...]}, ...], ...]},
// losses and formats in the same order, fewest bytes first. Reading checks all of it.
struct SensitivityFile {
  std::vector<std::string> formats;
  std::vector<std::vector<std::vector<double>>> losses; // [layer][expert][format], in nats a token
  std::vector<std::vector<double>> probability;
};
absl::StatusOr<SensitivityFile> readSensitivity(const std::string &path);
absl::Status writeSensitivity(const SensitivityFile &file, const std::string &path);

void registerBitwidthPasses();

} // namespace emoe

#endif // EMOE_COMPILER_BITWIDTH_ADAPT_BITWIDTH_H_
