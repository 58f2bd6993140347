// Experts whose input is scaled (P7, Llama 4): every expert gets every token, times the sigmoid of the token's score for it,
// which is zero where it was not chosen; stacked products then make nothing of a row of zeros. With one expert for each token
// that is a mixture on the token times its score, with a weight of one.
#include "compiler/raise/raiser.h"

using namespace mlir;

namespace emoe {

void Raiser::addScaledHandlers() {
  add("ScatterElements", &Raiser::chosenScores);
  add("Sigmoid", &Raiser::everySigmoid);
  add("Transpose", &Raiser::everyShape);
  for (const char *op : {"Tile", "Expand"}) {
    add(op, &Raiser::everyRows);
  }
  add("Mul", &Raiser::scaleEvery);
  add("MatMul", &Raiser::everyMatMul);
  add("ReduceSum", &Raiser::sumEvery);
}

// The chosen experts' logits among numbers whose sigmoid is zero.
LogicalResult Raiser::chosenScores(Operation *op) {
  constexpr double kSigmoidIsZero = -1000;
  const Meaning data = of(op->getOperand(0)), ids = of(op->getOperand(1)), scores = of(op->getOperand(2));
  auto fill = scalar(op->getOperand(0));
  auto reduction = op->getAttrOfType<StringAttr>("reduction");
  const int64_t rank = data.extents.size();
  const RouteMeaning &route = scores.route;
  bool plain = route.score == ScoreFunction::None && !route.softmaxAfter && !route.renormalise && route.scale == 1 &&
               !route.expertScale && !route.selectionBias && route.groups == 1;
  if (!ids.is(Kind::TopIds) || !scores.is(Kind::TopWeights) || route.choice != ids.route.choice || !plain || !fill ||
      !(*fill <= kSigmoidIsZero) || rank != 2 || data.extents[1] != Extent(route.experts) || ids.extents != scores.extents ||
      axisAttr(op, 0, rank) != 1 || (reduction && reduction.getValue() != "none")) {
    return success();
  }
  Meaning meaning = reshaped(scores, data.extents);
  meaning.kind = Kind::ChosenScores;
  set(op->getResult(0), meaning);
  return success();
}

LogicalResult Raiser::everySigmoid(Operation *op) {
  Meaning meaning = of(op->getOperand(0));
  if (meaning.is(Kind::ChosenScores)) {
    meaning.kind = Kind::ChosenSigmoids;
    set(op->getResult(0), meaning);
  }
  return success();
}

LogicalResult Raiser::everyShape(Operation *op) {
  Meaning meaning = of(op->getOperand(0));
  auto perm = op->getAttrOfType<DenseI64ArrayAttr>("perm");
  if ((!meaning.is(Kind::ChosenScores) && !meaning.is(Kind::ChosenSigmoids)) || meaning.extents.size() != 2 ||
      meaning.transposed || (perm && perm.asArrayRef() != ArrayRef<int64_t>{1, 0})) {
    return success();
  }
  meaning.transposed = true;
  std::swap(meaning.extents[0], meaning.extents[1]);
  set(op->getResult(0), meaning);
  return success();
}

// All rows, once for each expert: [E * S, width] or [E, S, width].
LogicalResult Raiser::everyRows(Operation *op) {
  const Meaning x = of(op->getOperand(0));
  auto numbers = integers(op->getOperand(1));
  if (!isPlainRows(x) || (x.form != Form::SW && x.form != Form::BSW)) {
    return success();
  }
  const size_t rank = x.extents.size();
  Extents extents = x.extents;
  int64_t copies = 0;
  if (isa<onnx::TileOp>(op) && numbers && numbers->size() == rank && llvm::all_of(llvm::drop_begin(*numbers), [](int64_t n) {
        return n == 1;
      })) {
    copies = (*numbers)[0];
  } else if (const Meaning &target = of(op->getOperand(1));
             isa<onnx::ExpandOp>(op) && x.form == Form::BSW && target.is(Kind::Numbers) && target.numbers.size() == rank &&
             target.numbers[0].isConstant() &&
             broadcast(x.extents, Extents(target.numbers.begin(), target.numbers.end())) ==
                 Extents{target.numbers[0], x.extents[1], x.extents[2]}) {
    copies = target.numbers[0].constant();
  }
  if (copies < 2) {
    return success();
  }
  Meaning meaning = x;
  meaning.kind = Kind::EveryRows;
  meaning.repeat = copies;
  extents[0] = extents[0] * copies;
  set(op->getResult(0), reshaped(meaning, extents));
  return success();
}

LogicalResult Raiser::scaleEvery(Operation *op) {
  for (int side : {0, 1}) {
    const Meaning rows = of(op->getOperand(side)), scores = of(op->getOperand(1 - side));
    if (!rows.is(Kind::EveryRows) || rows.masked || !scores.is(Kind::ChosenSigmoids) || !scores.transposed ||
        rows.repeat != scores.route.experts) {
      continue;
    }
    Extents column = rows.extents;
    column.back() = 1;
    if (scores.extents != column) {
      continue;
    }
    if (scores.route.topK != 1) {
      return op->emitError() << "scales the input of each of a token's " << scores.route.topK
                             << " experts by its own score; that is supported for one expert a token (Llama 4). Export the "
                                "experts so that scores weigh their results, if the model's configuration allows it";
    }
    Meaning meaning = rows;
    meaning.masked = true;
    meaning.route = scores.route;
    set(op->getResult(0), meaning);
    return success();
  }
  return success();
}

// Gate, up or down of all experts: [E, S, K] x [E, K, N].
LogicalResult Raiser::everyMatMul(Operation *op) {
  const Meaning a = of(op->getOperand(0)), b = of(op->getOperand(1));
  bool first = a.is(Kind::EveryRows) && a.masked;
  bool second = (a.is(Kind::ExpertHidden) || a.is(Kind::ExpertActive)) && a.expert == kEveryExpert;
  if ((!first && !second) || a.extents.size() != 3 || !b.is(Kind::Weight) || b.view.extents.size() != 3 ||
      a.extents[0] != Extent(a.route.experts) || a.extents[2] != Extent(b.view.extents[1])) {
    return success();
  }
  if (b.view.extents[0] != a.route.experts) {
    return op->emitError() << "the router scores " << a.route.experts << " experts, but the stacked weights hold "
                           << b.view.extents[0] << ": the export lost experts; export the model again";
  }
  Meaning meaning = a;
  meaning.masked = false;
  meaning.expert = kEveryExpert;
  TensorView matrix = b.view.permuted({0, 2, 1});
  if (first) {
    meaning.kind = Kind::ExpertLinear;
    meaning.view = matrix;
  } else {
    meaning.kind = Kind::ExpertOut;
    if (a.is(Kind::ExpertActive)) { // not gated: what was activated is "up"
      meaning.expertWeights.up = meaning.expertWeights.gate;
      meaning.expertWeights.gate.reset();
    }
    meaning.expertWeights.down = matrix;
  }
  set(op->getResult(0), reshaped(meaning, {a.extents[0], a.extents[1], b.view.extents[2]}));
  return success();
}

LogicalResult Raiser::sumEvery(Operation *op) {
  const Meaning input = of(op->getOperand(0));
  auto axis = op->getNumOperands() > 1 ? integer(op->getOperand(1)) : std::nullopt;
  if (!input.is(Kind::ExpertOut) || input.expert != kEveryExpert || input.extents.size() != 3 || !axis ||
      (*axis != 0 && *axis != -3) || input.extents[0] != Extent(input.route.experts)) {
    return success();
  }
  Extents extents(input.extents.begin() + 1, input.extents.end());
  Form form = Form::SW;
  if (intAttr(op, "keepdims", 1)) {
    extents.insert(extents.begin(), Extent(1));
    form = Form::BSW;
  }
  set(op->getResult(0), reshaped(input, extents));
  // The score scales the row; the softmax of the one chosen is one.
  RouteMeaning route = input.route;
  route.softmaxAfter = true;
  Location loc = op->getLoc();
  Type f32 = builder.getF32Type();
  constexpr int64_t any = ShapedType::kDynamic;
  auto one = builder.getI64IntegerAttr(1);
  auto scores = builder.create<RouteOp>(
      loc, RankedTensorType::get({any, 1}, builder.getI32Type()), RankedTensorType::get({any, 1}, f32),
      ScoreFunctionAttr::get(builder.getContext(), ScoreFunction::Sigmoid), toRows(route.logits), one, FlatSymbolRefAttr(),
      UnitAttr(), UnitAttr(), builder.getF32FloatAttr(0), builder.getF32FloatAttr(1), FlatSymbolRefAttr(), one, one, one,
      builder.getF32FloatAttr(0), builder.getF32FloatAttr(0),
      builder.getI64IntegerAttr(0));
  Value rows = toRows(input.source);
  Value scaled = builder.create<ScaleRowsOp>(loc, rows.getType(), rows, scores.getWeights());
  return emitMoe(op, route, input.source, expertsOf(input.expertWeights, route.experts), form, "experts P7", scaled);
}

} // namespace emoe
