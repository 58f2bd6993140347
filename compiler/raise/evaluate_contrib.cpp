// Evaluation of ONNX Runtime's ops (domain com.microsoft) and of the fused ops of opset 23: by their specifications,
// not by any kernel of theirs.
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "compiler/raise/evaluate.h"

using namespace mlir;

namespace emoe {

using Kind = Tensor::Kind;
using Values = std::vector<double>;

static LogicalResult allFloats(Operation *op, ArrayRef<Tensor> tensors) {
  for (const Tensor &tensor : tensors) {
    if (tensor.kind != Kind::Float) {
      return op->emitOpError("cannot be evaluated on integers");
    }
  }
  return success();
}

static Tensor optional(Evaluator &e, Value value) { return value ? e.get(value) : Tensor(); }

//===----------------------------------------------------------------------===//
// Normalisation, activations
//===----------------------------------------------------------------------===//

static Values rmsNorm(const Tensor &x, const Tensor &scale, double epsilon) {
  int64_t width = scale.size(), runs = width ? x.size() / width : 0;
  Values out(x.size());
  for (int64_t r = 0; r < runs; ++r) {
    const double *from = x.f() + r * width;
    double squares = std::inner_product(from, from + width, from, 0.0);
    double inverse = 1 / std::sqrt(squares / static_cast<double>(width) + epsilon);
    for (int64_t i = 0; i < width; ++i) {
      out[r * width + i] = from[i] * inverse * scale.f()[i];
    }
  }
  return out;
}

static LogicalResult evaluateSimplifiedNorm(onnx::MsSimplifiedLayerNormalizationOp op, Evaluator &e) {
  Tensor x = e.get(op.getX()), scale = e.get(op.getScale());
  if (failed(allFloats(op, {x, scale})) || (op.getAxis() != -1 && op.getAxis() != x.rank() - 1) ||
      scale.size() != (x.rank() ? x.shape.back() : 0)) {
    return op.emitOpError("cannot be evaluated: it must normalise the last axis");
  }
  e.set(op.getY(), Tensor::of(x.shape, rmsNorm(x, scale, op.getEpsilon())));
  return success();
}

// What layer normalisation scales: x less its row's mean.
static Tensor centred(const Tensor &x) {
  Values out(x.f(), x.f() + x.size());
  int64_t width = x.shape.back();
  for (int64_t r = 0; width && r < x.size() / width; ++r) {
    double *row = out.data() + r * width;
    double mean = std::accumulate(row, row + width, 0.0) / static_cast<double>(width);
    std::for_each(row, row + width, [&](double &value) { value -= mean; });
  }
  return Tensor::of(x.shape, std::move(out));
}

// The norm of input + skip (+ bias), and that sum; `beta` is given where the norm is layer normalisation.
template <typename OpT> static LogicalResult evaluateSkipNorm(OpT op, Evaluator &e, Value betaValue, bool centre) {
  Tensor x = e.get(op.getInput()), skip = e.get(op.getSkip()), gamma = e.get(op.getGamma());
  Tensor bias = optional(e, op.getBias()), beta = optional(e, betaValue);
  if (failed(allFloats(op, {x, skip, gamma, bias, beta})) || x.rank() == 0 || gamma.size() != x.shape.back() ||
      broadcastShapes(skip.shape, x.shape) != x.shape || (op.getBias() && bias.size() != x.shape.back()) ||
      (betaValue && beta.size() != x.shape.back())) {
    return op.emitOpError("cannot be evaluated: input, skip, gamma, beta and bias do not fit");
  }
  Values sum;
  walk<1>(x.shape, {broadcastStrides(skip.shape, x.shape)}, [&](const std::array<int64_t, 1> &at) {
    size_t n = sum.size();
    sum.push_back(x.f()[n] + skip.f()[at[0]] + (op.getBias() ? bias.f()[n % bias.size()] : 0));
  });
  Tensor added = Tensor::of(x.shape, std::move(sum));
  Values normed = rmsNorm(centre ? centred(added) : added, gamma, op.getEpsilon());
  for (size_t n = 0; betaValue && n < normed.size(); ++n) {
    normed[n] += beta.f()[n % beta.size()];
  }
  e.set(op.getOutput(), Tensor::of(x.shape, std::move(normed)));
  e.set(op.getInputSkipBiasSum(), added);
  return success();
}

static LogicalResult evaluateSkipRms(onnx::MsSkipSimplifiedLayerNormalizationOp op, Evaluator &e) {
  return evaluateSkipNorm(op, e, Value(), /*centre=*/false);
}

static LogicalResult evaluateSkipLayer(onnx::MsSkipLayerNormalizationOp op, Evaluator &e) {
  return evaluateSkipNorm(op, e, op.getBeta(), /*centre=*/true);
}

template <typename F>
static LogicalResult mapBiased(Operation *op, Evaluator &e, Value input, Value bias, F function) {
  Tensor x = e.get(input), b = optional(e, bias);
  if (failed(allFloats(op, {x, b})) || (bias && (x.rank() == 0 || b.size() != x.shape.back()))) {
    return op->emitOpError("cannot be evaluated: its operands do not fit");
  }
  Values out;
  for (int64_t n = 0; n < x.size(); ++n) {
    out.push_back(function(x.f()[n] + (bias ? b.f()[n % b.size()] : 0)));
  }
  e.set(op->getResult(0), Tensor::of(x.shape, std::move(out)));
  return success();
}

static double geluErf(double x) { return x / 2 * (1 + std::erf(x / std::sqrt(2.0))); }
static double geluTanh(double x) {
  return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}
static double logistic(double x) { return 1 / (1 + std::exp(-x)); }

// routed + gate * shared; the gate has one number for each row.
static LogicalResult evaluateGatedAdd(onnx::MsGatedAddOp op, Evaluator &e) {
  Tensor routed = e.get(op.getRouted()), shared = e.get(op.getShared()), gate = e.get(op.getGate());
  if (failed(allFloats(op, {routed, shared, gate})) || routed.rank() == 0 || shared.size() != routed.size() ||
      gate.size() * routed.shape.back() != routed.size()) {
    return op.emitOpError("cannot be evaluated: its operands do not fit");
  }
  Values out(routed.size());
  for (size_t n = 0; n < out.size(); ++n) {
    out[n] = routed.f()[n] + gate.f()[n / routed.shape.back()] * shared.f()[n];
  }
  e.set(op->getResult(0), Tensor::of(routed.shape, std::move(out)));
  return success();
}

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

namespace {

// Rows of heads: element (head, token, i) is at head * headStride + token * tokenStride + i.
struct Heads {
  Values values;
  int64_t heads = 0, tokens = 0, width = 0;
  double *row(int64_t head, int64_t token) { return values.data() + (head * tokens + token) * width; }
  const double *row(int64_t head, int64_t token) const { return values.data() + (head * tokens + token) * width; }
};

// Columns [first, first + heads * width) of each token of [1, T, C].
Heads headsOf(const Tensor &x, int64_t first, int64_t heads, int64_t width) {
  Heads result{Values(heads * x.shape[1] * width), heads, x.shape[1], width};
  for (int64_t t = 0; t < x.shape[1]; ++t) {
    for (int64_t h = 0; h < heads; ++h) {
      const double *from = x.f() + t * x.shape[2] + first + h * width;
      std::copy(from, from + width, result.row(h, t));
    }
  }
  return result;
}

// The tensor is what headsOf makes heads of: floats [1, T, heads * width].
bool isHeads(const Tensor &x, int64_t tokens, int64_t columns) {
  return x.kind == Kind::Float && x.shape == Dims{1, tokens, columns};
}

// Floats [1, heads, any, width]: a cache of them, or heads as they are.
bool isCache(const Tensor &x, int64_t heads, int64_t width) {
  return x.kind == Kind::Float && x.rank() == 4 && x.shape[0] == 1 && x.shape[1] == heads && x.shape[3] == width;
}

// [1, H, T, d] as it is.
Heads headsOf(const Tensor &x) { return {*x.floats, x.shape[1], x.shape[2], x.shape[3]}; }

void rotate(Heads &x, const Tensor &cosines, const Tensor &sines, ArrayRef<int64_t> rows, bool interleaved) {
  int64_t pairs = cosines.shape.back();
  for (int64_t h = 0; h < x.heads; ++h) {
    for (int64_t t = 0; t < x.tokens; ++t) {
      double *head = x.row(h, t);
      for (int64_t i = 0; i < pairs; ++i) {
        double &a = head[interleaved ? 2 * i : i], &b = head[interleaved ? 2 * i + 1 : i + pairs];
        double c = cosines.f()[rows[t] * pairs + i], s = sines.f()[rows[t] * pairs + i], first = a;
        a = first * c - b * s;
        b = b * c + first * s;
      }
    }
  }
}

Heads joined(const Tensor &past, const Heads &now) {
  int64_t before = past.shape[2], total = before + now.tokens;
  Heads result{Values(now.heads * total * now.width), now.heads, total, now.width};
  for (int64_t h = 0; h < now.heads; ++h) {
    const double *from = past.f() + h * before * now.width;
    std::copy(from, from + before * now.width, result.row(h, 0));
    std::copy(now.row(h, 0), now.row(h, 0) + now.tokens * now.width, result.row(h, before));
  }
  return result;
}

Tensor tensorOf(const Heads &x) { return Tensor::of({1, x.heads, x.tokens, x.width}, x.values); }

struct AttentionRule {
  double scale = 1, softcap = 0;
  int64_t window = 0;     // 0: none; else a token sees itself and window - 1 before it
  bool causal = true;
  const double *sinks = nullptr;  // one for each head
  std::optional<double> sink;     // one for all
  // Added to the score of (head, query, key); may be null.
  std::function<double(int64_t, int64_t, int64_t)> bias;
};

Heads attend(const Heads &q, const Heads &k, const Heads &v, const AttentionRule &rule) {
  Heads out{Values(q.heads * q.tokens * v.width, 0.0), q.heads, q.tokens, v.width};
  int64_t group = q.heads / k.heads, before = k.tokens - q.tokens;
  Values scores;
  for (int64_t h = 0; h < q.heads; ++h) {
    for (int64_t t = 0; t < q.tokens; ++t) {
      int64_t last = rule.causal ? before + t : k.tokens - 1;
      int64_t first = rule.window ? std::max<int64_t>(0, before + t - rule.window + 1) : 0;
      double largest = rule.sinks ? rule.sinks[h] : rule.sink.value_or(-std::numeric_limits<double>::infinity());
      const double sink = largest;
      scores.clear();
      for (int64_t p = first; p <= last; ++p) {
        double s = rule.scale * std::inner_product(q.row(h, t), q.row(h, t) + q.width, k.row(h / group, p), 0.0);
        s = rule.softcap > 0 ? rule.softcap * std::tanh(s / rule.softcap) : s;
        scores.push_back(s + (rule.bias ? rule.bias(h, t, p) : 0));
        largest = std::max(largest, scores.back());
      }
      double sum = rule.sinks || rule.sink ? std::exp(sink - largest) : 0;
      for (double &s : scores) {
        sum += s = std::exp(s - largest);
      }
      for (int64_t p = first; p <= last; ++p) {
        for (int64_t i = 0; i < v.width; ++i) {
          out.row(h, t)[i] += scores[p - first] / sum * v.row(h / group, p)[i];
        }
      }
    }
  }
  return out;
}

// [1, T, heads * width] of heads.
Tensor rowsOf(const Heads &x) {
  Values out(x.values.size());
  for (int64_t h = 0; h < x.heads; ++h) {
    for (int64_t t = 0; t < x.tokens; ++t) {
      std::copy(x.row(h, t), x.row(h, t) + x.width, out.begin() + (t * x.heads + h) * x.width);
    }
  }
  return Tensor::of({1, x.tokens, x.heads * x.width}, std::move(out));
}

// bias(h, t, p) of a tensor that broadcasts to [1, heads, T, total].
std::function<double(int64_t, int64_t, int64_t)> biasOf(const Tensor &bias, int64_t heads, int64_t tokens,
                                                        int64_t total, bool &fits) {
  Dims shape = {1, heads, tokens, total};
  fits = broadcastShapes(bias.shape, shape) == shape;
  Dims strides = fits ? broadcastStrides(bias.shape, shape) : Dims(4, 0);
  return [bias, strides](int64_t h, int64_t t, int64_t p) {
    int64_t at = h * strides[1] + t * strides[2] + p * strides[3];
    return bias.kind == Kind::Float ? bias.f()[at] : bias.i()[at] ? 0 : -std::numeric_limits<double>::infinity();
  };
}

} // namespace

static LogicalResult evaluateGroupQueryAttention(onnx::MsGroupQueryAttentionOp op, Evaluator &e) {
  Tensor query = e.get(op.getQuery()), key = optional(e, op.getKey()), value = optional(e, op.getValue());
  Tensor pastKey = optional(e, op.getPastKey()), pastValue = optional(e, op.getPastValue());
  Tensor total = e.get(op.getTotalSequenceLength()), last = e.get(op.getSeqlensK());
  int64_t heads = op.getNumHeads(), kvHeads = op.getKvNumHeads();
  bool packed = !op.getKey(), known = query.kind == Kind::Float && query.rank() == 3 && heads >= 1 && kvHeads >= 1 &&
                                      heads % kvHeads == 0 && static_cast<bool>(op.getValue()) != packed;
  int64_t inQuery = packed ? heads + 2 * kvHeads : heads;
  int64_t tokens = known ? query.shape[1] : 0, width = known ? query.shape[2] / inQuery : 0;
  if (!known || !isHeads(query, tokens, inQuery * width) ||
      (!packed && (!isHeads(key, tokens, kvHeads * width) || !isHeads(value, tokens, kvHeads * width))) ||
      op.getKScale() || op.getVScale() || op.getQNormWeight() || op.getKNormWeight() ||
      static_cast<bool>(op.getPastKey()) != static_cast<bool>(op.getPastValue())) {
    return op.emitOpError("cannot be evaluated: it needs one sequence, float caches, and heads that fit");
  }
  if (total.kind != Kind::Int || total.size() != 1 || last.kind != Kind::Int || last.size() != 1 ||
      last.i()[0] != total.i()[0] - 1 || total.i()[0] < tokens) {
    return op.emitOpError("cannot be evaluated: total_sequence_length must be the number of past and new tokens, and "
                          "seqlens_k one less");
  }
  Heads q = headsOf(query, 0, heads, width);
  Heads k = op.getKey() ? headsOf(key, 0, kvHeads, width) : headsOf(query, heads * width, kvHeads, width);
  Heads v = op.getKey() ? headsOf(value, 0, kvHeads, width)
                        : headsOf(query, (heads + kvHeads) * width, kvHeads, width);
  int64_t before = total.i()[0] - tokens;
  bool fitting = op.getPastKey() ? isCache(pastKey, kvHeads, width) && isCache(pastValue, kvHeads, width) &&
                                       pastKey.shape[2] == before && pastValue.shape[2] == before
                                 : before == 0;
  if (!fitting) {
    return op.emitOpError("cannot be evaluated: its cache holds another number of positions than come before");
  }
  if (op.getDoRotary()) {
    if (!op.getCosCache() || !op.getSinCache()) {
      return op.emitOpError("has no tables for its rotary embedding");
    }
    Tensor cosines = e.get(op.getCosCache()), sines = e.get(op.getSinCache());
    std::vector<int64_t> rows;
    Tensor positions = optional(e, op.getPositionIds());
    if (failed(allFloats(op, {cosines, sines})) || cosines.rank() != 2 || cosines.shape != sines.shape ||
        2 * cosines.shape[1] > width ||
        (op.getPositionIds() && (positions.kind != Kind::Int || positions.size() != tokens))) {
      return op.emitOpError("has tables or positions that do not fit its heads and tokens");
    }
    for (int64_t t = 0; t < tokens; ++t) {
      rows.push_back(op.getPositionIds() ? positions.i()[t] : before + t);
      if (rows.back() < 0 || rows.back() >= cosines.shape[0]) {
        return op.emitOpError("has no row in its rotary tables for position ") << rows.back();
      }
    }
    rotate(q, cosines, sines, rows, op.getRotaryInterleaved() != 0);
    rotate(k, cosines, sines, rows, op.getRotaryInterleaved() != 0);
  }
  if (op.getPastKey()) {
    k = joined(pastKey, k);
    v = joined(pastValue, v);
  }
  AttentionRule rule;
  double scale = op.getScale();
  rule.scale = scale == 0 ? 1 / std::sqrt(static_cast<double>(width)) : scale;
  rule.softcap = op.getSoftcap();
  rule.window = std::max<int64_t>(0, op.getLocalWindowSize());
  rule.causal = op.getCausal() != 0;
  Tensor sinks = optional(e, op.getHeadSink());
  if (op.getHeadSink()) {
    rule.sinks = sinks.f();
  } else if (op.getSmoothSoftmax() == 1) {
    rule.sink = 0;
  }
  bool fits = true;
  if (op.getAttentionBias()) {
    rule.bias = biasOf(e.get(op.getAttentionBias()), heads, tokens, k.tokens, fits);
  }
  if (!fits || (op.getHeadSink() && (sinks.size() != heads || sinks.kind != Kind::Float))) {
    return op.emitOpError("has a bias or sinks that do not fit its heads");
  }
  e.set(op.getOutput(), rowsOf(attend(q, k, v, rule)));
  e.set(op.getPresentKey(), tensorOf(k));
  e.set(op.getPresentValue(), tensorOf(v));
  return success();
}

static LogicalResult evaluateStandardAttention(onnx::AttentionOp op, Evaluator &e) {
  Tensor inputs[] = {e.get(op.getQ()), e.get(op.getK()), e.get(op.getV())};
  Heads parts[3];
  for (int i : {0, 1, 2}) {
    const Tensor &x = inputs[i];
    int64_t heads = x.rank() == 4 ? x.shape[1] : (i == 0 ? op.getQNumHeads() : op.getKvNumHeads()).value_or(0);
    if ((x.rank() != 3 && x.rank() != 4) || x.shape[0] != 1 || heads < 1 || (x.rank() == 3 && x.shape[2] % heads) ||
        failed(allFloats(op, {x}))) {
      return op.emitOpError("cannot be evaluated: it needs one sequence, and heads that fit");
    }
    parts[i] = x.rank() == 4 ? headsOf(x) : headsOf(x, 0, heads, x.shape[2] / heads);
  }
  auto &[q, k, v] = parts;
  for (auto [past, now] : {std::pair(op.getPastKey(), &k), {op.getPastValue(), &v}}) {
    Tensor before = optional(e, past);
    if (past && !isCache(before, now->heads, now->width)) {
      return op.emitOpError("cannot be evaluated: its cache does not fit its keys or values");
    }
    *now = past ? joined(before, *now) : *now;
  }
  if (q.width != k.width || k.tokens != v.tokens || k.heads != v.heads || q.heads % k.heads || q.tokens > k.tokens ||
      op.getNonpadKvSeqlen()) {
    return op.emitOpError("cannot be evaluated: its queries, keys and values do not fit each other");
  }
  AttentionRule rule;
  rule.scale = op.getScale() ? static_cast<double>(*op.getScale()) : 1 / std::sqrt(static_cast<double>(q.width));
  rule.softcap = op.getSoftcap();
  rule.causal = op.getIsCausal() != 0;
  bool fits = true;
  if (op.getAttnMask()) {
    rule.bias = biasOf(e.get(op.getAttnMask()), q.heads, q.tokens, k.tokens, fits);
  }
  if (!fits) {
    return op.emitOpError("has a mask that does not fit its heads");
  }
  Heads out = attend(q, k, v, rule);
  e.set(op.getY(), inputs[0].rank() == 4 ? tensorOf(out) : rowsOf(out));
  e.set(op.getPresentKey(), tensorOf(k));
  e.set(op.getPresentValue(), tensorOf(v));
  return success();
}

// Rotary embedding of [1, T, H * d] or [1, H, T, d]; `positions` may be absent: then the tables have a row for each token.
static LogicalResult evaluateRotaryOp(Operation *op, Evaluator &e, Value input, Value cosTable, Value sinTable,
                                      const std::optional<Tensor> &positions, int64_t headCount, bool interleaved) {
  Tensor x = e.get(input), cosines = e.get(cosTable), sines = e.get(sinTable), at = positions.value_or(Tensor());
  int64_t pairs = cosines.rank() ? cosines.shape.back() : 0;
  bool flat = x.rank() == 3;
  if ((!flat && x.rank() != 4) || x.shape[0] != 1 || pairs < 1 || cosines.shape != sines.shape ||
      (at.kind == Kind::Float) == positions.has_value() || failed(allFloats(op, {x, cosines, sines}))) {
    return op->emitOpError("cannot be evaluated: its input and tables do not fit");
  }
  int64_t heads = flat ? headCount > 0 ? headCount : x.shape[2] / (2 * pairs) : x.shape[1];
  if (heads < 1 || (flat && x.shape[2] % heads)) {
    return op->emitOpError("cannot be evaluated: its heads do not divide its columns");
  }
  Heads rotated = flat ? headsOf(x, 0, heads, x.shape[2] / heads) : headsOf(x);
  bool offset = positions && at.size() == 1;  // of all tokens
  if (positions && !offset && at.size() != rotated.tokens) {
    return op->emitOpError("cannot be evaluated: it needs a position for each token");
  }
  std::vector<int64_t> rows;
  for (int64_t t = 0; t < rotated.tokens; ++t) {
    rows.push_back(!positions ? t : offset ? at.i()[0] + t : at.i()[t]);
    if (rows.back() < 0 || rows.back() >= cosines.size() / pairs) {
      return op->emitOpError("has no row in its tables for position ") << rows.back();
    }
  }
  if (2 * pairs > rotated.width) {
    return op->emitOpError("rotates more than a head has");
  }
  rotate(rotated, cosines, sines, rows, interleaved);
  e.set(op->getResult(0), flat ? rowsOf(rotated) : tensorOf(rotated));
  return success();
}

static std::optional<Tensor> given(Evaluator &e, Value value) {
  return value ? std::optional<Tensor>(e.get(value)) : std::nullopt;
}

// Sections take their positions from rows of [3, 1, T]: of text these are the same, and so are the sections.
static LogicalResult evaluateMultiRotary(onnx::MsMRotaryEmbeddingOp op, Evaluator &e) {
  Tensor at = e.get(op.getPositionIds());
  int64_t tokens = at.rank() == 3 ? at.shape[2] : 0;
  bool fits = at.kind != Kind::Float && at.rank() == 3 && at.shape[0] == 3 && at.shape[1] == 1 && tokens > 0;
  for (int64_t n = 0; fits && n < at.size(); ++n) {
    fits = at.i()[n] == at.i()[n % tokens];
  }
  if (!fits || op.getIsPackedBatching()) {
    return op.emitOpError("cannot be evaluated: its positions must be three equal rows [3, 1, T], as text has them");
  }
  Tensor row = at.take({1, tokens}, llvm::to_vector(llvm::seq<int64_t>(0, tokens)));
  return evaluateRotaryOp(op, e, op.getInput(), op.getCosCache(), op.getSinCache(), row, op.getNumHeads(),
                          op.getInterleaved() != 0);
}

//===----------------------------------------------------------------------===//
// Quantised products
//===----------------------------------------------------------------------===//

// Code `index` of packed bytes, low bits first.
static int64_t codeAt(const int64_t *bytes, int64_t index, int64_t bits) {
  int64_t perByte = 8 / bits;
  return bytes[index / perByte] >> (index % perByte * bits) & ((1 << bits) - 1);
}

namespace {

// Rows of codes with a scale and a zero point for each block of columns. Rows of bytes start at whole bytes.
struct Packed {
  const int64_t *codes = nullptr;
  int64_t rows = 0, columns = 0, bits = 4, block = 0;
  const double *scales = nullptr;
  const int64_t *zeroCodes = nullptr;  // packed along the blocks of a row (`zerosAlongRows`: along the rows)
  const double *zeros = nullptr;
  bool zerosAlongRows = false;

  int64_t blocks() const { return (columns + block - 1) / block; }
  double at(int64_t row, int64_t column) const {
    int64_t perByte = 8 / bits, rowBytes = blocks() * block / perByte;
    if (blocks() == 1) {
      rowBytes = (columns + perByte - 1) / perByte;
    }
    int64_t group = column / block, zeroBytes = (blocks() + perByte - 1) / perByte;
    double zero = static_cast<double>(int64_t(1) << (bits - 1));
    if (zeroCodes) {
      zero = static_cast<double>(zerosAlongRows ? codeAt(zeroCodes, row, bits)
                                                : codeAt(zeroCodes + row * zeroBytes, group, bits));
    } else if (zeros) {
      zero = zeros[row * blocks() + group];
    }
    double code = static_cast<double>(codeAt(codes + row * rowBytes, column, bits));
    return (code - zero) * scales[row * blocks() + group];
  }
};

} // namespace

static LogicalResult evaluateMatMulNBits(onnx::MsMatMulNBitsOp op, Evaluator &e) {
  Tensor a = e.get(op.getA()), b = e.get(op.getB()), scales = e.get(op.getScales());
  Tensor zeros = optional(e, op.getZeroPoints()), bias = optional(e, op.getBias());
  Packed w;
  w.rows = op.getN(), w.columns = op.getK(), w.bits = op.getBits(), w.block = op.getBlockSize();
  bool known = w.bits == 2 || w.bits == 4 || w.bits == 8;
  if (!known || w.block < 1 || w.rows < 1 || w.columns < 1 || op.getGIdx() || op.getWeightPrepacked() ||
      a.rank() == 0 || a.shape.back() != w.columns || failed(allFloats(op, {a, scales, bias})) || b.kind != Kind::Int ||
      b.size() != w.rows * w.blocks() * w.block * w.bits / 8 || scales.size() != w.rows * w.blocks() ||
      (op.getBias() && bias.size() != w.rows)) {
    return op.emitOpError("cannot be evaluated: its operands do not fit K, N, bits and block_size");
  }
  w.codes = b.i(), w.scales = scales.f();
  if (op.getZeroPoints()) {
    bool packed = zeros.kind != Kind::Float;
    if (zeros.size() != (packed ? w.rows * ((w.blocks() * w.bits + 7) / 8) : w.rows * w.blocks())) {
      return op.emitOpError("has zero points that do not fit its blocks");
    }
    w.zeroCodes = packed ? zeros.i() : nullptr;
    w.zeros = packed ? nullptr : zeros.f();
  }
  int64_t tokens = a.size() / w.columns;
  Dims shape = a.shape;
  shape.back() = w.rows;
  Values out(tokens * w.rows), row(w.columns);
  for (int64_t n = 0; n < w.rows; ++n) {
    for (int64_t c = 0; c < w.columns; ++c) {
      row[c] = w.at(n, c);
    }
    for (int64_t t = 0; t < tokens; ++t) {
      out[t * w.rows + n] = std::inner_product(row.begin(), row.end(), a.f() + t * w.columns,
                                               op.getBias() ? bias.f()[n] : 0.0);
    }
  }
  e.set(op.getY(), Tensor::of(shape, std::move(out)));
  return success();
}

//===----------------------------------------------------------------------===//
// Mixtures
//===----------------------------------------------------------------------===//

namespace {

struct MixtureRule {
  StringRef activation;
  int64_t topK = 1, fusion = 0;
  bool normalise = false;
  double alpha = 1, beta = 0, limit = std::numeric_limits<double>::infinity();
};

// What MoE and QMoE share: matrix(which, expert) [outputs, inputs], null after an error and valid until the next one is
// asked for; bias(which, expert, row). Matrices 0, 1, 2 are fc1, fc2, fc3.
struct Mixture {
  MixtureRule rule;
  int64_t experts = 0, width = 0, hidden = 0, rows1 = 0;
  bool hasThird = false;
  std::function<const double *(int, int64_t)> matrix;
  std::function<double(int, int64_t, int64_t)> bias;
};

} // namespace

static FailureOr<double> activate(Operation *op, const MixtureRule &rule, double x) {
  if (rule.activation == "relu") {
    return std::max(x, 0.0);
  }
  if (rule.activation == "gelu") {
    return geluTanh(x);
  }
  if (rule.activation == "silu") {
    return x * logistic(x);
  }
  if (rule.activation == "identity") {
    return x;
  }
  return op->emitOpError("has the activation \"") << rule.activation << "\", which is not known";
}

// Scores [T, E] choose; `mixing` [T, E] (if given) are the weights, else the softmax of the scores.
static LogicalResult mix(Operation *op, Evaluator &e, const Tensor &x, const Tensor &scores, const Tensor *mixing,
                         const Mixture &m) {
  int64_t tokens = m.width ? x.size() / m.width : 0;
  if (scores.size() != tokens * m.experts || m.rule.topK < 1 || m.rule.topK > m.experts ||
      (mixing && (mixing->size() != scores.size() || mixing->kind != Kind::Float))) {
    return op->emitOpError("cannot be evaluated: router_probs must be [tokens, experts] and k at most experts");
  }
  bool fused = m.rule.activation == "swiglu" && m.rule.fusion != 0;
  Values out(x.size(), 0.0);
  std::map<int64_t, std::vector<std::pair<int64_t, double>>> tokensOf; // of an expert, with their weights
  for (int64_t t = 0; t < tokens; ++t) {
    const double *score = scores.f() + t * m.experts;
    std::vector<int64_t> order(m.experts);
    std::iota(order.begin(), order.end(), 0);
    llvm::stable_sort(order, [&](int64_t a, int64_t b) { return score[a] > score[b]; });
    double largest = score[order[0]], all = 0, chosen = 0;
    Values weights(m.experts);
    for (int64_t expert = 0; expert < m.experts; ++expert) {
      all += weights[expert] = std::exp(score[expert] - largest);
    }
    for (int64_t expert = 0; expert < m.experts; ++expert) {
      weights[expert] = mixing ? mixing->f()[t * m.experts + expert] : weights[expert] / all;
    }
    order.resize(m.rule.topK);
    for (int64_t expert : order) {
      chosen += weights[expert];
    }
    for (int64_t expert : order) {
      tokensOf[expert].push_back({t, weights[expert] / (m.rule.normalise ? chosen : 1)});
    }
  }
  // Expert by expert, so that one is read at a time.
  for (auto &[expert, own] : tokensOf) {
    // Rows of x, `columns` each, times a matrix, plus its bias; empty after an error.
    auto product = [&, expert = expert, count = own.size()](int which, const Values &from, int64_t rows, int64_t columns) {
      const double *matrix = m.matrix(which, expert);
      Values result(matrix ? count * rows : 0);
      for (int64_t row = 0; matrix && row < rows; ++row) {
        for (size_t n = 0; n < count; ++n) {
          result[n * rows + row] =
              m.bias(which, expert, row) + std::inner_product(matrix + row * columns, matrix + (row + 1) * columns,
                                                              from.data() + n * columns, 0.0);
        }
      }
      return result;
    };
    Values input;
    for (auto [t, weight] : own) {
      input.insert(input.end(), x.f() + t * m.width, x.f() + (t + 1) * m.width);
    }
    const bool gates = m.rule.activation == "swiglu", interleaved = m.rule.fusion == 1;
    Values first = product(0, input, m.rows1, m.width), hidden(own.size() * m.hidden);
    Values third = m.hasThird ? product(2, input, m.hidden, m.width) : Values();
    if ((first.empty() && m.rows1 > 0) || (m.hasThird && third.empty() && m.hidden > 0)) {
      return failure();
    }
    for (size_t n = 0; n < own.size(); ++n) {
      for (int64_t i = 0; i < m.hidden; ++i) {
        const double *row = first.data() + n * m.rows1;
        double gate = row[fused && interleaved ? 2 * i : i], linear = m.hasThird ? third[n * m.hidden + i] : 1;
        if (gates) {
          linear = fused ? row[interleaved ? 2 * i + 1 : i + m.hidden] : linear;
          gate = std::min(gate, m.rule.limit);
          linear = std::max(-m.rule.limit, std::min(m.rule.limit, linear));
          hidden[n * m.hidden + i] = gate * logistic(m.rule.alpha * gate) * (linear + m.rule.beta);
          continue;
        }
        auto active = activate(op, m.rule, gate);
        if (failed(active)) {
          return failure();
        }
        hidden[n * m.hidden + i] = *active * linear;
      }
    }
    Values result = product(1, hidden, m.width, m.hidden);
    if (result.empty() && m.width > 0) {
      return failure();
    }
    for (size_t n = 0; n < own.size(); ++n) {
      for (int64_t d = 0; d < m.width; ++d) {
        out[own[n].first * m.width + d] += own[n].second * result[n * m.width + d];
      }
    }
  }
  e.set(op->getResult(0), Tensor::of(x.shape, std::move(out)));
  return success();
}

template <typename OpT> static FailureOr<MixtureRule> ruleOf(OpT op) {
  MixtureRule rule;
  rule.activation = op.getActivationType();
  rule.topK = op.getK();
  rule.fusion = op.getSwigluFusion();
  rule.normalise = op.getNormalizeRoutingWeights() != 0;
  rule.alpha = op.getActivationAlpha();
  rule.beta = op.getActivationBeta();
  if (op.getSwigluLimit()) {
    rule.limit = *op.getSwigluLimit();
  }
  if (op.getUseSparseMixer()) {
    return op.emitOpError("cannot be evaluated: the sparse mixer's rule is not known here");
  }
  return rule;
}

// MoE, and QMoE whose weights have names of their own: floats.
template <typename OpT> static LogicalResult evaluateMixture(OpT op, Evaluator &e, Value routerWeights) {
  Tensor x = e.get(op.getInput()), scores = e.get(op.getRouterProbs());
  Tensor weights[3] = {e.get(op.getFc1ExpertsWeights()), e.get(op.getFc2ExpertsWeights()),
                       optional(e, op.getFc3ExpertsWeights())};
  Tensor biases[3] = {optional(e, op.getFc1ExpertsBias()), optional(e, op.getFc2ExpertsBias()),
                      optional(e, op.getFc3ExpertsBias())};
  auto rule = ruleOf(op);
  if (failed(rule) || failed(allFloats(op, {x, scores, weights[0], weights[1], weights[2], biases[0], biases[1],
                                            biases[2]}))) {
    return failure();
  }
  Mixture m;
  m.rule = *rule;
  m.experts = weights[0].shape.empty() ? 0 : weights[0].shape[0];
  m.width = x.rank() ? x.shape.back() : 0;
  m.hasThird = static_cast<bool>(op.getFc3ExpertsWeights());
  // The extents may be swapped ("legacy" shapes); the bytes are rows of outputs all the same.
  m.rows1 = m.experts * m.width != 0 ? weights[0].size() / (m.experts * m.width) : 0;
  bool fused = m.rule.activation == "swiglu" && m.rule.fusion != 0;
  m.hidden = fused ? m.rows1 / 2 : m.rows1;
  int64_t rows[3] = {m.rows1, m.width, m.hidden}, columns[3] = {m.width, m.hidden, m.width};
  for (int i : {0, 1, 2}) {
    bool used = i != 2 || m.hasThird;
    if (used && (weights[i].size() != m.experts * rows[i] * columns[i] ||
                 (biases[i].floats && biases[i].size() != m.experts * rows[i]))) {
      return op.emitOpError("cannot be evaluated: the experts' weights do not fit each other");
    }
  }
  Values slices[3];
  m.matrix = [&](int i, int64_t expert) -> const double * {
    if (!weights[i].view) {
      return weights[i].f() + expert * rows[i] * columns[i];
    }
    return succeeded(e.readSlice(op, *weights[i].view, expert, slices[i])) ? slices[i].data() : nullptr;
  };
  m.bias = [&](int i, int64_t expert, int64_t row) {
    return biases[i].floats ? biases[i].f()[expert * rows[i] + row] : 0;
  };
  Tensor mixing = optional(e, routerWeights);
  return mix(op, e, x, scores, routerWeights ? &mixing : nullptr, m);
}

void addContribOps(EvaluateTable &table) {
  using namespace onnx;
  addOp<MsSimplifiedLayerNormalizationOp>(table, evaluateSimplifiedNorm);
  addOp<MsSkipSimplifiedLayerNormalizationOp>(table, evaluateSkipRms);
  addOp<MsSkipLayerNormalizationOp>(table, evaluateSkipLayer);
  addOp<MsGeluOp>(table, [](MsGeluOp op, Evaluator &e) { return mapBiased(op, e, op.getX(), {}, geluErf); });
  addOp<MsFastGeluOp>(table, [](MsFastGeluOp op, Evaluator &e) {
    return mapBiased(op, e, op.getX(), op.getBias(), geluTanh);
  });
  addOp<MsBiasGeluOp>(table, [](MsBiasGeluOp op, Evaluator &e) {
    return mapBiased(op, e, op.getA(), op.getB(), geluErf);
  });
  addOp<MsQuickGeluOp>(table, [](MsQuickGeluOp op, Evaluator &e) {
    double alpha = op.getAlpha();
    return mapBiased(op, e, op.getX(), {}, [alpha](double x) { return x * logistic(alpha * x); });
  });
  addOp<MsGatedAddOp>(table, evaluateGatedAdd);
  addOp<MsGroupQueryAttentionOp>(table, evaluateGroupQueryAttention);
  addOp<onnx::AttentionOp>(table, evaluateStandardAttention);
  addOp<MsRotaryEmbeddingOp>(table, [](MsRotaryEmbeddingOp op, Evaluator &e) {
    return evaluateRotaryOp(op, e, op.getInput(), op.getCosCache(), op.getSinCache(),
                            given(e, op.getPositionIds()), op.getNumHeads(), op.getInterleaved() != 0);
  });
  addOp<MsMRotaryEmbeddingOp>(table, evaluateMultiRotary);
  addOp<RotaryEmbeddingOp>(table, [](RotaryEmbeddingOp op, Evaluator &e) {
    return evaluateRotaryOp(op, e, op.getX(), op.getCosCache(), op.getSinCache(),
                            given(e, op.getPositionIds()), op.getNumHeads(), op.getInterleaved() != 0);
  });
  addOp<MsMatMulNBitsOp>(table, evaluateMatMulNBits);
  addOp<MsMoEOp>(table, [](MsMoEOp op, Evaluator &e) { return evaluateMixture(op, e, {}); });
  addOp<MsQMoEOp>(table, [](MsQMoEOp op, Evaluator &e) -> LogicalResult {
    if (op.getFc1Scales() || op.getFc2Scales() || op.getFc3Scales()) {
      return op.emitOpError("cannot be evaluated: its weights have no names yet (dequantise)");
    }
    return evaluateMixture(op, e, op.getRouterWeights());
  });
}

} // namespace emoe
