// The parts of a decoder that work on single rows: embedding, norms, linear layers, activations, residual sums.
#include <cmath>

#include "compiler/raise/raiser.h"

using namespace mlir;

namespace emoe {

void Raiser::addDecoderHandlers() {
  add("Gather", &Raiser::embedding);
  add("Pow", &Raiser::power);
  add("ReduceMean", &Raiser::reduceMean);
  add("Sqrt", &Raiser::squareRoot);
  add("Reciprocal", &Raiser::reciprocal);
  add("Add", &Raiser::normAdd);
  add("Mul", &Raiser::normMul);
  add("Div", &Raiser::normDiv);
  add("MatMul", &Raiser::linear);
  add("Gemm", &Raiser::gemm);
  add("Add", &Raiser::addRows);
  add("Mul", &Raiser::mulRows);
  for (const char *op : {"Mul", "Div"}) {
    add(op, &Raiser::scaleRows);
  }
  add("Sigmoid", &Raiser::sigmoid);
  for (const char *op : {"Tanh", "Relu", "Gelu"}) {
    add(op, &Raiser::activateRows);
  }
}

static bool isFlat(const Meaning &meaning) { return meaning.form == Form::BSW || meaning.form == Form::SW; }
// Also those of heads one after the other, [S * H, W], of which elementwise ops know nothing.
static bool isRun(const Meaning &meaning) {
  return isFlat(meaning) || (meaning.form == Form::BSHW && meaning.extents.size() == 2);
}

LogicalResult Raiser::embedding(Operation *op) {
  const Meaning table = of(op->getOperand(0)), tokens_ = of(op->getOperand(1));
  if (table.is(Kind::Weight) && tokens_.is(Kind::TextNumbers)) {
    return positionEmbedding(op);
  }
  if (!table.is(Kind::Weight) || !tokens_.is(Kind::TokenIds) || table.extents.size() != 2 ||
      axisAttr(op, 0, 2) != 0) {
    return success();
  }
  FlatSymbolRefAttr symbol = weight(op->getLoc(), table.view);
  if (!symbol) {
    return failure();
  }
  int64_t width = table.view.extents[1];
  Value rows = builder.create<EmbeddingOp>(
      op->getLoc(), RankedTensorType::get({ShapedType::kDynamic, width}, builder.getF32Type()), ids, symbol,
      builder.getF32FloatAttr(1));
  Meaning meaning;
  meaning.kind = Kind::Rows;
  set(op->getResult(0), reshaped(meaning, {1, tokens, width}));
  return replace(op->getResult(0), rows, Form::BSW, 1, "embedding", {op->getOperand(1)});
}

//===--- rms norm: x / sqrt(mean(x^2) + epsilon) * w, written out ---------------------------------------------------===//

static Meaning normStep(const Meaning &from, Kind kind) {
  Meaning meaning = from;
  meaning.kind = kind;
  return meaning;
}

// The square of rows: a step of a norm, or of a squared ReLU.
LogicalResult Raiser::square(Operation *op) {
  const Meaning x = of(op->getOperand(0));
  auto from = x.source.getDefiningOp<onnx::FromRowsOp>();
  auto relu = from ? from.getRows().getDefiningOp<ActivateOp>() : ActivateOp();
  if (!relu || relu.getActivation() != Activation::Relu || !isFlat(x)) {
    set(op->getResult(0), normStep(x, Kind::Square));
    return success();
  }
  set(op->getResult(0), x);
  Value active = builder.create<ActivateOp>(
      op->getLoc(), relu.getType(), ActivationAttr::get(builder.getContext(), Activation::Relu2), relu.getInput());
  Value input = relu.getInput();
  if (auto bridge = input.getDefiningOp<onnx::ToRowsOp>()) {
    input = bridge.getInput();
  }
  return replace(op->getResult(0), active, x.form, 1, "relu2", {input});
}

LogicalResult Raiser::power(Operation *op) {
  const Meaning &input = of(op->getOperand(0));
  if (isPlainRows(input) && scalar(op->getOperand(1)) == 2.0) {
    return square(op);
  } else if (auto exponent = scalar(op->getOperand(1)); input.is(Kind::MeanSquare) && exponent) {
    if (*exponent == 0.5 || *exponent == -0.5) {
      set(op->getResult(0), normStep(input, *exponent < 0 ? Kind::InverseRootMeanSquare : Kind::RootMeanSquare));
    }
  }
  return success();
}

LogicalResult Raiser::reduceMean(Operation *op) {
  const Meaning input = of(op->getOperand(0));
  if (!input.is(Kind::Square) || op->getNumOperands() < 2 || intAttr(op, "keepdims", 1) != 1) {
    return success();
  }
  int64_t rank = input.extents.size();
  auto axis = integer(op->getOperand(1));
  if (!axis || (*axis != -1 && *axis != rank - 1)) {
    return success();
  }
  Extents extents = input.extents;
  extents.back() = 1;
  set(op->getResult(0), reshaped(normStep(input, Kind::MeanSquare), extents));
  return success();
}

LogicalResult Raiser::normAdd(Operation *op) {
  for (int side : {0, 1}) {
    const Meaning input = of(op->getOperand(side));
    auto epsilon = scalar(op->getOperand(1 - side));
    if (input.is(Kind::MeanSquare) && epsilon && input.epsilon == 0) {
      Meaning meaning = input;
      meaning.epsilon = *epsilon;
      set(op->getResult(0), meaning);
    }
  }
  return success();
}

LogicalResult Raiser::squareRoot(Operation *op) {
  const Meaning &input = of(op->getOperand(0));
  if (input.is(Kind::MeanSquare)) {
    set(op->getResult(0), normStep(input, Kind::RootMeanSquare));
  }
  return success();
}

LogicalResult Raiser::reciprocal(Operation *op) {
  const Meaning &input = of(op->getOperand(0));
  if (input.is(Kind::RootMeanSquare)) {
    set(op->getResult(0), normStep(input, Kind::InverseRootMeanSquare));
  }
  return success();
}

LogicalResult Raiser::normDiv(Operation *op) {
  const Meaning a = of(op->getOperand(0)), b = of(op->getOperand(1));
  if (isPlainRows(a) && b.is(Kind::RootMeanSquare) && a.source == b.source && a.form == b.form) {
    Meaning meaning = normStep(a, Kind::Normalised);
    meaning.epsilon = b.epsilon;
    return normalised(op, meaning);
  } else if (b.is(Kind::RootMeanSquare) && scalar(op->getOperand(0)) == 1.0) {
    set(op->getResult(0), normStep(b, Kind::InverseRootMeanSquare));
  }
  return success();
}

LogicalResult Raiser::normMul(Operation *op) {
  for (int side : {0, 1}) {
    const Meaning a = of(op->getOperand(side)), b = of(op->getOperand(1 - side));
    if (isPlainRows(a) && b.is(Kind::InverseRootMeanSquare) && a.source == b.source && a.form == b.form) {
      Meaning meaning = normStep(a, Kind::Normalised);
      meaning.epsilon = b.epsilon;
      return normalised(op, meaning);
    }
    if (isPlainRows(a) && op->getOperand(0) == op->getOperand(1)) {
      return square(op);
    }
    if (!a.is(Kind::Normalised) || !b.is(Kind::Weight) || !a.extent(-1).isConstant() ||
        b.view.elements() != a.extent(-1).constant()) {
      continue;
    }
    auto row = b.view.reshaped({1, b.view.elements()});
    FlatSymbolRefAttr symbol = row ? weight(op->getLoc(), *row) : FlatSymbolRefAttr();
    if (!symbol) {
      return failure();
    }
    return emitRmsNorm(op, a, symbol);
  }
  return success();
}

LogicalResult Raiser::emitRmsNorm(Operation *op, const Meaning &normalised, FlatSymbolRefAttr weights) {
  const Meaning a = normalised;
  bool perHead = a.form == Form::BSHW || a.form == Form::BHSW;
  set(op->getResult(0), a);
  Value rows = toRows(a.source);
  Value result = builder.create<NormOp>(op->getLoc(), rows.getType(), rows, weights, FlatSymbolRefAttr(),
                                        NormKindAttr::get(builder.getContext(), NormKind::Rms),
                                        builder.getF32FloatAttr(a.epsilon),
                                        builder.getI64IntegerAttr(perHead ? a.heads : 1), builder.getF32FloatAttr(0));
  return replace(op->getResult(0), result, a.form, a.heads, "rms-norm", {a.source});
}

// Rows divided by their root mean square. Weights may follow; where something else does, they are ones.
LogicalResult Raiser::normalised(Operation *op, const Meaning &meaning) {
  bool weighed = llvm::all_of(op->getResult(0).getUsers(), [](Operation *user) { return isa<onnx::MulOp>(user); });
  if (weighed || !meaning.extent(-1).isConstant()) {
    set(op->getResult(0), meaning);
    return success();
  }
  int64_t width = meaning.extent(-1).constant();
  MLIRContext *context = builder.getContext();
  auto one = SourceAttr::get(context, builder.getStringAttr(WeightStore::kOne), 0, builder.getF32Type(), {1});
  FlatSymbolRefAttr ones = weight(op->getLoc(), TensorView{one, 0, {1, width}, {0, 0}});
  return ones ? emitRmsNorm(op, meaning, ones) : failure();
}

//===--- linear layers ---------------------------------------------------------------------------------------------===//

LogicalResult Raiser::emitLinear(Operation *op, Value input, const TensorView &matrix, const TensorView *bias) {
  const Meaning rows = of(input);
  FlatSymbolRefAttr symbol = weight(op->getLoc(), matrix);
  auto row = bias ? bias->reshaped({1, bias->elements()}) : std::nullopt;
  FlatSymbolRefAttr biasSymbol = row ? weight(op->getLoc(), *row) : FlatSymbolRefAttr();
  if (!symbol || (bias && !biasSymbol)) {
    return failure();
  }
  Extents extents = rows.extents;
  extents.back() = matrix.extents[0];
  Meaning meaning;
  meaning.kind = Kind::Rows;
  set(op->getResult(0), reshaped(meaning, extents));
  auto type = RankedTensorType::get({ShapedType::kDynamic, matrix.extents[0]}, builder.getF32Type());
  Value result = builder.create<LinearOp>(op->getLoc(), type, toRows(rows.source), symbol, biasSymbol);
  return replace(op->getResult(0), result, rows.form, 1, bias ? "linear with bias" : "linear", {rows.source});
}

LogicalResult Raiser::linear(Operation *op) {
  const Meaning a = of(op->getOperand(0)), b = of(op->getOperand(1));
  if (!isPlainRows(a) || !b.is(Kind::Weight) || b.view.extents.size() != 2 ||
      (a.form != Form::BSW && a.form != Form::SW) || a.extent(-1) != Extent(b.view.extents[0])) {
    return success();
  }
  return emitLinear(op, op->getOperand(0), b.view.permuted({1, 0}));
}

LogicalResult Raiser::gemm(Operation *op) {
  const Meaning a = of(op->getOperand(0)), b = of(op->getOperand(1));
  bool hasBias = op->getNumOperands() > 2;
  const Meaning bias = hasBias ? of(op->getOperand(2)) : Meaning();
  if (!isPlainRows(a) || a.form != Form::SW || !b.is(Kind::Weight) || intAttr(op, "transA", 0) != 0 ||
      floatAttr(op, "alpha", 1) != 1 || (hasBias && floatAttr(op, "beta", 1) != 1)) {
    return success();
  }
  TensorView matrix = intAttr(op, "transB", 0) ? b.view : b.view.permuted({1, 0});
  if (a.extent(-1) != Extent(matrix.extents[1]) ||
      (hasBias && (!bias.is(Kind::Weight) || bias.view.elements() != matrix.extents[0]))) {
    return success();
  }
  return emitLinear(op, op->getOperand(0), matrix, hasBias ? &bias.view : nullptr);
}

//===--- elementwise -----------------------------------------------------------------------------------------------===//

LogicalResult Raiser::addRows(Operation *op) {
  for (int side : {0, 1}) {
    const Meaning a = of(op->getOperand(side)), b = of(op->getOperand(1 - side));
    if (!isPlainRows(a) || (a.form != Form::BSW && a.form != Form::SW)) {
      continue;
    }
    if (side == 0 && isPlainRows(b) && b.extents == a.extents && b.form == a.form) {
      set(op->getResult(0), a);
      Value lhs = toRows(a.source), rhs = toRows(b.source);
      Value sum = builder.create<AddOp>(op->getLoc(), lhs.getType(), lhs, rhs);
      return replace(op->getResult(0), sum, a.form, 1, "add", {a.source, b.source});
    }
    // A linear layer's bias: the layer is emitted again with it.
    if (!b.is(Kind::Weight) || !a.extent(-1).isConstant() || b.view.elements() != a.extent(-1).constant()) {
      continue;
    }
    auto from = a.source.getDefiningOp<onnx::FromRowsOp>();
    auto without = from ? from.getRows().getDefiningOp<LinearOp>() : LinearOp();
    auto row = b.view.reshaped({1, b.view.elements()});
    if (!without || without.getBias() || !row) {
      continue;
    }
    FlatSymbolRefAttr symbol = weight(op->getLoc(), *row);
    if (!symbol) {
      return failure();
    }
    set(op->getResult(0), a);
    Value result = builder.create<LinearOp>(op->getLoc(), without.getType(), without.getInput(),
                                            without.getWeightAttr(), symbol);
    Value input = without.getInput();
    if (auto bridge = input.getDefiningOp<onnx::ToRowsOp>()) {
      input = bridge.getInput();
    }
    return replace(op->getResult(0), result, a.form, 1, "linear with bias", {input});
  }
  return success();
}

LogicalResult Raiser::sigmoid(Operation *op) {
  const Meaning &input = of(op->getOperand(0));
  if (isPlainRows(input)) {
    set(op->getResult(0), normStep(input, Kind::Sigmoid));
  }
  return success();
}

LogicalResult Raiser::mulRows(Operation *op) {
  const Meaning a = of(op->getOperand(0)), b = of(op->getOperand(1));
  auto isSiluOf = [](const Meaning &x, const Meaning &gate) {
    return gate.is(Kind::Sigmoid) && x.source == gate.source;
  };
  if (isPlainRows(a) && isPlainRows(b) && a.extents == b.extents && a.form == b.form && isRun(a)) {
    set(op->getResult(0), a);
    Value lhs = toRows(a.source), rhs = toRows(b.source);
    Value product = builder.create<MulOp>(op->getLoc(), lhs.getType(), lhs, rhs);
    return replace(op->getResult(0), product, a.form, isFlat(a) ? 1 : a.heads, "mul", {a.source, b.source});
  }
  for (const auto &[x, gate] : {std::pair(a, b), std::pair(b, a)}) {
    if (isPlainRows(x) && isRun(x) && isSiluOf(x, gate)) {
      set(op->getResult(0), x);
      Value rows = toRows(x.source);
      Value active = builder.create<ActivateOp>(
          op->getLoc(), rows.getType(), ActivationAttr::get(builder.getContext(), Activation::Silu), rows);
      return replace(op->getResult(0), active, x.form, isFlat(x) ? 1 : x.heads, "silu", {x.source});
    }
    // A gate: one number for the row (of a shared expert), or one for each element.
    bool byRow = gate.ranked && gate.extents.back() == Extent(1);
    if (isPlainRows(x) && isFlat(x) && gate.is(Kind::Sigmoid) && gate.form == x.form &&
        (byRow || gate.extents == x.extents)) {
      set(op->getResult(0), x);
      Value rows = toRows(x.source), gates = toRows(gate.source), result;
      Value factor = builder.create<ActivateOp>(
          op->getLoc(), gates.getType(), ActivationAttr::get(builder.getContext(), Activation::Sigmoid), gates);
      if (byRow) {
        result = builder.create<ScaleRowsOp>(op->getLoc(), rows.getType(), rows, factor);
      } else {
        result = builder.create<MulOp>(op->getLoc(), rows.getType(), rows, factor);
      }
      return replace(op->getResult(0), result, x.form, 1, "gate", {x.source, gate.source});
    }
  }
  return success();
}

LogicalResult Raiser::activateRows(Operation *op) {
  const Meaning x = of(op->getOperand(0));
  if (!isPlainRows(x) || !isFlat(x)) {
    return success();
  }
  StringRef name = op->getName().stripDialect();
  auto approximate = op->getAttrOfType<StringAttr>("approximate");
  Activation activation = name == "Tanh"                                          ? Activation::Tanh
                          : name == "Relu"                                        ? Activation::Relu
                          : approximate && approximate.getValue() == "tanh" ? Activation::GeluTanh
                                                                                  : Activation::GeluErf;
  set(op->getResult(0), x);
  Value rows = toRows(x.source);
  Value active = builder.create<ActivateOp>(op->getLoc(), rows.getType(),
                                            ActivationAttr::get(builder.getContext(), activation), rows);
  return replace(op->getResult(0), active, x.form, 1, stringifyActivation(activation), {x.source});
}

// Rows times a number: an embedding's scale, or a step of its own.
LogicalResult Raiser::scaleRows(Operation *op) {
  bool divides = op->getName().stripDialect() == "Div";
  for (int side : {0, 1}) {
    const Meaning x = of(op->getOperand(side)), other = of(op->getOperand(1 - side));
    auto number = scalar(op->getOperand(1 - side));
    if (!isPlainRows(x) || !isFlat(x) || !number || !other.ranked || broadcast(x.extents, other.extents) != x.extents ||
        (divides && (side == 1 || *number == 0))) {
      continue;
    }
    set(op->getResult(0), x);
    double factor = divides ? 1 / *number : *number;
    if (factor == 1) {
      return success();
    }
    auto from = x.source.getDefiningOp<onnx::FromRowsOp>();
    auto embedding = from ? from.getRows().getDefiningOp<EmbeddingOp>() : EmbeddingOp();
    if (embedding && embedding.getScale().convertToFloat() == 1) {
      Value scaled = builder.create<EmbeddingOp>(op->getLoc(), embedding.getType(), embedding.getIds(),
                                                 embedding.getWeightAttr(), builder.getF32FloatAttr(factor));
      return replace(op->getResult(0), scaled, x.form, 1, "scaled embedding", {});
    }
    Value rows = toRows(x.source);
    Value scaled = builder.create<ScaleOp>(op->getLoc(), rows.getType(), rows, builder.getF32FloatAttr(factor));
    return replace(op->getResult(0), scaled, x.form, 1, "scale", {x.source});
  }
  return success();
}

} // namespace emoe
