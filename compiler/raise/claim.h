// Raising replaces subgraphs by ops; a claim says which, and a prover checks it before anything is replaced.
#ifndef EMOE_COMPILER_RAISE_CLAIM_H_
#define EMOE_COMPILER_RAISE_CLAIM_H_

#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include "mlir/IR/Value.h"
#include "mlir/Support/LLVM.h"

namespace emoe {

// "From `inputs`, `outputs` and `replacements` have the same values." Both are computed by ops of one function: the
// new ops stand beside the old ones until the claim is proven. Shapes may differ where an onnx.to_rows or
// onnx.from_rows bridges [1, T, D] (or [1, heads, T, d]) and [T, D] rows.
struct Claim {
  llvm::StringRef pattern;                      // "rms-norm", "experts P3": for messages and remarks
  llvm::SmallVector<mlir::Value> inputs;        // where both computations start; may be block arguments
  llvm::SmallVector<mlir::Value> outputs;       // of the original subgraph
  llvm::SmallVector<mlir::Value> replacements;  // one for each output
  // Attention: the cache inputs [1, kv_heads, P, head_dim] that stand for the emoe.attention's cache before the call.
  mlir::Value pastKey, pastValue;
  // If set, the cache inputs hold something that keys and values are computed from (latents), and the original's keys
  // and values [1, kv_heads, P + T, width] of all positions are these: the earlier ones are the emoe.attention's cache,
  // the others must be its operands. A narrower head ends in zeros.
  mlir::Value keys, values;
  // Recurrent states: the input `past` stands for state `number` of the replacement's ops before the call, and its output
  // `present` for that after it (each [1, channels, kept], whose last entries are a convolution's rows; or what a delta net has).
  struct State {
    mlir::Value past, present;
    int64_t number;
  };
  llvm::SmallVector<State, 1> states;
};

class Prover {
public:
  virtual ~Prover() = default;
  // Emits an error at the output's op (pattern, largest difference, where) and fails if the claim does not hold.
  virtual mlir::LogicalResult prove(const Claim &claim) = 0;
};

} // namespace emoe

#endif // EMOE_COMPILER_RAISE_CLAIM_H_
