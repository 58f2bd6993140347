// Formats that experts choose among: a layout of gate and up, and one of down.
#ifndef EMOE_COMPILER_BITWIDTH_FORMAT_H_
#define EMOE_COMPILER_BITWIDTH_FORMAT_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "dialects/emoe/emoe.h"

namespace emoe {

// Both have scales.
struct ExpertFormat {
  LayoutAttr gateUp, down;
};

// As --formats, sensitivity files and explanations have it: ternary-128, 2-128, 4-64, 8-32 (bits or ternary, then group);
// 2-128/3-128 where down has another layout.
std::string formatName(const ExpertFormat &format);
// InvalidArgument: there is none of this name, with those that there are.
absl::StatusOr<ExpertFormat> formatOf(mlir::MLIRContext &context, llvm::StringRef name);

// What experts choose among unless told otherwise, from fewest bytes to most.
std::vector<ExpertFormat> defaultFormats(mlir::MLIRContext &context);

} // namespace emoe

#endif // EMOE_COMPILER_BITWIDTH_FORMAT_H_
