// Evaluation of ops that carry a state from call to call: emoe.short_conv and ONNX Runtime's CausalConvWithState.
#include <cmath>

#include "compiler/raise/evaluate_emoe.h"

using namespace mlir;

namespace emoe {

using Kind = Tensor::Kind;
using Values = std::vector<double>;

static LogicalResult evaluateShortConv(ShortConvOp op, Evaluator &e) {
  Tensor x = e.get(op.getInput());
  auto weight = e.findWeight(op, op.getWeightAttr());
  if (failed(weight)) {
    return failure();
  }
  int64_t taps = weight->getShape()[0], width = weight->getShape()[1], before = taps - 1, tokens = x.shape[0];
  auto values = e.readWeight(op, op.getWeightAttr(), 0, taps);
  auto bias = op.getBiasAttr() ? readVector(op, e, op.getBiasAttr()) : FailureOr<Values>(Values(width, 0.0));
  if (failed(values) || failed(bias)) {
    return failure();
  }
  Values &state = e.states[static_cast<int64_t>(op.getState())];
  if (state.empty()) {
    state.assign(before * width, 0.0);
  }
  if (static_cast<int64_t>(state.size()) != before * width) {
    return op.emitOpError("cannot be evaluated: its state holds ")
           << state.size() / width << " rows where the " << before << " before the call are needed";
  }
  Values rows = state, out;
  llvm::append_range(rows, *x.floats);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t c = 0; c < width; ++c) {
      double sum = (*bias)[c];
      for (int64_t j = 0; j < taps; ++j) {
        sum += (*values)[j * width + c] * rows[(t + j) * width + c];
      }
      out.push_back(sum);
    }
  }
  state.assign(rows.end() - before * width, rows.end());
  e.set(op.getResult(), Tensor::of(x.shape, std::move(out)));
  return success();
}

// input [B, D, T], weight [D, 1, K], bias [D], past [B, D, K - 1]: a causal convolution of each channel over past and input;
// the new state is the last K - 1 of these.
static LogicalResult evaluateCausalConv(onnx::MsCausalConvWithStateOp op, Evaluator &e) {
  Tensor x = e.get(op.getInput()), w = e.get(op.getWeight());
  StringRef activation = op.getActivation();
  bool silu = activation == "silu" || activation == "swish";
  if (x.kind != Kind::Float || w.kind != Kind::Float || x.rank() != 3 || w.rank() != 3 || w.shape[0] != x.shape[1] ||
      w.shape[1] != 1 || w.shape[2] < 1 || op.getNdim() != 1 || op.getStateWindow() != 0 ||
      (!silu && activation != "none" && !activation.empty())) {
    return op.emitOpError("cannot be evaluated: it must be one-dimensional, with weights [channels, 1, taps], no state "
                          "window, and no activation or silu");
  }
  int64_t batch = x.shape[0], width = x.shape[1], tokens = x.shape[2], taps = w.shape[2], before = taps - 1;
  Dims stateShape = {batch, width, before};
  Tensor past = op.getPastState() ? e.get(op.getPastState())
                                  : Tensor::of(stateShape, Values(*countElements(stateShape), 0.0));
  Tensor bias = op.getBias() ? e.get(op.getBias()) : Tensor::of({width}, Values(width, 0.0));
  if (past.kind != Kind::Float || past.shape != stateShape || bias.kind != Kind::Float || bias.size() != width) {
    return op.emitOpError("cannot be evaluated: its state or bias does not fit its weights");
  }
  Values out, state;
  for (int64_t line = 0; line < batch * width; ++line) {
    int64_t c = line % width;
    auto at = [&](int64_t t) {
      return t < before ? past.f()[line * before + t] : x.f()[line * tokens + t - before];
    };
    for (int64_t t = 0; t < tokens; ++t) {
      double sum = bias.f()[c];
      for (int64_t j = 0; j < taps; ++j) {
        sum += w.f()[c * taps + j] * at(t + j);
      }
      out.push_back(silu ? activate(Activation::Silu, sum) : sum);
    }
    for (int64_t j = 0; j < before; ++j) {
      state.push_back(at(tokens + j));
    }
  }
  e.set(op.getOutput(), Tensor::of(x.shape, std::move(out)));
  e.set(op.getPresentState(), Tensor::of(stateShape, std::move(state)));
  return success();
}

void addRecurrentOps(EvaluateTable &table) {
  addOp<ShortConvOp>(table, evaluateShortConv);
  addOp<onnx::MsCausalConvWithStateOp>(table, evaluateCausalConv);
}

} // namespace emoe
