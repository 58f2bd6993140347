// Layers with a gated delta net: ONNX Runtime's LinearAttention, with what exporters write around it: queries and keys divided
// by their length, decays and rates from projections, a gated norm behind it.
#include <cmath>

#include "compiler/raise/raiser.h"

using namespace mlir;

namespace emoe {

void Raiser::addDeltaHandlers() {
  add("ReduceSumSquare", &Raiser::sumOfSquares);
  add("Sqrt", &Raiser::length);
  for (const char *op : {"LpNormalization", "Div"}) {
    add(op, &Raiser::unitRows);
  }
  for (const char *op : {"Mul", "Div"}) {
    add(op, &Raiser::scaleUnitRows);
  }
  add("Softplus", &Raiser::softplus);
  for (const char *op : {"Exp", "Neg"}) {
    add(op, &Raiser::expWeight);
  }
  add("Mul", &Raiser::decay);
  add("com.microsoft.LinearAttentionGate", &Raiser::linearAttentionGate);
  add("com.microsoft.LinearAttention", &Raiser::linearAttention);
  add("com.microsoft.GatedRMSNorm", &Raiser::gatedNorm);
}

//===--- rows divided by their length ------------------------------------------------------------------------------===//

static Meaning unitStep(const Meaning &rows, Kind kind) {
  Meaning meaning = rows;
  meaning.kind = kind;
  meaning.index = rows.form == Form::BSHW ? rows.heads : 1;
  return meaning;
}

static bool liesInRows(const Meaning &rows) {
  return rows.form == Form::BSHW || rows.form == Form::BSW || rows.form == Form::SW;
}

LogicalResult Raiser::sumOfSquares(Operation *op) {
  const Meaning input = of(op->getOperand(0));
  auto axis = op->getNumOperands() > 1 ? integer(op->getOperand(1)) : std::nullopt;
  int64_t rank = input.extents.size();
  if (isPlainRows(input) && liesInRows(input) && axis && (*axis == -1 || *axis == rank - 1) &&
      intAttr(op, "keepdims", 1) == 1) {
    Extents extents = input.extents;
    extents.back() = 1;
    set(op->getResult(0), reshaped(unitStep(input, Kind::SumOfSquares), extents));
  }
  return success();
}

LogicalResult Raiser::length(Operation *op) {
  Meaning input = of(op->getOperand(0));
  if (input.is(Kind::SumOfSquares)) {
    input.kind = Kind::Length;
    set(op->getResult(0), input);
  }
  return success();
}

LogicalResult Raiser::unitRows(Operation *op) {
  const Meaning input = of(op->getOperand(0));
  int64_t rank = input.extents.size();
  if (!isPlainRows(input) || !liesInRows(input)) {
    return success();
  }
  if (auto norm = dyn_cast<onnx::LpNormalizationOp>(op)) {
    if (norm.getP() == 2 && axisAttr(op, -1, rank) == rank - 1) {
      set(op->getResult(0), unitStep(input, Kind::UnitRows));
    }
    return success();
  }
  const Meaning length = of(op->getOperand(1));
  if (length.is(Kind::Length) && length.source == input.source && length.form == input.form &&
      length.index == unitStep(input, Kind::UnitRows).index) {
    set(op->getResult(0), unitStep(input, Kind::UnitRows));
  }
  return success();
}

LogicalResult Raiser::scaleUnitRows(Operation *op) {
  bool divides = isa<onnx::DivOp>(op);
  for (int side : {0, 1}) {
    Meaning rows = of(op->getOperand(side));
    const Meaning other = of(op->getOperand(1 - side));
    auto factor = scalar(op->getOperand(1 - side));
    if (rows.is(Kind::UnitRows) && factor && *factor != 0 && other.ranked &&
        broadcast(rows.extents, other.extents) == rows.extents && !(divides && side == 1)) {
      rows.scale *= divides ? 1 / *factor : *factor;
      set(op->getResult(0), rows);
      return success();
    }
  }
  return success();
}

//===--- decays ----------------------------------------------------------------------------------------------------===//

LogicalResult Raiser::softplus(Operation *op) {
  Meaning input = of(op->getOperand(0));
  if (isPlainRows(input) && input.form == Form::BSW) {
    input.kind = Kind::Softplus;
    set(op->getResult(0), input);
  }
  return success();
}

// exp(w), -exp(w)
LogicalResult Raiser::expWeight(Operation *op) {
  Meaning input = of(op->getOperand(0));
  if (isa<onnx::ExpOp>(op) && input.is(Kind::Weight) && input.extents.size() == 1) {
    input.kind = Kind::ExpWeight;
    input.masked = false;
    set(op->getResult(0), input);
  } else if (isa<onnx::NegOp>(op) && input.is(Kind::ExpWeight) && !input.masked) {
    input.masked = true;
    set(op->getResult(0), input);
  }
  return success();
}

LogicalResult Raiser::decay(Operation *op) {
  for (int side : {0, 1}) {
    Meaning rows = of(op->getOperand(side));
    const Meaning factor = of(op->getOperand(1 - side));
    bool isFactor = factor.is(Kind::Weight) || (factor.is(Kind::ExpWeight) && factor.masked);
    if (rows.is(Kind::Softplus) && isFactor && factor.extents.size() == 1 && rows.extents.back() == factor.extents[0]) {
      rows.kind = Kind::Decay;
      rows.view = factor.view;
      rows.masked = factor.is(Kind::ExpWeight);
      set(op->getResult(0), rows);
      return success();
    }
  }
  return success();
}

LogicalResult Raiser::linearAttentionGate(Operation *op) {
  if (op->getNumOperands() != 4) {
    return success();
  }
  Meaning decay = of(op->getOperand(0)), rate = of(op->getOperand(3));
  const Meaning bias = of(op->getOperand(1)), factor = of(op->getOperand(2));
  for (const Meaning *rows : {&decay, &rate}) {
    if (!isPlainRows(*rows) || rows->form != Form::BSW) {
      return success();
    }
  }
  const Extent heads = decay.extents.back();
  for (const Meaning *vector : {&bias, &factor}) {
    if (!vector->is(Kind::Weight) || vector->extents.size() != 1 || vector->extents[0] != heads) {
      return success();
    }
  }
  decay.kind = Kind::Decay;
  decay.view = factor.view;
  decay.bias = bias.view;
  decay.masked = false;
  set(op->getResult(0), decay);
  rate.kind = Kind::Sigmoid;
  set(op->getResult(1), rate);
  return success();
}

//===--- the recurrence --------------------------------------------------------------------------------------------===//

LogicalResult Raiser::linearAttention(Operation *operation) {
  auto op = cast<onnx::MsLinearAttentionOp>(operation);
  Location loc = op.getLoc();
  if (op.getUpdateRule() != "gated_delta" || op.getStateWindow() != 0 || !op.getKey() || !op.getValue() ||
      !op.getDecay() || !op.getBeta()) {
    return op.emitError() << "this linear attention (update_rule \"" << op.getUpdateRule() << "\", state_window "
                          << op.getStateWindow()
                          << ") is not supported: it must be a gated delta net, with update_rule \"gated_delta\", query, key, "
                             "value, decay and beta, and no window";
  }
  const Meaning query = of(op.getQuery()), key = of(op.getKey()), value = of(op.getValue());
  const Meaning decay = of(op.getDecay()), rate = of(op.getBeta()), past = of(op.getPastState());
  auto isPart = [&](const Meaning &x) { return (x.is(Kind::UnitRows) || x.is(Kind::Rows)) && x.form == Form::BSW; };
  if (!isPart(query) || !isPart(key) || !isPlainRows(value) || value.form != Form::BSW || !decay.is(Kind::Decay) ||
      !rate.is(Kind::Sigmoid) || rate.form != Form::BSW) {
    return success();
  }
  int64_t heads = op.getKvNumHeads(), keyHeads = op.getQNumHeads(), keys = rowWidth(key), values = rowWidth(value);
  if (heads < 1 || keyHeads < 1 || heads % keyHeads != 0 || rowWidth(query) != keys || keys < 1 || keys % keyHeads != 0 ||
      values < 1 || values % heads != 0 || decay.extents.back() != Extent(heads) || rate.extents.back() != Extent(heads)) {
    return op.emitError() << "a gated delta net with " << keyHeads << " heads of queries and " << heads
                          << " of values in rows of " << rowWidth(query) << ", " << keys << " and " << values
                          << " is not supported: there must be as many query heads as key heads, which divide those of "
                             "values, and a decay and a rate for each of these";
  }
  bool normalised = query.is(Kind::UnitRows);
  if (normalised != key.is(Kind::UnitRows) || key.scale != 1 || query.epsilon != key.epsilon ||
      (normalised && (query.index != keyHeads || key.index != keyHeads))) {
    return op.emitError("a gated delta net that divides only one of query and key by its length, or parts that are no heads, "
                        "or that scales keys, is not supported");
  }
  bool cached = static_cast<bool>(op.getPastState());
  Value state = cached && (past.is(Kind::Past) || past.is(Kind::State)) ? pasts[past.index] : Value();
  auto type = state ? dyn_cast<RankedTensorType>(state.getType()) : RankedTensorType();
  const int64_t sizes[] = {heads, keys / keyHeads, values / heads};
  if (cached && (!type || type.getRank() != 4 || type.getShape().drop_front() != ArrayRef<int64_t>(sizes))) {
    return op.emitError("the state of this gated delta net is not an input of the model of [batch, heads, key size, value size]");
  }
  bool returned = llvm::any_of(op.getPresentState().getUsers(), [](Operation *user) { return isa<func::ReturnOp>(user); });
  if (cached && !returned) {
    return op.emitError("the state that this gated delta net leaves is no output of the model; export it with its caches");
  }
  if (!cached && pastLength != Extent(0)) {
    return op.emitError("this gated delta net starts anew with each call although the model keeps its keys and values; "
                        "export the model with the net's state, too");
  }
  auto vector = [&](const TensorView &view) {
    auto row = view.reshaped({1, heads});
    return row ? weight(loc, *row) : FlatSymbolRefAttr();
  };
  FlatSymbolRefAttr factor = vector(decay.view), bias = decay.bias ? vector(*decay.bias) : FlatSymbolRefAttr();
  if (!factor || (decay.bias && !bias)) {
    return failure();
  }
  const double scale = op.getScale();
  const double whole = (scale == 0 ? 1 / std::sqrt(static_cast<double>(sizes[1])) : scale) * query.scale;
  int64_t number = states.size();
  states.push_back({state, cached ? op.getPresentState() : Value()});
  set(op.getOutput(), reshaped(Meaning(), {1, tokens, values}));
  Value rows = toRows(value.source);
  Value result = builder.create<DeltaNetOp>(
      loc, rows.getType(), toRows(query.source), toRows(key.source), rows, toRows(decay.source), toRows(rate.source), factor,
      bias, decay.masked ? builder.getUnitAttr() : UnitAttr(), builder.getI64IntegerAttr(heads),
      builder.getI64IntegerAttr(keyHeads), builder.getF32FloatAttr(whole),
      normalised ? builder.getUnitAttr() : UnitAttr(), builder.getF32FloatAttr(query.epsilon),
      builder.getI64IntegerAttr(number));
  Claim claim;
  claim.inputs = {query.source, key.source, value.source, decay.source, rate.source};
  if (cached) {
    claim.states.push_back({state, op.getPresentState(), number});
  }
  if (failed(replaceAs(op.getOutput(), result, Form::BSW, 1, "gated delta net", claim))) {
    return failure();
  }
  if (cached) {
    newStates[op.getPresentState()] = past.index;
  }
  return success();
}

// The rms norm of each head, times silu of a gate.
LogicalResult Raiser::gatedNorm(Operation *operation) {
  auto op = cast<onnx::MsGatedRMSNormOp>(operation);
  Location loc = op.getLoc();
  const Meaning x = of(op.getInput()), gate = of(op.getGate()), scale = of(op.getWeight());
  if (!isPlainRows(x) || !isPlainRows(gate) || x.form != Form::BSW || gate.form != Form::BSW || x.extents != gate.extents ||
      !scale.is(Kind::Weight) || rowWidth(x) < 1 || rowWidth(x) % scale.view.elements() != 0) {
    return success();
  }
  auto row = scale.view.reshaped({1, scale.view.elements()});
  FlatSymbolRefAttr symbol = row ? weight(loc, *row) : FlatSymbolRefAttr();
  if (!symbol) {
    return failure();
  }
  set(op->getResult(0), x);
  Value rows = toRows(x.source), gates = toRows(gate.source);
  Value normalised = builder.create<NormOp>(loc, rows.getType(), rows, symbol, FlatSymbolRefAttr(),
                                            NormKindAttr::get(builder.getContext(), NormKind::Rms),
                                            builder.getF32FloatAttr(static_cast<double>(op.getEpsilon())),
                                            builder.getI64IntegerAttr(rowWidth(x) / scale.view.elements()),
                                            builder.getF32FloatAttr(0));
  Value active = builder.create<ActivateOp>(loc, gates.getType(),
                                            ActivationAttr::get(builder.getContext(), Activation::Silu), gates);
  Value product = builder.create<MulOp>(loc, rows.getType(), normalised, active);
  return replace(op->getResult(0), product, Form::BSW, 1, "gated norm", {x.source, gate.source});
}

} // namespace emoe
