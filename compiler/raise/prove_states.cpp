// Recurrent states in claims: the original's of a convolution lie channels first, [1, width, kept], the oldest entry first; an
// op's state holds the last ones as rows. Those of delta nets are the same numbers in the same order.
#include "compiler/raise/prove.h"

using namespace mlir;

namespace emoe {

// Rows of the state of the convolution of the replacement that has it, 0 for that of a delta net; an error if none has it.
static FailureOr<int64_t> rowsOfState(const Claim &claim, int64_t number, Evaluator &evaluator,
                                      ArrayRef<Operation *> replacement) {
  for (Operation *op : replacement) {
    auto conv = dyn_cast<ShortConvOp>(op);
    if (conv && static_cast<int64_t>(conv.getState()) == number) {
      auto weight = evaluator.findWeight(op, conv.getWeightAttr());
      return failed(weight) ? FailureOr<int64_t>(failure()) : FailureOr<int64_t>(weight->getShape()[0] - 1);
    }
    auto net = dyn_cast<DeltaNetOp>(op);
    if (net && static_cast<int64_t>(net.getState()) == number) {
      return 0;
    }
  }
  return emitError(claim.outputs.front().getLoc())
         << "pattern '" << claim.pattern << "' claims recurrent state " << number << ", which none of its ops has";
}

// The last `rows` entries of [1, width, kept] as [rows, width]; 0: the state as it is.
static FailureOr<Tensor> lastEntries(Operation *op, const Tensor &state, int64_t rows) {
  if (rows == 0) {
    return state;
  }
  if (state.rank() != 3 || state.shape[0] != 1 || state.shape[2] < rows) {
    return op->emitError("cannot prove its recurrent state: it is not [1, channels, kept] with ")
           << rows << " entries at least";
  }
  int64_t width = state.shape[1], kept = state.shape[2];
  std::vector<int64_t> from;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t c = 0; c < width; ++c) {
      from.push_back(c * kept + kept - rows + row);
    }
  }
  return state.take({rows, width}, from);
}

static Operation *opOf(Value value) {
  return value.getDefiningOp() ? value.getDefiningOp() : value.getParentBlock()->getParentOp();
}

LogicalResult EvaluatingProver::fillStates(const Claim &claim, const Facts &facts, uint64_t salt, Evaluator &evaluator,
                                           ArrayRef<Operation *> replacement) {
  for (const Claim::State &state : claim.states) {
    auto rows = rowsOfState(claim, state.number, evaluator, replacement);
    auto tensor = inputOf(state.past, facts, facts.scenario, salt++);
    if (failed(rows) || failed(tensor)) {
      return failure();
    }
    auto entries = lastEntries(opOf(state.present), *tensor, *rows);
    if (failed(entries)) {
      return failure();
    }
    evaluator.set(state.past, *tensor);
    evaluator.states[state.number] = *entries->floats;
  }
  return success();
}

LogicalResult EvaluatingProver::compareStates(const Claim &claim, double tolerance, Evaluator &evaluator,
                                              ArrayRef<Operation *> replacement) {
  for (const Claim::State &state : claim.states) {
    auto rows = rowsOfState(claim, state.number, evaluator, replacement);
    if (failed(rows)) {
      return failure();
    }
    Operation *op = opOf(state.present);
    auto left = lastEntries(op, evaluator.get(state.present), *rows);
    if (failed(left) ||
        failed(compare(op, ("the state that pattern '" + claim.pattern + "' leaves").str(), *left,
                       Tensor::of(left->shape, std::vector<double>(evaluator.states[state.number])), tolerance))) {
      return failure();
    }
  }
  return success();
}

} // namespace emoe
