// Evaluation of ops that carry a state from call to call: emoe.short_conv, emoe.delta_net, and ONNX Runtime's
// CausalConvWithState and LinearAttention with what stands around it.
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

static LogicalResult evaluateNumberTokens(NumberTokensOp op, Evaluator &e) {
  Tensor ids = e.get(op.getIds());
  const int64_t padding = static_cast<int64_t>(op.getPadding()), first = static_cast<int64_t>(op.getFirst());
  const int64_t limit = static_cast<int64_t>(op.getLimit());
  Values own, &state = op.getState() ? e.states[static_cast<int64_t>(*op.getState())] : own;
  state.resize(1);
  std::vector<int64_t> numbers;
  for (int64_t t = 0; t < ids.size(); ++t) {
    numbers.push_back(ids.i()[t] == padding ? first - 1 : std::min(static_cast<int64_t>(state[0]) + first, limit - 1));
    state[0] += ids.i()[t] != padding;
  }
  e.set(op.getResult(), Tensor::of(ids.shape, std::move(numbers)));
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

static double logistic(double x) { return 1 / (1 + std::exp(-x)); }
static double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }

namespace {

// The gated delta rule on rows of heads. Head h has key (and query) head h / (heads / keyHeads).
struct DeltaRule {
  int64_t tokens, heads, keyHeads, keyWidth, valueWidth;
  double scale;

  // decay (logarithms) and rate: [tokens, heads]; state: [heads, keyWidth, valueWidth], which goes on.
  Values run(const double *q, const double *key, const double *value, const double *decay, const double *rate,
             Values &state) const {
    Values out(tokens * heads * valueWidth, 0.0);
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t h = 0; h < heads; ++h) {
        int64_t keyAt = (t * keyHeads + h / (heads / keyHeads)) * keyWidth, gate = t * heads + h;
        for (int64_t j = 0; j < valueWidth; ++j) {
          double said = 0, *column = state.data() + h * keyWidth * valueWidth + j;
          for (int64_t i = 0; i < keyWidth; ++i) {
            column[i * valueWidth] *= std::exp(decay[gate]);
            said += key[keyAt + i] * column[i * valueWidth];
          }
          double correction = rate[gate] * (value[gate * valueWidth + j] - said), &y = out[gate * valueWidth + j];
          for (int64_t i = 0; i < keyWidth; ++i) {
            column[i * valueWidth] += key[keyAt + i] * correction;
            y += scale * q[keyAt + i] * column[i * valueWidth];
          }
        }
      }
    }
    return out;
  }
};

} // namespace

static LogicalResult evaluateDeltaNet(DeltaNetOp op, Evaluator &e) {
  Tensor q = e.get(op.getQuery()), key = e.get(op.getKey()), value = e.get(op.getValue());
  Tensor a = e.get(op.getDecayInput()), b = e.get(op.getRateInput());
  int64_t heads = op.getHeads(), keyHeads = op.getKeyHeads(), tokens = q.shape[0];
  auto factor = readVector(op, e, op.getDecayAttr());
  auto bias = op.getDecayBiasAttr() ? readVector(op, e, op.getDecayBiasAttr()) : FailureOr<Values>(Values(heads, 0.0));
  if (failed(factor) || failed(bias)) {
    return failure();
  }
  DeltaRule rule{tokens, heads, keyHeads, q.shape[1] / keyHeads, value.shape[1] / heads, op.getScale().convertToFloat()};
  Values queries = *q.floats, keys = *key.floats, decay, rate;
  for (Values *rows : {&queries, &keys}) {
    for (int64_t part = 0; op.getNormalise() && part < tokens * keyHeads; ++part) {
      double *from = rows->data() + part * rule.keyWidth, sum = op.getEpsilon().convertToFloat();
      for (int64_t i = 0; i < rule.keyWidth; ++i) {
        sum += from[i] * from[i];
      }
      for (int64_t i = 0; i < rule.keyWidth; ++i) {
        from[i] = sum == 0 ? 0 : from[i] / std::sqrt(sum);
      }
    }
  }
  for (int64_t n = 0; n < tokens * heads; ++n) {
    double f = (*factor)[n % heads];
    decay.push_back((op.getLogDecay() ? -std::exp(f) : f) * softplus(a.f()[n] + (*bias)[n % heads]));
    rate.push_back(logistic(b.f()[n]));
  }
  Values &state = e.states[static_cast<int64_t>(op.getState())];
  size_t size = heads * rule.keyWidth * rule.valueWidth;
  if (state.empty()) {
    state.assign(size, 0.0);
  }
  if (state.size() != size) {
    return op.emitOpError("cannot be evaluated: its state holds ") << state.size() << " numbers, not " << size;
  }
  e.set(op.getResult(), Tensor::of(value.shape, rule.run(queries.data(), keys.data(), value.f(), decay.data(),
                                                         rate.data(), state)));
  return success();
}

// query [1, T, heads * d], key [1, T, key heads * d], value [1, T, heads * e], decay and beta [1, T, heads], state [1, heads,
// d, e]: the gated delta rule, with as many query heads as key heads.
static LogicalResult evaluateLinearAttention(onnx::MsLinearAttentionOp op, Evaluator &e) {
  if (op.getUpdateRule() != "gated_delta" || op.getStateWindow() != 0 || !op.getKey() || !op.getValue() ||
      !op.getDecay() || !op.getBeta()) {
    return op.emitOpError("cannot be evaluated: it must have the update rule gated_delta with query, key, value, decay and "
                          "beta, and no state window");
  }
  Tensor q = e.get(op.getQuery()), key = e.get(op.getKey()), value = e.get(op.getValue());
  Tensor decay = e.get(op.getDecay()), beta = e.get(op.getBeta());
  int64_t heads = op.getKvNumHeads(), keyHeads = op.getQNumHeads();
  for (const Tensor &x : {q, key, value, decay, beta}) {
    if (x.kind != Kind::Float || x.rank() != 3 || x.shape[0] != 1 || x.shape[1] != q.shape[1]) {
      return op.emitOpError("cannot be evaluated: its operands must be floats [1, T, width]");
    }
  }
  if (heads < 1 || keyHeads < 1 || heads % keyHeads || q.shape != key.shape || q.shape[2] % keyHeads ||
      value.shape[2] % heads || decay.shape[2] != heads || beta.shape[2] != heads) {
    return op.emitOpError("cannot be evaluated: its heads do not divide its operands");
  }
  DeltaRule rule{q.shape[1], heads, keyHeads, q.shape[2] / keyHeads, value.shape[2] / heads,
                 static_cast<double>(op.getScale())};
  if (rule.scale == 0) {
    rule.scale = 1 / std::sqrt(static_cast<double>(rule.keyWidth));
  }
  Dims stateShape = {1, heads, rule.keyWidth, rule.valueWidth};
  Tensor past = op.getPastState() ? e.get(op.getPastState())
                                  : Tensor::of(stateShape, Values(*countElements(stateShape), 0.0));
  if (past.kind != Kind::Float || past.shape != stateShape) {
    return op.emitOpError("cannot be evaluated: its state does not fit its heads");
  }
  Values state = *past.floats;
  e.set(op.getOutput(), Tensor::of(value.shape, rule.run(q.f(), key.f(), value.f(), decay.f(), beta.f(), state)));
  e.set(op.getPresentState(), Tensor::of(stateShape, std::move(state)));
  return success();
}

// a, bias, factor, b: factor * softplus(a + bias), and the sigmoid of b.
static LogicalResult evaluateLinearAttentionGate(onnx::MsLinearAttentionGateOp op, Evaluator &e) {
  if (op->getNumOperands() != 4) {
    return op.emitOpError("cannot be evaluated: it must have four operands");
  }
  Tensor a = e.get(op->getOperand(0)), bias = e.get(op->getOperand(1)), factor = e.get(op->getOperand(2));
  Tensor b = e.get(op->getOperand(3));
  int64_t heads = bias.size();
  if (a.kind != Kind::Float || b.kind != Kind::Float || bias.kind != Kind::Float || factor.kind != Kind::Float ||
      a.rank() == 0 || a.shape.back() != heads || factor.size() != heads) {
    return op.emitOpError("cannot be evaluated: its operands do not fit");
  }
  Values decay, rate;
  for (int64_t n = 0; n < a.size(); ++n) {
    decay.push_back(factor.f()[n % heads] * softplus(a.f()[n] + bias.f()[n % heads]));
  }
  for (int64_t n = 0; n < b.size(); ++n) {
    rate.push_back(logistic(b.f()[n]));
  }
  e.set(op.getDecay(), Tensor::of(a.shape, std::move(decay)));
  e.set(op.getBeta(), Tensor::of(b.shape, std::move(rate)));
  return success();
}

// Each part of a row, as wide as the weights: rms norm, times silu of the gate.
static LogicalResult evaluateGatedRMSNorm(onnx::MsGatedRMSNormOp op, Evaluator &e) {
  Tensor x = e.get(op.getInput()), weight = e.get(op.getWeight()), gate = e.get(op.getGate());
  int64_t width = weight.size();
  if (x.kind != Kind::Float || weight.kind != Kind::Float || gate.kind != Kind::Float || x.rank() == 0 || width == 0 ||
      gate.shape != x.shape || x.shape.back() % width) {
    return op.emitOpError("cannot be evaluated: its operands do not fit");
  }
  Values out(x.size());
  for (int64_t first = 0; first < x.size(); first += width) {
    double squares = 0;
    for (int64_t i = 0; i < width; ++i) {
      squares += x.f()[first + i] * x.f()[first + i];
    }
    double inverse = 1 / std::sqrt(squares / static_cast<double>(width) + static_cast<double>(op.getEpsilon()));
    for (int64_t i = 0; i < width; ++i) {
      out[first + i] = x.f()[first + i] * inverse * weight.f()[i] * activate(Activation::Silu, gate.f()[first + i]);
    }
  }
  e.set(op->getResult(0), Tensor::of(x.shape, std::move(out)));
  return success();
}

void addRecurrentOps(EvaluateTable &table) {
  addOp<DeltaNetOp>(table, evaluateDeltaNet);
  addOp<onnx::MsLinearAttentionOp>(table, evaluateLinearAttention);
  addOp<onnx::MsLinearAttentionGateOp>(table, evaluateLinearAttentionGate);
  addOp<onnx::MsGatedRMSNormOp>(table, evaluateGatedRMSNorm);
  addOp<ShortConvOp>(table, evaluateShortConv);
  addOp<NumberTokensOp>(table, evaluateNumberTokens);
  addOp<onnx::MsCausalConvWithStateOp>(table, evaluateCausalConv);
}

} // namespace emoe
