// What was recognised in a model, for `emoec inspect`: from the raised module, before any width is chosen.
#ifndef EMOE_COMPILER_INSPECT_H_
#define EMOE_COMPILER_INSPECT_H_

#include <map>
#include <string>

#include "compiler/facts.h"
#include "frontends/weights.h"
#include "mlir/IR/BuiltinOps.h"

namespace emoe {

struct InspectionInput {
  std::string model;                        // path
  ModelFacts facts;
  size_t fileNodes = 0;                     // of the graph as the file has it, constants left out
  size_t nodes = 0;                         // after clean-up
  std::map<std::string, size_t> patterns;   // how often each pattern was raised (and proven)
};

// Prints the description: lines for people, or one JSON object.
void printInspection(mlir::ModuleOp raised, const WeightStore &store, const InspectionInput &input, bool json,
                     llvm::raw_ostream &out);

} // namespace emoe

#endif // EMOE_COMPILER_INSPECT_H_
