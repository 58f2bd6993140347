// Evaluation of ops that move elements without looking at them: a result is a list of places in the operand.
#include <numeric>

#include "compiler/raise/evaluate.h"

using namespace mlir;

namespace emoe {

using Kind = Tensor::Kind;

// The elements of `x` that a walk over `shape` with `strides` from `start` meets.
static Tensor takeStrided(const Tensor &x, const Dims &shape, const Dims &strides, int64_t start = 0) {
  std::vector<int64_t> from;
  walk<1>(shape, {strides}, [&](const std::array<int64_t, 1> &at) { from.push_back(start + at[0]); });
  return x.take(shape, from);
}

static Tensor integers(Dims shape, std::vector<int64_t> values) { return Tensor::of(std::move(shape), std::move(values)); }

//===----------------------------------------------------------------------===//
// Shapes
//===----------------------------------------------------------------------===//

static LogicalResult evaluateShapeOf(onnx::ShapeOp op, Evaluator &e) {
  Dims shape = e.get(op.getData()).shape;
  int64_t rank = static_cast<int64_t>(shape.size());
  auto clamp = [&](int64_t at) { return std::max<int64_t>(0, std::min(at < 0 ? at + rank : at, rank)); };
  int64_t start = clamp(op.getStart()), end = op.getEnd() ? clamp(*op.getEnd()) : rank;
  std::vector<int64_t> part;
  for (int64_t axis = start; axis < end; ++axis) {
    part.push_back(shape[axis]);
  }
  int64_t count = static_cast<int64_t>(part.size());
  e.set(op.getShape(), integers({count}, std::move(part)));
  return success();
}

// The view under another shape of as many elements, if strides can say it: ones come and go, or it lies without gaps.
static std::optional<WeightView> reshapeView(const WeightView &view, ArrayRef<int64_t> shape) {
  WeightView result = view;
  result.shape.assign(shape.begin(), shape.end());
  auto isMore = [](int64_t extent) { return extent != 1; };
  if (llvm::equal(llvm::make_filter_range(view.shape, isMore), llvm::make_filter_range(shape, isMore))) {
    result.strides.assign(shape.size(), 1);
    size_t from = 0;
    for (size_t axis = 0; axis < shape.size(); ++axis) {
      if (shape[axis] != 1) {
        while (view.shape[from] == 1) {
          ++from;
        }
        result.strides[axis] = view.strides[from++];
      }
    }
    return result;
  }
  if (ArrayRef<int64_t>(view.strides) != ArrayRef<int64_t>(stridesOf(view.shape))) {
    return std::nullopt;
  }
  Dims strides = stridesOf(shape);
  result.strides.assign(strides.begin(), strides.end());
  return result;
}

static LogicalResult setReshaped(Operation *op, Evaluator &e, Tensor x, Dims shape) {
  // A view may have more elements than an evaluated tensor.
  if (x.view) {
    auto view = x.slices || llvm::any_of(shape, [](int64_t extent) { return extent < 1; })
                    ? std::nullopt
                    : reshapeView(*x.view, shape);
    int64_t elements = 1;
    for (int64_t extent : shape) {
      elements = extent > 0 && elements <= x.size() ? elements * extent : 0;
    }
    if (view && elements == x.size()) {
      x.shape = shape;
      x.view = view;
      e.set(op->getResult(0), x);
      return success();
    }
    auto data = e.read(op, x);
    if (failed(data)) {
      return failure();
    }
    x = *data;
  }
  auto count = countElements(shape);
  if (!count || *count != x.size()) {
    InFlightDiagnostic error = op->emitOpError("cannot make [");
    llvm::interleaveComma(shape, error);
    return error << "] of " << x.size() << " elements";
  }
  e.set(op->getResult(0), x.reshaped(std::move(shape)));
  return success();
}

static LogicalResult evaluateReshape(onnx::ReshapeOp op, Evaluator &e) {
  Tensor x = e.get(op.getData());
  auto shape = integersOf(op, e.get(op.getShape()));
  if (failed(shape)) {
    return failure();
  }
  const int64_t most = x.view ? std::max(x.size(), kMaxElements) : kMaxElements;
  int64_t known = 1, inferred = -1;
  for (int64_t axis = 0; axis < static_cast<int64_t>(shape->size()); ++axis) {
    int64_t &extent = (*shape)[axis];
    if (extent == 0 && !op.getAllowzero()) {
      if (axis >= x.rank()) {
        return op.emitOpError("copies the extent of axis ") << axis << ", which its input has not";
      }
      extent = x.shape[axis];
    }
    if (extent == -1 && inferred < 0) {
      inferred = axis;
    } else if (extent < 0 || extent > most || (known *= extent) > most) {
      return op.emitOpError("asks for the extent ") << extent << ", which cannot be";
    }
  }
  if (inferred >= 0) {
    (*shape)[inferred] = known ? x.size() / known : 0;
  }
  return setReshaped(op, e, x, *shape);
}

static LogicalResult evaluateFlatten(onnx::FlattenOp op, Evaluator &e) {
  Tensor x = e.get(op.getInput());
  int64_t axis = op.getAxis() < 0 ? op.getAxis() + x.rank() : op.getAxis();
  if (axis < 0 || axis > x.rank()) {
    return op.emitOpError("axis ") << op.getAxis() << " is outside rank " << x.rank();
  }
  Dims shape = {1, 1};
  for (int64_t a = 0; a < x.rank(); ++a) {
    shape[a >= axis] *= x.shape[a];
  }
  return setReshaped(op, e, x, shape);
}

// Marks the axes (of `rank`) that `list` names.
static FailureOr<SmallVector<bool>> markAxes(Operation *op, const Tensor &list, int64_t rank) {
  auto axes = integersOf(op, list);
  if (failed(axes)) {
    return failure();
  }
  SmallVector<bool> marks(rank, false);
  for (int64_t axis : *axes) {
    auto place = axisOf(op, axis, rank);
    if (failed(place)) {
      return failure();
    }
    marks[*place] = true;
  }
  return marks;
}

static LogicalResult evaluateSqueeze(onnx::SqueezeOp op, Evaluator &e) {
  Tensor x = e.get(op.getData());
  SmallVector<bool> drop;
  if (op.getAxes()) {
    auto marks = markAxes(op, e.get(op.getAxes()), x.rank());
    if (failed(marks)) {
      return failure();
    }
    drop = *marks;
  } else {
    llvm::append_range(drop, llvm::map_range(x.shape, [](int64_t extent) { return extent == 1; }));
  }
  Dims shape;
  for (auto [extent, dropped] : llvm::zip(x.shape, drop)) {
    if (!dropped) {
      shape.push_back(extent);
    }
  }
  return setReshaped(op, e, x, shape);
}

static LogicalResult evaluateUnsqueeze(onnx::UnsqueezeOp op, Evaluator &e) {
  Tensor x = e.get(op.getData()), list = e.get(op.getAxes());
  auto added = markAxes(op, list, x.rank() + list.size());
  if (failed(added)) {
    return failure();
  }
  if (llvm::count(*added, true) != list.size()) {
    return op.emitOpError("names an axis twice");
  }
  Dims shape;
  const int64_t *next = x.shape.begin();
  for (bool isNew : *added) {
    shape.push_back(isNew ? 1 : *next++);
  }
  return setReshaped(op, e, x, shape);
}

//===----------------------------------------------------------------------===//
// Moving
//===----------------------------------------------------------------------===//

static LogicalResult evaluateTranspose(onnx::TransposeOp op, Evaluator &e) {
  Tensor x = e.get(op.getData());
  SmallVector<int64_t> perm;
  if (op.getPerm()) {
    perm.assign(op.getPerm()->begin(), op.getPerm()->end());
  } else {
    for (int64_t axis = x.rank(); axis-- > 0;) {
      perm.push_back(axis);
    }
  }
  if (static_cast<int64_t>(perm.size()) != x.rank()) {
    return op.emitOpError("perm has ") << perm.size() << " axes for an input of rank " << x.rank();
  }
  if (x.slices) {
    // Axes within a slice move with the slices.
    const int64_t outer = x.rank() - static_cast<int64_t>(x.view->shape.size()) + 1;
    bool within = true;
    for (int64_t axis = 0; axis < outer; ++axis) {
      within &= perm[axis] == axis;
    }
    if (within) {
      Dims shape;
      WeightView view = *x.view;
      for (int64_t axis : perm) {
        if (axis >= outer) {
          const int64_t to = static_cast<int64_t>(shape.size()) - outer + 1, from = axis - outer + 1;
          view.shape[to] = x.view->shape[from];
          view.strides[to] = x.view->strides[from];
        }
        shape.push_back(x.shape[axis]);
      }
      x.shape = shape;
      x.view = view;
      e.set(op.getTransposed(), x);
      return success();
    }
    auto data = e.read(op, x);
    if (failed(data)) {
      return failure();
    }
    x = *data;
  }
  Dims shape, strides, own = x.view ? Dims(x.view->strides.begin(), x.view->strides.end()) : stridesOf(x.shape);
  for (int64_t axis : perm) {
    shape.push_back(x.shape[axis]);
    strides.push_back(own[axis]);
  }
  if (x.view) {
    x.shape = shape;
    x.view->shape.assign(shape.begin(), shape.end());
    x.view->strides.assign(strides.begin(), strides.end());
    e.set(op.getTransposed(), x);
  } else {
    e.set(op.getTransposed(), takeStrided(x, shape, strides));
  }
  return success();
}

static LogicalResult evaluateExpand(onnx::ExpandOp op, Evaluator &e) {
  Tensor x = e.get(op.getInput());
  auto wanted = integersOf(op, e.get(op.getShape()));
  if (failed(wanted)) {
    return failure();
  }
  auto shape = broadcastShapes(x.shape, *wanted);
  if (!shape) {
    return op.emitOpError("cannot broadcast its input to the shape it is given");
  }
  e.set(op.getOutput(), takeStrided(x, *shape, broadcastStrides(x.shape, *shape)));
  return success();
}

static LogicalResult evaluateTile(onnx::TileOp op, Evaluator &e) {
  Tensor x = e.get(op.getInput());
  auto repeats = integersOf(op, e.get(op.getRepeats()));
  if (failed(repeats)) {
    return failure();
  }
  if (repeats->size() != x.shape.size()) {
    return op.emitOpError("has ") << repeats->size() << " repeats for rank " << x.rank();
  }
  // [a, b] repeated (r, s) times is a walk over [r, a, s, b] that stands still along r and s.
  Dims shape, strides, own = stridesOf(x.shape), out;
  for (int64_t axis = 0; axis < x.rank(); ++axis) {
    shape.append({(*repeats)[axis], x.shape[axis]});
    strides.append({0, own[axis]});
    if (failed(checkShape(op, {(*repeats)[axis], x.shape[axis]}))) {
      return failure();
    }
    out.push_back((*repeats)[axis] * x.shape[axis]);
  }
  if (failed(checkShape(op, out))) {
    return failure();
  }
  e.set(op.getOutput(), takeStrided(x, shape, strides).reshaped(out));
  return success();
}

// Joins parts of one kind that agree in all extents but `axis`.
static FailureOr<Tensor> concatenate(Operation *op, ArrayRef<Tensor> parts, int64_t axis) {
  Dims shape = parts[0].shape;
  shape[axis] = 0;
  for (const Tensor &part : parts) {
    bool fits = part.kind == parts[0].kind && part.shape.size() == shape.size();
    for (int64_t a = 0; fits && a < part.rank(); ++a) {
      fits = a == axis || part.shape[a] == shape[a];
    }
    if (!fits) {
      return op->emitOpError("cannot join inputs that differ outside axis ") << axis;
    }
    shape[axis] += part.shape[axis];
  }
  if (failed(checkShape(op, shape))) {
    return failure();
  }
  int64_t outer = 1;
  for (int64_t a = 0; a < axis; ++a) {
    outer *= shape[a];
  }
  std::vector<double> floats;
  std::vector<int64_t> ints;
  for (int64_t o = 0; o < outer; ++o) {
    for (const Tensor &part : parts) {
      int64_t run = part.size() / outer;
      if (part.kind == Kind::Float) {
        floats.insert(floats.end(), part.f() + o * run, part.f() + (o + 1) * run);
      } else {
        ints.insert(ints.end(), part.i() + o * run, part.i() + (o + 1) * run);
      }
    }
  }
  return parts[0].kind == Kind::Float ? Tensor::of(shape, std::move(floats))
                                      : Tensor::of(shape, std::move(ints), parts[0].kind);
}

static LogicalResult evaluateConcat(onnx::ConcatOp op, Evaluator &e) {
  SmallVector<Tensor> parts;
  for (Value input : op.getInputs()) {
    parts.push_back(e.get(input));
  }
  auto axis = axisOf(op, op.getAxis(), parts[0].rank());
  if (failed(axis)) {
    return failure();
  }
  auto joined = concatenate(op, parts, *axis);
  if (failed(joined)) {
    return failure();
  }
  e.set(op.getConcatResult(), *joined);
  return success();
}

static LogicalResult evaluateSplit(onnx::SplitOp op, Evaluator &e) {
  Tensor x = e.get(op.getInput());
  auto axis = axisOf(op, op.getAxis(), x.rank());
  if (failed(axis)) {
    return failure();
  }
  int64_t extent = x.shape[*axis], count = static_cast<int64_t>(op.getOutputs().size());
  Dims parts;
  if (op.getSplit()) {
    auto given = integersOf(op, e.get(op.getSplit()));
    if (failed(given)) {
      return failure();
    }
    parts = *given;
  } else {
    int64_t chunk = (extent + count - 1) / count;
    for (int64_t n = 0; n < count; ++n) {
      parts.push_back(std::max<int64_t>(0, std::min(chunk, extent - n * chunk)));
    }
  }
  int64_t sum = std::accumulate(parts.begin(), parts.end(), int64_t(0));
  if (static_cast<int64_t>(parts.size()) != count || sum != extent ||
      llvm::any_of(parts, [&](int64_t part) { return part < 0 || part > extent; })) {
    return op.emitOpError("cannot cut an extent of ") << extent << " into the parts that it is given";
  }
  // Parts of a view are views, if they begin at bytes.
  const int64_t bits = x.view && !x.slices ? storageBits(x.view->element) * x.view->strides[*axis] : 0;
  if (x.view && (x.slices || llvm::any_of(parts, [&](int64_t part) { return part * bits % 8 != 0; }))) {
    auto data = e.read(op, x);
    if (failed(data)) {
      return failure();
    }
    x = *data;
  }
  Dims strides = stridesOf(x.shape), shape = x.shape;
  int64_t start = 0;
  for (auto [part, output] : llvm::zip(parts, op.getOutputs())) {
    shape[*axis] = part;
    if (x.view) {
      Tensor piece = x;
      piece.shape = shape;
      piece.view->shape.assign(shape.begin(), shape.end());
      piece.view->offset += start * bits / 8;
      e.set(output, piece);
    } else {
      e.set(output, takeStrided(x, shape, strides, start * strides[*axis]));
    }
    start += part;
  }
  return success();
}

static LogicalResult evaluateSlice(onnx::SliceOp op, Evaluator &e) {
  Tensor x = e.get(op.getData());
  auto starts = integersOf(op, e.get(op.getStarts())), ends = integersOf(op, e.get(op.getEnds()));
  if (failed(starts) || failed(ends)) {
    return failure();
  }
  Dims axes(starts->size()), steps(starts->size(), 1);
  std::iota(axes.begin(), axes.end(), 0);
  for (auto [list, value] : {std::pair(&axes, op.getAxes()), {&steps, op.getSteps()}}) {
    if (value) {
      auto given = integersOf(op, e.get(value));
      if (failed(given)) {
        return failure();
      }
      *list = *given;
    }
  }
  if (ends->size() != starts->size() || axes.size() != starts->size() || steps.size() != starts->size()) {
    return op.emitOpError("has lists of different lengths");
  }
  Dims shape = x.shape, strides = stridesOf(x.shape);
  int64_t offset = 0;
  Dims own = strides;
  for (size_t n = 0; n < axes.size(); ++n) {
    auto axis = axisOf(op, axes[n], x.rank());
    int64_t step = steps[n];
    if (failed(axis)) {
      return failure();
    }
    if (step == 0 || step < -kMaxElements) {
      return op.emitOpError("step ") << step << " is not possible";
    }
    step = std::min(step, kMaxElements);
    int64_t extent = x.shape[*axis];
    auto clamp = [&](int64_t at, int64_t low, int64_t high) {
      at = at < 0 && at >= -extent ? at + extent : at < -extent ? -1 : at;
      return std::max(low, std::min(at, high));
    };
    int64_t start, end, count;
    if (step > 0) {
      start = clamp((*starts)[n], 0, extent), end = clamp((*ends)[n], 0, extent);
      count = end > start ? (end - start + step - 1) / step : 0;
    } else {
      start = clamp((*starts)[n], -1, extent - 1), end = clamp((*ends)[n], -1, extent - 1);
      count = start > end ? (start - end - step - 1) / -step : 0;
    }
    shape[*axis] = count;
    strides[*axis] = own[*axis] * step;
    offset += count ? start * own[*axis] : 0;
  }
  e.set(op.getOutput(), takeStrided(x, shape, strides, offset));
  return success();
}

static LogicalResult evaluatePad(onnx::PadOp op, Evaluator &e) {
  Tensor x = e.get(op.getData());
  auto pads = integersOf(op, e.get(op.getPads()));
  if (failed(pads)) {
    return failure();
  }
  if (op.getMode() != "constant") {
    return op.emitOpError("cannot be evaluated: the evaluator pads with constants only, not by ") << op.getMode();
  }
  Dims axes(x.rank());
  std::iota(axes.begin(), axes.end(), 0);
  if (op.getAxes()) {
    auto given = integersOf(op, e.get(op.getAxes()));
    if (failed(given)) {
      return failure();
    }
    axes = *given;
  }
  if (pads->size() != 2 * axes.size()) {
    return op.emitOpError("has ") << pads->size() << " pads for " << axes.size() << " axes";
  }
  Dims shape = x.shape, before(x.rank(), 0), own = stridesOf(x.shape);
  for (size_t n = 0; n < axes.size(); ++n) {
    auto axis = axisOf(op, axes[n], x.rank());
    int64_t begin = (*pads)[n], end = (*pads)[n + axes.size()];
    if (failed(axis)) {
      return failure();
    }
    if (begin < -kMaxElements || begin > kMaxElements || end < -kMaxElements || end > kMaxElements) {
      return op.emitOpError("pads by ") << begin << " and " << end << ", which cannot be";
    }
    before[*axis] = begin;
    shape[*axis] += begin + end;
  }
  if (failed(checkShape(op, shape))) {
    return failure();
  }
  Tensor fill = x.kind == Kind::Float ? Tensor::of({}, std::vector<double>{0})
                                      : Tensor::of({}, std::vector<int64_t>{0}, x.kind);
  if (op.getConstantValue()) {
    fill = e.get(op.getConstantValue());
  }
  if (fill.kind != x.kind || fill.size() != 1) {
    return op.emitOpError("constant_value must be one element of the input's type");
  }
  std::vector<double> floats;
  std::vector<int64_t> ints;
  Dims place = stridesOf(shape);
  for (int64_t n = 0, count = *countElements(shape); n < count; ++n) {
    int64_t from = 0;
    bool inside = true;
    for (int64_t axis = 0; axis < x.rank(); ++axis) {
      int64_t at = n / place[axis] % shape[axis] - before[axis];
      inside &= at >= 0 && at < x.shape[axis];
      from += at * own[axis];
    }
    if (x.kind == Kind::Float) {
      floats.push_back(inside ? x.f()[from] : fill.f()[0]);
    } else {
      ints.push_back(inside ? x.i()[from] : fill.i()[0]);
    }
  }
  e.set(op.getOutput(), x.kind == Kind::Float ? Tensor::of(shape, std::move(floats))
                                              : Tensor::of(shape, std::move(ints), x.kind));
  return success();
}

static LogicalResult evaluateTrilu(onnx::TriluOp op, Evaluator &e) {
  Tensor x = e.get(op.getInput());
  int64_t k = 0;
  if (op.getK()) {
    auto given = integersOf(op, e.get(op.getK()));
    if (failed(given) || given->size() != 1) {
      return op.emitOpError("k must be one integer");
    }
    k = (*given)[0];
  }
  if (x.rank() < 2) {
    return op.emitOpError("needs a matrix");
  }
  int64_t columns = x.shape.back(), rows = x.shape[x.rank() - 2];
  k = std::max(-rows - 1, std::min(k, columns + 1));
  auto keep = [&](int64_t n) {
    int64_t distance = n % columns - n / columns % rows;
    return op.getUpper() ? distance >= k : distance <= k;
  };
  if (x.kind == Kind::Float) {
    std::vector<double> values = *x.floats;
    for (int64_t n = 0; n < x.size(); ++n) {
      values[n] = keep(n) ? values[n] : 0;
    }
    e.set(op.getOutput(), Tensor::of(x.shape, std::move(values)));
  } else {
    std::vector<int64_t> values = *x.ints;
    for (int64_t n = 0; n < x.size(); ++n) {
      values[n] = keep(n) ? values[n] : 0;
    }
    e.set(op.getOutput(), Tensor::of(x.shape, std::move(values), x.kind));
  }
  return success();
}

//===----------------------------------------------------------------------===//
// Makers and bridges
//===----------------------------------------------------------------------===//

static LogicalResult evaluateRange(onnx::RangeOp op, Evaluator &e) {
  Tensor start = e.get(op.getStart()), limit = e.get(op.getLimit()), delta = e.get(op.getDelta());
  if (start.size() != 1 || limit.size() != 1 || delta.size() != 1 || delta.at(0) == 0) {
    return op.emitOpError("needs three scalars, the step not zero");
  }
  double wanted = std::ceil((limit.at(0) - start.at(0)) / delta.at(0));
  if (!(wanted <= static_cast<double>(kMaxElements))) {
    return op.emitOpError("cannot be evaluated: it has more than ") << kMaxElements << " elements";
  }
  int64_t count = std::max<int64_t>(0, static_cast<int64_t>(wanted));
  if (start.kind == Kind::Float) {
    std::vector<double> values(count);
    for (int64_t n = 0; n < count; ++n) {
      values[n] = start.f()[0] + static_cast<double>(n) * delta.at(0);
    }
    e.set(op.getOutput(), Tensor::of({count}, std::move(values)));
    return success();
  }
  std::vector<int64_t> values(count);
  for (int64_t n = 0; n < count; ++n) {
    values[n] = start.i()[0] + n * static_cast<int64_t>(delta.at(0));
  }
  e.set(op.getOutput(), integers({count}, std::move(values)));
  return success();
}

static LogicalResult evaluateEyeLike(onnx::EyeLikeOp op, Evaluator &e) {
  Dims shape = e.get(op.getInput()).shape;
  if (shape.size() != 2) {
    return op.emitOpError("needs a matrix");
  }
  std::vector<double> values(shape[0] * shape[1]);
  for (int64_t n = 0; n < static_cast<int64_t>(values.size()); ++n) {
    values[n] = n % shape[1] - n / shape[1] == op.getK();
  }
  Kind kind = Tensor::kindOf(cast<ShapedType>(op.getOutput().getType()).getElementType());
  e.set(op.getOutput(), kind == Kind::Float
                            ? Tensor::of(shape, std::move(values))
                            : Tensor::of(shape, std::vector<int64_t>(values.begin(), values.end()), kind));
  return success();
}

// [T, D] and [1, T, D] are rows as they lie; [1, heads, T, d] becomes [T, heads * d].
static LogicalResult evaluateToRows(onnx::ToRowsOp op, Evaluator &e) {
  Tensor x = e.get(op.getInput());
  bool batched = x.rank() == 3 || x.rank() == 4;
  if ((x.rank() != 2 && !batched) || (batched && x.shape[0] != 1) || x.kind != Kind::Float) {
    return op.emitOpError("cannot be evaluated: its operand must be floats of [T, D], [1, T, D] or [1, heads, T, d]");
  }
  if (x.rank() == 4) {
    int64_t heads = x.shape[1], tokens = x.shape[2], width = x.shape[3];
    x = takeStrided(x, {tokens, heads, width}, {width, tokens * width, 1}).reshaped({tokens, heads * width});
  }
  int64_t width = x.shape.back();
  e.set(op.getRows(), x.reshaped({x.rank() == 2 ? x.shape[0] : x.shape[1], width}));
  return success();
}

static LogicalResult evaluateFromRows(onnx::FromRowsOp op, Evaluator &e) {
  Tensor x = e.get(op.getRows());
  auto type = dyn_cast<RankedTensorType>(op.getOutput().getType());
  if (!type || type.getRank() < 2 || type.getRank() > 4 || x.rank() != 2) {
    return op.emitOpError("cannot be evaluated: its result type does not say a form");
  }
  int64_t tokens = x.shape[0], width = x.shape[1];
  if (type.getRank() == 2) {
    e.set(op.getOutput(), x);
  } else if (type.getRank() == 3) {
    e.set(op.getOutput(), x.reshaped({1, tokens, width}));
  } else {
    int64_t heads = type.getDimSize(1), part = type.getDimSize(3);
    if (ShapedType::isDynamic(heads) && !ShapedType::isDynamic(part) && part > 0) {
      heads = width / part;
    }
    if (heads <= 0 || width % heads != 0) {
      return op.emitOpError("cannot be evaluated: ") << width << " is not a number of heads times their width";
    }
    part = width / heads;
    e.set(op.getOutput(),
          takeStrided(x, {heads, tokens, part}, {part, width, 1}).reshaped({1, heads, tokens, part}));
  }
  return success();
}

void addShapeOps(EvaluateTable &table) {
  addOp<onnx::ShapeOp>(table, evaluateShapeOf);
  addOp<onnx::SizeOp>(table, [](onnx::SizeOp op, Evaluator &e) {
    e.set(op.getSize(), integers({}, {e.get(op.getData()).size()}));
    return success();
  });
  addOp<onnx::ReshapeOp>(table, evaluateReshape);
  addOp<onnx::FlattenOp>(table, evaluateFlatten);
  addOp<onnx::SqueezeOp>(table, evaluateSqueeze);
  addOp<onnx::UnsqueezeOp>(table, evaluateUnsqueeze);
  addOp<onnx::TransposeOp>(table, evaluateTranspose);
  addOp<onnx::ExpandOp>(table, evaluateExpand);
  addOp<onnx::TileOp>(table, evaluateTile);
  addOp<onnx::ConcatOp>(table, evaluateConcat);
  addOp<onnx::SplitOp>(table, evaluateSplit);
  addOp<onnx::SliceOp>(table, evaluateSlice);
  addOp<onnx::PadOp>(table, evaluatePad);
  addOp<onnx::TriluOp>(table, evaluateTrilu);
  addOp<onnx::RangeOp>(table, evaluateRange);
  addOp<onnx::EyeLikeOp>(table, evaluateEyeLike);
  addOp<onnx::ToRowsOp>(table, evaluateToRows);
  addOp<onnx::FromRowsOp>(table, evaluateFromRows);
}

} // namespace emoe
