// Raising is proven, not hoped: claims are checked by evaluating both sides (evaluate.h) on random inputs and weights.
#ifndef EMOE_COMPILER_RAISE_PROVE_H_
#define EMOE_COMPILER_RAISE_PROVE_H_

#include <set>

#include "compiler/raise/claim.h"
#include "compiler/raise/evaluate.h"
#include "compiler/raise/scenario.h"
#include "frontends/weights.h"
#include "llvm/ADT/DenseSet.h"

namespace emoe {

// Proves claims by evaluation with two seeds, in two situations: tokens after others, and tokens at the start.
//   Weights are random by location, so that reading the wrong expert shows; a tensor that the replacement does not
//   read has its real values, for they were folded into the replacement's attributes.
//   Integer inputs keep the values that they have when the whole function runs; floats are drawn afresh.
//   Of claims that are alike up to where their weights are, the first is evaluated; for the others it is enough that
//   the replacement's weights lie in the original's as they do in the first.
// No symbol of the module may be erased while this lives.
class EvaluatingProver : public Prover {
public:
  // Runs the function once per situation to learn shapes and integers, so `function` must still be as imported.
  // `store` may be null: then all weights are random.
  EvaluatingProver(mlir::func::FuncOp function, const WeightStore *store);

  mlir::LogicalResult prove(const Claim &claim) override;

  // How many claims were evaluated, and how many were like one that was.
  size_t evaluated() const { return evaluatedCount; }
  size_t alike() const { return alikeCount; }

private:
  struct Facts {
    Scenario scenario;
    std::vector<int64_t> ids;       // the tokens
    std::vector<Tensor> arguments;  // of the function as imported; empty if their purpose is unknown
    // Shape and, of integers, the elements of every value of the function as imported. A value may have been erased
    // since and its address reused, so the op's name and the type are compared before a fact is believed.
    // A graph has hundreds of thousands of values and few shapes.
    struct Fact {
      mlir::OperationName name;
      mlir::Type type;
      const Dims *shape; // in `shapes`
      Tensor::Kind kind;
      std::shared_ptr<const std::vector<int64_t>> ints;
    };
    llvm::DenseMap<mlir::Value, Fact> values;
  };

  // What is known of a value in the situation, floats without elements; nothing if nothing is.
  std::optional<Tensor> factOf(mlir::Value value, const Facts &facts) const;
  // Lets the evaluator know the results of onnx.Shape ops that no data decides: extents are those of the situation,
  // whatever computed the tensor. Without this, a claim about one layer would need the layers before it for their shapes.
  void giveExtents(Evaluator &evaluator, const Facts &facts) const;
  // What the claim's input is in the situation: by its fact, else by its type in the scenario; an error if neither
  // tells its shape.
  mlir::FailureOr<Tensor> inputOf(mlir::Value value, const Facts &facts, const Scenario &scenario, uint64_t seed);
  mlir::LogicalResult evaluate(const Claim &claim, const Facts &facts, uint64_t seed, const ByteRanges &randomised,
                               llvm::ArrayRef<mlir::Operation *> original,
                               llvm::ArrayRef<mlir::Operation *> replacement);
  // Gives the inputs of the claim's recurrent states random values, and the evaluator's states the same. Reads
  // emoe.short_conv's rows off the ops of `replacement`.
  mlir::LogicalResult fillStates(const Claim &claim, const Facts &facts, uint64_t salt, Evaluator &evaluator,
                                 llvm::ArrayRef<mlir::Operation *> replacement);
  // Compares the outputs of the claim's states with the evaluator's states after the call.
  mlir::LogicalResult compareStates(const Claim &claim, double tolerance, Evaluator &evaluator,
                                    llvm::ArrayRef<mlir::Operation *> replacement);
  // The claim's structure without places of weights, and how both sides' weights correspond; empty if the claim must
  // be evaluated by itself.
  std::vector<uint64_t> signatureOf(const Claim &claim, llvm::ArrayRef<mlir::Operation *> original,
                                    llvm::ArrayRef<mlir::Operation *> replacement);

  mutable mlir::func::FuncOp function; // MLIR's ops are handles without const
  SymbolIndex symbols;
  llvm::DenseSet<mlir::Value> fixedExtents;
  std::unique_ptr<RealWeights> real; // null without a store
  std::vector<Facts> situations;
  std::set<Dims> shapes; // of the facts
  std::set<std::vector<uint64_t>> proven;
  size_t evaluatedCount = 0, alikeCount = 0;
};

// Largest allowed |difference| of a proof, relative to the largest magnitude of the values. Both sides are computed in
// float64, so what differs is rounding of constants to float32 (2^-24 each, somewhat amplified): 1e-5. A 16-bit scalar
// in the original that is neither a short binary fraction nor one of `exact` may have been raised to what it was
// rounded from: 8 units in its last place more. So may the cosines and sines of a rotary embedding's tables: 8 units.
double toleranceOf(mlir::ArrayRef<mlir::Operation *> original, SymbolIndex &symbols, WeightSource *real,
                   mlir::ArrayRef<double> exact);

// The scalars that 16-bit constants of an attention may stand for: its scale s, s^1/2 (the scale split between query
// and key) and their inverses.
llvm::SmallVector<double, 4> exactScalarsOf(mlir::ArrayRef<mlir::Operation *> replacement);

// Calls body(view) for the weights that `op` names, in the order of its attributes.
void forEachWeight(mlir::Operation *op, SymbolIndex &symbols, llvm::function_ref<void(const WeightView &)> body);

// The byte ranges that both sides read: those may be random; what only one side reads is real.
ByteRanges sharedRanges(mlir::ArrayRef<mlir::Operation *> original, mlir::ArrayRef<mlir::Operation *> replacement,
                        SymbolIndex &originalSymbols, SymbolIndex &replacementSymbols);

// Compares a value of the original with its replacement; [1, T, D] and [1, heads, T, d] compare with rows. Emits an
// error at `op` that names `what`, the largest difference and where it is.
mlir::LogicalResult compare(mlir::Operation *op, llvm::StringRef what, const Tensor &original,
                            const Tensor &replacement, double tolerance);

// Checks that the function @main of `raised` (ids [T] -> logits [T, V]) computes what @main of `original` does, for a
// few tokens from the start. With `realWeights`, weights are the model's own; otherwise random by location, except
// those that only one of both reads. Emits an error that names the largest difference.
mlir::LogicalResult proveModel(mlir::ModuleOp original, mlir::ModuleOp raised, const WeightStore *store,
                               bool realWeights);

} // namespace emoe

#endif // EMOE_COMPILER_RAISE_PROVE_H_
