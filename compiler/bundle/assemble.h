// The last phase: a scheduled module and the mapped weights -> everything that the writer puts into a bundle.
#ifndef EMOE_COMPILER_BUNDLE_ASSEMBLE_H_
#define EMOE_COMPILER_BUNDLE_ASSEMBLE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "compiler/bundle/writer.h"
#include "compiler/codegen/image.h"
#include "compiler/codegen/round.h"
#include "compiler/facts.h"
#include "frontends/weights.h"
#include "mlir/IR/BuiltinOps.h"

namespace emoe {

struct AssembleOptions {
  ModelFacts facts;
  std::vector<const Target *> targets;  // one kernel image each
  ImageOptions image;
  std::vector<uint8_t> tokenizer;       // compiled tables; empty: none
  Rounder *rounder = nullptr;           // of expert weights with scales; null: to nearest. Outlives the contents
  std::string source, sourceHash, options;  // provenance
  uint32_t defaultContext = 4096;       // --ctx when the user gives none, at most facts.context
  uint32_t defaultChunk = 32;           // --prefill-chunk when the user gives none
};

// Generates the kernels and lists tensors, buffers, steps and records. The returned callbacks pack weights on demand
// and keep references to `module` and `store`.
absl::StatusOr<BundleContents> assemble(mlir::ModuleOp module, const WeightStore &store,
                                        const AssembleOptions &options);

} // namespace emoe

#endif // EMOE_COMPILER_BUNDLE_ASSEMBLE_H_
