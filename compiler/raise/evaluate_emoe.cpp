// Evaluation of the emoe dialect: the reference semantics of its ops, in the order in which ops.td defines them.
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "compiler/raise/evaluate_emoe.h"

using namespace mlir;

namespace emoe {

using Kind = Tensor::Kind;
using Values = std::vector<double>;

FailureOr<Values> readVector(Operation *op, Evaluator &e, FlatSymbolRefAttr name) {
  return e.readWeight(op, name, 0, 1);
}

static LogicalResult evaluateEmbedding(EmbeddingOp op, Evaluator &e) {
  Tensor ids = e.get(op.getIds());
  int64_t tokens = ids.size(), width = cast<RankedTensorType>(op.getType()).getDimSize(1);
  Values out;
  for (int64_t t = 0; t < tokens; ++t) {
    auto row = e.readWeight(op, op.getWeightAttr(), ids.i()[t], 1);
    if (failed(row)) {
      return failure();
    }
    for (double value : *row) {
      out.push_back(op.getScale().convertToFloat() * value);
    }
  }
  e.set(op.getResult(), Tensor::of({tokens, width}, std::move(out)));
  return success();
}

static LogicalResult evaluateNorm(NormOp op, Evaluator &e) {
  Tensor x = e.get(op.getInput());
  auto weight = readVector(op, e, op.getWeightAttr());
  auto bias = op.getBiasAttr() ? readVector(op, e, op.getBiasAttr()) : FailureOr<Values>(Values());
  if (failed(weight) || failed(bias)) {
    return failure();
  }
  int64_t width = x.shape[1] / static_cast<int64_t>(op.getHeads());
  double epsilon = op.getEpsilon().convertToFloat();
  double offset = op.getOffset().convertToFloat();
  bool rms = op.getKind() == NormKind::Rms;
  Values out(x.size());
  for (int64_t part = 0; part < x.size() / width; ++part) {
    const double *from = x.f() + part * width;
    double mean = rms ? 0 : std::accumulate(from, from + width, 0.0) / static_cast<double>(width), squares = 0;
    for (int64_t i = 0; i < width; ++i) {
      squares += (from[i] - mean) * (from[i] - mean);
    }
    double inverse = 1 / std::sqrt(squares / static_cast<double>(width) + epsilon);
    for (int64_t i = 0; i < width; ++i) {
      out[part * width + i] = (from[i] - mean) * inverse * ((*weight)[i] + offset) + (bias->empty() ? 0 : (*bias)[i]);
    }
  }
  e.set(op.getResult(), Tensor::of(x.shape, std::move(out)));
  return success();
}

// y[t, n] = sum over c of x[t, c] * w[n, c]; the weight is read in blocks of rows, so that no table is held whole.
FailureOr<Values> multiplyByWeight(Operation *op, Evaluator &e, const double *x, int64_t tokens,
                                          FlatSymbolRefAttr name) {
  auto weight = e.findWeight(op, name);
  if (failed(weight)) {
    return failure();
  }
  int64_t rows = weight->getShape()[0], columns = weight->getShape()[1];
  int64_t block = std::max<int64_t>(1, (int64_t(1) << 20) / columns);
  Values y(tokens * rows);
  for (int64_t first = 0; first < rows; first += block) {
    int64_t count = std::min(block, rows - first);
    auto values = e.readWeight(op, name, first, count);
    if (failed(values)) {
      return failure();
    }
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t n = 0; n < count; ++n) {
        const double *w = values->data() + n * columns;
        y[t * rows + first + n] = std::inner_product(w, w + columns, x + t * columns, 0.0);
      }
    }
  }
  return y;
}

static LogicalResult evaluateLinear(LinearOp op, Evaluator &e) {
  Tensor x = e.get(op.getInput());
  auto y = multiplyByWeight(op, e, x.f(), x.shape[0], op.getWeightAttr());
  auto bias = op.getBiasAttr() ? readVector(op, e, op.getBiasAttr()) : FailureOr<Values>(Values());
  if (failed(y) || failed(bias)) {
    return failure();
  }
  int64_t width = cast<RankedTensorType>(op.getType()).getDimSize(1);
  for (size_t i = 0; !bias->empty() && i < y->size(); ++i) {
    (*y)[i] += (*bias)[i % width];
  }
  e.set(op.getResult(), Tensor::of({x.shape[0], width}, std::move(*y)));
  return success();
}

static LogicalResult evaluateRotary(RotaryOp op, Evaluator &e) {
  Tensor x = e.get(op.getInput());
  int64_t heads = static_cast<int64_t>(op.getHeads()), width = x.shape[1] / heads;
  int64_t pairs = static_cast<int64_t>(op.getInvFreq().size());
  bool interleaved = op.getStyle() == RotaryStyle::Interleaved;
  double magnitude = op.getMagnitude().convertToFloat();
  const auto digits = static_cast<int>(op.getDigits());
  auto wave = [&](double value) {
    value *= magnitude;
    if (digits == 24 || value == 0) {
      return value;
    }
    int exponent = 0;
    const double fraction = std::frexp(value, &exponent);
    return std::ldexp(std::nearbyint(std::ldexp(fraction, digits)), exponent - digits);
  };
  Values out = *x.floats;
  for (int64_t part = 0; part < x.shape[0] * heads; ++part) {
    float position = static_cast<float>(e.position + part / heads);
    double *head = out.data() + part * width;
    for (int64_t i = 0; i < pairs; ++i) {
      double &first = head[interleaved ? 2 * i : i], &second = head[interleaved ? 2 * i + 1 : i + pairs];
      double angle = position * op.getInvFreq()[i], a = first, b = second; // the product is rounded to float32
      double c = wave(std::cos(angle)), s = wave(std::sin(angle));
      first = a * c - b * s;
      second = b * c + a * s;
    }
  }
  e.set(op.getResult(), Tensor::of(x.shape, std::move(out)));
  return success();
}

static LogicalResult evaluateAttention(AttentionOp op, Evaluator &e) {
  Tensor q = e.get(op.getQuery()), k = e.get(op.getKey()), v = e.get(op.getValue());
  int64_t heads = static_cast<int64_t>(op.getHeads()), width = static_cast<int64_t>(op.getHeadDim());
  int64_t group = heads / static_cast<int64_t>(op.getKvHeads()), tokens = q.shape[0], row = k.shape[1];
  int64_t window = static_cast<int64_t>(op.getWindow());
  bool bidirectional = op.getBidirectional();
  if (k.shape != v.shape || (k.shape[0] != tokens && !bidirectional)) {
    return op.emitOpError("cannot be evaluated: query, key and value have different numbers of rows");
  }
  double scale = op.getScale().convertToFloat(), softcap = op.getSoftcap().convertToFloat();
  auto sinks = op.getSinksAttr() ? readVector(op, e, op.getSinksAttr()) : FailureOr<Values>(Values());
  if (failed(sinks)) {
    return failure();
  }
  ArrayRef<float> table = op.getPositionBias().value_or(ArrayRef<float>());
  int64_t distances = static_cast<int64_t>(table.size()) / heads, before = op.getBiasBefore();
  Evaluator::Cache none, &cache = bidirectional ? none : e.caches[static_cast<int64_t>(op.getLayer())];
  if (!bidirectional &&
      (static_cast<int64_t>(cache.keys.size()) != e.position * row || cache.values.size() != cache.keys.size())) {
    return op.emitOpError("cannot be evaluated: its cache holds ")
           << cache.keys.size() / row << " positions where " << e.position << " came before";
  }
  llvm::append_range(cache.keys, *k.floats);
  llvm::append_range(cache.values, *v.floats);
  Values out(q.size(), 0.0), scores;
  for (int64_t t = 0; t < tokens; ++t) {
    int64_t own = e.position + t, last = bidirectional ? k.shape[0] - 1 : own, first = window ? std::max<int64_t>(0, last - window + 1) : 0;
    for (int64_t h = 0; h < heads; ++h) {
      const double *query = q.f() + t * q.shape[1] + h * width;
      int64_t column = h / group * width;
      scores.clear();
      double largest = sinks->empty() ? -std::numeric_limits<double>::infinity() : (*sinks)[h];
      for (int64_t p = first; p <= last; ++p) {
        double score = scale * std::inner_product(query, query + width, cache.keys.data() + p * row + column, 0.0);
        scores.push_back(softcap > 0 ? softcap * std::tanh(score / softcap) : score);
        if (distances) {
          scores.back() += table[h * distances + std::clamp<int64_t>(before + p - own, 0, distances - 1)];
        }
        largest = std::max(largest, scores.back());
      }
      double sum = sinks->empty() ? 0 : std::exp((*sinks)[h] - largest);
      for (double &score : scores) {
        sum += score = std::exp(score - largest);
      }
      for (int64_t p = first; p <= last; ++p) {
        for (int64_t i = 0; i < width; ++i) {
          out[t * q.shape[1] + h * width + i] += scores[p - first] / sum * cache.values[p * row + column + i];
        }
      }
    }
  }
  e.set(op.getResult(), Tensor::of(q.shape, std::move(out)));
  return success();
}

double activate(Activation activation, double x) {
  switch (activation) {
  case Activation::Silu:
    return x / (1 + std::exp(-x));
  case Activation::GeluTanh:
    return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  case Activation::GeluErf:
    return x / 2 * (1 + std::erf(x / std::sqrt(2.0)));
  case Activation::Relu:
    return std::max(x, 0.0);
  case Activation::Relu2:
    return x > 0 ? x * x : 0;
  case Activation::Sigmoid:
    return 1 / (1 + std::exp(-x));
  case Activation::Tanh:
    return std::tanh(x);
  }
  llvm_unreachable("every activation is handled");
}

static LogicalResult evaluateActivate(ActivateOp op, Evaluator &e) {
  Tensor x = e.get(op.getInput());
  Values out = *x.floats;
  for (double &value : out) {
    value = activate(op.getActivation(), value);
  }
  e.set(op.getResult(), Tensor::of(x.shape, std::move(out)));
  return success();
}

static LogicalResult evaluateScale(ScaleOp op, Evaluator &e) {
  Tensor x = e.get(op.getInput());
  Values out = *x.floats;
  for (double &value : out) {
    value *= op.getFactor().convertToFloat();
  }
  e.set(op.getResult(), Tensor::of(x.shape, std::move(out)));
  return success();
}

static LogicalResult evaluateScaleRows(ScaleRowsOp op, Evaluator &e) {
  Tensor x = e.get(op.getInput()), factor = e.get(op.getFactor());
  if (factor.shape[0] != x.shape[0]) {
    return op.emitOpError("cannot be evaluated: its operands have different numbers of rows");
  }
  Values out = *x.floats;
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] *= factor.f()[i / x.shape[1]];
  }
  e.set(op.getResult(), Tensor::of(x.shape, std::move(out)));
  return success();
}

static LogicalResult evaluateSliceHeads(SliceHeadsOp op, Evaluator &e) {
  Tensor x = e.get(op.getInput());
  int64_t heads = op.getHeads(), to = cast<RankedTensorType>(op.getType()).getDimSize(1) / heads;
  int64_t from = x.shape[1] / heads, start = op.getStart();
  Values out;
  for (int64_t part = 0; part < x.shape[0] * heads; ++part) {
    for (int64_t column = start; column < start + to; ++column) {
      out.push_back(column < from ? x.f()[part * from + column] : 0);
    }
  }
  e.set(op.getResult(), Tensor::of({x.shape[0], heads * to}, std::move(out)));
  return success();
}

static LogicalResult evaluateConcatHeads(ConcatHeadsOp op, Evaluator &e) {
  Tensor a = e.get(op.getLhs()), b = e.get(op.getRhs());
  if (a.shape[0] != b.shape[0]) {
    return op.emitOpError("cannot be evaluated: its operands have different numbers of rows");
  }
  int64_t heads = op.getHeads(), rhsHeads = op.getRhsHeads(), wide = a.shape[1] / heads, more = b.shape[1] / rhsHeads;
  Values out;
  for (int64_t part = 0; part < a.shape[0] * heads; ++part) {
    const double *rest = b.f() + (rhsHeads == 1 ? part / heads : part) * more;
    out.insert(out.end(), a.f() + part * wide, a.f() + (part + 1) * wide);
    out.insert(out.end(), rest, rest + more);
  }
  e.set(op.getResult(), Tensor::of({a.shape[0], heads * (wide + more)}, std::move(out)));
  return success();
}

template <typename F> static LogicalResult zipRows(Operation *op, Evaluator &e, F function) {
  Tensor a = e.get(op->getOperand(0)), b = e.get(op->getOperand(1));
  if (a.shape != b.shape) {
    return op->emitOpError("cannot be evaluated: its operands have different numbers of rows");
  }
  Values out(a.size());
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = function(a.f()[i], b.f()[i]);
  }
  e.set(op->getResult(0), Tensor::of(a.shape, std::move(out)));
  return success();
}

void addEmoeOps(EvaluateTable &table) {
  addOp<EmbeddingOp>(table, evaluateEmbedding);
  addOp<NormOp>(table, evaluateNorm);
  addOp<LinearOp>(table, evaluateLinear);
  addOp<RotaryOp>(table, evaluateRotary);
  addOp<AttentionOp>(table, evaluateAttention);
  addOp<AddOp>(table, [](AddOp op, Evaluator &e) { return zipRows(op, e, std::plus<double>()); });
  addOp<MulOp>(table, [](MulOp op, Evaluator &e) { return zipRows(op, e, std::multiplies<double>()); });
  addOp<ActivateOp>(table, evaluateActivate);
  addOp<ScaleOp>(table, evaluateScale);
  addOp<ScaleRowsOp>(table, evaluateScaleRows);
  addOp<SliceHeadsOp>(table, evaluateSliceHeads);
  addOp<ConcatHeadsOp>(table, evaluateConcatHeads);
}

} // namespace emoe
