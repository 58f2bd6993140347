// adapt-bitwidth: brings the adaptation of widths to a module.
#ifndef EMOE_COMPILER_BITWIDTH_ADAPT_BITWIDTH_H_
#define EMOE_COMPILER_BITWIDTH_ADAPT_BITWIDTH_H_

#include "compiler/bitwidth/adapt.h"
#include "compiler/bitwidth/rounder.h"
#include "frontends/weights.h"
#include "mlir/IR/BuiltinOps.h"

namespace emoe {

// A layout's name, as --formats, sensitivity files and explanations have it: ternary-128, 2-128, 4-64, 8-32 (bits or
// ternary, then group); 16 for floats.
std::string formatName(LayoutAttr layout);
// The layout of a name. InvalidArgument: there is none, with those that there are.
absl::StatusOr<LayoutAttr> formatLayout(mlir::MLIRContext &context, llvm::StringRef name);

// What experts choose among unless told otherwise, from fewest bytes to most.
std::vector<LayoutAttr> defaultFormats(mlir::MLIRContext &context);

// Bytes of an expert's matrices in each layout without the padding of records: [layer][layout].
absl::StatusOr<std::vector<std::vector<uint64_t>>> expertBytes(mlir::ModuleOp module,
                                                               const std::vector<LayoutAttr> &layouts);

absl::StatusOr<uint64_t> countExpertWeights(mlir::ModuleOp module);

// One pass over the experts' weights: errors of all layouts, by `threads` threads, one expert in memory each.
absl::StatusOr<WidthProblem> measureSensitivity(mlir::ModuleOp module, const WeightStore &store,
                                                const Calibration &calibration, const std::vector<LayoutAttr> &layouts,
                                                CalibratedRounder &rounder, unsigned threads,
                                                const std::function<void(double)> &progress);

// Sets the layout of every expert weight, and on each emoe.moe the attribute emoe.widths: its experts' format names.
mlir::LogicalResult applyWidths(mlir::ModuleOp module, const std::vector<LayoutAttr> &layouts,
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
