// Widths that a person chose, expert by expert.
#ifndef EMOE_COMPILER_QUANTISE_WIDTHS_H_
#define EMOE_COMPILER_QUANTISE_WIDTHS_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "mlir/IR/BuiltinOps.h"

namespace emoe {

// One line: experts of a layer (of every layer, all experts: no number) and how they are stored.
struct WidthRule {
  std::optional<int64_t> layer, expert;
  struct Width {
    unsigned bits = 0;   // 32 .. kTernaryBits
    unsigned group = 0;  // columns that share a scale; 0: defaultGroup
  };
  Width gateUp, down;
};

// Lines "LAYER EXPERT WIDTH [GROUP]"; LAYER and EXPERT are numbers or *, WIDTH is 32, 16, 8, 4, 3, 2 or ternary, # begins
// a comment. WIDTH/WIDTH and GROUP/GROUP give another one to down. InvalidArgument names the line.
absl::StatusOr<std::vector<WidthRule>> parseWidthRules(const std::string &text);

// Sets the layout of gate, up and down of each expert that a rule names; later rules win. An error if a layer or expert
// does not exist.
mlir::LogicalResult applyWidthRules(mlir::ModuleOp module, const std::vector<WidthRule> &rules);

} // namespace emoe

#endif // EMOE_COMPILER_QUANTISE_WIDTHS_H_
