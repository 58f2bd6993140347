// Heads that are made of parts, and multi-head latent attention (MLA), whose cache holds latents: keys and values are
// computed from them for all positions. What is done to each position alone is done to the new rows only; the cache of the
// raised model holds what comes of it.
#include "compiler/raise/raiser.h"

using namespace mlir;

namespace emoe {

void Raiser::addLatentHandlers() {
  add("MatMul", &Raiser::latentLinear);
  for (const char *op : {"Split", "Slice"}) {
    add(op, &Raiser::latentColumns);
  }
  add("Concat", &Raiser::joinHeads);
  add("ScatterND", &Raiser::fillColumns);
  add("Slice", &Raiser::halfWave);
  add("Slice", &Raiser::slicePairs);
  add("Tile", &Raiser::repeatWave);
}

static bool perHead(const Meaning &meaning) { return meaning.form == Form::BSHW || meaning.form == Form::BHSW; }

// Rows of all positions that a position-wise op may change.
static bool isWhole(const Meaning &cache) {
  return cache.is(Kind::Cache) && !cache.transposed && cache.repeat == 1 && cache.scale == 1 && perHead(cache) &&
         cache.extents.size() == 4;
}

Value Raiser::newRows(Location loc, Value rows) {
  int64_t width = cast<RankedTensorType>(rows.getType()).getDimSize(1);
  auto type = RankedTensorType::get({1, ShapedType::kDynamic, width}, builder.getF32Type());
  Value result = builder.create<onnx::FromRowsOp>(loc, type, rows);
  Meaning meaning;
  meaning.kind = Kind::Rows;
  meaning.source = result;
  set(result, reshaped(meaning, {1, tokens, width}));
  return result;
}

// `result` is `cache`, computed from what is cached; `rows` are its new rows.
void Raiser::setCache(Value result, Meaning cache, Value rows) {
  cache.source = newRows(result.getLoc(), rows);
  cache.derived = true;
  cache.whole = cache.form == Form::BHSW ? result : Value();
  set(result, cache);
}

LogicalResult Raiser::latentLinear(Operation *op) {
  Meaning cache = of(op->getOperand(0));
  const Meaning matrix = of(op->getOperand(1));
  if (!isWhole(cache) || cache.heads != 1 || !matrix.is(Kind::Weight) || matrix.view.extents.size() != 2 ||
      cache.extent(-1) != Extent(matrix.view.extents[0])) {
    return success();
  }
  FlatSymbolRefAttr symbol = weight(op->getLoc(), matrix.view.permuted({1, 0}));
  if (!symbol) {
    return failure();
  }
  int64_t width = matrix.view.extents[1];
  auto type = RankedTensorType::get({ShapedType::kDynamic, width}, builder.getF32Type());
  Value rows = builder.create<LinearOp>(op->getLoc(), type, toRows(cache.source), symbol, FlatSymbolRefAttr());
  cache.extents.back() = width;
  setCache(op->getResult(0), cache, rows);
  return success();
}

LogicalResult Raiser::latentColumns(Operation *op) {
  const Meaning cache = of(op->getOperand(0));
  if (!isWhole(cache) || !cache.extent(-1).isConstant()) {
    return success();
  }
  auto parts = columnParts(op, cache);
  if (failed(parts)) {
    return failure();
  }
  for (auto [index, part] : llvm::enumerate(*parts)) {
    auto [start, width] = part;
    if (width <= 0 || op->getResult(index).use_empty()) {
      continue;
    }
    Value input;
    Value rows = columns(op->getLoc(), cache.source, cache.heads, start, width, input);
    if (!rows) {
      return failure();
    }
    Meaning meaning = cache;
    meaning.extents.back() = width;
    setCache(op->getResult(index), meaning, rows);
  }
  return success();
}

// Two parts of each head side by side: of rows, or of all positions. The second may be one that all heads share.
LogicalResult Raiser::joinHeads(Operation *op) {
  const Meaning first = of(op->getOperand(0));
  int64_t rank = first.extents.size();
  if (op->getNumOperands() != 2 || rank != 4 || axisAttr(op, 0, rank) != rank - 1) {
    return success();
  }
  return joinParts(op->getResult(0), first, of(op->getOperand(1)));
}

LogicalResult Raiser::joinParts(Value result, const Meaning &a, const Meaning &b) {
  const Meaning first = a, second = b;
  bool cached = isWhole(first);
  bool shared = second.heads == 1 && second.repeat == first.heads && first.heads > 1;
  bool fits = first.form == second.form && second.extents.size() == 4 &&
              (shared || (second.heads == first.heads && second.repeat == 1)) && first.extent(-1).isConstant() &&
              second.extent(-1).isConstant() &&
              ArrayRef<Extent>(first.extents).drop_back() == ArrayRef<Extent>(second.extents).drop_back();
  bool rows = isPlainRows(first) && perHead(first) && (isPlainRows(second) || second.is(Kind::RepeatedRows));
  bool positions = cached && second.is(Kind::Cache) && !second.transposed && second.scale == 1 &&
                   (first.past < 0) == (second.past < 0) && first.otherPast < 0 && second.otherPast < 0;
  if (!fits || (!rows && !positions)) {
    return success();
  }
  Location loc = result.getLoc();
  int64_t width = first.extent(-1).constant() + second.extent(-1).constant(), heads = first.heads;
  Value lhs = toRows(first.source), rhs = toRows(second.source);
  auto type = RankedTensorType::get({ShapedType::kDynamic, heads * width}, builder.getF32Type());
  Value joined = builder.create<ConcatHeadsOp>(loc, type, lhs, rhs, builder.getI64IntegerAttr(heads),
                                               builder.getI64IntegerAttr(second.heads));
  Meaning meaning = first;
  meaning.extents.back() = width;
  if (cached) {
    meaning.otherPast = second.past == first.past ? -1 : second.past;
    meaning.key = second.query;
    setCache(result, meaning, joined);
    return success();
  }
  set(result, meaning);
  return replace(result, joined, first.form, heads, "heads in parts", {first.source, second.source});
}

//===--- parts written into a buffer one after the other -------------------------------------------------------------===//

// [1, heads, T, width] with its columns first, as a scatter along the first axis wants it; and back.
bool Raiser::columnsTransposed(Operation *op, ArrayRef<int64_t> order) {
  const Meaning input = of(op->getOperand(0));
  bool heads = (isPlainRows(input) || input.is(Kind::RepeatedRows) || input.is(Kind::Cache)) &&
               input.form == Form::BHSW && !input.transposed;
  if (order != ArrayRef<int64_t>{3, 1, 2, 0} || !(heads || input.is(Kind::Columns))) {
    return false;
  }
  Extents extents;
  for (int64_t axis : order) {
    extents.push_back(input.extents[axis]);
  }
  Meaning meaning = reshaped(input, extents);
  if (heads) {
    meaning = reshaped(Meaning(), extents);
    meaning.kind = Kind::Columns;
    meaning.source = op->getOperand(0);
    meaning.index = input.extents[3].isConstant() ? input.extents[3].constant() : 0;
  }
  meaning.transposed = heads || !input.transposed;
  set(op->getResult(0), meaning);
  return true;
}

LogicalResult Raiser::fillColumns(Operation *op) {
  const Meaning buffer = of(op->getOperand(0)), part = of(op->getOperand(2));
  auto indices = integers(op->getOperand(1));
  auto reduction = op->getAttrOfType<StringAttr>("reduction");
  bool empty = buffer.is(Kind::Fill);
  if (!part.is(Kind::Columns) || !part.transposed || part.key || buffer.extents.size() != 4 || !indices ||
      (reduction && reduction.getValue() != "none") || of(op->getOperand(1)).extents.back() != Extent(1) ||
      !(empty || (buffer.is(Kind::Columns) && buffer.transposed && !buffer.key)) ||
      ArrayRef<Extent>(buffer.extents).drop_front() != ArrayRef<Extent>(part.extents).drop_front()) {
    return success();
  }
  int64_t start = empty ? 0 : buffer.index, width = part.index;
  if (static_cast<int64_t>(indices->size()) != width || part.extents[0] != Extent(width)) {
    return success();
  }
  for (auto [i, column] : llvm::enumerate(*indices)) {
    if (column != start + static_cast<int64_t>(i)) {
      return success();
    }
  }
  Meaning meaning = reshaped(empty ? part : buffer, buffer.extents);
  if (!empty) {
    if (Extent(start + width) != buffer.extents[0]) {
      return success();
    }
    meaning.key = part.source;
    meaning.index = start + width;
  }
  set(op->getResult(0), meaning);
  return success();
}

//===--- rotary embeddings of neighbours -----------------------------------------------------------------------------===//

// One half of a wave that was doubled.
LogicalResult Raiser::halfWave(Operation *op) {
  const Meaning wave = of(op->getOperand(0));
  if (!(wave.is(Kind::Cosine) || wave.is(Kind::Sine)) || !wave.doubled || !wave.extent(-1).isConstant()) {
    return success();
  }
  auto parts = columnParts(op, wave);
  if (failed(parts)) {
    return failure();
  }
  int64_t half = wave.extent(-1).constant() / 2;
  if (parts->size() == 1 && parts->front().second == half && parts->front().first % half == 0) {
    Meaning meaning = wave;
    meaning.doubled = false;
    meaning.extents.back() = half;
    set(op->getResult(0), meaning);
  }
  return success();
}

// Each element of a wave, or of its angles, twice along a new last axis.
LogicalResult Raiser::repeatWave(Operation *op) {
  const Meaning wave = of(op->getOperand(0));
  auto repeats = integers(op->getOperand(1));
  if (!(wave.is(Kind::Cosine) || wave.is(Kind::Sine) || wave.is(Kind::Angle)) || !repeats || repeats->size() != wave.extents.size() ||
      wave.extents.back() != Extent(1) || repeats->back() != 2 ||
      llvm::any_of(ArrayRef<int64_t>(*repeats).drop_back(), [](int64_t repeat) { return repeat != 1; })) {
    return success();
  }
  Meaning meaning = wave;
  meaning.extents.back() = 2;
  set(op->getResult(0), meaning);
  return success();
}

// The even or the odd elements of heads.
LogicalResult Raiser::slicePairs(Operation *op) {
  auto slice = cast<onnx::SliceOp>(op);
  const Meaning input = of(slice.getData());
  auto start = integer(slice.getStarts()), end = integer(slice.getEnds());
  auto axis = slice.getAxes() ? integer(slice.getAxes()) : std::nullopt;
  auto step = slice.getSteps() ? integer(slice.getSteps()) : std::nullopt;
  int64_t rank = input.extents.size();
  if (!isPlainRows(input) || !perHead(input) || step != 2 || !axis || (*axis != -1 && *axis != rank - 1) ||
      (start != 0 && start != 1) || !end || !input.extent(-1).isConstant() || input.extent(-1).constant() % 2 != 0 ||
      *end < input.extent(-1).constant()) {
    return success();
  }
  Meaning meaning = input;
  meaning.kind = Kind::Half;
  meaning.interleaved = true;
  meaning.index = *start;
  meaning.extents.back() = input.extent(-1).constant() / 2;
  set(op->getResult(0), meaning);
  return success();
}

Value Raiser::evenBeforeOdd(Location loc, Value rows, int64_t heads) {
  int64_t width = cast<RankedTensorType>(rows.getType()).getDimSize(1), pairs = width / 2;
  auto half = RankedTensorType::get({ShapedType::kDynamic, pairs}, builder.getF32Type());
  Value elements[2];
  for (int64_t start : {0, 1}) {
    elements[start] = builder.create<SliceHeadsOp>(loc, half, rows, builder.getI64IntegerAttr(pairs),
                                                   builder.getI64IntegerAttr(start));
  }
  return builder.create<ConcatHeadsOp>(loc, rows.getType(), elements[0], elements[1], builder.getI64IntegerAttr(heads),
                                       builder.getI64IntegerAttr(heads));
}

Value Raiser::resizeHeads(Location loc, Value rows, int64_t heads, int64_t from, int64_t to) {
  if (from == to) {
    return rows;
  }
  auto type = RankedTensorType::get({ShapedType::kDynamic, heads * to}, builder.getF32Type());
  return builder.create<SliceHeadsOp>(loc, type, rows, builder.getI64IntegerAttr(heads), builder.getI64IntegerAttr(0));
}

} // namespace emoe
