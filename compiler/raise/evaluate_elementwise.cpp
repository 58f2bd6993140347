// Evaluation of elementwise ops.
#include <cmath>
#include <limits>

#include "compiler/raise/evaluate.h"

using namespace mlir;

namespace emoe {

using Kind = Tensor::Kind;

//===----------------------------------------------------------------------===//
// One operand
//===----------------------------------------------------------------------===//

// y[i] = function(x[i]) on floats.
template <typename F> static LogicalResult mapFloats(Operation *op, Evaluator &e, F function) {
  Tensor x = e.get(op->getOperand(0));
  if (x.kind != Kind::Float) {
    return op->emitOpError("cannot be evaluated on integers");
  }
  std::vector<double> y(x.floats->size());
  for (size_t i = 0; i < y.size(); ++i) {
    y[i] = function(x.f()[i]);
  }
  e.set(op->getResult(0), Tensor::of(x.shape, std::move(y)));
  return success();
}

// The same, on integers with `onInts`.
template <typename F, typename G> static LogicalResult map(Operation *op, Evaluator &e, F onFloats, G onInts) {
  Tensor x = e.get(op->getOperand(0));
  if (x.kind == Kind::Float) {
    return mapFloats(op, e, onFloats);
  }
  std::vector<int64_t> y(x.ints->size());
  for (size_t i = 0; i < y.size(); ++i) {
    y[i] = onInts(x.i()[i]);
  }
  e.set(op->getResult(0), Tensor::of(x.shape, std::move(y), x.kind));
  return success();
}

// A test of each element, on floats.
template <typename F> static LogicalResult test(Operation *op, Evaluator &e, F function) {
  Tensor x = e.get(op->getOperand(0));
  std::vector<int64_t> y(x.size());
  for (size_t i = 0; i < y.size(); ++i) {
    y[i] = function(x.at(i));
  }
  e.set(op->getResult(0), Tensor::of(x.shape, std::move(y), Kind::Bool));
  return success();
}

template <typename OpT, typename F> static void addUnary(EvaluateTable &table, F function) {
  addOp<OpT>(table, [function](OpT op, Evaluator &e) { return mapFloats(op, e, function); });
}

static double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
static double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }
// Two's complement wraps around, and so do we.
static int64_t negated(int64_t x) { return static_cast<int64_t>(0 - static_cast<uint64_t>(x)); }
static int64_t signOf(double x) { return (x > 0) - (x < 0); }
// Halves to even.
static double roundEven(double x) { return std::nearbyint(x); }

static void addUnaryOps(EvaluateTable &table) {
  using namespace onnx;
  addOp<AbsOp>(table, [](Operation *op, Evaluator &e) {
    return map(op, e, [](double x) { return std::abs(x); }, [](int64_t x) { return x < 0 ? negated(x) : x; });
  });
  addOp<NegOp>(table, [](Operation *op, Evaluator &e) {
    return map(op, e, [](double x) { return -x; }, negated);
  });
  addOp<SignOp>(table, [](Operation *op, Evaluator &e) {
    return map(op, e, [](double x) { return static_cast<double>(signOf(x)); },
               [](int64_t x) { return signOf(static_cast<double>(x)); });
  });
  addOp<ReluOp>(table, [](Operation *op, Evaluator &e) {
    return map(op, e, [](double x) { return x < 0 ? 0 : x; }, [](int64_t x) { return x < 0 ? 0 : x; });
  });
  addUnary<ReciprocalOp>(table, [](double x) { return 1 / x; });
  addUnary<SqrtOp>(table, [](double x) { return std::sqrt(x); });
  addUnary<FloorOp>(table, [](double x) { return std::floor(x); });
  addUnary<CeilOp>(table, [](double x) { return std::ceil(x); });
  addUnary<RoundOp>(table, roundEven);
  addUnary<ExpOp>(table, [](double x) { return std::exp(x); });
  addUnary<LogOp>(table, [](double x) { return std::log(x); });
  addUnary<ErfOp>(table, [](double x) { return std::erf(x); });
  addUnary<SinOp>(table, [](double x) { return std::sin(x); });
  addUnary<CosOp>(table, [](double x) { return std::cos(x); });
  addUnary<TanOp>(table, [](double x) { return std::tan(x); });
  addUnary<AsinOp>(table, [](double x) { return std::asin(x); });
  addUnary<AcosOp>(table, [](double x) { return std::acos(x); });
  addUnary<AtanOp>(table, [](double x) { return std::atan(x); });
  addUnary<SinhOp>(table, [](double x) { return std::sinh(x); });
  addUnary<CoshOp>(table, [](double x) { return std::cosh(x); });
  addUnary<TanhOp>(table, [](double x) { return std::tanh(x); });
  addUnary<SigmoidOp>(table, sigmoid);
  addUnary<SoftplusOp>(table, softplus);
  addUnary<SoftsignOp>(table, [](double x) { return x / (1 + std::abs(x)); });
  addUnary<MishOp>(table, [](double x) { return x * std::tanh(softplus(x)); });
  addUnary<HardSwishOp>(table, [](double x) { return x * std::max(0.0, std::min(1.0, x / 6 + 0.5)); });
  addOp<GeluOp>(table, [](GeluOp op, Evaluator &e) {
    if (op.getApproximate() == "tanh") {
      return mapFloats(op, e, [](double x) {
        return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
      });
    }
    return mapFloats(op, e, [](double x) { return x / 2 * (1 + std::erf(x / std::sqrt(2.0))); });
  });
  addOp<SwishOp>(table, [](SwishOp op, Evaluator &e) {
    return mapFloats(op, e, [a = op.getAlpha()](double x) { return x * sigmoid(a * x); });
  });
  addOp<HardSigmoidOp>(table, [](HardSigmoidOp op, Evaluator &e) {
    return mapFloats(op, e, [a = op.getAlpha(), b = op.getBeta()](double x) {
      return std::max(0.0, std::min(1.0, a * x + b));
    });
  });
  addOp<EluOp>(table, [](EluOp op, Evaluator &e) {
    return mapFloats(op, e, [a = op.getAlpha()](double x) { return x >= 0 ? x : a * std::expm1(x); });
  });
  addOp<SeluOp>(table, [](SeluOp op, Evaluator &e) {
    return mapFloats(op, e, [a = op.getAlpha(), g = op.getGamma()](double x) {
      return g * (x > 0 ? x : a * std::expm1(x));
    });
  });
  addOp<CeluOp>(table, [](CeluOp op, Evaluator &e) {
    return mapFloats(op, e, [a = op.getAlpha()](double x) {
      return std::max(0.0, x) + std::min(0.0, a * std::expm1(x / a));
    });
  });
  addOp<LeakyReluOp>(table, [](LeakyReluOp op, Evaluator &e) {
    return mapFloats(op, e, [a = op.getAlpha()](double x) { return x >= 0 ? x : a * x; });
  });
  addOp<ThresholdedReluOp>(table, [](ThresholdedReluOp op, Evaluator &e) {
    return mapFloats(op, e, [a = op.getAlpha()](double x) { return x > a ? x : 0; });
  });
  addOp<IsNaNOp>(table, [](Operation *op, Evaluator &e) {
    return test(op, e, [](double x) { return std::isnan(x); });
  });
  addOp<IsInfOp>(table, [](IsInfOp op, Evaluator &e) {
    return test(op, e, [low = op.getDetectNegative(), high = op.getDetectPositive()](double x) {
      return std::isinf(x) && (x < 0 ? low : high) != 0;
    });
  });
  addOp<BitwiseNotOp>(table, [](BitwiseNotOp op, Evaluator &e) {
    auto type = dyn_cast<IntegerType>(cast<ShapedType>(op.getX().getType()).getElementType());
    int64_t mask = type && type.isUnsigned() && type.getWidth() < 64 ? (int64_t(1) << type.getWidth()) - 1 : -1;
    return map(op, e, [](double) { return NAN; }, [mask](int64_t x) { return ~x & mask; });
  });
  addOp<NotOp>(table, [](Operation *op, Evaluator &e) { return test(op, e, [](double x) { return x == 0; }); });
}

//===----------------------------------------------------------------------===//
// Two operands, broadcast
//===----------------------------------------------------------------------===//

// Calls body(i, j) with the offsets of both operands for each element of the broadcast result, whose shape it returns.
template <typename Body>
static FailureOr<Dims> broadcast(Operation *op, const Tensor &a, const Tensor &b, Body &&body) {
  std::optional<Dims> shape = broadcastShapes(a.shape, b.shape);
  if (!shape) {
    InFlightDiagnostic error = op->emitOpError("cannot broadcast [");
    llvm::interleaveComma(a.shape, error);
    error << "] and [";
    llvm::interleaveComma(b.shape, error);
    return error << "]";
  }
  walk<2>(*shape, {broadcastStrides(a.shape, *shape), broadcastStrides(b.shape, *shape)},
          [&](const std::array<int64_t, 2> &at) { body(at[0], at[1]); });
  return *shape;
}

// c = onFloats(a, b) or onInts(a, b); both operands are of one kind.
template <typename F, typename G>
static FailureOr<Tensor> combine(Operation *op, const Tensor &a, const Tensor &b, F onFloats, G onInts) {
  if ((a.kind == Kind::Float) != (b.kind == Kind::Float)) {
    return op->emitOpError("mixes floats and integers");
  }
  if (a.kind == Kind::Float) {
    std::vector<double> c;
    auto shape = broadcast(op, a, b, [&](int64_t i, int64_t j) { c.push_back(onFloats(a.f()[i], b.f()[j])); });
    return failed(shape) ? FailureOr<Tensor>() : FailureOr<Tensor>(Tensor::of(*shape, std::move(c)));
  }
  std::vector<int64_t> c;
  auto shape = broadcast(op, a, b, [&](int64_t i, int64_t j) { c.push_back(onInts(a.i()[i], b.i()[j])); });
  return failed(shape) ? FailureOr<Tensor>() : FailureOr<Tensor>(Tensor::of(*shape, std::move(c), a.kind));
}

// The result of `combine` over all operands, from the left.
template <typename F, typename G> static LogicalResult fold(Operation *op, Evaluator &e, F onFloats, G onInts) {
  FailureOr<Tensor> total = e.get(op->getOperand(0));
  for (Value operand : op->getOperands().drop_front()) {
    total = combine(op, *total, e.get(operand), onFloats, onInts);
    if (failed(total)) {
      return failure();
    }
  }
  e.set(op->getResult(0), *total);
  return success();
}

template <typename OpT, typename F, typename G> static void addBinary(EvaluateTable &table, F onFloats, G onInts) {
  addOp<OpT>(table, [onFloats, onInts](Operation *op, Evaluator &e) { return fold(op, e, onFloats, onInts); });
}
template <typename OpT, typename F> static void addArithmetic(EvaluateTable &table, F function) {
  addBinary<OpT>(table, [function](double a, double b) { return function(a, b); },
                 [function](int64_t a, int64_t b) { return function(a, b); });
}

template <typename OpT, typename F> static void addComparison(EvaluateTable &table, F function) {
  addOp<OpT>(table, [function](Operation *op, Evaluator &e) -> LogicalResult {
    Tensor a = e.get(op->getOperand(0)), b = e.get(op->getOperand(1));
    if ((a.kind == Kind::Float) != (b.kind == Kind::Float)) {
      return op->emitOpError("mixes floats and integers");
    }
    std::vector<int64_t> c;
    auto shape = a.kind == Kind::Float
                     ? broadcast(op, a, b, [&](int64_t i, int64_t j) { c.push_back(function(a.f()[i], b.f()[j])); })
                     : broadcast(op, a, b, [&](int64_t i, int64_t j) { c.push_back(function(a.i()[i], b.i()[j])); });
    if (failed(shape)) {
      return failure();
    }
    e.set(op->getResult(0), Tensor::of(*shape, std::move(c), Kind::Bool));
    return success();
  });
}

// Integer operations wrap around as two's complement does; in C++ only unsigned ones may.
template <typename F> static auto wrapping(F function) {
  return [function](int64_t a, int64_t b) {
    return static_cast<int64_t>(function(static_cast<uint64_t>(a), static_cast<uint64_t>(b)));
  };
}

template <typename T> static T largest(T a, T b) { return a != a || a > b ? a : b; }
template <typename T> static T smallest(T a, T b) { return a != a || a < b ? a : b; }

static bool hasZeroInteger(const Tensor &tensor) {
  return tensor.kind != Kind::Float && llvm::is_contained(*tensor.ints, 0);
}

// x ^ y by squaring; a negative exponent gives what truncating the real power gives.
static int64_t powerOf(int64_t x, int64_t y) {
  if (y < 0) {
    return x == 1 ? 1 : x == -1 ? (y % 2 ? -1 : 1) : 0;
  }
  uint64_t result = 1, base = static_cast<uint64_t>(x);
  for (; y; y >>= 1, base *= base) {
    result *= y & 1 ? base : 1;
  }
  return static_cast<int64_t>(result);
}

static LogicalResult evaluatePow(onnx::PowOp op, Evaluator &e) {
  Tensor x = e.get(op.getX()), y = e.get(op.getY());
  if (x.kind == Kind::Float && y.kind != Kind::Float) {
    y = Tensor::of(y.shape, std::vector<double>(y.ints->begin(), y.ints->end()));
  } else if (x.kind != Kind::Float && y.kind == Kind::Float) {
    return op.emitOpError("cannot be evaluated: an integer to a float power");
  }
  auto z = combine(op, x, y, [](double a, double b) { return std::pow(a, b); }, powerOf);
  if (failed(z)) {
    return failure();
  }
  e.set(op.getZ(), *z);
  return success();
}

static LogicalResult evaluateDiv(onnx::DivOp op, Evaluator &e) {
  if (hasZeroInteger(e.get(op.getB()))) {
    return op.emitOpError("divides an integer by zero");
  }
  return fold(op, e, [](double a, double b) { return a / b; },
              [](int64_t a, int64_t b) { return b == -1 ? negated(a) : a / b; });
}

static LogicalResult evaluateMod(onnx::ModOp op, Evaluator &e) {
  if (hasZeroInteger(e.get(op.getB()))) {
    return op.emitOpError("divides an integer by zero");
  }
  if (op.getFmod()) {
    return fold(op, e, [](double a, double b) { return std::fmod(a, b); },
                [](int64_t a, int64_t b) { return b == -1 ? 0 : a % b; });
  }
  return fold(op, e, [](double a, double b) { return a - b * std::floor(a / b); }, [](int64_t a, int64_t b) {
    int64_t rest = b == -1 ? 0 : a % b;
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
  });
}

static LogicalResult evaluateMean(onnx::MeanOp op, Evaluator &e) {
  if (failed(fold(op, e, [](double a, double b) { return a + b; }, [](int64_t a, int64_t) { return a; }))) {
    return failure();
  }
  Tensor sum = e.get(op.getOperation()->getResult(0));
  if (sum.kind != Kind::Float) {
    return op.emitOpError("cannot be evaluated on integers");
  }
  std::vector<double> mean = *sum.floats;
  for (double &x : mean) {
    x /= op->getNumOperands();
  }
  e.set(op.getOperation()->getResult(0), Tensor::of(sum.shape, std::move(mean)));
  return success();
}

static LogicalResult evaluateBitShift(onnx::BitShiftOp op, Evaluator &e) {
  bool left = op.getDirection() == "LEFT";
  unsigned width = cast<ShapedType>(op.getX().getType()).getElementTypeBitWidth();
  uint64_t mask = width >= 64 ? ~uint64_t(0) : (uint64_t(1) << width) - 1;
  return fold(op, e, [](double a, double) { return a; }, [=](int64_t a, int64_t b) {
    uint64_t x = static_cast<uint64_t>(a) & mask;
    bool all = b < 0 || b >= static_cast<int64_t>(width);
    return static_cast<int64_t>(all ? 0 : (left ? x << b : x >> b) & mask);
  });
}

static void addBinaryOps(EvaluateTable &table) {
  using namespace onnx;
  auto noFloats = [](double, double) { return std::numeric_limits<double>::quiet_NaN(); };
  addBinary<onnx::AddOp>(table, [](double a, double b) { return a + b; }, wrapping([](uint64_t a, uint64_t b) { return a + b; }));
  addBinary<SubOp>(table, [](double a, double b) { return a - b; }, wrapping([](uint64_t a, uint64_t b) { return a - b; }));
  addBinary<onnx::MulOp>(table, [](double a, double b) { return a * b; }, wrapping([](uint64_t a, uint64_t b) { return a * b; }));
  addBinary<SumOp>(table, [](double a, double b) { return a + b; }, wrapping([](uint64_t a, uint64_t b) { return a + b; }));
  addOp<DivOp>(table, evaluateDiv);
  addOp<ModOp>(table, evaluateMod);
  addOp<PowOp>(table, evaluatePow);
  addOp<MeanOp>(table, evaluateMean);
  addOp<BitShiftOp>(table, evaluateBitShift);
  addArithmetic<MaxOp>(table, [](auto a, auto b) { return largest(a, b); });
  addArithmetic<MinOp>(table, [](auto a, auto b) { return smallest(a, b); });
  addBinary<PReluOp>(table, [](double x, double slope) { return x >= 0 ? x : slope * x; },
                     wrapping([](uint64_t x, uint64_t slope) { return x >> 63 ? slope * x : x; }));
  addComparison<EqualOp>(table, [](auto a, auto b) { return a == b; });
  addComparison<LessOp>(table, [](auto a, auto b) { return a < b; });
  addComparison<LessOrEqualOp>(table, [](auto a, auto b) { return a <= b; });
  addComparison<GreaterOp>(table, [](auto a, auto b) { return a > b; });
  addComparison<GreaterOrEqualOp>(table, [](auto a, auto b) { return a >= b; });
  addComparison<AndOp>(table, [](auto a, auto b) { return a != 0 && b != 0; });
  addComparison<OrOp>(table, [](auto a, auto b) { return a != 0 || b != 0; });
  addComparison<XorOp>(table, [](auto a, auto b) { return (a != 0) != (b != 0); });
  addBinary<BitwiseAndOp>(table, noFloats, [](int64_t a, int64_t b) { return a & b; });
  addBinary<BitwiseOrOp>(table, noFloats, [](int64_t a, int64_t b) { return a | b; });
  addBinary<BitwiseXorOp>(table, noFloats, [](int64_t a, int64_t b) { return a ^ b; });
}

//===----------------------------------------------------------------------===//
// Clip, Where, Cast
//===----------------------------------------------------------------------===//

static LogicalResult evaluateClip(onnx::ClipOp op, Evaluator &e) {
  FailureOr<Tensor> value = e.get(op.getInput());
  if (op.getMin()) {
    value = combine(op, *value, e.get(op.getMin()), [](double x, double low) { return largest(x, low); },
                    [](int64_t x, int64_t low) { return largest(x, low); });
  }
  if (succeeded(value) && op.getMax()) {
    value = combine(op, *value, e.get(op.getMax()), [](double x, double high) { return smallest(x, high); },
                    [](int64_t x, int64_t high) { return smallest(x, high); });
  }
  if (failed(value)) {
    return failure();
  }
  e.set(op.getOutput(), *value);
  return success();
}

static LogicalResult evaluateWhere(onnx::WhereOp op, Evaluator &e) {
  Tensor condition = e.get(op.getCondition()), x = e.get(op.getX()), y = e.get(op.getY());
  auto shape = broadcastShapes(x.shape, y.shape);
  if (shape) {
    shape = broadcastShapes(condition.shape, *shape);
  }
  if (!shape || condition.kind == Kind::Float || x.kind != y.kind) {
    return op.emitOpError("cannot be evaluated: its operands do not fit each other");
  }
  std::array<Dims, 3> strides = {broadcastStrides(condition.shape, *shape), broadcastStrides(x.shape, *shape),
                                 broadcastStrides(y.shape, *shape)};
  if (x.kind == Kind::Float) {
    std::vector<double> out;
    walk<3>(*shape, strides, [&](const auto &at) { out.push_back(condition.i()[at[0]] ? x.f()[at[1]] : y.f()[at[2]]); });
    e.set(op.getOutput(), Tensor::of(*shape, std::move(out)));
  } else {
    std::vector<int64_t> out;
    walk<3>(*shape, strides, [&](const auto &at) { out.push_back(condition.i()[at[0]] ? x.i()[at[1]] : y.i()[at[2]]); });
    e.set(op.getOutput(), Tensor::of(*shape, std::move(out), x.kind));
  }
  return success();
}

// Casts between float types are the identity: float types are storage. A float becomes an integer by truncation; one
// that no int64 holds becomes the nearest, NaN becomes 0 (ONNX leaves both open).
static LogicalResult castTo(Operation *op, Evaluator &e, Type element) {
  Tensor x = e.get(op->getOperand(0));
  Kind to = Tensor::kindOf(element);
  if (x.view) {
    if (x.kind == Kind::Float && to == Kind::Float) {
      e.set(op->getResult(0), x);
      return success();
    }
    auto data = e.read(op, x);
    if (failed(data)) {
      return failure();
    }
    x = *data;
  }
  if (to == Kind::Float) {
    e.set(op->getResult(0),
          x.kind == Kind::Float ? x : Tensor::of(x.shape, std::vector<double>(x.ints->begin(), x.ints->end())));
    return success();
  }
  if (x.kind == Kind::Float && to == Kind::Int) {
    std::vector<int64_t> values;
    for (double value : *x.floats) {
      values.push_back(std::isnan(value)   ? 0
                       : value >= 0x1p63   ? std::numeric_limits<int64_t>::max()
                       : value <= -0x1p63  ? std::numeric_limits<int64_t>::min()
                                           : static_cast<int64_t>(value));
    }
    e.set(op->getResult(0), Tensor::of(x.shape, std::move(values)));
    return success();
  }
  if (to == Kind::Bool) {
    std::vector<int64_t> values(x.size());
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = x.at(i) != 0;
    }
    e.set(op->getResult(0), Tensor::of(x.shape, std::move(values), Kind::Bool));
    return success();
  }
  x.kind = to;
  e.set(op->getResult(0), x);
  return success();
}

void addElementwiseOps(EvaluateTable &table) {
  addUnaryOps(table);
  addBinaryOps(table);
  addOp<onnx::ClipOp>(table, evaluateClip);
  addOp<onnx::WhereOp>(table, evaluateWhere);
  addOp<onnx::CastOp>(table, [](onnx::CastOp op, Evaluator &e) { return castTo(op, e, op.getTo()); });
  addOp<onnx::CastLikeOp>(table, [](onnx::CastLikeOp op, Evaluator &e) {
    return castTo(op, e, cast<ShapedType>(op.getTargetType().getType()).getElementType());
  });
  addOp<onnx::IdentityOp>(table, [](onnx::IdentityOp op, Evaluator &e) {
    e.set(op.getOutput(), e.get(op.getInput()));
    return success();
  });
}

} // namespace emoe
