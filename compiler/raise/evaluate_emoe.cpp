// Evaluation of the emoe dialect: the reference semantics of its ops, in the order in which ops.td defines them.
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "compiler/raise/evaluate.h"

using namespace mlir;

namespace emoe {

using Kind = Tensor::Kind;
using Values = std::vector<double>;

static FailureOr<Values> readVector(Operation *op, Evaluator &e, FlatSymbolRefAttr name) {
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
      out[part * width + i] = (from[i] - mean) * inverse * (*weight)[i] + (bias->empty() ? 0 : (*bias)[i]);
    }
  }
  e.set(op.getResult(), Tensor::of(x.shape, std::move(out)));
  return success();
}

// y[t, n] = sum over c of x[t, c] * w[n, c]; the weight is read in blocks of rows, so that no table is held whole.
static FailureOr<Values> multiplyByWeight(Operation *op, Evaluator &e, const double *x, int64_t tokens,
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
  Values out = *x.floats;
  for (int64_t part = 0; part < x.shape[0] * heads; ++part) {
    float position = static_cast<float>(e.position + part / heads);
    double *head = out.data() + part * width;
    for (int64_t i = 0; i < pairs; ++i) {
      double &first = head[interleaved ? 2 * i : i], &second = head[interleaved ? 2 * i + 1 : i + pairs];
      double angle = position * op.getInvFreq()[i], a = first, b = second; // the product is rounded to float32
      first = magnitude * (a * std::cos(angle) - b * std::sin(angle));
      second = magnitude * (b * std::cos(angle) + a * std::sin(angle));
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
  if (k.shape != v.shape || k.shape[0] != tokens) {
    return op.emitOpError("cannot be evaluated: query, key and value have different numbers of rows");
  }
  double scale = op.getScale().convertToFloat(), softcap = op.getSoftcap().convertToFloat();
  auto sinks = op.getSinksAttr() ? readVector(op, e, op.getSinksAttr()) : FailureOr<Values>(Values());
  if (failed(sinks)) {
    return failure();
  }
  Evaluator::Cache &cache = e.caches[static_cast<int64_t>(op.getLayer())];
  if (static_cast<int64_t>(cache.keys.size()) != e.position * row || cache.values.size() != cache.keys.size()) {
    return op.emitOpError("cannot be evaluated: its cache holds ")
           << cache.keys.size() / row << " positions where " << e.position << " came before";
  }
  llvm::append_range(cache.keys, *k.floats);
  llvm::append_range(cache.values, *v.floats);
  Values out(q.size(), 0.0), scores;
  for (int64_t t = 0; t < tokens; ++t) {
    int64_t last = e.position + t, first = window ? std::max<int64_t>(0, last - window + 1) : 0;
    for (int64_t h = 0; h < heads; ++h) {
      const double *query = q.f() + t * q.shape[1] + h * width;
      int64_t column = h / group * width;
      scores.clear();
      double largest = sinks->empty() ? -std::numeric_limits<double>::infinity() : (*sinks)[h];
      for (int64_t p = first; p <= last; ++p) {
        double score = scale * std::inner_product(query, query + width, cache.keys.data() + p * row + column, 0.0);
        scores.push_back(softcap > 0 ? softcap * std::tanh(score / softcap) : score);
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

static double activate(Activation activation, double x) {
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

//===----------------------------------------------------------------------===//
// Routing and experts
//===----------------------------------------------------------------------===//

static LogicalResult evaluateRoute(RouteOp op, Evaluator &e) {
  Tensor logits = e.get(op.getLogits());
  int64_t tokens = logits.shape[0], experts = logits.shape[1], k = static_cast<int64_t>(op.getTopK());
  auto bias = op.getSelectionBiasAttr() ? readVector(op, e, op.getSelectionBiasAttr()) : FailureOr<Values>(Values());
  if (failed(bias)) {
    return failure();
  }
  std::vector<int64_t> ids;
  Values weights;
  for (int64_t t = 0; t < tokens; ++t) {
    Values score(logits.f() + t * experts, logits.f() + (t + 1) * experts);
    if (op.getScore() == ScoreFunction::Softmax) {
      double largest = *std::max_element(score.begin(), score.end()), sum = 0;
      for (double &s : score) {
        sum += s = std::exp(s - largest);
      }
      for (double &s : score) {
        s /= sum;
      }
    } else if (op.getScore() == ScoreFunction::Sigmoid) {
      for (double &s : score) {
        s = 1 / (1 + std::exp(-s));
      }
    }
    std::vector<int64_t> order(experts);
    std::iota(order.begin(), order.end(), 0);
    auto choice = [&](int64_t expert) { return score[expert] + (bias->empty() ? 0 : (*bias)[expert]); };
    llvm::stable_sort(order, [&](int64_t a, int64_t b) { return choice(a) > choice(b); });
    order.resize(k);
    llvm::sort(order);
    Values chosen;
    for (int64_t expert : order) {
      chosen.push_back(score[expert]);
    }
    if (op.getSoftmaxAfter()) {
      double largest = *std::max_element(chosen.begin(), chosen.end()), sum = 0;
      for (double &w : chosen) {
        sum += w = std::exp(w - largest);
      }
      for (double &w : chosen) {
        w /= sum;
      }
    }
    double divisor = 1;
    if (op.getRenormalise()) {
      divisor = std::accumulate(chosen.begin(), chosen.end(), 0.0) + op.getEpsilon().convertToFloat();
    }
    llvm::append_range(ids, order);
    for (double w : chosen) {
      weights.push_back(w / divisor * op.getScale().convertToFloat());
    }
  }
  e.set(op.getIds(), Tensor::of({tokens, k}, std::move(ids)));
  e.set(op.getWeights(), Tensor::of({tokens, k}, std::move(weights)));
  return success();
}

static LogicalResult evaluateMoe(MoeOp op, Evaluator &e) {
  Tensor x = e.get(op.getInput()), ids = e.get(op.getIds()), weights = e.get(op.getWeights());
  int64_t tokens = x.shape[0], width = x.shape[1], k = ids.shape[1];
  int64_t experts = static_cast<int64_t>(op.getUp().size());
  if (ids.shape != weights.shape || ids.shape[0] != tokens) {
    return op.emitOpError("cannot be evaluated: tokens, ids and weights have different numbers of rows");
  }
  // Which (token, place) pairs meet an expert, by ascending expert: the order in which results are summed.
  std::map<int64_t, std::vector<int64_t>> pairs;
  for (int64_t n = 0; n < ids.size(); ++n) {
    if (ids.i()[n] < 0 || ids.i()[n] >= experts) {
      return op.emitOpError("expert ") << ids.i()[n] << " was chosen, but there are " << experts;
    }
    pairs[ids.i()[n]].push_back(n);
  }
  auto symbol = [](ArrayAttr list, int64_t expert) { return cast<FlatSymbolRefAttr>(list[expert]); };
  Values out(tokens * width, 0.0);
  for (auto &[expert, list] : pairs) {
    Values input;
    for (int64_t n : list) {
      input.insert(input.end(), x.f() + n / k * width, x.f() + (n / k + 1) * width);
    }
    int64_t count = static_cast<int64_t>(list.size());
    auto hidden = multiplyByWeight(op, e, input.data(), count, symbol(op.getUp(), expert));
    if (failed(hidden)) {
      return failure();
    }
    if (op.getGate()) {
      auto gate = multiplyByWeight(op, e, input.data(), count, symbol(*op.getGate(), expert));
      if (failed(gate)) {
        return failure();
      }
      for (auto [h, g] : llvm::zip(*hidden, *gate)) {
        h *= activate(op.getActivation(), g);
      }
    } else {
      for (double &h : *hidden) {
        h = activate(op.getActivation(), h);
      }
    }
    auto result = multiplyByWeight(op, e, hidden->data(), count, symbol(op.getDown(), expert));
    if (failed(result)) {
      return failure();
    }
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t d = 0; d < width; ++d) {
        out[list[i] / k * width + d] += weights.f()[list[i]] * (*result)[i * width + d];
      }
    }
  }
  e.set(op.getResult(), Tensor::of(x.shape, std::move(out)));
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
  addOp<RouteOp>(table, evaluateRoute);
  addOp<MoeOp>(table, evaluateMoe);
}

} // namespace emoe
