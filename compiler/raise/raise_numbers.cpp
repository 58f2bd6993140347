// Numbers of the graph: constants, extents as values, integer arithmetic and comparisons. Exporters compute shapes,
// positions and masks with them.
#include <algorithm>

#include "compiler/raise/raiser.h"

using namespace mlir;

namespace emoe {

// Combines known numbers element by element; one number goes with all of the other's. False if the counts do not fit or
// a result cannot be known.
static bool combineNumbers(const Meaning &a, const Meaning &b, SmallVectorImpl<Extent> &out,
                           llvm::function_ref<std::optional<Extent>(const Extent &, const Extent &)> combine) {
  size_t count = std::max(a.numbers.size(), b.numbers.size());
  if (std::min(a.numbers.size(), b.numbers.size()) != 1 && a.numbers.size() != b.numbers.size()) {
    return false;
  }
  for (size_t i = 0; i < count; ++i) {
    std::optional<Extent> number =
        combine(a.numbers[a.numbers.size() == 1 ? 0 : i], b.numbers[b.numbers.size() == 1 ? 0 : i]);
    if (!number) {
      return false;
    }
    out.push_back(*number);
  }
  return true;
}

LogicalResult Raiser::constant(Operation *op) {
  auto value = dyn_cast<DenseElementsAttr>(op->getAttr("value"));
  if (!value) {
    return success();
  }
  Meaning meaning;
  meaning.ranked = true;
  for (int64_t extent : value.getType().getShape()) {
    meaning.extents.push_back(extent);
  }
  if (value.getNumElements() > kMostNumbers && !value.isSplat()) {
    set(op->getResult(0), meaning);
    return success();
  }
  int64_t count = value.getNumElements();
  bool large = count > kMostNumbers;
  if (isa<mlir::FloatType>(value.getElementType())) {
    meaning.kind = Kind::Reals;
    auto values = value.getValues<APFloat>();
    for (int64_t i = 0; i < (large ? 1 : count); ++i) {
      APFloat real = values[i];
      bool lost;
      real.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &lost);
      meaning.reals.push_back(real.convertToDouble());
    }
    if (large) {
      meaning.kind = Kind::Fill;
      meaning.scalar = meaning.reals[0];
    }
  } else if (isa<IntegerType>(value.getElementType())) {
    meaning.kind = Kind::Numbers;
    bool isBool = value.getElementType().isInteger(1) || value.getElementType().isUnsignedInteger();
    auto values = value.getValues<APInt>();
    for (int64_t i = 0; i < (large ? 1 : count); ++i) {
      APInt number = values[i];
      meaning.numbers.push_back(isBool ? static_cast<int64_t>(number.getZExtValue()) : number.getSExtValue());
    }
    if (large) {
      meaning.kind = Kind::Fill;
      meaning.scalar = meaning.numbers[0].constant();
    }
  }
  set(op->getResult(0), meaning);
  return success();
}

LogicalResult Raiser::concatNumbers(Operation *op) {
  Meaning meaning;
  meaning.kind = Kind::Numbers;
  for (Value operand : op->getOperands()) {
    const Meaning &part = of(operand);
    if (!part.is(Kind::Numbers) || part.extents.size() != 1) {
      return success();
    }
    meaning.numbers.append(part.numbers.begin(), part.numbers.end());
  }
  set(op->getResult(0), reshaped(meaning, {Extent(meaning.numbers.size())}));
  return success();
}

// Slices of known numbers, slices that keep everything, and slices of what is the same everywhere.
LogicalResult Raiser::sliceNumbers(Operation *op) {
  auto slice = cast<onnx::SliceOp>(op);
  const Meaning input = of(slice.getData());
  const Meaning &starts = of(slice.getStarts()), &ends = of(slice.getEnds());
  if (!input.ranked || !starts.is(Kind::Numbers) || !ends.is(Kind::Numbers)) {
    return success();
  }
  int64_t rank = input.extents.size();
  if (ends.numbers.size() != starts.numbers.size()) {
    return op->emitError() << "has " << starts.numbers.size() << " starts and " << ends.numbers.size() << " ends";
  }
  SmallVector<int64_t> axes, steps(starts.numbers.size(), 1);
  for (size_t i = 0; i < starts.numbers.size(); ++i) {
    axes.push_back(i);
  }
  if (slice.getAxes()) {
    auto given = integers(slice.getAxes());
    if (!given) {
      return success();
    }
    axes = *given;
  }
  if (slice.getSteps()) {
    auto given = integers(slice.getSteps());
    if (!given) {
      return success();
    }
    steps = *given;
  }
  if (axes.size() != starts.numbers.size() || steps.size() != starts.numbers.size()) {
    return op->emitError() << "has " << starts.numbers.size() << " starts, " << axes.size() << " axes and "
                           << steps.size() << " steps";
  }
  Extents extents = input.extents;
  bool keepsAll = true;
  for (auto [axis, step, start, end] : llvm::zip_equal(axes, steps, starts.numbers, ends.numbers)) {
    axis = axis < 0 ? axis + rank : axis;
    if (axis < 0 || axis >= rank) {
      return op->emitError() << "slices axis " << axis << " of a tensor of rank " << rank;
    }
    const Extent &extent = input.extents[axis];
    constexpr int64_t kEnd = INT32_MAX;  // exporters write INT32_MAX or INT64_MAX for "to the end"
    bool toEnd = end == extent || (end.isConstant() && end.constant() >= kEnd);
    if (start == Extent(0) && toEnd && step == 1) {
      continue;
    }
    keepsAll = false;
    // There is always a first token, whatever their number.
    if ((input.is(Kind::Fill) || input.is(Kind::PartialSum)) && start == Extent(0) && end == Extent(1) && step == 1) {
      extents[axis] = 1;
      continue;
    }
    // A part of a sequence is a sequence.
    if (input.is(Kind::Iota) && axis == input.axis && step == 1 && axes.size() == 1 && start.isNonNegative() &&
        (toEnd || (end - start).isNonNegative())) {
      Extent count = (toEnd ? extent : end) - start;
      if (!toEnd && !(extent - end).isNonNegative() && !(start == Extent(0) && end == Extent(1))) {
        return success();
      }
      Meaning meaning = input;
      meaning.base = input.base + start;
      extents[axis] = count;
      if (count == Extent(1)) {
        meaning.kind = Kind::Numbers;
        meaning.numbers = {meaning.base};
      }
      if (volumeOf(extents) || count != Extent(1)) {
        set(op->getResult(0), reshaped(meaning, extents));
      }
      return success();
    }
    if (!extent.isConstant() || !start.isConstant() || !(end.isConstant() || toEnd) || step <= 0) {
      return success();
    }
    int64_t size = extent.constant();
    auto clamp = [&](int64_t at) { return std::clamp<int64_t>(at < 0 ? at + size : at, 0, size); };
    int64_t from = clamp(std::max<int64_t>(start.constant(), -size));
    int64_t to = toEnd ? size : clamp(std::max<int64_t>(end.constant(), -size));
    int64_t count = std::max<int64_t>(0, (to - from + step - 1) / step);
    extents[axis] = count;
    if (input.is(Kind::Numbers) && rank == 1) {
      Meaning meaning;
      meaning.kind = Kind::Numbers;
      for (int64_t i = 0; i < count; ++i) {
        meaning.numbers.push_back(input.numbers[from + i * step]);
      }
      set(op->getResult(0), reshaped(meaning, {count}));
      return success();
    }
    if (input.is(Kind::Weight)) {
      Meaning meaning = input;
      meaning.view = input.view.sliced(axis, from, count, step);
      if (axes.size() == 1) {
        set(op->getResult(0), reshaped(meaning, extents));
      }
      return success();
    }
  }
  if (keepsAll) {
    set(op->getResult(0), input);
  } else if (input.is(Kind::Fill)) {
    set(op->getResult(0), reshaped(input, extents));
  } else if (input.is(Kind::PartialSum)) {
    set(op->getResult(0), reshaped(Meaning(), extents));  // only its shape is asked for
  }
  return success();
}

LogicalResult Raiser::gatherNumbers(Operation *op) {
  const Meaning data = of(op->getOperand(0)), index = of(op->getOperand(1));
  if (!data.ranked || !index.ranked) {
    return success();
  }
  int64_t axis = axisAttr(op, 0, data.extents.size());
  Extents extents(data.extents.begin(), data.extents.begin() + axis);
  extents.append(index.extents.begin(), index.extents.end());
  extents.append(data.extents.begin() + axis + 1, data.extents.end());
  if (data.is(Kind::Fill)) {
    set(op->getResult(0), reshaped(data, extents));
    return success();
  }
  auto indices = integers(op->getOperand(1));
  if (!indices) {
    return success();
  }
  if (data.is(Kind::Numbers) && data.extents.size() == 1) {
    Meaning meaning;
    meaning.kind = Kind::Numbers;
    int64_t size = data.numbers.size();
    for (int64_t i : *indices) {
      i = i < 0 ? i + size : i;
      if (i < 0 || i >= size) {
        return op->emitError() << "gathers index " << i << " of " << size;
      }
      meaning.numbers.push_back(data.numbers[i]);
    }
    set(op->getResult(0), reshaped(meaning, extents));
  }
  return success();
}

LogicalResult Raiser::range(Operation *op) {
  const Meaning &start = of(op->getOperand(0)), &limit = of(op->getOperand(1));
  if (!start.is(Kind::Numbers) || start.numbers.size() != 1 || !limit.is(Kind::Numbers) ||
      limit.numbers.size() != 1 || integer(op->getOperand(2)) != 1) {
    return success();
  }
  Extent count = limit.numbers[0] - start.numbers[0];
  Meaning meaning;
  if (count.isConstant() && count.constant() <= kMostNumbers) {
    meaning.kind = Kind::Numbers;
    for (int64_t i = 0; i < count.constant(); ++i) {
      meaning.numbers.push_back(start.numbers[0] + i);
    }
    count = std::max<int64_t>(count.constant(), 0);
  } else {
    meaning.kind = Kind::Iota;
    meaning.base = start.numbers[0];
    meaning.axis = 0;
  }
  set(op->getResult(0), reshaped(meaning, {count}));
  return success();
}

LogicalResult Raiser::constantOfShape(Operation *op) {
  const Meaning &shape = of(op->getOperand(0));
  if (!shape.is(Kind::Numbers)) {
    return success();
  }
  Meaning meaning;
  meaning.kind = Kind::Fill;
  Extents extents(shape.numbers.begin(), shape.numbers.end());
  auto value = op->getAttrOfType<DenseElementsAttr>("value");
  if (value && isa<IntegerType>(value.getElementType())) {
    APInt number = *value.getValues<APInt>().begin();
    int64_t single = value.getElementType().isInteger(1) ? number.getZExtValue() : number.getSExtValue();
    meaning.scalar = single;
    if (auto volume = volumeOf(extents); volume && *volume <= kMostNumbers && !value.getElementType().isInteger(1)) {
      meaning.kind = Kind::Numbers;
      meaning.numbers.assign(*volume, single);
    }
  } else if (value) {
    meaning.scalar = value.getValues<APFloat>()[0].convertToDouble();
  }
  set(op->getResult(0), reshaped(meaning, extents));
  return success();
}

LogicalResult Raiser::arithmetic(Operation *op) {
  const Meaning a = of(op->getOperand(0)), b = of(op->getOperand(1));
  StringRef name = op->getName().stripDialect();
  if (!a.ranked || !b.ranked) {
    return success();
  }
  Extents extents = broadcast(a.extents, b.extents);
  if (a.is(Kind::Numbers) && b.is(Kind::Numbers)) {
    Meaning meaning;
    meaning.kind = Kind::Numbers;
    bool all = combineNumbers(a, b, meaning.numbers, [&](const Extent &x, const Extent &y) -> std::optional<Extent> {
      if (name == "Add") {
        return x + y;
      }
      if (name == "Sub") {
        return x - y;
      }
      if (name == "Mul") {
        return y.isConstant()   ? std::optional<Extent>(x * y.constant())
               : x.isConstant() ? std::optional<Extent>(y * x.constant())
                                : std::nullopt;
      }
      if (!y.isConstant() || y.constant() == 0) {
        return std::nullopt;
      }
      return x.isConstant() && y.constant() != -1 ? std::optional<Extent>(x.constant() / y.constant())
                                                  : x.dividedBy(y.constant());
    });
    if (!all) {
      return success();
    }
    set(op->getResult(0), reshaped(meaning, extents));
    return success();
  }
  if (a.is(Kind::Iota) && b.is(Kind::Iota) && name == "Sub" && a.axis == b.axis && a.extents == b.extents &&
      (a.base - b.base).isConstant()) {
    Meaning meaning;
    meaning.kind = Kind::Fill;
    meaning.scalar = (a.base - b.base).constant();
    set(op->getResult(0), reshaped(meaning, extents));
    return success();
  }
  if (a.is(Kind::Iota) && b.is(Kind::Iota) && name == "Sub") {
    int64_t axisA = a.axis + extents.size() - a.extents.size(), axisB = b.axis + extents.size() - b.extents.size();
    if (axisA != axisB) {
      Meaning meaning;
      meaning.kind = Kind::Difference;
      meaning.base = a.base - b.base;
      meaning.axis = axisA;
      meaning.index = axisB;
      set(op->getResult(0), reshaped(meaning, extents));
    }
    return success();
  }
  // A sequence moved by a number.
  const Meaning &sequence = a.is(Kind::Iota) ? a : b, &offset = a.is(Kind::Iota) ? b : a;
  if (sequence.is(Kind::Iota) && offset.is(Kind::Numbers) && offset.numbers.size() == 1) {
    const Extent &by = offset.numbers[0];
    bool adds = name == "Add", subtracts = name == "Sub" && a.is(Kind::Iota), keeps = name == "Mul" && by == Extent(1);
    if (adds || subtracts || keeps) {
      Meaning meaning = reshaped(sequence, extents);
      meaning.base = adds ? sequence.base + by : subtracts ? sequence.base - by : sequence.base;
      meaning.axis += extents.size() - sequence.extents.size();
      set(op->getResult(0), meaning);
    }
    return success();
  }
  auto x = scalar(op->getOperand(0)), y = scalar(op->getOperand(1));
  if (x && y && a.is(Kind::Reals) && b.is(Kind::Reals)) {
    Meaning meaning;
    meaning.kind = Kind::Reals;
    meaning.reals = {name == "Add" ? *x + *y : name == "Sub" ? *x - *y : name == "Mul" ? *x * *y : *x / *y};
    set(op->getResult(0), reshaped(meaning, extents));
  }
  return success();
}

// Comparisons of known numbers, and of key positions with query positions.
LogicalResult Raiser::compare(Operation *op) {
  const Meaning a = of(op->getOperand(0)), b = of(op->getOperand(1));
  StringRef name = op->getName().stripDialect();
  if (!a.ranked || !b.ranked) {
    return success();
  }
  Extents extents = broadcast(a.extents, b.extents);
  if (a.is(Kind::Numbers) && b.is(Kind::Numbers)) {
    Meaning meaning;
    meaning.kind = Kind::Numbers;
    bool all = combineNumbers(a, b, meaning.numbers, [&](const Extent &x, const Extent &y) -> std::optional<Extent> {
      Extent difference = x - y;
      int64_t sign;
      if (difference.isConstant()) {
        sign = difference.constant() > 0 ? 1 : difference.constant() < 0 ? -1 : 0;
      } else if ((difference - Extent(1)).isNonNegative()) {
        sign = 1;
      } else if ((difference * -1 - Extent(1)).isNonNegative()) {
        sign = -1;
      } else {
        return std::nullopt;
      }
      return Extent(name == "Equal"         ? sign == 0
                    : name == "Less"        ? sign < 0
                    : name == "LessOrEqual" ? sign <= 0
                    : name == "Greater"     ? sign > 0
                                            : sign >= 0);
    });
    if (!all) {
      return success();
    }
    set(op->getResult(0), reshaped(meaning, extents));
    return success();
  }
  // query - key < window: one half of a sliding window.
  if (auto limit = integer(op->getOperand(1)); a.is(Kind::Difference) && limit) {
    int64_t rank = a.extents.size();
    Extent shift = a.base - pastLength;
    int64_t window = name == "Less" ? *limit : name == "LessOrEqual" ? *limit + 1 : 0;
    if (a.axis == rank - 2 && a.index == rank - 1 && shift == Extent(0) && window > 0) {
      Meaning meaning;
      meaning.kind = Kind::Visible;
      meaning.window = window;
      meaning.index = 1;
      set(op->getResult(0), reshaped(meaning, extents));
    }
    return success();
  }
  if (!a.is(Kind::Iota) || !b.is(Kind::Iota) || name == "Equal") {
    return success();
  }
  // Keys run along the last axis from position 0, queries along the one before from the past length on.
  int64_t rank = extents.size();
  int64_t axisA = a.axis + rank - a.extents.size(), axisB = b.axis + rank - b.extents.size();
  bool keysFirst = axisA == rank - 1 && axisB == rank - 2;
  if (!keysFirst && !(axisB == rank - 1 && axisA == rank - 2)) {
    return success();
  }
  const Meaning &keys = keysFirst ? a : b, &queries = keysFirst ? b : a;
  Extent shift = (keys.base - queries.base) + pastLength;  // 0: compares positions
  if (!shift.isConstant()) {
    return success();
  }
  // key + shift OP query
  StringRef relation = keysFirst                  ? name
                       : name == "Less"           ? "Greater"
                       : name == "LessOrEqual"    ? "GreaterOrEqual"
                       : name == "Greater"        ? "Less"
                                                  : "LessOrEqual";
  Meaning meaning;
  int64_t by = shift.constant();
  if ((relation == "LessOrEqual" && by == 0) || (relation == "Less" && by == -1)) {
    meaning.kind = Kind::Visible;
  } else if ((relation == "Greater" && by == 0) || (relation == "GreaterOrEqual" && by == -1)) {
    meaning.kind = Kind::Hidden;
  } else if ((relation == "Greater" && by > 0) || (relation == "GreaterOrEqual" && by >= 0)) {
    // key > query - window, one half of a sliding window
    meaning.kind = Kind::Visible;
    meaning.window = relation == "Greater" ? by : by + 1;
    meaning.index = 1;  // has no causal bound yet
  } else {
    return success();
  }
  set(op->getResult(0), reshaped(meaning, extents));
  return success();
}

LogicalResult Raiser::where(Operation *op) {
  const Meaning condition = of(op->getOperand(0)), a = of(op->getOperand(1)), b = of(op->getOperand(2));
  if (condition.is(Kind::Numbers) && a.is(Kind::Numbers) && b.is(Kind::Numbers)) {
    size_t count = std::max({condition.numbers.size(), a.numbers.size(), b.numbers.size()});
    for (const Meaning *each : {&condition, &a, &b}) {
      if (each->numbers.size() != 1 && each->numbers.size() != count) {
        return success();
      }
    }
    Meaning meaning;
    meaning.kind = Kind::Numbers;
    for (size_t i = 0; i < count; ++i) {
      auto at = [&](const Meaning &m) { return m.numbers[m.numbers.size() == 1 ? 0 : i]; };
      meaning.numbers.push_back(at(condition) == Extent(0) ? at(b) : at(a));
    }
    set(op->getResult(0), reshaped(meaning, broadcast(condition.extents, broadcast(a.extents, b.extents))));
    return success();
  }
  std::optional<double> always = scalar(op->getOperand(0));
  if (always && (condition.is(Kind::Fill) || condition.is(Kind::Numbers))) {
    set(op->getResult(0), *always != 0 ? a : b);
    return success();
  }
  // A choice between rows of a table, or cosines and sines, at the same positions.
  auto same = [](const TensorView &v, const TensorView &w) {
    return v.source == w.source && v.first == w.first && v.extents == w.extents && v.strides == w.strides;
  };
  const bool sameRows = a.is(Kind::TableRows) && b.is(Kind::TableRows) && same(a.view, b.view);
  const bool sameWaves = (a.is(Kind::Cosine) || a.is(Kind::Sine)) && a.kind == b.kind && a.frequencies == b.frequencies &&
                         a.scale == b.scale && a.digits == b.digits && a.doubled == b.doubled &&
                         a.interleaved == b.interleaved && a.base == b.base;
  if ((sameRows || sameWaves) && a.extents == b.extents && condition.ranked && broadcast(condition.extents, a.extents) == a.extents) {
    set(op->getResult(0), a);
    return success();
  }
  // A mask as something to add to scores.
  auto x = scalar(op->getOperand(1)), y = scalar(op->getOperand(2));
  constexpr double kVanishes = -1e4;
  bool visibleFirst = condition.is(Kind::Visible) && x == 0.0 && y && *y <= kVanishes;
  bool hiddenFirst = condition.is(Kind::Hidden) && y == 0.0 && x && *x <= kVanishes;
  if (visibleFirst || hiddenFirst) {
    Meaning meaning = condition;
    meaning.kind = Kind::Bias;
    set(op->getResult(0), meaning);
  } else if (condition.is(Kind::NotANumber) && b.is(Kind::Probabilities)) {
    set(op->getResult(0), b);  // a row always sees itself: nothing is not a number
  }
  return success();
}

// Logic on what is the same everywhere.
LogicalResult Raiser::fillMath(Operation *op) {
  StringRef name = op->getName().stripDialect();
  auto fill = [&](double value, const Extents &extents) {
    Meaning meaning;
    meaning.kind = Kind::Fill;
    meaning.scalar = value;
    set(op->getResult(0), reshaped(meaning, extents));
    return success();
  };
  const Meaning a = of(op->getOperand(0));
  auto x = scalar(op->getOperand(0));
  if (name == "Not") {
    return x && a.ranked ? fill(*x == 0, a.extents) : success();
  }
  const Meaning b = of(op->getOperand(1));
  auto y = scalar(op->getOperand(1));
  if (!a.ranked || !b.ranked) {
    return success();
  }
  Extents extents = broadcast(a.extents, b.extents);
  if (x && y) {
    return fill(name == "Equal" ? *x == *y : *x != 0 && *y != 0, extents);
  }
  return name == "And" && (x == 0.0 || y == 0.0) ? fill(0, extents) : success();
}

LogicalResult Raiser::largest(Operation *op) {
  if (op->getNumOperands() != 2) {
    return success();
  }
  for (int side : {0, 1}) {
    const Meaning a = of(op->getOperand(side)), b = of(op->getOperand(1 - side));
    auto floor = integer(op->getOperand(1 - side));
    if (!a.ranked || !floor) {
      continue;
    }
    // What cannot be below the other is the larger one.
    if (a.is(Kind::Numbers) && llvm::all_of(a.numbers, [&](const Extent &number) {
          return (number - Extent(*floor)).isNonNegative();
        }) && broadcast(a.extents, b.extents) == a.extents) {
      set(op->getResult(0), a);
    } else if (a.is(Kind::Iota) && (a.base - Extent(*floor)).isNonNegative()) {
      Meaning meaning = reshaped(a, broadcast(a.extents, b.extents));
      meaning.axis += meaning.extents.size() - a.extents.size();
      set(op->getResult(0), meaning);
    } else {
      continue;
    }
    return success();
  }
  return success();
}

// How many are set in a mask of ones.
LogicalResult Raiser::sumNumbers(Operation *op) {
  const Meaning input = of(op->getOperand(0));
  auto axes = op->getNumOperands() > 1 ? integers(op->getOperand(1)) : std::nullopt;
  if (!input.is(Kind::Fill) || !isa<IntegerType>(getElementTypeOrSelf(op->getResult(0).getType())) || !axes ||
      axes->size() != 1) {
    return success();
  }
  int64_t rank = input.extents.size(), axis = (*axes)[0] < 0 ? (*axes)[0] + rank : (*axes)[0];
  Extents extents = input.extents;
  if (axis < 0 || axis >= rank) {
    return success();
  }
  Meaning meaning;
  meaning.kind = Kind::Numbers;
  meaning.numbers = {input.extents[axis] * static_cast<int64_t>(input.scalar)};
  if (intAttr(op, "keepdims", 1)) {
    extents[axis] = 1;
  } else {
    extents.erase(extents.begin() + axis);
  }
  if (volumeOf(extents) == 1) {
    set(op->getResult(0), reshaped(meaning, extents));
  }
  return success();
}

// A number and the sequence that follows it; zeros and a sequence as indices; angles padded with zeros for positions
// that no token has.
LogicalResult Raiser::joinSequence(Operation *op) {
  if (op->getNumOperands() != 2) {
    return success();
  }
  const Meaning a = of(op->getOperand(0)), b = of(op->getOperand(1));
  if (!a.ranked || !b.ranked || a.extents.size() != b.extents.size()) {
    return success();
  }
  int64_t rank = a.extents.size(), axis = axisAttr(op, 0, rank);
  if (a.is(Kind::Numbers) && a.numbers.size() == 1 && b.is(Kind::Iota) && b.axis == axis &&
      b.base == a.numbers[0] + 1) {
    Meaning meaning = b;
    meaning.base = a.numbers[0];
    meaning.extents[axis] = b.extents[axis] + 1;
    set(op->getResult(0), meaning);
  } else if (b.is(Kind::Iota) && scalar(op->getOperand(0)) == 0.0 && axis == rank - 1 && b.axis != axis &&
             a.extents == b.extents && b.extents.back() == Extent(1)) {
    Meaning meaning = b;
    meaning.kind = Kind::IndexTuple;
    meaning.extents.back() = 2;
    set(op->getResult(0), meaning);
  } else if ((a.is(Kind::Cosine) || a.is(Kind::Sine)) && scalar(op->getOperand(1)) == 0.0 && axis == 0 && rank == 2 &&
             a.extents[1] == b.extents[1]) {
    Meaning meaning = a;
    meaning.extents[0] = a.extents[0] + b.extents[0];
    set(op->getResult(0), meaning);
  }
  return success();
}

LogicalResult Raiser::gatherTuples(Operation *op) {
  const Meaning data = of(op->getOperand(0)), index = of(op->getOperand(1));
  if (!data.ranked || !index.ranked || index.extents.empty() || !index.extents.back().isConstant() ||
      intAttr(op, "batch_dims", 0) != 0) {
    return success();
  }
  int64_t taken = index.extents.back().constant();
  if (taken < 0 || taken > static_cast<int64_t>(data.extents.size())) {
    return success();
  }
  Extents extents(index.extents.begin(), index.extents.end() - 1);
  extents.append(data.extents.begin() + taken, data.extents.end());
  if (data.is(Kind::Fill)) {
    set(op->getResult(0), reshaped(data, extents));
  } else if (data.is(Kind::Iota) && index.is(Kind::IndexTuple) && data.axis == taken - 1 &&
             taken == static_cast<int64_t>(data.extents.size())) {
    Meaning meaning = reshaped(data, extents);
    meaning.base = data.base + index.base;
    meaning.axis = index.axis;
    set(op->getResult(0), meaning);
  }
  return success();
}

} // namespace emoe
