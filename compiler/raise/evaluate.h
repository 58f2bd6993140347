// An evaluator of the onnx and emoe dialects: plain, slow and obvious. It is the reference semantics of both: proofs of
// raising compare what it computes, and test/compiler/raise/evaluate pins it against numbers worked out by hand.
// Float types are storage: every float is computed in float64 and casts between float types are the identity.
#ifndef EMOE_COMPILER_RAISE_EVALUATE_H_
#define EMOE_COMPILER_RAISE_EVALUATE_H_

#include <functional>

#include "compiler/raise/evaluate_tensor.h"
#include "dialects/emoe/emoe.h"
#include "dialects/onnx/onnx.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringMap.h"
#include "mlir/IR/BuiltinOps.h"

namespace emoe {

// Symbols of a module by name, kept between evaluations: a module has thousands. Symbols that are added later are
// found; none may be erased while this lives.
class SymbolIndex {
public:
  explicit SymbolIndex(mlir::ModuleOp module) : module(module) {}
  mlir::Operation *find(mlir::StringAttr name);

private:
  mlir::ModuleOp module;
  llvm::DenseMap<mlir::StringAttr, mlir::Operation *> symbols;
};

class Evaluator {
public:
  // Keys and values of an attention layer before the call, [positions, kv_heads * head_dim] each.
  struct Cache {
    std::vector<double> keys, values;
  };

  Evaluator(SymbolIndex &symbols, WeightSource &weights) : symbols(symbols), weights(weights) {}

  int64_t position = 0;                  // of the first row: tokens before this call
  llvm::DenseMap<int64_t, Cache> caches; // by emoe.attention's layer; an absent one is empty
  llvm::DenseMap<int64_t, std::vector<double>> states; // recurrent states, by number; an absent one is zeros
  // Scalar float constants for which the exact value is known: a constant of a 16-bit float type within half a unit
  // in the last place of one of these is taken to be it (float types are storage).
  llvm::SmallVector<double, 4> exactScalars;

  // Floats are rounded to float32 after each op, as runtimes of the file compute them.
  bool single = false;

  // Knows some values, if set: those are taken instead of computed; nothing for the others.
  std::function<std::optional<Tensor>(mlir::Value)> known;

  // Called with every value that is computed, if set.
  std::function<void(mlir::Value, const Tensor &)> observe;

  // Gives `value`, which is then not computed.
  void set(mlir::Value value, Tensor tensor);
  bool has(mlir::Value value) const { return values.count(value); }

  // Computes `goals` from what was set, walking the def-use graph backwards within one block; what is no goal and was
  // not set is dropped after its last use. Emits an error at the op that cannot be evaluated.
  mlir::LogicalResult run(mlir::ArrayRef<mlir::Value> goals);

  // The ops that run(goals) would evaluate, in order; an error if a block argument that was not set is needed.
  mlir::FailureOr<std::vector<mlir::Operation *>> opsFor(mlir::ArrayRef<mlir::Value> goals);

  //===--- for the implementation of ops -------------------------------------------------------------------------===//

  // The value's tensor. Precondition: it was set or computed. An operand of an op that does not look at views itself
  // has been read from its file.
  Tensor get(mlir::Value value) const { return values.find(value)->second; }
  // Reads a view, or part of one.
  mlir::FailureOr<Tensor> read(mlir::Operation *op, const WeightView &view);
  // The tensor with its data.
  mlir::FailureOr<Tensor> read(mlir::Operation *op, const Tensor &tensor);
  // The elements of one slice of the first axis of a view.
  mlir::LogicalResult readSlice(mlir::Operation *op, const WeightView &view, int64_t index, std::vector<double> &out);
  // Elements of rows [first, first + count) of an emoe.weight that `op` names.
  mlir::FailureOr<std::vector<double>> readWeight(mlir::Operation *op, mlir::FlatSymbolRefAttr name, int64_t first,
                                                  int64_t count);
  mlir::FailureOr<WeightOp> findWeight(mlir::Operation *op, mlir::FlatSymbolRefAttr name);
  SymbolIndex &symbolIndex() { return symbols; }

private:
  mlir::LogicalResult evaluate(mlir::Operation *op);

  SymbolIndex &symbols;
  WeightSource &weights;
  llvm::DenseMap<mlir::Value, Tensor> values;
};

// How an op is evaluated: its operands are in the evaluator; it sets its results or emits an error.
using EvaluateFunction = std::function<mlir::LogicalResult(mlir::Operation *, Evaluator &)>;
using EvaluateTable = llvm::StringMap<EvaluateFunction>;

// Each file of ops adds its own.
void addElementwiseOps(EvaluateTable &table);
void addShapeOps(EvaluateTable &table);
void addGatherOps(EvaluateTable &table);
void addComputeOps(EvaluateTable &table);
void addContribOps(EvaluateTable &table);
void addEmoeOps(EvaluateTable &table);
void addMixtureOps(EvaluateTable &table);
void addRecurrentOps(EvaluateTable &table);

// Adds `function` (OpT, Evaluator &) -> LogicalResult for OpT.
template <typename OpT, typename F> void addOp(EvaluateTable &table, F function) {
  table[OpT::getOperationName()] = [function](mlir::Operation *op, Evaluator &e) -> mlir::LogicalResult {
    return function(mlir::cast<OpT>(op), e);
  };
}

// The axis as a number in [0, rank); an error at `op` if it is outside [-rank, rank).
mlir::FailureOr<int64_t> axisOf(mlir::Operation *op, int64_t axis, int64_t rank);

// Elements of an integer tensor; an error if it is none.
mlir::FailureOr<Dims> integersOf(mlir::Operation *op, const Tensor &tensor);

// A shape of as many elements as allowed; an error otherwise.
mlir::LogicalResult checkShape(mlir::Operation *op, llvm::ArrayRef<int64_t> shape);

} // namespace emoe

#endif // EMOE_COMPILER_RAISE_EVALUATE_H_
