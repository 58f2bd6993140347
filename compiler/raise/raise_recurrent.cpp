// Layers with a recurrent state: the short convolution of hybrid decoders, written out (the state joined with the channels,
// Conv, and slices) or as CausalConvWithState. Exporters work channels first, [1, width, S]: such values are emitted as
// rows without a claim of their own; the claim comes where they are rows again, and covers all of it and the state.
#include "compiler/raise/raiser.h"

using namespace mlir;

namespace emoe {

void Raiser::addRecurrentHandlers() {
  add("Transpose", &Raiser::transposeChannels);
  add("Split", &Raiser::splitChannels);
  add("Mul", &Raiser::multiplyChannels);
  add("Concat", &Raiser::joinState);
  add("Conv", &Raiser::convolve);
  add("Neg", &Raiser::negateNumbers);
  add("Slice", &Raiser::sliceTime);
  add("com.microsoft.CausalConvWithState", &Raiser::causalConv);
}

// [1, width, S] of emitted rows.
Meaning Raiser::channels(Value rows, const Meaning &from) {
  Meaning meaning;
  meaning.kind = Kind::Channels;
  meaning.key = rows;
  meaning.origins = from.origins;
  meaning.states = from.states;
  return reshaped(meaning, {1, cast<RankedTensorType>(rows.getType()).getDimSize(1), tokens});
}

// Emits the rows of channels that are only known as columns of rows.
LogicalResult Raiser::emitChannels(Location loc, Meaning &meaning) {
  if (meaning.key) {
    return success();
  }
  int64_t width = meaning.extents[1].constant();
  Value input = meaning.source;
  meaning.key = meaning.index == 0 && width == rowWidth(of(meaning.source))
                    ? toRows(meaning.source)
                    : columns(loc, meaning.source, 1, meaning.index, width, input);
  meaning.origins.assign({input});
  return success(static_cast<bool>(meaning.key));
}

// Rows to channels, and back: there the emitted ops take the graph's place.
LogicalResult Raiser::transposeChannels(Operation *op) {
  Meaning input = of(op->getOperand(0));
  auto perm = op->getAttrOfType<DenseI64ArrayAttr>("perm");
  if (!perm || perm.asArrayRef() != ArrayRef<int64_t>{0, 2, 1}) {
    return success();
  }
  if (isPlainRows(input) && input.form == Form::BSW && input.extents.size() == 3 && input.extents[2].isConstant() &&
      input.extents[1] == tokens) {
    Meaning meaning;
    meaning.kind = Kind::Channels;
    meaning.source = input.source;
    set(op->getResult(0), reshaped(meaning, {1, input.extents[2], tokens}));
    return success();
  }
  if (!input.is(Kind::Channels)) {
    return success();
  }
  if (failed(emitChannels(op->getLoc(), input))) {
    return failure();
  }
  set(op->getResult(0), reshaped(Meaning(), {1, tokens, input.extents[1]}));
  Claim claim;
  claim.inputs.assign(input.origins.begin(), input.origins.end());
  for (int64_t number : input.states) {
    const StateMeaning &state = states[number];
    if (state.past) {
      claim.states.push_back({state.past, state.present, number});
    }
  }
  if (failed(replaceAs(op->getResult(0), input.key, Form::BSW, 1, input.states.empty() ? "columns" : "short convolution",
                       claim))) {
    return failure();
  }
  for (int64_t number : input.states) {
    if (states[number].present) {
      newStates[states[number].present] = of(states[number].past).index;
    }
  }
  return success();
}

LogicalResult Raiser::splitChannels(Operation *op) {
  const Meaning input = of(op->getOperand(0));
  if (!input.is(Kind::Channels) || axisAttr(op, 0, 3) != 1) {
    return success();
  }
  int64_t width = input.extents[1].constant(), count = op->getNumResults(), start = 0;
  SmallVector<int64_t> sizes(count, (width + count - 1) / count);
  sizes.back() = width - (count - 1) * sizes[0];
  if (op->getNumOperands() > 1) {
    auto given = integers(op->getOperand(1));
    if (!given || static_cast<int64_t>(given->size()) != count) {
      return success();
    }
    sizes = *given;
  }
  int64_t rest = width;
  for (int64_t size : sizes) {
    if (size < 1 || size > rest) {
      return op->emitError() << "splits " << width << " channels into parts that they have not";
    }
    rest -= size;
  }
  for (auto [result, size] : llvm::zip_equal(op->getResults(), sizes)) {
    Meaning part = input;
    if (input.key) {
      auto type = RankedTensorType::get({ShapedType::kDynamic, size}, builder.getF32Type());
      part.key = builder.create<SliceHeadsOp>(op->getLoc(), type, input.key, builder.getI64IntegerAttr(1),
                                              builder.getI64IntegerAttr(start));
    } else {
      part.index = input.index + start;
    }
    part.extents[1] = size;
    set(result, part);
    start += size;
  }
  return success();
}

LogicalResult Raiser::multiplyChannels(Operation *op) {
  Meaning a = of(op->getOperand(0)), b = of(op->getOperand(1));
  if (!a.is(Kind::Channels) || !b.is(Kind::Channels) || a.extents != b.extents) {
    return success();
  }
  if (failed(emitChannels(op->getLoc(), a)) || failed(emitChannels(op->getLoc(), b))) {
    return failure();
  }
  for (Value origin : b.origins) {
    if (!llvm::is_contained(a.origins, origin)) {
      a.origins.push_back(origin);
    }
  }
  for (int64_t state : b.states) {
    if (!llvm::is_contained(a.states, state)) {
      a.states.push_back(state);
    }
  }
  Value product = builder.create<MulOp>(op->getLoc(), a.key.getType(), a.key, b.key);
  set(op->getResult(0), channels(product, a));
  return success();
}

// The last inputs, then the new ones.
LogicalResult Raiser::joinState(Operation *op) {
  if (op->getNumOperands() != 2) {
    return success();
  }
  const Meaning state = of(op->getOperand(0)), input = of(op->getOperand(1));
  if (!state.is(Kind::State) || !input.is(Kind::Channels) || axisAttr(op, 0, 3) != 2 ||
      state.extents.size() != 3 || state.extents[1] != input.extents[1]) {
    return success();
  }
  Meaning meaning = input;
  meaning.kind = Kind::StateThenChannels;
  meaning.past = state.index;
  set(op->getResult(0), reshaped(meaning, {1, input.extents[1], state.extents[2] + tokens}));
  return success();
}

// Emits the convolution; `present` is the state that it leaves, null without a past.
LogicalResult Raiser::emitShortConv(Operation *op, Meaning input, const Meaning &matrix, const Meaning *bias,
                                    Value past, Value present, Meaning &result) {
  int64_t width = input.extents[1].constant(), taps = matrix.view.elements() / width;
  auto rows = matrix.view.reshaped({width, taps});
  auto row = bias ? bias->view.reshaped({1, width}) : std::nullopt;
  if (!rows || (bias && !row) || failed(emitChannels(op->getLoc(), input))) {
    return failure();
  }
  FlatSymbolRefAttr symbol = weight(op->getLoc(), rows->permuted({1, 0}));
  FlatSymbolRefAttr biasSymbol = bias ? weight(op->getLoc(), *row) : FlatSymbolRefAttr();
  if (!symbol || (bias && !biasSymbol)) {
    return failure();
  }
  int64_t number = states.size();
  states.push_back({past, present});
  Value conv = builder.create<ShortConvOp>(op->getLoc(), input.key.getType(), input.key, symbol, biasSymbol,
                                           builder.getI64IntegerAttr(number));
  input.states.push_back(number);
  result = channels(conv, input);
  return success();
}

// What Conv computed is channels again where just the new tokens' results are left.
Meaning Raiser::settled(const Meaning &convolved) {
  bool exact = convolved.index == 0 && convolved.extents[2] == tokens;
  return exact ? channels(convolved.key, convolved) : convolved;
}

static bool isReturned(Value value) {
  return llvm::any_of(value.getUsers(), [](Operation *user) { return isa<func::ReturnOp>(user); });
}

// Weights [width, 1, taps], and perhaps a bias, of a convolution of each channel on its own.
bool Raiser::isDepthwise(const Meaning &input, const Meaning &matrix, Value bias) {
  const Extent width = input.extents[1];
  return matrix.is(Kind::Weight) && matrix.extents.size() == 3 && matrix.extents[0] == width &&
         matrix.extents[1] == Extent(1) && matrix.extents[2].isConstant() && matrix.extents[2].constant() >= 2 &&
         (!bias || (of(bias).is(Kind::Weight) && Extent(of(bias).view.elements()) == width));
}

LogicalResult Raiser::convolve(Operation *operation) {
  auto op = cast<onnx::ConvOp>(operation);
  const Meaning input = of(op.getX()), matrix = of(op.getW());
  bool cached = input.is(Kind::StateThenChannels);
  if ((!cached && !input.is(Kind::Channels)) || !isDepthwise(input, matrix, op.getB())) {
    return success();
  }
  auto are = [](std::optional<ArrayRef<int64_t>> list, int64_t value) {
    return !list || llvm::all_of(*list, [&](int64_t entry) { return entry == value; });
  };
  auto pads = op.getPads();
  if (Extent(op.getGroup()) != input.extents[1] || !are(op.getStrides(), 1) || !are(op.getDilations(), 1) ||
      op.getAutoPad() != "NOTSET" || (pads && (pads->size() != 2 || (*pads)[0] < 0 || (*pads)[1] < 0))) {
    return success();
  }
  int64_t taps = matrix.extents[2].constant(), before = pads ? (*pads)[0] : 0, after = pads ? (*pads)[1] : 0;
  int64_t kept = cached ? of(pasts[input.past]).extents[2].constant() : 0;
  Value past = cached ? pasts[input.past] : Value(), present;
  if (cached && kept < taps - 1) {
    return op.emitError() << "its state has " << kept << " inputs, but a convolution of " << taps << " needs "
                          << taps - 1;
  }
  if (!cached && pastLength != Extent(0)) {
    return op.emitError("this convolution starts anew with each call although the model keeps its keys and values; "
                        "export the model with the convolution's state, too");
  }
  // What is left of the joined inputs is the new state, wherever the graph says so.
  for (Operation *user : op.getX().getUsers()) {
    auto slice = dyn_cast<onnx::SliceOp>(user);
    if (cached && slice && slice.getData() == op.getX() && isReturned(slice->getResult(0))) {
      present = slice->getResult(0);
    }
  }
  if (cached && !present) {
    return op.emitError("the state that this convolution leaves is no output of the model; export it with its caches");
  }
  Meaning result, channelsOnly = input;
  channelsOnly.kind = Kind::Channels;
  channelsOnly.extents[2] = tokens;
  const Meaning bias = of(op.getB());
  if (failed(emitShortConv(op, channelsOnly, matrix, op.getB() ? &bias : nullptr, past, present, result))) {
    return failure();
  }
  // The new tokens' results start where their first one is the newest of the inputs.
  result.kind = Kind::Convolved;
  result.index = kept - (taps - 1) + before;
  result.extents[2] = input.extents[2] + (before + after - (taps - 1));
  set(op->getResult(0), settled(result));
  return success();
}

// Minus the number of tokens: an index counted from the end.
LogicalResult Raiser::negateNumbers(Operation *op) {
  Meaning meaning = of(op->getOperand(0));
  if (meaning.is(Kind::Numbers)) {
    for (Extent &number : meaning.numbers) {
      number = number * -1;
    }
    set(op->getResult(0), meaning);
  }
  return success();
}

// A part of the time axis of what Conv computed.
LogicalResult Raiser::sliceTime(Operation *operation) {
  auto op = cast<onnx::SliceOp>(operation);
  Meaning input = of(op.getData());
  const Meaning starts = of(op.getStarts()), ends = of(op.getEnds());
  auto axis = op.getAxes() ? integer(op.getAxes()) : std::nullopt;
  if (!input.is(Kind::Convolved) || !axis || (*axis != 2 && *axis != -1) || !starts.is(Kind::Numbers) ||
      starts.numbers.size() != 1 || !ends.is(Kind::Numbers) || ends.numbers.size() != 1 ||
      (op.getSteps() && integer(op.getSteps()) != 1)) {
    return success();
  }
  // An index counted from the front, within the axis; null if that cannot be known.
  const Extent length = input.extents[2];
  auto place = [&](const Extent &at) -> std::optional<Extent> {
    Extent index = at.isConstant() ? (at.constant() < 0 ? length + at : at) : at.isNonNegative() ? at : length + at;
    bool counted = !at.isConstant() && !at.isNonNegative() && !(at * -1).isNonNegative();
    if (counted) {
      return std::nullopt;
    }
    if (index.isConstant() && index.constant() > (int64_t(1) << 40)) {
      return length;
    }
    if ((length - index).isNonNegative() && index.isNonNegative()) {
      return index;
    }
    return (index - length).isNonNegative() ? std::optional(length) : std::nullopt;
  };
  auto from = place(starts.numbers[0]), to = place(ends.numbers[0]);
  if (!from || !to || !from->isConstant() || from->constant() > input.index) {
    return success();
  }
  input.index -= from->constant();
  input.extents[2] = *to - *from;
  set(op->getResult(0), settled(input));
  return success();
}

LogicalResult Raiser::causalConv(Operation *operation) {
  auto op = cast<onnx::MsCausalConvWithStateOp>(operation);
  const Meaning input = of(op.getInput()), matrix = of(op.getWeight()), bias = of(op.getBias());
  const Meaning past = of(op.getPastState());
  StringRef activation = op.getActivation();
  bool silu = activation == "silu" || activation == "swish";
  if (!input.is(Kind::Channels) || !isDepthwise(input, matrix, op.getBias())) {
    return success();
  }
  if (op.getNdim() != 1 || op.getStateWindow() != 0 || (!silu && activation != "none" && !activation.empty())) {
    return op.emitError() << "this convolution (ndim " << op.getNdim() << ", state_window " << op.getStateWindow()
                          << ", activation \"" << activation
                          << "\") is not supported: it must have one dimension, no window, and no activation or silu";
  }
  bool cached = static_cast<bool>(op.getPastState());
  if (cached && (!past.is(Kind::State) || past.extents != Extents{1, input.extents[1], matrix.extents[2] - Extent(1)})) {
    return op.emitError("the state of this convolution is not an input of the model of [batch, channels, taps - 1]");
  }
  if (cached && !isReturned(op.getPresentState())) {
    return op.emitError("the state that this convolution leaves is no output of the model; export it with its caches");
  }
  if (!cached && pastLength != Extent(0)) {
    return op.emitError("this convolution starts anew with each call although the model keeps its keys and values; "
                        "export the model with the convolution's state, too");
  }
  Meaning result;
  bool biased = op.getBias() && !isZero(bias);
  if (failed(emitShortConv(op, input, matrix, biased ? &bias : nullptr, cached ? pasts[past.index] : Value(),
                           cached ? op.getPresentState() : Value(), result))) {
    return failure();
  }
  if (silu) {
    result.key = builder.create<ActivateOp>(op.getLoc(), result.key.getType(),
                                            ActivationAttr::get(builder.getContext(), Activation::Silu), result.key);
  }
  set(op.getOutput(), result);
  return success();
}

// New states must be outputs in the order in which the old ones are inputs.
LogicalResult Raiser::checkStates(func::FuncOp main) {
  int64_t last = -1;
  for (Value value : main.getBody().front().getTerminator()->getOperands()) {
    auto found = newStates.find(value);
    if (found == newStates.end()) {
      continue;
    }
    if (found->second <= last) {
      return main.emitError("the recurrent states are outputs in another order than they are inputs; which belongs to "
                            "which cannot be told");
    }
    last = found->second;
  }
  return success();
}

} // namespace emoe
