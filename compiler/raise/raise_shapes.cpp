// Shapes of the graph: reshapes, transposes and broadcasts, and what a value means under another shape.
#include <algorithm>
#include <cmath>

#include "compiler/raise/raiser.h"

using namespace mlir;

namespace emoe {
namespace {

std::optional<SmallVector<int64_t, 4>> constants(const Extents &extents) {
  SmallVector<int64_t, 4> result;
  for (const Extent &extent : extents) {
    if (!extent.isConstant()) {
      return std::nullopt;
    }
    result.push_back(extent.constant());
  }
  return result;
}

SmallVector<int64_t, 4> axesThatAreNotOne(const Extents &extents) {
  SmallVector<int64_t, 4> axes;
  for (auto [axis, extent] : llvm::enumerate(extents)) {
    if (extent != Extent(1)) {
      axes.push_back(axis);
    }
  }
  return axes;
}

// Both shapes list the same extents once ones are left out.
bool sameButOnes(const Extents &a, const Extents &b) {
  SmallVector<int64_t, 4> x = axesThatAreNotOne(a), y = axesThatAreNotOne(b);
  return x.size() == y.size() && llvm::all_of(llvm::zip(x, y), [&](auto pair) {
           return a[std::get<0>(pair)] == b[std::get<1>(pair)];
         });
}

} // namespace

std::optional<int64_t> volumeOf(const Extents &extents) {
  int64_t volume = 1;
  for (const Extent &extent : extents) {
    if (!extent.isConstant()) {
      return std::nullopt;
    }
    if (extent.constant() < 0 || __builtin_mul_overflow(volume, extent.constant(), &volume)) {
      return std::nullopt;
    }
  }
  return volume;
}

void Raiser::addShapeHandlers() {
  add("constant", &Raiser::constant);
  add("initializer", &Raiser::initializer);
  add("Shape", &Raiser::shape);
  for (const char *op : {"Reshape", "Flatten"}) {
    add(op, &Raiser::reshape);
  }
  add("Squeeze", &Raiser::squeeze);
  add("Unsqueeze", &Raiser::unsqueeze);
  add("Expand", &Raiser::expand);
  add("Transpose", &Raiser::transpose);
  for (const char *op : {"Cast", "CastLike", "Identity", "Dropout"}) {
    add(op, &Raiser::passOn);
  }
  add("Concat", &Raiser::concatNumbers);
  add("Slice", &Raiser::sliceNumbers);
  add("Gather", &Raiser::gatherNumbers);
  add("Range", &Raiser::range);
  add("ConstantOfShape", &Raiser::constantOfShape);
  for (const char *op : {"Add", "Sub", "Mul", "Div"}) {
    add(op, &Raiser::arithmetic);
  }
  for (const char *op : {"Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"}) {
    add(op, &Raiser::compare);
  }
  add("Where", &Raiser::where);
  for (const char *op : {"Equal", "Not", "And"}) {
    add(op, &Raiser::fillMath);
  }
  add("Max", &Raiser::largest);
  add("ReduceSum", &Raiser::sumNumbers);
  add("Concat", &Raiser::joinSequence);
  add("GatherND", &Raiser::gatherTuples);
  add("Gather", &Raiser::selectPositions);
}

LogicalResult Raiser::initializer(Operation *op) {
  auto found = tensorOps.find(op->getAttrOfType<FlatSymbolRefAttr>("name").getValue().str());
  if (found == tensorOps.end()) {
    return op->emitError() << "names a tensor that does not exist";
  }
  auto tensor = cast<onnx::TensorOp>(found->second);
  auto type = cast<RankedTensorType>(tensor.getType());
  Meaning meaning;
  meaning.kind = Kind::Weight;
  meaning.ranked = true;
  meaning.view.source = tensor.getSource();
  for (auto [extent, stride] : llvm::zip_equal(type.getShape(), tensor.getSource().getStrides())) {
    meaning.extents.push_back(extent);
    meaning.view.extents.push_back(extent);
    meaning.view.strides.push_back(stride);
  }
  set(op->getResult(0), meaning);
  return success();
}

// Some of the equal rows of positions: of those for time, height and width.
LogicalResult Raiser::selectPositions(Operation *op) {
  Meaning data = of(op->getOperand(0));
  const Meaning indices = of(op->getOperand(1));
  int64_t rank = data.extents.size(), axis = axisAttr(op, 0, rank);
  if (!data.is(Kind::Iota) || axis == data.axis || axis < 0 || axis >= rank || !indices.ranked ||
      indices.extents.size() > 1 || !integers(op->getOperand(1))) {
    return success();
  }
  if (indices.extents.empty()) {
    data.extents.erase(data.extents.begin() + axis);
    data.axis -= axis < data.axis;
  } else {
    data.extents[axis] = indices.extents[0];
  }
  set(op->getResult(0), data);
  return success();
}

LogicalResult Raiser::shape(Operation *op) {
  const Meaning &input = of(op->getOperand(0));
  if (!input.ranked) {
    return success();
  }
  int64_t rank = input.extents.size();
  auto clamp = [&](int64_t at) { return std::clamp<int64_t>(at < 0 ? at + rank : at, 0, rank); };
  int64_t start = clamp(intAttr(op, "start", 0)), end = clamp(intAttr(op, "end", rank));
  Meaning meaning;
  meaning.kind = Kind::Numbers;
  for (int64_t axis = start; axis < end; ++axis) {
    meaning.numbers.push_back(input.extents[axis]);
  }
  set(op->getResult(0), reshaped(meaning, {Extent(meaning.numbers.size())}));
  return success();
}

// Sets the op's result to `from` under other extents, if it still means something there.
bool Raiser::reform(Operation *op, const Meaning &from, Extents extents) {
  Meaning meaning = reshaped(from, extents);
  auto accept = [&] {
    set(op->getResult(0), meaning);
    return true;
  };
  if (from.ranked && from.extents == extents) {
    return accept();
  }
  switch (from.kind) {
  case Kind::Rows:
  case Kind::UnitRows:
  case Kind::Sigmoid: {
    Extent width = from.extent(-1);
    bool flat = from.form == Form::BSW || from.form == Form::SW || from.form == Form::S1W;
    Extent rowWide = flat ? width : width * from.heads;
    if (from.form == Form::BHSW || from.form == Form::BHWS) {
      break;
    }
    Extent rows = from.form == Form::BSHW ? tokens : from.form == Form::BSW ? from.extents[1] : from.extents[0];
    if (extents == Extents{1, rows, rowWide}) {
      meaning.form = Form::BSW;
    } else if (extents == Extents{rows, rowWide}) {
      meaning.form = Form::SW;
    } else if (extents == Extents{rows, 1, rowWide}) {
      meaning.form = Form::S1W;
    } else if (extents == Extents{1, 1, rows, rowWide}) {
      meaning.form = Form::BHSW;
      meaning.heads = 1;
    } else if (extents.size() == 4 && extents[0] == Extent(1) && extents[1] == rows && extents[2].isConstant() &&
               extents[3] * extents[2].constant() == rowWide) {
      meaning.form = Form::BSHW;
      meaning.heads = extents[2].constant();
    } else if (from.is(Kind::Rows) && (extents.size() == 2 || (extents.size() == 3 && extents[0] == Extent(1))) &&
               extents.back().isConstant() && rowWide.isConstant() && extents.back().constant() > 0 &&
               rowWide.constant() % extents.back().constant() == 0 &&
               extents[extents.size() - 2] == rows * (rowWide.constant() / extents.back().constant())) {
      // A token's heads one after the other.
      meaning.form = Form::BSHW;
      meaning.heads = rowWide.constant() / extents.back().constant();
    } else if (from.is(Kind::Sigmoid)) {
      // Scores of experts in groups.
      meaning = reshaped(*asScores(from), extents);
    } else {
      break;
    }
    return accept();
  }
  case Kind::Weight:
    if (auto sizes = constants(extents)) {
      if (auto view = from.view.reshaped(*sizes)) {
        meaning.view = *view;
        return accept();
      }
    }
    break;
  case Kind::Iota: {
    if (!sameButOnes(from.extents, extents)) {
      break;
    }
    SmallVector<int64_t, 4> before = axesThatAreNotOne(from.extents), after = axesThatAreNotOne(extents);
    auto *at = llvm::find(before, from.axis);
    if (at == before.end()) {
      break;
    }
    meaning.axis = after[at - before.begin()];
    return accept();
  }
  case Kind::Angle:
  case Kind::Cosine:
  case Kind::Sine:
    // Each element twice in a row.
    if (!from.doubled && extents.size() + 1 == from.extents.size() && from.extents.back() == Extent(2) &&
        extents.back() == from.extent(-2) * 2 &&
        ArrayRef<Extent>(extents).drop_back() == ArrayRef<Extent>(from.extents).drop_back(2)) {
      meaning.doubled = meaning.interleaved = true;
      return accept();
    }
    return sameButOnes(from.extents, extents) && accept();
  case Kind::Cache:
    // The heads of one wide row, positions first.
    if (from.heads == 1 && from.repeat == 1 && !from.transposed && from.form == Form::BHSW && extents.size() == 4 &&
        extents[0] == Extent(1) && extents[1] == from.extent(-2) && extents[2].isConstant() &&
        extents[3] * extents[2].constant() == from.extent(-1) && extents != from.extents) {
      meaning.form = Form::BSHW;
      meaning.heads = extents[2].constant();
      meaning.whole = Value();
      return accept();
    }
    [[fallthrough]];
  case Kind::Past:
    return extents.size() >= 2 && extents[extents.size() - 1] == from.extent(-1) &&
           extents[extents.size() - 2] == from.extent(-2) && accept();
  case Kind::Visible:
  case Kind::Hidden:
  case Kind::VisibleOne:
  case Kind::HiddenOne:
  case Kind::Bias:
  case Kind::Choice:
    return from.kind != Kind::Choice && sameButOnes(from.extents, extents) && accept();
  case Kind::Opaque:
    break;
  case Kind::Half:
  case Kind::NegatedHalf:
    // Neighbours, about to be stacked.
    if (from.interleaved && extents.size() == 5 && from.extents.size() == 4 && extents.back() == Extent(1) &&
        ArrayRef<Extent>(extents).drop_back() == ArrayRef<Extent>(from.extents)) {
      return accept();
    }
    break;
  case Kind::RotatedHalf:
    if (from.interleaved && extents.size() == 4 && from.extents.size() == 5 && extents.back() == from.extent(-2) * 2 &&
        ArrayRef<Extent>(extents).drop_back() == ArrayRef<Extent>(from.extents).drop_back(2)) {
      return accept();
    }
    break;
  case Kind::ShiftedWeight:
  case Kind::SumOfSquares:
  case Kind::Length:
  case Kind::Softplus:
  case Kind::ExpWeight:
  case Kind::Decay:
  case Kind::AngleT:
  case Kind::Square:
  case Kind::MeanSquare:
  case Kind::RootMeanSquare:
  case Kind::InverseRootMeanSquare:
  case Kind::Normalised:
  case Kind::TimesCosine:
  case Kind::RotatedTimesSine:
  case Kind::TokenIds:
  case Kind::Scores:
  case Kind::Probabilities:
  case Kind::NotANumber:
    break;
  default:
    // The rest are sequences whose order a reshape keeps; whoever uses them looks at the last axis.
    return accept();
  }
  meaning = Meaning();
  meaning.ranked = true;
  meaning.extents = extents;
  return accept();
}

LogicalResult Raiser::reshape(Operation *op) {
  const Meaning input = of(op->getOperand(0));
  if (!input.ranked) {
    return success();
  }
  Extents extents;
  if (op->getName().stripDialect() == "Flatten") {
    int64_t axis = axisAttr(op, 1, input.extents.size());
    Extents front(input.extents.begin(), input.extents.begin() + axis);
    Extents back(input.extents.begin() + axis, input.extents.end());
    auto one = Volume::of({});
    auto rows = Volume::of(front).dividedBy(one), columns = Volume::of(back).dividedBy(one);
    if (rows && columns) {
      reform(op, input, {*rows, *columns});
    }
    return success();
  }
  const Meaning &target = of(op->getOperand(1));
  if (!target.is(Kind::Numbers)) {
    return success();
  }
  bool allowZero = intAttr(op, "allowzero", 0);
  std::optional<size_t> inferred;
  for (auto [axis, number] : llvm::enumerate(target.numbers)) {
    if (number.isConstant() && number.constant() < -1) {
      return op->emitError() << "reshapes to an extent of " << number.constant();
    }
    if (number == Extent(-1)) {
      inferred = axis;
      extents.push_back(1);
    } else if (number == Extent(0) && !allowZero) {
      if (axis >= input.extents.size()) {
        return success();
      }
      extents.push_back(input.extents[axis]);
    } else {
      extents.push_back(number);
    }
  }
  if (inferred) {
    auto rest = Volume::of(input.extents).dividedBy(Volume::of(extents));
    if (!rest) {
      return success();
    }
    extents[*inferred] = *rest;
  }
  reform(op, input, extents);
  return success();
}

LogicalResult Raiser::squeeze(Operation *op) {
  const Meaning input = of(op->getOperand(0));
  if (!input.ranked) {
    return success();
  }
  int64_t rank = input.extents.size();
  SmallVector<bool> drop(rank, false);
  if (op->getNumOperands() > 1) {
    auto axes = integers(op->getOperand(1));
    if (!axes) {
      return success();
    }
    for (int64_t axis : *axes) {
      axis = axis < 0 ? axis + rank : axis;
      if (axis < 0 || axis >= rank) {
        return op->emitError() << "axis " << axis << " is not one of the input's " << rank;
      }
      drop[axis] = true;
    }
  } else {
    for (int64_t axis = 0; axis < rank; ++axis) {
      drop[axis] = input.extents[axis] == Extent(1);
    }
  }
  Extents extents;
  for (int64_t axis = 0; axis < rank; ++axis) {
    if (!drop[axis]) {
      extents.push_back(input.extents[axis]);
    }
  }
  if (input.is(Kind::ExpertSum)) {
    return emitSummed(op, input, extents);
  }
  reform(op, input, extents);
  return success();
}

LogicalResult Raiser::unsqueeze(Operation *op) {
  const Meaning input = of(op->getOperand(0));
  auto axes = integers(op->getOperand(1));
  if (!input.ranked || !axes) {
    return success();
  }
  int64_t rank = input.extents.size() + axes->size();
  SmallVector<bool> inserted(rank, false);
  for (int64_t axis : *axes) {
    axis = axis < 0 ? axis + rank : axis;
    if (axis < 0 || axis >= rank) {
      return op->emitError() << "axis " << axis << " is not one of the result's " << rank;
    }
    if (inserted[axis]) {
      return op->emitError() << "inserts axis " << axis << " twice";
    }
    inserted[axis] = true;
  }
  Extents extents;
  for (int64_t axis = 0, from = 0; axis < rank; ++axis) {
    extents.push_back(inserted[axis] ? Extent(1) : input.extents[from++]);
  }
  // Keys and values of grouped queries get an axis for the repetition.
  if (input.is(Kind::Rows) && input.form == Form::BHSW && extents.size() == 5) {
    if (auto cache = asCache(input)) {
      set(op->getResult(0), reshaped(*cache, extents));
      return success();
    }
  }
  reform(op, input, extents);
  return success();
}

Extents Raiser::broadcast(const Extents &a, const Extents &b) {
  Extents result(std::max(a.size(), b.size()), Extent(1));
  for (size_t i = 0; i < result.size(); ++i) {
    Extent x = i < a.size() ? a[a.size() - 1 - i] : Extent(1), y = i < b.size() ? b[b.size() - 1 - i] : Extent(1);
    result[result.size() - 1 - i] = x == Extent(1) ? y : x;
  }
  return result;
}

LogicalResult Raiser::expand(Operation *op) {
  const Meaning input = of(op->getOperand(0));
  const Meaning &target = of(op->getOperand(1));
  if (!input.ranked || !target.is(Kind::Numbers)) {
    return success();
  }
  Extents extents = broadcast(input.extents, Extents(target.numbers.begin(), target.numbers.end()));
  Meaning meaning = reshaped(input, extents);
  int64_t shift = extents.size() - input.extents.size();
  switch (input.kind) {
  case Kind::Iota:
    meaning.axis += shift;
    break;
  case Kind::Numbers:
    if (input.numbers.size() != 1) {
      if (!sameButOnes(input.extents, extents)) {
        return success();
      }
      break;
    }
    if (auto volume = volumeOf(extents); volume && *volume <= kMostNumbers) {
      meaning.numbers.assign(*volume, Extent(input.numbers[0]));
    } else if (input.numbers[0].isConstant()) {
      meaning.kind = Kind::Fill;
      meaning.scalar = input.numbers[0].constant();
    } else {
      return success();
    }
    break;
  case Kind::Cache:
    // [1, kv_heads, 1, T, d] -> [1, kv_heads, repeat, T, d], or one head for all
    if (extents.size() == 4 && input.heads == 1 && input.form == Form::BHSW && !input.transposed &&
        input.extents.size() == 4 && input.extents[1] == Extent(1) && extents[1].isConstant()) {
      meaning.repeat *= extents[1].constant();
    } else if (extents.size() == 5 && input.extents[2] == Extent(1) && extents[2].isConstant()) {
      meaning.repeat *= extents[2].constant();
    } else if (extents != input.extents) {
      return success();
    }
    break;
  case Kind::Rows:
    if (input.form == Form::S1W && extents[0] == input.extents[0] && extents[2] == input.extents[2]) {
      meaning.kind = Kind::RepeatedRows;
      break;
    }
    if (input.form == Form::BSHW && input.heads == 1 && extents.size() == 4 && extents[0] == input.extents[0] &&
        extents[1] == input.extents[1] && extents[3] == input.extents[3] && extents[2].isConstant()) {
      meaning.kind = Kind::RepeatedRows;
      meaning.repeat = extents[2].constant();
      break;
    }
    if (input.form == Form::BHSW && input.heads == 1 && extents.size() == 4 && extents[0] == input.extents[0] &&
        extents[2] == input.extents[2] && extents[3] == input.extents[3] && extents[1].isConstant()) {
      meaning.kind = Kind::RepeatedRows;
      meaning.repeat = extents[1].constant();
      break;
    }
    [[fallthrough]];
  case Kind::Weight:
    // The same for every token.
    if (input.extents.size() == 4 && extents.size() == 4 && input.extents[1] == extents[1] &&
        input.view.elements() == input.view.extents[1] && extents[2] == tokens && extents[3] == Extent(1)) {
      break;
    }
    [[fallthrough]];
  case Kind::TopIds:
  case Kind::TopWeights:
    return sameButOnes(input.extents, extents) ? (reform(op, input, extents), success()) : success();
  default:
    break;
  }
  set(op->getResult(0), meaning);
  return success();
}

LogicalResult Raiser::transpose(Operation *op) {
  const Meaning input = of(op->getOperand(0));
  if (!input.ranked) {
    return success();
  }
  int64_t rank = input.extents.size();
  SmallVector<int64_t> order;
  if (auto perm = op->getAttrOfType<DenseI64ArrayAttr>("perm")) {
    order.assign(perm.asArrayRef().begin(), perm.asArrayRef().end());
  } else {
    for (int64_t axis = rank; axis-- > 0;) {
      order.push_back(axis);
    }
  }
  Extents extents;
  for (int64_t axis : order) {
    extents.push_back(input.extents[axis]);
  }
  if (rank == 4 && columnsTransposed(op, order)) {
    const Meaning columns = of(op->getResult(0));
    bool full = columns.is(Kind::Columns) && !columns.transposed && columns.key && columns.extents[3] == Extent(columns.index);
    return full ? joinParts(op->getResult(0), of(columns.source), of(columns.key)) : success();
  }
  Meaning meaning = reshaped(input, extents);
  bool identity = llvm::is_sorted(order);
  SmallVector<int64_t> swapLast(order);
  bool swapsLast = rank >= 2 && (std::swap(swapLast[rank - 1], swapLast[rank - 2]), llvm::is_sorted(swapLast));
  bool swapsMiddle = ArrayRef<int64_t>(order) == ArrayRef<int64_t>{0, 2, 1, 3};
  bool perHead = input.form == Form::BSHW || input.form == Form::BHSW;
  auto opaque = [&] {
    Meaning unknown;
    unknown.ranked = true;
    unknown.extents = extents;
    return unknown;
  };
  switch (input.kind) {
  case Kind::Weight:
    meaning.view = input.view.permuted(order);
    break;
  case Kind::Rows:
    if (swapsMiddle && (input.form == Form::BSHW || input.form == Form::BHSW)) {
      meaning.form = input.form == Form::BSHW ? Form::BHSW : Form::BSHW;
    } else if (swapsLast && rank == 4 && (input.form == Form::BHSW || input.form == Form::BHWS)) {
      meaning.form = input.form == Form::BHSW ? Form::BHWS : Form::BHSW;
    } else if (input.form == Form::BSHW && ArrayRef<int64_t>(order) == ArrayRef<int64_t>{0, 2, 3, 1}) {
      meaning.form = Form::BHWS;  // keys, in one step
    } else if (!identity) {
      meaning = opaque();
    }
    break;
  case Kind::Cache:
    meaning.transposed ^= swapsLast;
    if (swapsMiddle && rank == 4 && perHead && input.repeat == 1 && !input.transposed) {
      meaning.form = input.form == Form::BSHW ? Form::BHSW : Form::BSHW;
      meaning.whole = meaning.form == Form::BHSW ? op->getResult(0) : Value();
    } else if (!swapsLast && !identity) {
      meaning = opaque();
    }
    break;
  case Kind::Angle:
  case Kind::AngleT:
    if (swapsLast) {
      meaning.kind = input.is(Kind::Angle) ? Kind::AngleT : Kind::Angle;
    } else if (!identity) {
      meaning = opaque();
    }
    break;
  case Kind::Choice: {
    auto moved = [&](int64_t axis) { return llvm::find(order, axis) - order.begin(); };
    meaning.axisExpert = moved(input.axisExpert);
    meaning.axisSlot = moved(input.axisSlot);
    meaning.axisToken = moved(input.axisToken);
    break;
  }
  case Kind::ChosenPairs:
  case Kind::ChoiceOf:
    meaning.transposed ^= rank == 2 && swapsLast;
    break;
  case Kind::Fill:
    break;
  case Kind::Iota:
    meaning.axis = llvm::find(order, input.axis) - order.begin();
    break;
  default:
    if (!identity && !sameButOnes(input.extents, extents)) {
      meaning = opaque();
    }
  }
  set(op->getResult(0), meaning);
  return success();
}

// Float types are storage: a cast between them changes nothing. Masks may become numbers and back.
LogicalResult Raiser::passOn(Operation *op) {
  Meaning meaning = of(op->getOperand(0));
  Type element = getElementTypeOrSelf(op->getResult(0).getType());
  bool toBool = element.isInteger(1), toFloat = isa<mlir::FloatType>(element);
  if (op->getName().stripDialect() == "Cast") {
    if (auto to = op->getAttrOfType<TypeAttr>("to")) {
      toBool = to.getValue().isInteger(1);
      toFloat = isa<mlir::FloatType>(to.getValue());
    }
  }
  if (meaning.is(Kind::Visible) && !toBool) {
    meaning.kind = Kind::VisibleOne;
  } else if (meaning.is(Kind::Hidden) && !toBool) {
    meaning.kind = Kind::HiddenOne;
  } else if (meaning.is(Kind::VisibleOne) && toBool) {
    meaning.kind = Kind::Visible;
  } else if (meaning.is(Kind::HiddenOne) && toBool) {
    meaning.kind = Kind::Hidden;
  } else if (meaning.is(Kind::SortedIds) && !toFloat) {
    for (double &value : meaning.reals) {
      value = std::trunc(value);
    }
  } else if (meaning.is(Kind::Numbers) && toFloat &&
             llvm::all_of(meaning.numbers, [](const Extent &number) { return number.isConstant(); })) {
    meaning.kind = Kind::Reals;
    for (const Extent &number : meaning.numbers) {
      meaning.reals.push_back(number.constant());
    }
  }
  set(op->getResult(0), meaning);
  return success();
}

} // namespace emoe
